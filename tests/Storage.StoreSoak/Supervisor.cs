using System.Diagnostics;
using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore.Disk;

namespace Storage.StoreSoak;

/// <summary>Starts the store's process again and again, kills it or lets it close, and compares what it says with the model.</summary>
internal sealed class Supervisor(string folder, TimeSpan duration, long size, int seed)
{
    // The soak's own share of the process comes on top of a daemon's: the text of the store, the transactions in flight.
    private const double Tolerance = 1.10;
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(10);
    private readonly Random _random = new(seed);
    private readonly Model _model = new(seed);
    private readonly List<string> _problems = [];
    private readonly SortedDictionary<long, (long Samples, long Highest, long Over)> _memory = [];
    private int _lives;
    private int _kills;
    private int _closes;
    private int _checks;
    private int _fscks;
    private double _slowestMount;
    private long _acknowledgedBefore;
    private long _blocks;
    private long _compressedBlocks;

    /// <summary>Runs.</summary>
    /// <returns>The exit code: 0 if all was as it should be.</returns>
    public int Run()
    {
        DiskObjectStore.Format(folder, size, Guid.NewGuid());
        var clock = Stopwatch.StartNew();
        Console.WriteLine($"soak of {duration.TotalMinutes:F0} minutes in {folder}, seed {seed}");
        while (clock.Elapsed < duration && _problems.Count == 0)
        {
            Live(last: false, TimeSpan.FromSeconds(_random.Next(3) == 0 ? _random.Next(1, 12) : _random.Next(20, 150)), clock);
        }

        if (_problems.Count == 0)
        {
            Live(last: true, TimeSpan.FromSeconds(5), clock);
        }

        Report(clock.Elapsed);
        return _problems.Count == 0 ? 0 : 1;
    }

    private void Live(bool last, TimeSpan span, Stopwatch clock)
    {
        long memory = (_lives % 2 == 0 ? 512L : 1024L) << 20;
        var compression = (PoolCompression)(_lives % 3);
        var place = (WriteBackPlace)(_lives / 2 % 3);
        bool check = last || _lives % 4 == 3;
        bool close = last || _random.Next(4) == 0;
        _lives++;
        using Process process = Start(memory, compression, place, check);
        using var lines = new LineReader(process.StandardOutput);
        long acknowledged = _model.Progress;
        bool mounted = false;
        bool asked = false;
        bool stopping = false;
        Stopwatch? since = null;
        TimeSpan nextCheck = TimeSpan.FromSeconds(_random.Next(10, 40));
        while (true)
        {
            string? line = lines.Next(TimeSpan.FromMilliseconds(200));
            if (line is null && process.HasExited && lines.IsOver)
            {
                break;
            }

            if (line is not null)
            {
                string[] words = line.Split(' ');
                switch (words[0])
                {
                    case "mounted":
                        mounted = true;
                        since = Stopwatch.StartNew();
                        _slowestMount = Math.Max(_slowestMount, double.Parse(words[2], CultureInfo.InvariantCulture));
                        Compare(long.Parse(words[1], CultureInfo.InvariantCulture), acknowledged, null, "after the mount");
                        _model.Sum = 0;
                        break;
                    case "acked":
                        acknowledged = long.Parse(words[1], CultureInfo.InvariantCulture);
                        break;
                    case "check":
                        asked = false;
                        _checks++;
                        Compare(long.Parse(words[1], CultureInfo.InvariantCulture), acknowledged, long.Parse(words[2], CultureInfo.InvariantCulture), "while it ran");
                        acknowledged = _model.Progress;
                        break;
                    case "memory" when since is not null && since.Elapsed > s_warmUp:
                        Note(memory, long.Parse(words[1], CultureInfo.InvariantCulture));
                        break;
                    case "fsck":
                        _fscks++;
                        _blocks = long.Parse(words[2], CultureInfo.InvariantCulture);
                        _compressedBlocks = long.Parse(words[3], CultureInfo.InvariantCulture);
                        if (words[1] != "True")
                        {
                            _problems.Add("fsck: " + line);
                        }

                        break;
                    case "problem":
                        _problems.Add(line);
                        break;
                    default:
                        break;
                }
            }

            if (_problems.Count > 0)
            {
                process.Kill();
                break;
            }

            if (since is not null && since.Elapsed > span && !close)
            {
                process.Kill();
                _kills++;
                lines.Drain(ref acknowledged);
                break;
            }

            if (since is not null && !asked && !stopping && (since.Elapsed > nextCheck || since.Elapsed > span))
            {
                nextCheck = since.Elapsed + TimeSpan.FromSeconds(_random.Next(30, 120));
                asked = true;
                stopping = close && since.Elapsed > span;
                process.StandardInput.WriteLine(stopping ? "stop" : "check");
            }
        }

        process.WaitForExit();
        _acknowledgedBefore = acknowledged;
        if (!mounted || (close && process.ExitCode != 0))
        {
            _problems.Add($"life {_lives} ended with exit code {process.ExitCode}{(mounted ? "" : " before it was mounted")}");
        }

        _closes += close ? 1 : 0;
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{clock.Elapsed.TotalMinutes,5:F1} min: life {_lives} {(close ? "closed" : "killed")} at transaction {acknowledged}, {_model.Operations} operations compared, {_problems.Count} problems"));
    }

    private void Compare(long progress, long acknowledged, long? sum, string when)
    {
        long least = Math.Max(acknowledged, _acknowledgedBefore);
        if (progress < least)
        {
            _problems.Add($"{when}: the store holds transactions up to {progress}, but {least} was acknowledged");
            return;
        }

        if (progress < _model.Progress)
        {
            _problems.Add($"{when}: the store holds transactions up to {progress} and held {_model.Progress} before");
            return;
        }

        _model.AdvanceTo(progress);
        if (sum is { } disk && disk != _model.Sum)
        {
            _problems.Add($"{when}: reads up to transaction {progress} differ");
        }

        string expected = Path.Combine(folder, "model.txt");
        _model.WriteText(expected);
        string[] left = File.ReadAllLines(expected);
        string[] right = File.ReadAllLines(Path.Combine(folder, "disk.txt"));
        for (int i = 0; i < Math.Max(left.Length, right.Length); i++)
        {
            string a = i < left.Length ? left[i] : "";
            string b = i < right.Length ? right[i] : "";
            if (a != b)
            {
                _problems.Add($"{when}, transaction {progress}, line {i + 1} of model.txt and disk.txt:\n  model: {a}\n  disk:  {b}");
                return;
            }
        }
    }

    private void Note(long target, long resident)
    {
        (long samples, long highest, long over) = _memory.GetValueOrDefault(target);
        _memory[target] = (samples + 1, Math.Max(highest, resident), over + (resident > target * Tolerance ? 1 : 0));
    }

    private Process Start(long memory, PoolCompression compression, WriteBackPlace place, bool check)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardInput = true, RedirectStandardOutput = true };
        string[] arguments =
        [
            "store", folder, seed.ToString(CultureInfo.InvariantCulture), memory.ToString(CultureInfo.InvariantCulture), compression.ToString(), place.ToString(), check.ToString(),
        ];
        foreach (string argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        return Process.Start(start)!;
    }

    private void Report(TimeSpan elapsed)
    {
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{_model.Progress} transactions and {_model.Operations} operations in {elapsed.TotalMinutes:F1} minutes; {_kills} kills, {_closes} closes, slowest mount {_slowestMount:F1} s; {_checks + _lives} comparisons, {_fscks} times fsck, at the end {_blocks} blocks, {_compressedBlocks} of them compressed"));
        foreach ((long target, (long samples, long highest, long over)) in _memory)
        {
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"memory target {target >> 20} MiB: highest of {samples} samples {highest >> 20} MiB ({100.0 * highest / target:F0} %), {over} above 110 %"));
            if (over > 0)
            {
                _problems.Add($"resident memory was above 110 % of {target >> 20} MiB in {over} of {samples} samples");
            }
        }

        foreach (string problem in _problems)
        {
            Console.WriteLine("PROBLEM " + problem);
        }

        Console.WriteLine(_problems.Count == 0 ? "clean" : $"NOT CLEAN; replay with --seed {seed.ToString(CultureInfo.InvariantCulture)}; left to look at: {folder}");
    }
}
