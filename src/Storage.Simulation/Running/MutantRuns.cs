#if MUTATIONS
using System.Diagnostics;
using System.Globalization;
using Storage.Coding;

namespace Storage.Simulation.Running;

/// <summary>
/// Runs the changes that <c>tests/mutants</c> made, each in seeds that reach its place, until one fails: <c>storage simulate --find-mutants</c>.
/// A change may make a run spin or end the process; so results are appended to a file, and whoever runs this goes on with a new process
/// where the last one ended.
/// </summary>
public static class MutantRuns
{
    /// <summary>Exit code of a process that gave itself up; the next one goes on.</summary>
    public const int Again = 3;

    // CPU time of one seed; a clean one takes a second at most.
    private static readonly TimeSpan s_longestSeed = TimeSpan.FromSeconds(25);
    private const long MostMemory = 5L << 30;

    private static long s_seedsDone;

    /// <summary>Runs what has no result yet.</summary>
    /// <param name="list">The list: the number is each line's first field.</param>
    /// <param name="output">Where lines go.</param>
    /// <param name="cancellation">Stops after the seed under way.</param>
    /// <returns>Exit code: 0 when all have a result.</returns>
    public static int Run(string list, TextWriter output, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(output);
        string results = list + ".results", under = list + ".running";
        int[] numbers = [.. File.ReadAllLines(list).Select(line => int.Parse(line.Split('\t')[0], CultureInfo.InvariantCulture))];
        if (File.Exists(under))
        {
            string[] ended = File.ReadAllText(under).Split('\t');
            File.AppendAllText(results, string.Create(CultureInfo.InvariantCulture, $"{ended[0]}\tfound\t{ended[1]}\tthe process ended{Environment.NewLine}"));
            File.Delete(under);
        }

        HashSet<int> done = File.Exists(results) ? [.. File.ReadAllLines(results).Select(line => int.Parse(line.Split('\t')[0], CultureInfo.InvariantCulture))] : [];
        List<(string Scenario, ulong Seed, bool[] Reached)> seeds = Profile(Path.Combine(Path.GetDirectoryName(Path.GetFullPath(list))!, "reached"), numbers.Max() + 1, output, cancellation);
        new Thread(() => Watch(results, under)) { IsBackground = true, Name = "mutants" }.Start();
        int most = int.Parse(Environment.GetEnvironmentVariable("MOST") ?? "60", CultureInfo.InvariantCulture);
        foreach (int number in numbers)
        {
            if (cancellation.IsCancellationRequested)
            {
                return 1;
            }

            if (done.Contains(number))
            {
                continue;
            }

            Mutations.Mutant = number;
            string result = "never reached";
            int tried = 0;
            foreach ((string scenario, ulong seed, bool[] reached) in seeds)
            {
                if (!reached[number] || tried == most || cancellation.IsCancellationRequested)
                {
                    continue;
                }

                tried++;
                File.WriteAllText(under, string.Create(CultureInfo.InvariantCulture, $"{number}\t{scenario} {seed}"));
                SimulationResult run = new SimulationRun(seed, Scenario.Load(scenario)).Execute();
                Interlocked.Increment(ref s_seedsDone);
                if (run.Failure is { } failure)
                {
                    result = string.Create(CultureInfo.InvariantCulture, $"found\t{scenario} {seed}\t{OneLine(failure)}");
                    break;
                }

                result = string.Create(CultureInfo.InvariantCulture, $"SURVIVED\t{tried}\t");
            }

            if (!cancellation.IsCancellationRequested)
            {
                File.AppendAllText(results, string.Create(CultureInfo.InvariantCulture, $"{number}\t{result}{Environment.NewLine}"));
            }

            File.Delete(under);
        }

        return 0;
    }

    // Which places each seed reaches in the program as it should be; kept in a file, since a process may have to begin anew.
    private static List<(string Scenario, ulong Seed, bool[] Reached)> Profile(string file, int numbers, TextWriter output, CancellationToken cancellation)
    {
        var seeds = new List<(string, ulong, bool[])>();
        if (File.Exists(file))
        {
            foreach (string[] fields in File.ReadAllLines(file).Select(line => line.Split('\t')))
            {
                var reached = new bool[Math.Max(numbers, fields[2].Length)];
                for (int i = 0; i < fields[2].Length; i++)
                {
                    reached[i] = fields[2][i] == '1';
                }

                seeds.Add((fields[0], ulong.Parse(fields[1], CultureInfo.InvariantCulture), reached));
            }

            return seeds;
        }

        int plain = int.Parse(Environment.GetEnvironmentVariable("PLAIN") ?? "40", CultureInfo.InvariantCulture);
        int mixed = int.Parse(Environment.GetEnvironmentVariable("MIXED") ?? "5", CultureInfo.InvariantCulture);
        string[] mixes = (Environment.GetEnvironmentVariable("MIXES") ?? "snapshots pools disks mending leases refill power elections beyond locks unfound leaving").Split(' ');
        string[] order = [.. Enumerable.Repeat("default", Math.Min(plain, 12)), .. Enumerable.Range(0, mixed).SelectMany(_ => mixes), .. Enumerable.Repeat("default", Math.Max(0, plain - 12))];
        var next = new Dictionary<string, ulong>();
        int most = 1 << 16;
        foreach (string scenario in order)
        {
            ulong seed = next[scenario] = next.GetValueOrDefault(scenario) + 1;
            Mutations.Mutant = 0;
            Mutations.Reached = new bool[most];
            SimulationResult result = new SimulationRun(seed, Scenario.Load(scenario)).Execute();
            if (result.Failure is not null)
            {
                output.WriteLine($"{scenario} {seed} fails without any change and is left out: {OneLine(result.Failure)}");
            }
            else
            {
                seeds.Add((scenario, seed, Mutations.Reached));
            }

            Mutations.Reached = null;
            if (cancellation.IsCancellationRequested)
            {
                return seeds;
            }
        }

        File.WriteAllLines(file, seeds.Select(s => string.Create(CultureInfo.InvariantCulture, $"{s.Item1}\t{s.Item2}\t{string.Concat(s.Item3.Select(r => r ? '1' : '0'))}")));
        return seeds;
    }

    private static void Watch(string results, string under)
    {
        using Process self = Process.GetCurrentProcess();
        long seen = -1;
        TimeSpan since = default;
        while (true)
        {
            Thread.Sleep(500);
            self.Refresh();
            if (Interlocked.Read(ref s_seedsDone) != seen)
            {
                seen = Interlocked.Read(ref s_seedsDone);
                since = self.TotalProcessorTime;
            }

            bool large = self.WorkingSet64 > MostMemory;
            if (!File.Exists(under) || (self.TotalProcessorTime - since < s_longestSeed && !large))
            {
                continue;
            }

            string[] running = File.ReadAllText(under).Split('\t');
            File.AppendAllText(results, string.Create(CultureInfo.InvariantCulture, $"{running[0]}\tfound\t{running[1]}\t{(large ? "takes all memory" : "hangs")}{Environment.NewLine}"));
            File.Delete(under);
            Environment.Exit(Again);
        }
    }

    private static string OneLine(string text)
    {
        string line = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return line.Length > 200 ? line[..200] : line;
    }
}
#endif
