using System.Collections.Concurrent;
using System.Globalization;
using Storage.Block;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Daemons;
using Storage.Cli.Faults.Scenarios;
using Storage.Cli.Faults.Workloads;
using Storage.Cli.Local;
using Storage.Rpc.Admin;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Running;

/// <summary>
/// Runs a scenario: clients at work on a volume and a bucket of their own, faults as the scenario says, everything healed, all data read
/// back, the clients' history checked.
/// </summary>
internal sealed class FaultRun(ClusterFile cluster, AdminClient admin, Scenario scenario, int seed, Action<string> progress)
{
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_afterHealing = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_statistics = TimeSpan.FromSeconds(3); // OSDs report every 2 s
    private static readonly TimeSpan s_healthPatience = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan s_answerPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_healerGrace = TimeSpan.FromSeconds(10);
    private readonly FaultInjector _injector = new(cluster);
    private readonly Random _random = new(seed);
    private readonly List<string> _skipped = [];
    private readonly ConcurrentDictionary<string, byte> _hurt = []; // daemons with a fault that is not healed yet

    /// <summary>Runs it to its end.</summary>
    public async Task<RunReport> RunAsync(CancellationToken cancellation)
    {
        if (_injector.Active is { Count: > 0 } active)
        {
            throw new CliException($"faults are in force already ({string.Join("; ", active.Select(fault => fault.What))}); end them with 'storage fault heal'.");
        }

        var watch = new ClusterWatch(admin, [.. scenario.AcceptedHealth, "OSD_READ_ERRORS"]);
        if (await watch.WaitHealthyAsync(s_answerPatience, cancellation).ConfigureAwait(false) is { } trouble)
        {
            throw new CliException($"the cluster is not healthy before the start ({trouble}); 'storage fault heal' or cluster/up brings back what is down.");
        }

        ulong run = ClientSession.RandomId();
        string name = $"fault-{scenario.Name}-{run:x16}"[..Math.Min(60, scenario.Name.Length + 23)];
        await ChangeVolumeAsync(volumes => volumes.CreateAsync(new VolumeName(VolumeName.DefaultPool, name), (long)scenario.Workload.Blocks * BlockPattern.BlockSize, cancellation: cancellation).AsTask()).ConfigureAwait(false);
        using var s3 = new S3Link(
            cluster.Daemons.First(daemon => daemon.Role == "s3").Address,
            cluster.S3Region,
            S3Credentials.TryRead(cluster.Folder) ?? throw new CliException($"{S3Credentials.FileName} is missing in {cluster.Folder}; cluster/up makes it."));
        string bucket = $"fault-{run:x16}";
        await s3.CreateBucketAsync(bucket, cancellation).ConfigureAwait(false);

        var clock = new RunClock();
        var history = new RecordedHistory(new RecordedHeader(RecordedHistory.FormatVersion, scenario.Name, seed, TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds()));
        var nbd = new NbdWorkload(AddressRules.Parse(cluster.Daemons.First(daemon => daemon.Role == "nbd").Address), name, scenario.Workload.Blocks, scenario.Pause, run, history, clock);
        await using (nbd.ConfigureAwait(false))
        {
            var objects = new S3Workload(s3, bucket, scenario.Workload.S3Keys, scenario.Pause, run, history, clock);
            await using (objects.ConfigureAwait(false))
            {
                nbd.Start(scenario.Workload.NbdConnections, scenario.Workload.NbdDepth, seed);
                objects.Start(scenario.Workload.S3Clients, seed);
                RunReport report;
                try
                {
                    report = await RunAsync(watch, nbd, objects, history, clock, cancellation).ConfigureAwait(false);
                }
                catch
                {
                    await _injector.HealAllAsync(CancellationToken.None).ConfigureAwait(false);
                    throw;
                }

                if (report.Violations.Count == 0 && report.Unreadable.Count == 0)
                {
                    // What is wrong is kept to be looked at.
                    await objects.RemoveAsync(cancellation).ConfigureAwait(false);
                    await ChangeVolumeAsync(volumes => volumes.RemoveAsync(new VolumeName(VolumeName.DefaultPool, name), cancellation: cancellation).AsTask()).ConfigureAwait(false);
                }

                return report;
            }
        }
    }

    private async Task<RunReport> RunAsync(ClusterWatch watch, NbdWorkload nbd, S3Workload objects, RecordedHistory history, RunClock clock, CancellationToken cancellation)
    {
        await Task.Delay(s_warmUp, cancellation).ConfigureAwait(false);
        await InjectAllAsync(history, clock, cancellation).ConfigureAwait(false);
        TimeSpan healed = clock.Now;
        progress($"{Durations.Text(healed),9}  all healed; waiting for a healthy cluster");
        string? trouble = await watch.WaitHealthyAsync(s_healthPatience, cancellation).ConfigureAwait(false);
        TimeSpan recovery = clock.Now - healed;
        if (recovery < s_afterHealing)
        {
            await Task.Delay(s_afterHealing - recovery, cancellation).ConfigureAwait(false);
        }

        await Task.WhenAll(nbd.StopAsync(s_answerPatience), objects.StopAsync(s_answerPatience)).ConfigureAwait(false);
        if (scenario.KillAllAtEnd && trouble is null)
        {
            trouble = await KillAllAsync(watch, nbd, history, clock, cancellation).ConfigureAwait(false);
        }

        progress($"{Durations.Text(clock.Now),9}  reading everything back");
        IReadOnlyList<string> unreadable = scenario.Workload.NbdConnections > 0 ? await nbd.ReadBackAsync(s_answerPatience, cancellation).ConfigureAwait(false) : [];
        unreadable = [.. unreadable, .. scenario.Workload.S3Clients > 0 ? await objects.ReadBackAsync(s_answerPatience, cancellation).ConfigureAwait(false) : []];
        if (scenario.AcceptedHealth.Count > 0)
        {
            await Task.Delay(s_statistics, cancellation).ConfigureAwait(false);
            _ = await watch.WaitHealthyAsync(TimeSpan.Zero, cancellation).ConfigureAwait(false);
        }

        string path = Save(history);
        return Report(history, clock, recovery, trouble, unreadable, path) with { Health = watch.Accepted };
    }

    private async Task<string?> KillAllAsync(ClusterWatch watch, NbdWorkload nbd, RecordedHistory history, RunClock clock, CancellationToken cancellation)
    {
        if (scenario.Workload.NbdConnections > 0)
        {
            await nbd.FlushAsync(cancellation).ConfigureAwait(false);
        }

        long started = clock.Microseconds;
        progress($"{Durations.Text(clock.Now),9}  kill all daemons and start them again");
        string[] all = [.. cluster.Daemons.Select(daemon => daemon.Name)];
        ActiveFault fault = (await _injector.InjectAsync(
            new FaultRequest { Kind = FaultKind.Kill, Targets = all, Duration = FaultRequest.DefaultDuration(FaultKind.Kill) }, s_healerGrace, cancellation).ConfigureAwait(false))!;
        await _injector.HealAsync(fault, CancellationToken.None).ConfigureAwait(false);
        history.Add(new RecordedFault("kill all daemons after the last flush", started, clock.Microseconds));
        return await watch.WaitHealthyAsync(s_healthPatience, cancellation).ConfigureAwait(false);
    }

    private async Task InjectAllAsync(RecordedHistory history, RunClock clock, CancellationToken cancellation)
    {
        TimeSpan start = clock.Now;
        var targets = new FaultTargets(cluster, admin, _random);
        var plan = new List<(TimeSpan At, ScenarioStep Step)>();
        foreach (ScenarioStep step in scenario.Steps)
        {
            for (TimeSpan at = step.At; at < scenario.Length; at += step.Every ?? scenario.Length)
            {
                plan.Add((at, step));
            }
        }

        var heals = new List<Task>();
        foreach ((TimeSpan at, ScenarioStep step) in plan.OrderBy(entry => entry.At))
        {
            await DelayUntilAsync(start + at, clock, cancellation).ConfigureAwait(false);
            FaultTemplate template = step.Among[_random.Next(step.Among.Count)];
            TimeSpan duration = template.Duration.Draw(_random);
            int faultSeed = _random.Next();
            FaultRequest? request = null;
            try
            {
                IReadOnlyList<string> names = await targets.ResolveAsync(template.Target, [.. _hurt.Keys], cancellation).ConfigureAwait(false);
                IReadOnlyList<string> peers = template.Peer is null ? [] : [.. (await targets.ResolveAsync(template.Peer, names, cancellation).ConfigureAwait(false)).Except(names)];
                request = new FaultRequest
                {
                    Kind = template.Kind,
                    Targets = names,
                    Peers = peers,
                    OneWay = template.OneWay,
                    Duration = duration,
                    Delay = template.Delay,
                    Operation = template.Operation,
                    Count = template.Count,
                    Seed = faultSeed,
                };
                long started = clock.Microseconds;
                progress($"{Durations.Text(clock.Now),9}  {request.Describe()}{(duration > TimeSpan.Zero ? $" for {Durations.Text(duration)}" : "")}");
                ActiveFault? fault = await _injector.InjectAsync(request, s_healerGrace, cancellation).ConfigureAwait(false);
                if (fault is null)
                {
                    history.Add(new RecordedFault(request.Describe(), started, clock.Microseconds));
                }
                else
                {
                    heals.Add(HealLaterAsync(fault, started, duration, history, clock, cancellation));
                }
            }
            catch (CliException e)
            {
                _skipped.Add($"{Durations.Text(clock.Now)}: {request?.Describe() ?? $"{FaultRequest.NameOf(template.Kind)} {template.Target}"}: {e.Message}");
                progress($"{Durations.Text(clock.Now),9}  not injected: {e.Message}");
            }
        }

        await DelayUntilAsync(start + scenario.Length, clock, cancellation).ConfigureAwait(false);
        await Task.WhenAll(heals).ConfigureAwait(false);
        await _injector.HealAllAsync(cancellation).ConfigureAwait(false);
    }

    private async Task HealLaterAsync(ActiveFault fault, long startedUs, TimeSpan duration, RecordedHistory history, RunClock clock, CancellationToken cancellation)
    {
        foreach (string name in fault.Targets)
        {
            _hurt[name] = 0;
        }

        await Task.Delay(duration, cancellation).ConfigureAwait(false);
        await _injector.HealAsync(fault, cancellation).ConfigureAwait(false);
        foreach (string name in fault.Targets)
        {
            _hurt.TryRemove(name, out _);
        }

        history.Add(new RecordedFault(fault.What, startedUs, clock.Microseconds));
        progress($"{Durations.Text(clock.Now),9}  healed: {fault.What}");
    }

    private static Task DelayUntilAsync(TimeSpan time, RunClock clock, CancellationToken cancellation)
    {
        TimeSpan left = time - clock.Now;
        return left > TimeSpan.Zero ? Task.Delay(left, cancellation) : Task.CompletedTask;
    }

    private string Save(RecordedHistory history)
    {
        string folder = Path.Combine(cluster.Folder, "faults");
        Directory.CreateDirectory(folder);
        string path = Path.Combine(folder, string.Create(
            CultureInfo.InvariantCulture, $"{scenario.Name}-{seed}-{DateTimeOffset.FromUnixTimeMilliseconds(history.Header.StartedUnixMs):yyyyMMdd'T'HHmmss}.jsonl"));
        using var writer = new StreamWriter(path);
        history.Save(writer);
        return path;
    }

    private RunReport Report(RecordedHistory history, RunClock clock, TimeSpan recovery, string? trouble, IReadOnlyList<string> unreadable, string path)
    {
        IReadOnlyList<RecordedOperation> operations = history.Operations;
        IReadOnlyList<RecordedFault> faults = history.Faults;
        RecordedVerdict verdict = RecordedCheck.Run(operations);
        IReadOnlyList<Stall> stalls = Stalls.Of(operations.Where(operation => operation.Client != "final"));
        Stall? read = Stalls.Longest(stalls, writes: false), write = Stalls.Longest(stalls, writes: true);
        int errors = operations.Count(operation => operation is { Result: RecordedResult.Failed, Client: not "final" });
        var unexpected = new List<string>();
        if (trouble is not null)
        {
            unexpected.Add($"the cluster did not become healthy within {s_healthPatience.TotalSeconds:0} s: {trouble}");
        }

        if (errors > 0 && !scenario.ErrorsAllowed)
        {
            unexpected.Add(string.Create(CultureInfo.InvariantCulture, $"clients were answered {errors} errors"));
        }

        if (faults.Count == 0)
        {
            unexpected.Add("not one fault could be injected");
        }

        bool failed = unexpected.Count > 0;
        if (scenario.ExpectedStall is { } bound && new[] { read, write }.Any(stall => stall?.Length > bound))
        {
            // Reported, and no failure: how long a machine takes depends on what else it does.
            unexpected.Add($"a client waited longer than {Durations.Text(bound)}");
        }

        string text = verdict.Violations.Count > 0 || unreadable.Count > 0
            ? string.Create(CultureInfo.InvariantCulture, $"DATA LOST OR WRONG: {verdict.Violations.Count} blocks or keys contradict what clients were told, {unreadable.Count} cannot be read")
            : verdict.Undecided.Count > 0 ? string.Create(CultureInfo.InvariantCulture, $"undecided for {verdict.Undecided.Count} blocks or keys: too many requests without an answer overlap")
            : failed ? "nothing lost, but not as expected" : "nothing lost";
        return new RunReport
        {
            Scenario = scenario.Name,
            Seed = seed,
            Verdict = text,
            Ok = verdict.IsClean && unreadable.Count == 0 && !failed,
            DurationMs = (long)clock.Now.TotalMilliseconds,
            Faults = Reporting.FaultLines(faults, stalls),
            Skipped = _skipped,
            Clients = Reporting.ClientLines(operations),
            Errors = Reporting.Errors(operations),
            LongestRead = Reporting.StallLineOf(read),
            LongestWrite = Reporting.StallLineOf(write),
            RecoveryMs = trouble is null ? (long)recovery.TotalMilliseconds : null,
            KilledAllAtEnd = scenario.KillAllAtEnd,
            Registers = verdict.Registers,
            Operations = verdict.Operations,
            Violations = [.. verdict.Violations.Select(violation => Reporting.ViolationOf(violation, faults))],
            Undecided = verdict.Undecided,
            Unreadable = unreadable,
            Unexpected = unexpected,
            Health = [],
            History = path,
        };
    }

    private async Task ChangeVolumeAsync(Func<VolumeStore, Task> change)
    {
        ClientSession session = await ClientSession.OpenAsync(
            cluster.Fsid, cluster.MonitorAddresses, failure => throw new InvalidOperationException("the event loop ended", failure)).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            await change(new VolumeStore(session.Client, TimeProvider.System, ClientSession.NewRandom())).ConfigureAwait(false);
        }
    }
}
