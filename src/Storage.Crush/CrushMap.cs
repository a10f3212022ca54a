using Storage.Crush.Format;
using Storage.Crush.Mapping;
using Storage.Crush.Text;

namespace Storage.Crush;

/// <summary>
/// A CRUSH map: the hierarchy of devices, the placement rules and the tunables. Immutable, so that any number of threads
/// may map with it; every change makes a new map (see the <c>With…</c> methods).
/// </summary>
public sealed partial class CrushMap
{
    /// <summary>A hole in a mapping: no device could be found for this position.</summary>
    public const int ItemNone = 0x7fffffff;

    /// <summary>A weight of 1.0 in 16.16 fixed point.</summary>
    public const uint WeightOne = 0x10000;

    /// <summary>The set of choose_args that applies to inputs which have no set of their own.</summary>
    public const long DefaultChooseArgs = -1;

    /// <summary>Ignore all choose_args.</summary>
    public const long NoChooseArgs = long.MinValue;

    internal readonly CrushMapData Data;
    private readonly Dictionary<string, int> _itemIds;
    private readonly Dictionary<int, int> _parents = [];
    private readonly int[] _typeOfBucket;
    private readonly int _permutationSize;

    internal CrushMap(CrushMapData data)
    {
        data.Validate();
        Data = data;
        _itemIds = new Dictionary<string, int>(data.ItemNames.Count, StringComparer.Ordinal);
        foreach ((int id, string name) in data.ItemNames)
        {
            _itemIds[name] = id;
        }

        _typeOfBucket = new int[data.Buckets.Length];
        for (int i = 0; i < data.Buckets.Length; i++)
        {
            _typeOfBucket[i] = data.Buckets[i]?.Type ?? 0;
            if (!data.IsShadow(~i))
            {
                foreach (int item in data.Buckets[i]?.ItemArray ?? [])
                {
                    _parents.TryAdd(item, ~i);
                }
            }
        }

        _permutationSize = data.LargestPermutation();
    }

    /// <summary>The settings of the choice algorithm.</summary>
    public CrushTunables Tunables => Data.Tunables;

    /// <summary>One more than the highest device id in the hierarchy.</summary>
    public int MaxDevices => Data.MaxDevices;

    /// <summary>The rules by id, ascending.</summary>
    public IEnumerable<CrushRule> Rules => Data.Rules.OfType<CrushRule>();

    /// <summary>The buckets, ids descending from -1, shadow buckets included.</summary>
    public IEnumerable<CrushBucket> Buckets => Data.Buckets.OfType<CrushBucket>();

    /// <summary>The type names by id, ascending; type 0 is the device.</summary>
    public IReadOnlyDictionary<int, string> Types => Data.TypeNames;

    /// <summary>The device class names by class id, ascending.</summary>
    public IReadOnlyDictionary<int, string> DeviceClasses => Data.ClassNames;

    /// <summary>The ids of the sets of choose_args, ascending.</summary>
    public IEnumerable<long> ChooseArgsIds => Data.ChooseArgs.Keys;

    /// <summary>Reads Ceph's binary form.</summary>
    /// <exception cref="CrushFormatException">The bytes are no such map, are cut off, or describe an impossible hierarchy.</exception>
    public static CrushMap Decode(ReadOnlySpan<byte> bytes) => new(CrushBinaryReader.Read(bytes));

    /// <summary>Writes Ceph's binary form; what <see cref="Decode"/> read comes out the same, byte for byte.</summary>
    public byte[] Encode() => CrushBinaryWriter.Write(Data);

    /// <summary>Compiles the text form that crushtool reads and writes.</summary>
    /// <exception cref="CrushFormatException">Line, column, and what was expected there.</exception>
    public static CrushMap CompileText(string text) => new CrushTextCompiler(text).Compile();

    /// <summary>Writes the text form, as <c>crushtool -d</c> does.</summary>
    /// <remarks>Weights are rounded to three decimals: use the binary form where the placement must not change at all.</remarks>
    public string DecompileText() => CrushTextWriter.Write(this);

    /// <summary>Looks an item (device or bucket, shadow buckets as <c>default~ssd</c>) up by name.</summary>
    public bool TryGetItemId(string name, out int id) => _itemIds.TryGetValue(name, out id);

    /// <summary>An item's name, or null.</summary>
    public string? GetItemName(int item) => Data.ItemNames.GetValueOrDefault(item);

    /// <summary>A bucket by id, or null.</summary>
    public CrushBucket? GetBucket(int id) => Data.BucketAt(id);

    /// <summary>A rule by id, or null.</summary>
    public CrushRule? GetRule(int id) => (uint)id < (uint)Data.Rules.Length ? Data.Rules[id] : null;

    /// <summary>A rule's name, or null.</summary>
    public string? GetRuleName(int id) => Data.RuleNames.GetValueOrDefault(id);

    /// <summary>A rule's id by its name; -1 when there is none.</summary>
    public int FindRule(string name)
    {
        foreach ((int id, string candidate) in Data.RuleNames)
        {
            if (candidate == name && GetRule(id) is not null)
            {
                return id;
            }
        }

        return -1;
    }

    /// <summary>A type's id by its name; -1 when there is none.</summary>
    public int FindType(string name)
    {
        foreach ((int id, string candidate) in Data.TypeNames)
        {
            if (candidate == name)
            {
                return id;
            }
        }

        return -1;
    }

    /// <summary>A device's class, or null.</summary>
    public string? GetDeviceClass(int device) =>
        Data.ItemClasses.TryGetValue(device, out int classId) ? Data.ClassNames.GetValueOrDefault(classId) : null;

    /// <summary>Whether a bucket is the shadow of another for one device class.</summary>
    public bool IsShadow(int bucket) => Data.IsShadow(bucket);

    /// <summary>The choose_args of a bucket in a set, or null.</summary>
    public CrushChooseArgument? GetChooseArgument(long chooseArgsId, int bucket) =>
        Data.ChooseArgs.TryGetValue(chooseArgsId, out CrushChooseArgument?[]? set) && bucket < 0 && ~bucket < set.Length ? set[~bucket] : null;

    /// <summary>Places an input: follows a rule to a list of devices. Allocates nothing; safe from any thread.</summary>
    /// <param name="ruleId">A rule of this map; an unknown one places nothing.</param>
    /// <param name="x">The input, usually a placement group's seed hashed with its pool.</param>
    /// <param name="result">Its length is the wanted number of devices; filled from its start.</param>
    /// <param name="weights">How far each device is in, by device id: 0 is out, 0x10000 and more is fully in; devices beyond its end are out.</param>
    /// <param name="chooseArgsId">The set of choose_args (a pool's id); where there is no such set, <see cref="DefaultChooseArgs"/> applies if it exists.</param>
    /// <returns>How many entries of <paramref name="result"/> count. Rules of the "firstn" kind return fewer when devices lack; those of the "indep" kind leave <see cref="ItemNone"/> in the position.</returns>
    public int Map(int ruleId, uint x, Span<int> result, ReadOnlySpan<uint> weights, long chooseArgsId = DefaultChooseArgs)
    {
        CrushRule? rule = GetRule(ruleId);
        return rule is null || result.IsEmpty ? 0 : Mapper.Map(this, rule, x, result, weights, FindChooseArgs(chooseArgsId));
    }

    internal int PermutationSize => _permutationSize;

    internal int[] BucketTypes => _typeOfBucket;

    private CrushChooseArgument?[]? FindChooseArgs(long id)
    {
        if (Data.ChooseArgs.Count == 0 || id == NoChooseArgs)
        {
            return null;
        }

        return Data.ChooseArgs.TryGetValue(id, out CrushChooseArgument?[]? set) ? set
            : Data.ChooseArgs.GetValueOrDefault(DefaultChooseArgs);
    }
}
