using System.Globalization;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Rpc.Admin;
using Storage.Simulation.Checking;
using Storage.Simulation.Clusters;
using Storage.Simulation.Faults;
using Storage.Simulation.Histories;
using Storage.Simulation.Tracing;
using Storage.Simulation.Workloads;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Simulation.Running;

/// <summary>
/// One seed: forms a cluster, lets clients work under faults, ends the faults, and checks that everything is clean in time, that all copies
/// are the same, and that the calls can be explained. Runs on the calling thread alone; runs on other threads may go beside it.
/// </summary>
public sealed class SimulationRun
{
    private const int TimelineLength = 200;

    private readonly Scenario _scenario;
    private readonly ulong _seed;
    private readonly EventTrace _trace = new();
    private readonly Coverage _coverage = new();
    private readonly History _history = new();
    private ClientNode? _reader;
    private bool _gaveUp;
    private bool _isGone;
    private readonly string? _watched;
    private GroupFollower? _groupFollower;
    private QuietWatch? _quietWatch;
    private Exception? _broken;

    /// <summary>Creates a run.</summary>
    /// <param name="seed">Decides everything.</param>
    /// <param name="scenario">What it is made of.</param>
    /// <param name="follower">Told a line for each event, or null.</param>
    /// <param name="watched">A PG, or a PG and an object in it (<c>1.3/name</c>): the follower is told where its copies stand, whenever that changed.</param>
    public SimulationRun(ulong seed, Scenario scenario, Action<string>? follower = null, string? watched = null)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        scenario.Validate();
        _seed = seed;
        _scenario = scenario.Vary(new Random(unchecked((int)(seed ^ (seed >> 32)) * 104729)));
        _trace.Follower = follower;
        _watched = watched;
    }

    /// <summary>Runs to the end.</summary>
    /// <returns>What was found; never throws for what the cluster did.</returns>
    public SimulationResult Execute()
    {
        var random = new Random(unchecked((int)(_seed ^ (_seed >> 32)) * 7919));
        FaultPlan drawn = FaultPlan.Draw(_scenario, new Random(random.Next()));
        FaultPlan plan = _scenario.Plan ?? drawn;
        var cluster = new SimulatedCluster(_scenario, random, _trace, _coverage);
        _groupFollower = _watched is not null && _trace.Follower is { } follower ? new GroupFollower(cluster, _watched, follower) : null;
        string? failure = null;
        string stage = "forming the cluster";
        try
        {
            cluster.Form();
            stage = "working under faults";
            _quietWatch = cluster.Osds.Length > 0 ? new QuietWatch(cluster, _history) : null;
            if (cluster.Osds.Length > 0)
            {
                Work(cluster, plan);
            }
            else
            {
                WorkOnSettings(cluster, plan);
            }

            stage = "checking";
            Check(cluster);
            if (cluster.Osds.Length > 0 && !_isGone)
            {
                stage = "removing everything";
                CheckLeaks(cluster);
            }
        }
        catch (SimulationFailedException e)
        {
            failure = $"{stage}: {e.Message}{(cluster.WhyNotClean() is { } why ? $" ({why})" : "")}\n{cluster.ExplainMonitors()}\n{cluster.ExplainGroups()}";
        }
#pragma warning disable CA1031 // whatever a daemon throws is what the run is there to find
        catch (Exception e)
        {
            failure = $"{stage}: {e}";
        }
#pragma warning restore CA1031

        foreach (OsdNode osd in cluster.Osds)
        {
            osd.Collect();
        }

        foreach ((MessageType type, long times) in _trace.Delivered)
        {
            _coverage.Count("message." + MessageNames.Of(type), times);
        }

        return new SimulationResult
        {
            Seed = _seed,
            Scenario = _scenario.Name,
            Failure = failure,
            TraceHash = _trace.Hash,
            Events = _trace.Events,
            VirtualTime = cluster.Loop.Now,
            Calls = _history.Entries.Count,
            UnknownCalls = _history.Entries.Count(e => e.Outcome is null),
            Plan = plan,
            Coverage = _coverage.Counts,
            Timeline = failure is null ? [] : [.. _trace.Timeline(TimelineLength)],
        };
    }

    private void Work(SimulatedCluster cluster, FaultPlan plan)
    {
        SnapshotNode? snapshots = StartSnapshots(cluster);
        ClientNode[] clients = [.. Enumerable.Range(0, _scenario.Clients).Select(i => new ClientNode(cluster, i, _history, OnBroken))];
        foreach (ClientNode client in clients)
        {
            client.Start();
        }

        LockNode[] lockers = StartLockers(cluster);
        SettingsWorkload[] operators = [.. Enumerable.Range(0, _scenario.Operators).Select(i => new SettingsWorkload(cluster, i, _history, cluster.NextRandom(), lanes: 1, pace: 3))];
        foreach (SettingsWorkload each in operators)
        {
            cluster.Operator.Run(_ => each.Start(OnBroken), null);
        }

        var driver = new FaultDriver(cluster, [.. clients, .. lockers], OnBroken);
        driver.Start(plan);
        RunFor(cluster, _scenario.Duration);
        driver.HealAll();

        // Clients go on for a while on the healed cluster, then end.
        RunFor(cluster, TimeSpan.FromSeconds(5));
        driver.Settle();
        foreach (ClientNode client in clients)
        {
            client.Stop();
        }

        snapshots?.Workload!.Stop();
        foreach (LockNode locker in lockers)
        {
            locker.Workload?.Stop();
        }

        foreach (SettingsWorkload each in operators)
        {
            each.Stop();
        }

        TimeSpan deadline = cluster.Loop.Now + _scenario.ConvergenceBound;
        if (_scenario.BeyondRedundancy && cluster.Destroyed.Count >= _scenario.MinSize)
        {
            GiveUpWhatIsLost(cluster, [.. clients, .. lockers], deadline);
            if (_gaveUp)
            {
                GiveUpUnfound(cluster);

                // Nobody may be left who even knows a group's past, or no copy that was whole; it stays unavailable.
                _isGone = !cluster.IsClean() && (cluster.Destroyed.Count >= _scenario.Size || cluster.HasIncompleteGroup());
                if (_isGone)
                {
                    _coverage.Count("beyond.group_gone");
                    return;
                }
            }
        }

        Await(cluster, () => snapshots?.Workload is null or { IsRunning: false }, deadline, "a snapshot is still being taken or removed");
        Await(cluster, () => !cluster.HasCommandsUnderWay, deadline, "an operator's command without an answer");
        Await(cluster, () => cluster.IsClean() || RepairUncertain(cluster), deadline, "not clean");
        _coverage.Count("time.clean_ms", (long)(cluster.Loop.Now - deadline + _scenario.ConvergenceBound).TotalMilliseconds);
        Await(cluster, () => !clients.Any(c => c.IsBusy) && operators.All(o => o.Running == 0) && lockers.All(l => l.Workload is null or { IsRunning: false }), deadline, "calls without an answer");

        // What every client sees in the end is a part of the history; unless an operator has given data up, which no history explains.
        _reader = new ClientNode(cluster, _scenario.Clients, _history, OnBroken, isIdle: true);
        _reader.Start();
        if (!_gaveUp)
        {
            AwaitAll(cluster, ReadEverything(cluster, _reader), TimeSpan.FromSeconds(30), "final reads without an answer");
        }
    }

    // More disks are gone than copies may be. Whatever is still answered must be right; what cannot be known is not answered, until an
    // operator declares the disks lost. Then the cluster goes on with what there is.
    private void GiveUpWhatIsLost(SimulatedCluster cluster, SimulatedNode[] clients, TimeSpan deadline)
    {
        TimeSpan settled = cluster.Loop.Now + TimeSpan.FromSeconds(30);
        while (cluster.Loop.Now < settled && !cluster.IsClean())
        {
            RunFor(cluster, TimeSpan.FromMilliseconds(500));
        }

        var reader = new ClientNode(cluster, _scenario.Clients + 1, _history, OnBroken, isIdle: true);
        reader.Start();
        Task[] reads = ReadEverything(cluster, reader);
        RunFor(cluster, TimeSpan.FromSeconds(10));
        _coverage.Count("beyond.reads_answered", reads.Count(r => r.IsCompleted));
        _coverage.Count("beyond.reads_unavailable", reads.Count(r => !r.IsCompleted));
        if (cluster.IsClean())
        {
            _coverage.Count("beyond.survived");
            reader.Crash();
            return;
        }

        _coverage.Count("beyond.lost");
        _gaveUp = true;
        cluster.IsDataGivenUp = true;
        foreach (SimulatedNode client in clients.Append(reader))
        {
            client.Crash(); // what it waits for may come back as something else, or never
        }

        foreach (OsdNode osd in cluster.Destroyed.OrderBy(o => o.Id).ToArray())
        {
            osd.Crash();
            Await(cluster, () => cluster.NewestMap is { } map && !map.IsUp(osd.Id), deadline, $"{osd.Name} is not marked down");
            cluster.Command("OsdLost", new OsdLostRequest { Osd = osd.Id.Value, Confirmed = true }, ChangeReply.Parser);
            osd.Start();
        }
    }

    // Logs may tell of versions that were on the lost disks only.
    private void GiveUpUnfound(SimulatedCluster cluster)
    {
        Random draws = cluster.NextRandom();
        TimeSpan settled = cluster.Loop.Now + TimeSpan.FromSeconds(60);
        for (int look = 1; cluster.Loop.Now < settled && !cluster.IsClean(); look++)
        {
            RunFor(cluster, TimeSpan.FromMilliseconds(500));
            for (uint seed = 0; look % 10 == 0 && cluster.NewestMap is { } map && seed < map.FindPool(cluster.Pool)!.PgCount; seed++)
            {
                var group = new PgId(cluster.Pool, seed);
                if (map.Locate(group).Primary is { IsSome: true } primary && cluster.Osds[primary.Value] is { IsRunning: true } osd)
                {
                    osd.GiveUpUnfound(group, revert: draws.Next(2) == 0);
                }
            }
        }
    }

    private Task[] ReadEverything(SimulatedCluster cluster, ClientNode reader)
    {
        ulong[] shown = [0, .. cluster.Snapshots?.Readable() ?? []];
        return
        [
            .. Enumerable.Range(0, _scenario.Objects).SelectMany(i => shown.Select(snapshot => reader.Do(() => reader.Workload!.ReadAsync(ObjectWorkload.NameOf(i), snapshot)))),
            .. reader.Volumes.Select(volume => reader.Do(volume.ReadAllAsync)),
            reader.Do(reader.Locked!.ReadAsync),
        ];
    }

    private LockNode[] StartLockers(SimulatedCluster cluster)
    {
        if (cluster.NextRandom().NextDouble() >= _scenario.LockShare)
        {
            return [];
        }

        LockNode[] lockers = [.. Enumerable.Range(0, _scenario.Lockers).Select(i => new LockNode(cluster, i, _history, OnBroken))];
        foreach (LockNode locker in lockers)
        {
            locker.Start();
        }

        return lockers;
    }

    private SnapshotNode? StartSnapshots(SimulatedCluster cluster)
    {
        if (cluster.NextRandom().NextDouble() >= _scenario.SnapshotShare)
        {
            return null;
        }

        cluster.Snapshots = new SnapshotRegistry();
        var node = new SnapshotNode(cluster, _history, OnBroken);
        node.Start();
        return node;
    }

    private void AwaitAll(SimulatedCluster cluster, Task[] tasks, TimeSpan within, string otherwise)
    {
        Await(cluster, () => Array.TrueForAll(tasks, t => t.IsCompleted), cluster.Loop.Now + within, otherwise);
        foreach (Task task in tasks)
        {
            task.GetAwaiter().GetResult();
        }
    }

    // Everything is removed: no object may be left on any disk, and no block in use.
    private void CheckLeaks(SimulatedCluster cluster)
    {
        ClientNode remover = _reader!;
        if (cluster.Snapshots?.Readable() is { Length: > 0 } left)
        {
            cluster.Command("PoolSnapshotRemove", new PoolSnapshotRemoveRequest { PoolId = cluster.Pool, Snapshots = { left } }, ChangeReply.Parser);
        }

        AwaitAll(cluster, [.. remover.Volumes.Select(volume => remover.Do(volume.RemoveAsync)), remover.Do(remover.Locked!.RemoveAsync)], TimeSpan.FromSeconds(30), "volumes are not removed");
        AwaitAll(
            cluster,
            [.. Enumerable.Range(0, _scenario.Objects).Select(ObjectWorkload.NameOf).Append("volume_directory").Select(name => remover.Do(() => remover.Workload!.RemoveAsync(name)))],
            TimeSpan.FromSeconds(30),
            "objects are not removed");
        // The directory or a header of a volume may be among what was given up: nothing but a listing leads to its data any more. And a client
        // that dies while it makes a volume leaves a header that is in no directory (VolumeStore.CreateAsync).
        bool clientDied = _coverage.Counts.GetValueOrDefault("fault.CrashClient") > 0;
        if (_gaveUp || clientDied)
        {
            AwaitAll(
                cluster,
                [remover.Do(() => remover.Workload!.RemoveListedAsync(_gaveUp ? "" : "volume_header."))],
                TimeSpan.FromSeconds(30),
                "what a listing shows is not removed");
        }

        Await(cluster, () => FindLeak(cluster) is null, cluster.Loop.Now + TimeSpan.FromSeconds(60), "removed objects are left", () => FindLeak(cluster));
        cluster.Command("PoolRemove", new PoolRemoveRequest { Name = SimulatedCluster.PoolName, Confirmed = true }, ChangeReply.Parser);
        Await(
            cluster,
            () => cluster.Osds.All(osd => osd.Disk.UsedBytes == 0 && !osd.Store!.ListCollections().Any(c => c.Group.Pool == cluster.Pool)),
            cluster.Loop.Now + TimeSpan.FromSeconds(60),
            "the removed pool has left collections or blocks");
    }

    private static string? FindLeak(SimulatedCluster cluster)
    {
        var objects = new List<Cluster.ObjectId>();
        foreach (OsdNode osd in cluster.Osds)
        {
            foreach (ObjectStore.CollectionId collection in osd.Store!.ListCollections())
            {
                objects.Clear();
                osd.Store.ListObjects(collection, null, int.MaxValue, objects);
                if (objects.Find(id => id.Name.Length > 0 && collection != ObjectStore.CollectionId.Meta) is { } left)
                {
                    return $"{osd.Name} has {left} in pg {collection}";
                }
            }

            if (osd.Disk.UsedBytes > 0)
            {
                return $"{osd.Name} uses {osd.Disk.UsedBytes} bytes";
            }
        }

        return null;
    }

    private void WorkOnSettings(SimulatedCluster cluster, FaultPlan plan)
    {
        SettingsWorkload[] operators = [.. Enumerable.Range(0, _scenario.Clients).Select(i => new SettingsWorkload(cluster, i, _history, cluster.NextRandom()))];
        foreach (SettingsWorkload each in operators)
        {
            cluster.Operator.Run(_ => each.Start(OnBroken), null);
        }

        var driver = new FaultDriver(cluster, [], OnBroken);
        driver.Start(plan);
        RunFor(cluster, _scenario.Duration);
        driver.HealAll();
        TimeSpan deadline = cluster.Loop.Now + _scenario.ConvergenceBound;
        Await(cluster, () => cluster.Leader is not null, deadline, "no leader");
        _coverage.Count("time.leader_ms", (long)(cluster.Loop.Now - deadline + _scenario.ConvergenceBound).TotalMilliseconds);
        RunFor(cluster, TimeSpan.FromSeconds(3));
        driver.Settle();
        foreach (SettingsWorkload each in operators)
        {
            each.Stop();
        }

        Await(cluster, () => operators.All(o => o.Running == 0), deadline, "calls without an answer");
        var reads = new List<Task>();
        cluster.Operator.Run(_ => reads.AddRange(Enumerable.Range(0, _scenario.Objects).Select(operators[0].ReadAsync)), null);
        Await(cluster, () => reads.TrueForAll(r => r.IsCompleted), deadline, "final reads without an answer");
    }

    private void Check(SimulatedCluster cluster)
    {
        foreach ((string name, List<HistoryEntry> calls) in _history.ByObject())
        {
            CheckResult result = LinearizabilityChecker.Check(calls);
            _coverage.Count("check.states", result.Steps);
            if (result.Verdict == Verdict.Violation)
            {
                throw new SimulationFailedException($"{name} is not linearizable: {result.Explanation}");
            }

            if (result.Verdict == Verdict.Undecided)
            {
                _coverage.Count("check.undecided");
            }
        }

        MonitorComparison.Compare(cluster);
        if (cluster.Osds.Length > 0 && !_isGone)
        {
            ScrubAll(cluster);

            // Disks settle what was under way, then all copies are compared.
            RunFor(cluster, TimeSpan.FromSeconds(2));
            CopyComparison.Compare(cluster);
            SnapshotCheck.Check(cluster, _history);
            AwaitAll(cluster, [_reader!.Do(() => RestCheck.CheckListingAsync(cluster, _reader.Client!))], TimeSpan.FromSeconds(30), "a listing without an answer");
            RestCheck.Check(cluster);
        }

        if (cluster.Crashes == 0)
        {
            // A scrub may be reading just now.
            Await(
                cluster, () => cluster.Buffers.Outstanding == 0, cluster.Loop.Now + TimeSpan.FromSeconds(20), "buffers are not given back", () => $"{cluster.Buffers.Outstanding} are left");
        }
    }

    // A scrub that comes upon an object of which no copy is whole leaves it to the operator. Never true.
    private static bool RepairUncertain(SimulatedCluster cluster)
    {
        PoolInfo? pool = cluster.NewestMap?.FindPool(cluster.Pool);
        for (uint seed = 0; seed < (uint)(pool?.PgCount ?? 0); seed++)
        {
            var group = new PgId(cluster.Pool, seed);
            if (cluster.NewestMap!.Locate(group).Primary is { IsSome: true } primary && cluster.Osds[primary.Value] is { IsRunning: true } osd
                && osd.ScrubStatusOf(group) is { IsPending: false, Errors: > 0 } && osd.ListInconsistent(group)!.Contains("\"certain\": false", StringComparison.Ordinal))
            {
                osd.Repair(group);
            }
        }

        return false;
    }

    // What bit flips are left, a deep scrub of everything has to find and repair; nothing else may be wrong.
    private void ScrubAll(SimulatedCluster cluster)
    {
        PoolInfo pool = cluster.NewestMap!.FindPool(cluster.Pool)!;
        bool flipped = cluster.Damaged.Count > 0;
        var groups = new List<(PgId Group, long Before)>();
        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            var group = new PgId(pool.Id, seed);
            OsdNode primary = PrimaryOf(group);
            groups.Add((group, primary.ScrubStatusOf(group)!.Value.LastDeepScrub));
            primary.Repair(group);
        }

        Await(cluster, () => groups.TrueForAll(IsScrubbed), cluster.Loop.Now + TimeSpan.FromSeconds(120), "not every PG was deep-scrubbed", NotScrubbed);
        Await(cluster, cluster.IsClean, cluster.Loop.Now + TimeSpan.FromSeconds(60), "not clean after the last scrub");
        foreach ((PgId group, _) in groups)
        {
            if (PrimaryOf(group).ScrubStatusOf(group)!.Value.Errors > 0)
            {
                throw new SimulationFailedException($"pg {group} is not right after repair: {PrimaryOf(group).ListInconsistent(group)}");
            }
        }

        _coverage.Count(flipped ? "check.scrubbed_after_flips" : "check.scrubbed");

        OsdNode PrimaryOf(PgId group) => cluster.Osds[cluster.NewestMap!.Locate(group).Primary.Value];

        bool IsScrubbed((PgId Group, long Before) entry) =>
            PrimaryOf(entry.Group).ScrubStatusOf(entry.Group) is { IsPending: false } status && status.LastDeepScrub != entry.Before;

        string NotScrubbed() => string.Join("; ", groups.Where(entry => !IsScrubbed(entry))
            .Select(entry => $"pg {entry.Group} of {PrimaryOf(entry.Group).Name}, {entry.Before} before, now {PrimaryOf(entry.Group).ScrubStatusOf(entry.Group)}"));
    }

    private void RunFor(SimulatedCluster cluster, TimeSpan span)
    {
        TimeSpan limit = cluster.Loop.Now + span;
        while (cluster.Loop.Now < limit)
        {
            TimeSpan left = limit - cluster.Loop.Now;
            TimeSpan step = TimeSpan.FromMilliseconds(20);
            cluster.Loop.RunFor(left < step ? left : step);
            ThrowIfBroken(cluster);
        }
    }

    private void Await(SimulatedCluster cluster, Func<bool> condition, TimeSpan deadline, string otherwise, Func<string?>? detail = null)
    {
        while (!condition())
        {
            ThrowIfBroken(cluster);
            if (cluster.Loop.Now >= deadline)
            {
                throw new SimulationFailedException(string.Create(
                    CultureInfo.InvariantCulture, $"{otherwise} {_scenario.ConvergenceBound.TotalSeconds} s after the last fault; {detail?.Invoke() ?? Waiting()}"));
            }

            cluster.Loop.RunFor(TimeSpan.FromMilliseconds(50));
        }
    }

    private string Waiting() => string.Join("; ", _history.Entries.Where(e => e.Outcome is null).TakeLast(5).Select(e => $"{e.ObjectName} {e}"));

    private void OnBroken(Exception e) => _broken ??= e;

    private void ThrowIfBroken(SimulatedCluster cluster)
    {
        _groupFollower?.Look();
        cluster.CheckInvariants();
        _quietWatch?.Check();
        if (_broken is not null)
        {
            throw new SimulationFailedException($"a client or the operator failed: {_broken}", _broken);
        }
    }
}
