using System.Globalization;
using System.Text;

namespace Storage.Crush.Testing;

/// <summary>What <see cref="CrushTester"/> tries and prints; the options of <c>crushtool --test</c>.</summary>
public sealed record CrushTestOptions
{
    /// <summary>The rule to test; -1 for all.</summary>
    public int Rule { get; init; } = -1;

    /// <summary>The smallest result size; -1 for each rule's own.</summary>
    public int MinReplicas { get; init; } = -1;

    /// <summary>The largest result size; -1 for each rule's own.</summary>
    public int MaxReplicas { get; init; } = -1;

    /// <summary>The first input.</summary>
    public int MinX { get; init; }

    /// <summary>The last input.</summary>
    public int MaxX { get; init; } = 1023;

    /// <summary>Hash the inputs with this pool's id; null tests the plain inputs.</summary>
    public long? PoolId { get; init; }

    /// <summary>How far devices are in, 0 to 1, where not fully.</summary>
    public IReadOnlyDictionary<int, double> Weights { get; init; } = new Dictionary<int, double>();

    /// <summary>Print every mapping.</summary>
    public bool ShowMappings { get; init; }

    /// <summary>Print what each device stores; implies <see cref="ShowStatistics"/>.</summary>
    public bool ShowUtilization { get; init; }

    /// <summary>As <see cref="ShowUtilization"/>, devices that store nothing included, and the devices' weights.</summary>
    public bool ShowUtilizationAll { get; init; }

    /// <summary>Print mappings that are short or have holes.</summary>
    public bool ShowBadMappings { get; init; }

    /// <summary>Print how many mappings have which size.</summary>
    public bool ShowStatistics { get; init; }
}

/// <summary>Tries a map's rules on a range of inputs and prints the lines of <c>crushtool --test</c>.</summary>
public sealed class CrushTester
{
    private readonly CrushMap _map;
    private readonly CrushTestOptions _options;
    private readonly TextWriter _out;
    private readonly uint[] _weights;
    private readonly bool _statistics;

    /// <summary>Prepares a test.</summary>
    /// <param name="map">The map to test.</param>
    /// <param name="options">What to try and print.</param>
    /// <param name="output">Where lines go.</param>
    public CrushTester(CrushMap map, CrushTestOptions options, TextWriter output)
    {
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(options);
        _map = map;
        _options = options;
        _out = output;
        _statistics = options.ShowStatistics || options.ShowUtilization || options.ShowUtilizationAll;
        _weights = new uint[map.MaxDevices];
        for (int device = 0; device < _weights.Length; device++)
        {
            _weights[device] = map.ContainsDevice(device) ? CrushMap.WeightOne : 0;
        }

        foreach ((int device, double weight) in options.Weights)
        {
            if ((uint)device < (uint)_weights.Length)
            {
                _weights[device] = (uint)Math.Clamp((float)weight * CrushMap.WeightOne, 0, CrushMap.WeightOne);
            }
        }
    }

    /// <summary>Runs the test.</summary>
    /// <returns>How many mappings were short or had holes.</returns>
    public int Run()
    {
        int bad = 0;
        if (_options.ShowUtilizationAll)
        {
            Line($"devices weights (hex): [{string.Join(',', _weights.Select(w => w.ToString("x", CultureInfo.InvariantCulture)))}]");
        }

        int ruleCount = _map.Data.Rules.Length;
        int first = Math.Max(_options.Rule, 0);
        int last = _options.Rule >= 0 ? Math.Min(_options.Rule, ruleCount - 1) : ruleCount - 1;
        for (int id = first; id <= last; id++)
        {
            if (_map.GetRule(id) is { } rule)
            {
                bad += TestRule(rule);
            }
            else if (_statistics)
            {
                Line($"rule {id} dne");
            }
        }

        return bad;
    }

    private int TestRule(CrushRule rule)
    {
        bool own = _options.MinReplicas < 0 || _options.MaxReplicas < 0;
        int min = own ? rule.MinSize : _options.MinReplicas;
        int max = own ? rule.MaxSize : _options.MaxReplicas;
        if (_statistics)
        {
            Line($"rule {rule.Id} ({_map.GetRuleName(rule.Id)}), x = {_options.MinX}..{_options.MaxX}, numrep = {min}..{max}");
        }

        // The reference sums up in 32 bits and skips the sizes of a map that is all out.
        int total = 0;
        foreach (uint weight in _weights)
        {
            total = unchecked(total + (int)weight);
        }

        int bad = 0;
        for (int size = min; size <= max && total != 0; size++)
        {
            bad += TestSize(rule, size, total);
        }

        return bad;
    }

    private int TestSize(CrushRule rule, int size, int totalWeight)
    {
        var stored = new int[_weights.Length];
        var sizes = new SortedDictionary<int, int>();
        var result = new int[Math.Max(size, 0)];
        int bad = 0;
        for (int x = _options.MinX; x <= _options.MaxX; x++)
        {
            uint input = _options.PoolId is { } pool ? CrushHash.Hash2((uint)x, (uint)pool) : (uint)x;
            int count = _map.Map(rule.Id, input, result, _weights, 0);
            if (_options.ShowMappings)
            {
                Line($"CRUSH rule {rule.Id} x {x} {List(result.AsSpan(0, count))}");
            }

            bool isBad = count != size;
            foreach (int device in result.AsSpan(0, count))
            {
                if ((uint)device < (uint)stored.Length)
                {
                    stored[device]++;
                }

                isBad |= device == CrushMap.ItemNone;
            }

            sizes[count] = sizes.GetValueOrDefault(count) + 1;
            bad += isBad ? 1 : 0;
            if (isBad && _options.ShowBadMappings)
            {
                Line($"bad mapping rule {rule.Id} x {x} num_rep {size} result {List(result.AsSpan(0, count))}");
            }

            if (x == int.MaxValue)
            {
                break;
            }
        }

        if (_statistics)
        {
            foreach ((int count, int times) in sizes)
            {
                Line($"rule {rule.Id} ({_map.GetRuleName(rule.Id)}) num_rep {size} result size == {count}:\t{times}/{_options.MaxX - _options.MinX + 1}");
            }

            Utilization(rule, size, totalWeight, stored);
        }

        return bad;
    }

    private void Utilization(CrushRule rule, int size, int totalWeight, int[] stored)
    {
        float objects = Math.Min(size, LargestResult(rule)) * (_options.MaxX - _options.MinX + 1);
        for (int device = 0; device < stored.Length; device++)
        {
            float expected = (float)_weights[device] / totalWeight * objects;
            bool show = _options.ShowUtilization ? expected > 0 && stored[device] > 0 : _options.ShowUtilizationAll;
            if (show)
            {
                Line($"  device {device}:\t\t stored : {stored[device]}\t expected : {General(expected)}");
            }
        }
    }

    // The fewest buckets that any choice of the rule can pick from, shadows counted with the rest.
    private int LargestResult(CrushRule rule)
    {
        var wanted = new SortedDictionary<int, int>();
        foreach (CrushStep step in rule.Steps)
        {
            if ((int)step.Kind >= 2 && step.Kind != CrushStepKind.Emit)
            {
                wanted[step.Argument2] = step.Argument1;
            }
        }

        int largest = Math.Max(_map.Data.Buckets.Length, _map.MaxDevices);
        foreach ((int type, int count) in wanted)
        {
            int there = _map.Buckets.Count(b => b.Type == type && _map.GetItemName(b.Id) is not null);
            there = count > 0 && count < there ? count : there;
            if (there > 0 && there < largest)
            {
                largest = there;
            }
        }

        return largest;
    }

    private static string List(ReadOnlySpan<int> items)
    {
        var text = new StringBuilder("[");
        for (int i = 0; i < items.Length; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(i == 0 ? "" : ",")}{items[i]}");
        }

        return text.Append(']').ToString();
    }

    /// <summary>Six significant digits, an exponent from 10^6 on and below 10^-4, as C++ streams print floats.</summary>
    internal static string General(float value)
    {
        if (value == 0)
        {
            return "0";
        }

        // Five digits after the point of the normalized form decide about rounding and the exponent.
        string scientific = ((double)value).ToString("E5", CultureInfo.InvariantCulture);
        int exponent = int.Parse(scientific.AsSpan(scientific.IndexOf('E', StringComparison.Ordinal) + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (exponent is < -4 or >= 6)
        {
            string digits = scientific[..scientific.IndexOf('E', StringComparison.Ordinal)].TrimEnd('0').TrimEnd('.');
            return $"{digits}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):D2}";
        }

        string plain = ((double)value).ToString("F" + (5 - exponent).ToString(CultureInfo.InvariantCulture), CultureInfo.InvariantCulture);
        return plain.Contains('.', StringComparison.Ordinal) ? plain.TrimEnd('0').TrimEnd('.') : plain;
    }

    private void Line(string text) => _out.Write(text + "\n");
}
