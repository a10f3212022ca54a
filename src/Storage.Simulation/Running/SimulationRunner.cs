using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Storage.Simulation.Running;

/// <summary>What <c>storage simulate</c> was asked for.</summary>
public sealed record SimulationRequest
{
    /// <summary>First seed.</summary>
    public ulong FirstSeed { get; init; } = 1;

    /// <summary>Last seed.</summary>
    public ulong LastSeed { get; init; } = 1;

    /// <summary>Seeds that run beside each other.</summary>
    public int Jobs { get; init; } = 1;

    /// <summary>The scenario.</summary>
    public Scenario Scenario { get; init; } = new();

    /// <summary>JSON, one document, instead of text.</summary>
    public bool Json { get; init; }

    /// <summary>Prints every event of the run as it happens; for a single seed.</summary>
    public bool Follow { get; init; }

    /// <summary>With <see cref="Follow"/>: a PG, or a PG and an object in it (<c>1.3/name</c>), whose copies are printed whenever they changed; null for none.</summary>
    public string? Watch { get; init; }

    /// <summary>Redraws a line of progress; for terminals.</summary>
    public bool ShowProgress { get; init; }

    /// <summary>Goes on after a seed that failed.</summary>
    public bool KeepGoing { get; init; }

    /// <summary>Paths that have to be reached by these seeds together; null for none.</summary>
    public IReadOnlyList<string>? RequiredCoverage { get; init; }

    /// <summary>How long to look for a smaller scenario that makes the first seed that failed fail alike; zero to print it as it is.</summary>
    public TimeSpan ShrinkFor { get; init; }

    /// <summary>Reads <c>A..B</c>, or a single seed.</summary>
    /// <param name="text">The text.</param>
    /// <param name="first">First seed.</param>
    /// <param name="last">Last seed.</param>
    /// <returns>Whether the text has that form and the range is not empty.</returns>
    public static bool TryParseSeeds(string text, out ulong first, out ulong last)
    {
        ArgumentNullException.ThrowIfNull(text);
        int dots = text.IndexOf("..", StringComparison.Ordinal);
        last = 0;
        return ulong.TryParse(dots < 0 ? text : text[..dots], NumberStyles.None, CultureInfo.InvariantCulture, out first)
            && ulong.TryParse(dots < 0 ? text : text[(dots + 2)..], NumberStyles.None, CultureInfo.InvariantCulture, out last)
            && last >= first;
    }
}

/// <summary>Runs seeds and prints what came of them: <c>storage simulate</c>.</summary>
public static class SimulationRunner
{
    /// <summary>Runs the seeds; blocks until done.</summary>
    /// <param name="request">What to run.</param>
    /// <param name="output">Where results go.</param>
    /// <param name="cancellation">Stops after the seeds under way.</param>
    /// <returns>Exit code: 0 if all seeds passed, 1 if one failed.</returns>
    public static int Run(SimulationRequest request, TextWriter output, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(output);
        var coverage = new Tracing.Coverage();
        int exit = new Batch(request, output, coverage, cancellation).Run();
        return Math.Max(exit, Require(request, output, coverage));
    }

    /// <summary>Runs the standard set of seeds of every scenario; fails also if a named path is never reached.</summary>
    /// <param name="request">How to run; its seeds and scenario do not count.</param>
    /// <param name="output">Where results go.</param>
    /// <param name="cancellation">Stops after the seeds under way.</param>
    /// <returns>Exit code: 0 if all seeds passed and all paths were reached.</returns>
    public static int RunStandard(SimulationRequest request, TextWriter output, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(output);
        var coverage = new Tracing.Coverage();
        int exit = 0;
        foreach ((string scenario, ulong first, ulong last) in StandardRuns.Sets)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{scenario}: seeds {first} to {last}"));
            SimulationRequest part = request with { Scenario = Scenario.Load(scenario), FirstSeed = first, LastSeed = last };
            exit = Math.Max(exit, new Batch(part, output, coverage, cancellation).Run());
            if (cancellation.IsCancellationRequested || (exit != 0 && !request.KeepGoing))
            {
                return exit;
            }
        }

        return Math.Max(exit, Require(request with { RequiredCoverage = StandardRuns.Required }, output, coverage));
    }

    private static int Require(SimulationRequest request, TextWriter output, Tracing.Coverage coverage)
    {
        if (request.RequiredCoverage is not { } required || StandardRuns.Missing(required, coverage.Counts) is not { Count: > 0 } missing)
        {
            return 0;
        }

        output.WriteLine($"never reached: {string.Join(", ", missing)}");
        return 1;
    }

    private sealed class Batch(SimulationRequest request, TextWriter output, Tracing.Coverage total, CancellationToken cancellation)
    {
#if MUTATIONS
        private static string Mutant => Coding.Mutations.Selected == Coding.Mutation.None ? "" : $" --mutation {Coding.Mutations.Selected}";
#else
        private const string Mutant = "";
#endif

        private readonly Lock _lock = new();
        private readonly Tracing.Coverage _coverage = new();
        private readonly List<SimulationResult> _failed = [];
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private readonly SortedDictionary<ulong, ulong> _hashes = [];
        private SimulationResult? _only;
        private ulong _next = request.FirstSeed;
        private bool _exhausted;
        private long _done;
        private long _events;
        private TimeSpan _virtual;

        public int Run()
        {
            int jobs = Math.Clamp(request.Jobs, 1, Environment.ProcessorCount * 4);
            var threads = new Thread[jobs - 1];
            for (int i = 0; i < threads.Length; i++)
            {
                threads[i] = new Thread(Work, 16 << 20) { Name = $"seeds {i + 2}" };
                threads[i].Start();
            }

            Work();
            foreach (Thread thread in threads)
            {
                thread.Join();
            }

            total.Add(_coverage.Counts);
            if (request.Json)
            {
                output.WriteLine(ToJson().ToJsonString(new JsonSerializerOptions { WriteIndented = true }));
            }
            else
            {
                Print();
            }

            return _failed.Count == 0 ? 0 : 1;
        }

        private void Work()
        {
            while (TryTake(out ulong seed))
            {
                SimulationResult result = new SimulationRun(seed, request.Scenario, request.Follow ? output.WriteLine : null, request.Watch).Execute();
                lock (_lock)
                {
                    Record(result);
                }
            }
        }

        private bool TryTake(out ulong seed)
        {
            lock (_lock)
            {
                seed = _next;
                if (_exhausted || cancellation.IsCancellationRequested || (_failed.Count > 0 && !request.KeepGoing))
                {
                    return false;
                }

                _exhausted = _next == request.LastSeed;
                _next++;
                return true;
            }
        }

        private void Record(SimulationResult result)
        {
            _done++;
            _events += result.Events;
            _virtual += result.VirtualTime;
            _only = result;
            _hashes[result.Seed] = result.TraceHash;
            _coverage.Add(result.Coverage);
            if (result.Failure is not null)
            {
                _failed.Add(result);
            }

            if (request.ShowProgress && !request.Json)
            {
                ulong total = request.LastSeed - request.FirstSeed + 1;
                int filled = (int)(30 * (ulong)_done / total);
                output.Write(string.Create(
                    CultureInfo.InvariantCulture,
                    $"\r[{new string('#', filled)}{new string('.', 30 - filled)}] {_done}/{total} seeds, {_failed.Count} failed, {_virtual.TotalHours:F2} virtual hours "));
            }
        }

        private void Print()
        {
            if (request.ShowProgress)
            {
                output.WriteLine();
            }

            foreach (SimulationResult result in _failed.OrderBy(r => r.Seed))
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"FAILED seed={result.Seed} scenario={result.Scenario} at {result.VirtualTime.TotalSeconds:F6} s, event {result.Events}"));
                output.WriteLine("faults:");
                foreach (Faults.Fault fault in result.Plan.Faults)
                {
                    output.WriteLine("  " + fault);
                }

                output.WriteLine("last events:");
                foreach (string line in result.Timeline)
                {
                    output.WriteLine("  " + line);
                }

                output.WriteLine(result.Failure);
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"trace hash: {result.TraceHash:x16}"));
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"replay: storage simulate --seed {result.Seed} --scenario {result.Scenario}{Mutant}"));
                if (request.ShrinkFor > TimeSpan.Zero && result == _failed.MinBy(r => r.Seed))
                {
                    var shrinker = new ScenarioShrinker(result, request.Scenario, request.ShrinkFor);
                    Scenario smallest = shrinker.Shrink();
                    output.WriteLine(string.Create(
                        CultureInfo.InvariantCulture, $"shrunk in {shrinker.Runs} runs from {result.Plan.Faults.Count} to {smallest.Plan!.Faults.Count} faults; save as FILE and replay: storage simulate --seed {result.Seed} --scenario FILE"));
                    output.WriteLine(ScenarioFile.Write(smallest));
                }

            }

            if (_done == 1 && _failed.Count == 0 && _only is { } only)
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"seed {only.Seed}: {only.Calls} calls ({only.UnknownCalls} of unknown outcome), {only.Plan.Faults.Count} faults, {only.Events} events"));
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"trace hash: {only.TraceHash:x16}"));
            }

            output.WriteLine("coverage:");
            foreach ((string path, long times) in _coverage.Counts)
            {
                output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {path,-36} {times}"));
            }

            double seconds = _clock.Elapsed.TotalSeconds;
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{_done} seeds, {_failed.Count} failed; {_virtual.TotalHours:F2} virtual hours and {_events} events in {seconds:F1} s ({_virtual.TotalSeconds / seconds:F0} times real time)"));
        }

        private JsonObject ToJson()
        {
            var coverage = new JsonObject();
            foreach ((string path, long times) in _coverage.Counts)
            {
                coverage[path] = times;
            }

            return new JsonObject
            {
                ["scenario"] = request.Scenario.Name,
                ["seeds"] = _done,
                ["failed"] = new JsonArray([.. _failed.OrderBy(r => r.Seed).Select(r => (JsonNode)new JsonObject
                {
                    ["seed"] = r.Seed,
                    ["failure"] = r.Failure,
                    ["trace_hash"] = r.TraceHash.ToString("x16", CultureInfo.InvariantCulture),
                    ["faults"] = new JsonArray([.. r.Plan.Faults.Select(f => (JsonNode)f.ToString())]),
                    ["timeline"] = new JsonArray([.. r.Timeline.Select(line => (JsonNode)line)]),
                })]),
                ["trace_hash"] = _done == 1 ? _only!.TraceHash.ToString("x16", CultureInfo.InvariantCulture) : null,
                ["trace_hashes"] = new JsonObject(_hashes.Select(h => KeyValuePair.Create(
                    h.Key.ToString(CultureInfo.InvariantCulture), (JsonNode?)h.Value.ToString("x16", CultureInfo.InvariantCulture)))),
                ["virtual_seconds"] = _virtual.TotalSeconds,
                ["events"] = _events,
                ["elapsed_seconds"] = _clock.Elapsed.TotalSeconds,
                ["coverage"] = coverage,
            };
        }
    }
}
