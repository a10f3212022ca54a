using Storage.Simulation.Faults;

namespace Storage.Simulation.Running;

/// <summary>
/// What a run is made of, the seed apart. Ranges are drawn from by the seed. Files are read by <see cref="ScenarioFile"/>; weights set how
/// often a kind of fault is drawn, relative to the others.
/// </summary>
public sealed record Scenario
{
    /// <summary>Name, for messages.</summary>
    public string Name { get; init; } = "default";

    /// <summary>Monitors, 1 and up.</summary>
    public int Monitors { get; init; } = 3;

    /// <summary>Fewest OSDs.</summary>
    public int MinOsds { get; init; } = 3;

    /// <summary>Most OSDs.</summary>
    public int MaxOsds { get; init; } = 6;

    /// <summary>Copies of each object.</summary>
    public int Size { get; init; } = 3;

    /// <summary>Copies below which PGs wait.</summary>
    public int MinSize { get; init; } = 2;

    /// <summary>Placement groups of the pool.</summary>
    public int PgCount { get; init; } = 4;

    /// <summary>PG log entries that OSDs keep: few, so that backfill happens as well as log recovery.</summary>
    public int LogEntries { get; init; } = 20;

    /// <summary>Objects that clients work on.</summary>
    public int Objects { get; init; } = 6;

    /// <summary>Operators who set and read settings beside the clients' work, so that maps change all the time.</summary>
    public int Operators { get; init; } = 1;

    /// <summary>How long a primary's lease lasts.</summary>
    public TimeSpan LeaseLength { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Silence after which an OSD is reported.</summary>
    public TimeSpan HeartbeatGrace { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Objects that backfill compares at once.</summary>
    public int BackfillBatchObjects { get; init; } = 3;

    /// <summary>Data bytes in one recovery message.</summary>
    public int RecoveryChunkBytes { get; init; } = 8 << 10;

    /// <summary>Most bytes of background work that an OSD has under way: little, so that one thing waits for the other.</summary>
    public long BackgroundBytes { get; init; } = 1 << 20;

    /// <summary>Longest time that an ordinary disk takes to make a transaction durable.</summary>
    public TimeSpan CommitLatency { get; init; } = TimeSpan.FromMilliseconds(3);

    /// <summary>Longest time that a read takes.</summary>
    public TimeSpan ReadLatency { get; init; } = TimeSpan.FromMilliseconds(1);

    /// <summary>Whether each seed draws its own disks around those given, where it draws at all; no, where staged faults say how slow a disk is.</summary>
    public bool DisksVary { get; init; } = true;

    /// <summary>Bytes in one Raft message; 1 for one entry each.</summary>
    public long RaftAppendBytes { get; init; } = 1 << 20;

    /// <summary>Whether each seed draws its own sizes and times around those given.</summary>
    public bool Varies { get; init; } = true;

    /// <summary>Share of runs in which monitors are added and removed, 0 to 1.</summary>
    public double MonitorChangeShare { get; init; } = 0.25;

    /// <summary>Mean time between monitors added or removed in such runs.</summary>
    public TimeSpan MonitorChangeInterval { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>Clients.</summary>
    public int Clients { get; init; } = 2;

    /// <summary>Volumes: the last one is shared by all clients, each other one belongs to a client, who resizes it.</summary>
    public int Volumes { get; init; } = 2;

    /// <summary>Faults may be more than the redundancy survives. What was lost must then be unavailable, never wrong.</summary>
    public bool BeyondRedundancy { get; init; }

    /// <summary>The very faults, in place of those that the seed would draw; null to draw.</summary>
    public FaultPlan? Plan { get; init; }

    /// <summary>Operations that each client has under way.</summary>
    public int Concurrency { get; init; } = 2;

    /// <summary>Mean pause of a client between operations.</summary>
    public TimeSpan ThinkTime { get; init; } = TimeSpan.FromMilliseconds(300);

    /// <summary>Mean time between snapshots that are taken or removed.</summary>
    public TimeSpan SnapshotInterval { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Share of runs in which snapshots are taken, 0 to 1.</summary>
    public double SnapshotShare { get; init; } = 0.5;

    /// <summary>Clients that contend for the exclusive lock of a volume, in those runs that have any.</summary>
    public int Lockers { get; init; } = 2;

    /// <summary>Share of runs with contention for a lock, 0 to 1.</summary>
    public double LockShare { get; init; } = 0.3;

    /// <summary>Virtual time during which faults are injected.</summary>
    public TimeSpan Duration { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Mean time between faults; no faults if zero.</summary>
    public TimeSpan FaultInterval { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>How long faults last, as a multiple of what is usual.</summary>
    public double FaultLength { get; init; } = 1;

    /// <summary>Virtual time after the last fault within which everything has to be clean and every operation answered.</summary>
    public TimeSpan ConvergenceBound { get; init; } = TimeSpan.FromSeconds(180);

    /// <summary>How often each kind of fault is drawn, relative to the others.</summary>
    public IReadOnlyDictionary<FaultKind, double> Faults { get; init; } = Mixed;

    /// <summary>The mixes that have names.</summary>
    public static IReadOnlyList<Scenario> Named { get; } =
    [
        new Scenario(),
        new Scenario { Name = "calm", MonitorChangeShare = 0, FaultInterval = TimeSpan.Zero, Duration = TimeSpan.FromSeconds(20) },
        new Scenario
        {
            Name = "raft",
            MonitorChangeShare = 0.7,
            MonitorChangeInterval = TimeSpan.FromSeconds(5),
            MinOsds = 0,
            MaxOsds = 0,
            Objects = 4,
            Clients = 3,
            FaultInterval = TimeSpan.FromSeconds(1.5),
            ConvergenceBound = TimeSpan.FromSeconds(60),
            Faults = Mix(
                (FaultKind.CrashMonitor, 3), (FaultKind.CrashLeader, 3), (FaultKind.CrashAtEffect, 4), (FaultKind.PowerLoss, 1), (FaultKind.Partition, 3),
                (FaultKind.OneWayPartition, 3), (FaultKind.SlowNetwork, 1), (FaultKind.SlowLink, 2), (FaultKind.BreakConnections, 2), (FaultKind.Pause, 2), (FaultKind.Ambush, 8)),
        },
        new Scenario
        {
            Name = "elections",
            Monitors = 5,
            MinOsds = 0,
            MaxOsds = 0,
            Objects = 3,
            Clients = 4,
            ThinkTime = TimeSpan.FromMilliseconds(60),
            Duration = TimeSpan.FromSeconds(20),
            FaultInterval = TimeSpan.FromSeconds(0.5),
            FaultLength = 0.4,
            ConvergenceBound = TimeSpan.FromSeconds(60),
            Faults = Mix(
                (FaultKind.CrashMonitor, 1), (FaultKind.CrashLeader, 3), (FaultKind.CrashAtEffect, 5), (FaultKind.PowerLoss, 0.5), (FaultKind.Partition, 3),
                (FaultKind.OneWayPartition, 3), (FaultKind.SlowNetwork, 2), (FaultKind.SlowLink, 2), (FaultKind.BreakConnections, 1), (FaultKind.Pause, 3),
                (FaultKind.Ambush, 10)),
        },
        new Scenario
        {
            Name = "leases",
            LeaseLength = TimeSpan.FromSeconds(3),
            HeartbeatGrace = TimeSpan.FromSeconds(1),
            PgCount = 2,
            Objects = 3,
            Clients = 3,
            Volumes = 0,
            ThinkTime = TimeSpan.FromMilliseconds(80),
            SnapshotShare = 0,
            Duration = TimeSpan.FromSeconds(20),
            FaultInterval = TimeSpan.FromSeconds(1.2),
            FaultLength = 0.7,
            Faults = Mix(
                (FaultKind.MarkDown, 5), (FaultKind.CrashOsd, 4), (FaultKind.OneWayPartition, 3), (FaultKind.Partition, 2), (FaultKind.SlowNetwork, 2), (FaultKind.SlowLink, 3), (FaultKind.Pause, 3),
                (FaultKind.ClockDrift, 1), (FaultKind.CrashAtEffect, 1)),
        },
        new Scenario
        {
            Name = "network",
            Faults = Mix(
                (FaultKind.Partition, 3), (FaultKind.OneWayPartition, 3), (FaultKind.SlowNetwork, 2), (FaultKind.SlowLink, 3), (FaultKind.BreakConnections, 2), (FaultKind.Pause, 2),
                (FaultKind.MarkDown, 2)),
        },
        new Scenario
        {
            Name = "crashes",
            FaultInterval = TimeSpan.FromSeconds(2),
            Faults = Mix((FaultKind.CrashOsd, 4), (FaultKind.CrashAtEffect, 4), (FaultKind.CrashMonitor, 1), (FaultKind.CrashLeader, 1)),
        },
        new Scenario
        {
            Name = "power",
            FaultInterval = TimeSpan.FromSeconds(5),
            Faults = Mix((FaultKind.PowerLoss, 4), (FaultKind.CrashAtEffect, 2), (FaultKind.CrashOsd, 1)),
        },
        new Scenario
        {
            Name = "snapshots",
            SnapshotShare = 1,
            SnapshotInterval = TimeSpan.FromSeconds(1.5),
            ThinkTime = TimeSpan.FromMilliseconds(150),
            FaultInterval = TimeSpan.FromSeconds(2.5),
        },
        new Scenario
        {
            Name = "locks",
            LockShare = 1,
            Lockers = 3,
            Volumes = 1,
            Objects = 4,
            FaultInterval = TimeSpan.FromSeconds(1.5),
            Faults = Mix(
                (FaultKind.CrashClient, 4), (FaultKind.Pause, 6), (FaultKind.Partition, 3), (FaultKind.OneWayPartition, 2), (FaultKind.BreakConnections, 2), (FaultKind.SlowNetwork, 1),
                (FaultKind.CrashOsd, 2), (FaultKind.CrashLeader, 1), (FaultKind.CrashAtEffect, 2), (FaultKind.ClockDrift, 1), (FaultKind.ClockJump, 1), (FaultKind.MarkDown, 1)),
        },
        new Scenario
        {
            Name = "rebalance",
            MinOsds = 5,
            MaxOsds = 5,
            Faults = Mix((FaultKind.OsdOut, 4), (FaultKind.CrashOsd, 3), (FaultKind.LongCrash, 3), (FaultKind.ReplaceDisk, 1), (FaultKind.CrashAtEffect, 1)),
        },
        new Scenario
        {
            Name = "pools",
            PgCount = 2,
            Faults = Mix(
                (FaultKind.PoolSplit, 4), (FaultKind.PoolSize, 2), (FaultKind.PoolMinSize, 1), (FaultKind.CrashOsd, 3), (FaultKind.LongCrash, 2), (FaultKind.OsdOut, 2),
                (FaultKind.CrashAtEffect, 3), (FaultKind.PowerLoss, 1), (FaultKind.Partition, 1), (FaultKind.ReplaceDisk, 1), (FaultKind.Ambush, 6)),
        },
        new Scenario
        {
            Name = "refill",
            MinOsds = 4,
            MaxOsds = 5,
            PgCount = 8,
            Objects = 24,
            BackgroundBytes = 128 << 10,
            SnapshotShare = 0.2,
            LockShare = 0,
            MonitorChangeShare = 0,
            Duration = TimeSpan.FromSeconds(20),
            FaultInterval = TimeSpan.FromSeconds(1.5),
            Faults = Mix((FaultKind.OsdOut, 4), (FaultKind.Reweight, 3), (FaultKind.PoolSplit, 1), (FaultKind.PoolSize, 1)),
        },
        new Scenario
        {
            Name = "disks",
            Faults = Mix(
                (FaultKind.FlipBit, 3), (FaultKind.ReadError, 3), (FaultKind.MisdirectedWrite, 3), (FaultKind.WriteError, 3), (FaultKind.SlowDisk, 2), (FaultKind.FullDisk, 2),
                (FaultKind.ReplaceDisk, 2), (FaultKind.CrashOsd, 2), (FaultKind.CrashAtEffect, 1), (FaultKind.OsdOut, 1)),
        },
        new Scenario
        {
            Name = "mending",
            Objects = 6,
            FaultInterval = TimeSpan.FromSeconds(1.5),
            Faults = Mix(
                (FaultKind.DamageCopies, 6), (FaultKind.FlipBit, 2), (FaultKind.ReadError, 1), (FaultKind.CrashAtEffect, 2), (FaultKind.CrashOsd, 2), (FaultKind.LongCrash, 1), (FaultKind.PowerLoss, 1),
                (FaultKind.BreakConnections, 1), (FaultKind.Partition, 1), (FaultKind.OsdOut, 1)),
        },
        new Scenario
        {
            Name = "beyond",
            BeyondRedundancy = true,
            FaultInterval = TimeSpan.FromSeconds(4),
            Faults = Mix((FaultKind.DestroyDisks, 2), (FaultKind.CrashOsd, 4), (FaultKind.CrashAtEffect, 1), (FaultKind.Partition, 1), (FaultKind.PowerLoss, 1)),
        },
        new Scenario
        {
            Name = "clocks",
            Faults = Mix((FaultKind.ClockDrift, 5), (FaultKind.ClockJump, 1), (FaultKind.Partition, 3), (FaultKind.OneWayPartition, 3), (FaultKind.Pause, 3), (FaultKind.CrashOsd, 1)),
        },
        new Scenario
        {
            Name = "full",
            FaultInterval = TimeSpan.FromSeconds(2.5),
            Faults = Mix((FaultKind.FullDisk, 6), (FaultKind.CrashOsd, 2), (FaultKind.CrashAtEffect, 1), (FaultKind.OsdOut, 2), (FaultKind.ReplaceDisk, 1)),
        },
        new Scenario
        {
            Name = "monitors",
            MonitorChangeShare = 0.7,
            MonitorChangeInterval = TimeSpan.FromSeconds(5),
            MaxOsds = 3,
            FaultInterval = TimeSpan.FromSeconds(1.5),
            Faults = Mix((FaultKind.CrashMonitor, 4), (FaultKind.CrashLeader, 4), (FaultKind.Partition, 1), (FaultKind.Pause, 2), (FaultKind.CrashAtEffect, 2), (FaultKind.PowerLoss, 1)),
        },
        new Scenario
        {
            Name = "unfound",
            BeyondRedundancy = true,
            MinOsds = 3,
            MaxOsds = 3,
            MinSize = 1,
            PgCount = 3,
            Objects = 12,
            LogEntries = 200,
            ThinkTime = TimeSpan.FromMilliseconds(60),
            SnapshotShare = 0.7,
            SnapshotInterval = TimeSpan.FromSeconds(1.5),
            LockShare = 0,
            MonitorChangeShare = 0,
            Duration = TimeSpan.FromSeconds(18),
            DisksVary = false,
            Plan = StagedPlans.Unfound,
        },
        new Scenario
        {
            Name = "leaving",
            MinOsds = 5,
            MaxOsds = 5,
            Objects = 24,
            ThinkTime = TimeSpan.FromMilliseconds(150),
            LockShare = 0,
            MonitorChangeShare = 0,
            Duration = TimeSpan.FromSeconds(24),
            DisksVary = false,
            Plan = StagedPlans.Leaving,
        },
    ];

    private static SortedDictionary<FaultKind, double> Mixed => Mix(
        (FaultKind.CrashOsd, 4), (FaultKind.LongCrash, 2), (FaultKind.CrashMonitor, 1), (FaultKind.CrashLeader, 2), (FaultKind.CrashAtEffect, 4),
        (FaultKind.PowerLoss, 1.5), (FaultKind.Partition, 2), (FaultKind.OneWayPartition, 2), (FaultKind.SlowNetwork, 1), (FaultKind.SlowLink, 1.5), (FaultKind.BreakConnections, 2),
        (FaultKind.Pause, 2), (FaultKind.OsdOut, 1.5), (FaultKind.ReplaceDisk, 1), (FaultKind.FlipBit, 1), (FaultKind.CrashClient, 1), (FaultKind.MarkDown, 2),
        (FaultKind.ClockDrift, 1), (FaultKind.ClockJump, 0.3), (FaultKind.SlowDisk, 1), (FaultKind.ReadError, 0.7), (FaultKind.WriteError, 1), (FaultKind.MisdirectedWrite, 0.7),
        (FaultKind.FullDisk, 0.7), (FaultKind.Reweight, 0.7),
        (FaultKind.PoolSplit, 1), (FaultKind.PoolSize, 0.7), (FaultKind.PoolMinSize, 0.5),
        (FaultKind.Silence, 0.7), (FaultKind.Ambush, 28));

    /// <summary>Finds a named scenario, or reads a file.</summary>
    /// <param name="nameOrFile">A name of <see cref="Named"/>, or a path.</param>
    /// <returns>The scenario.</returns>
    /// <exception cref="FormatException">The file makes no sense; the message names the line.</exception>
    /// <exception cref="IOException">There is no such scenario or file.</exception>
    public static Scenario Load(string nameOrFile)
    {
        foreach (Scenario scenario in Named)
        {
            if (string.Equals(scenario.Name, nameOrFile, StringComparison.OrdinalIgnoreCase))
            {
                return scenario;
            }
        }

        if (!File.Exists(nameOrFile))
        {
            throw new FileNotFoundException($"no scenario '{nameOrFile}': it is no file and none of {string.Join(", ", Named.Select(s => s.Name))}");
        }

        return ScenarioFile.Parse(File.ReadAllText(nameOrFile), Path.GetFileNameWithoutExtension(nameOrFile));
    }

    /// <summary>Checks that the numbers fit together.</summary>
    /// <exception cref="FormatException">They do not; the message says how.</exception>
    public void Validate()
    {
        if (Monitors is < 1 or > 9 || MinOsds < 0 || MinOsds > MaxOsds || MaxOsds > 20 || Size < 1 || (MinOsds > 0 && Size > MinOsds) || (MinOsds == 0 && MaxOsds > 0) || MinSize < 1 || MinSize > Size
            || PgCount is < 1 or > 256 || Objects < 1 || Clients < 1 || Concurrency < 1 || LogEntries < 1 || Operators < 0 || Lockers < 0 || BackfillBatchObjects < 1 || RecoveryChunkBytes < 4096 || RaftAppendBytes < 1 || BackgroundBytes < 1 || CommitLatency <= TimeSpan.Zero || ReadLatency <= TimeSpan.Zero || LeaseLength <= TimeSpan.Zero || HeartbeatGrace <= TimeSpan.Zero || Duration <= TimeSpan.Zero)
        {
            throw new FormatException($"scenario {Name}: 1 to 9 monitors, min_osds up to max_osds up to 20, min_size up to size up to min_osds, 1 to 256 PGs, and everything else at least 1");
        }
    }

    private static SortedDictionary<FaultKind, double> Mix(params (FaultKind Kind, double Weight)[] faults) =>
        new(faults.ToDictionary(f => f.Kind, f => f.Weight));

    /// <summary>What one seed makes of this scenario: sizes and times around those given, for bugs hide behind every one of them.</summary>
    internal Scenario Vary(Random random)
    {
        if (!Varies)
        {
            return this;
        }

        T One<T>(params T[] of) => of[random.Next(of.Length)];
        return this with
        {
            Objects = Math.Max(1, (int)(Objects * One(0.5, 1, 1, 3))),
            LogEntries = Math.Max(3, (int)(LogEntries * One(0.3, 1, 1, 3))),
            LeaseLength = LeaseLength * One(0.3, 1, 1, 2.5),
            HeartbeatGrace = HeartbeatGrace * One(0.5, 1, 1),
            BackfillBatchObjects = BackfillBatchObjects * One(1, 1, 20),
            RecoveryChunkBytes = One(RecoveryChunkBytes / 2, RecoveryChunkBytes, RecoveryChunkBytes * 16),
            RaftAppendBytes = One(1, RaftAppendBytes),
            ThinkTime = ThinkTime * One(0.3, 1, 1, 1, 6),
            BackgroundBytes = One(BackgroundBytes / 16, BackgroundBytes, BackgroundBytes * 64),
            CommitLatency = DisksVary ? CommitLatency * One(0.3, 1, 1, 10, 40) : CommitLatency,
            ReadLatency = DisksVary ? ReadLatency * One(1, 1, 20) : ReadLatency,
        };
    }

    /// <summary>The numbers by their names in files.</summary>
    internal IEnumerable<(string Key, double Value)> Numbers =>
    [
        ("monitors", Monitors), ("min_osds", MinOsds), ("max_osds", MaxOsds), ("size", Size), ("min_size", MinSize), ("pg_num", PgCount), ("log_entries", LogEntries),
        ("operators", Operators), ("lease_ms", LeaseLength.TotalMilliseconds), ("grace_ms", HeartbeatGrace.TotalMilliseconds), ("backfill_objects", BackfillBatchObjects),
        ("recovery_bytes", RecoveryChunkBytes), ("raft_bytes", RaftAppendBytes), ("background_bytes", BackgroundBytes), ("commit_ms", CommitLatency.TotalMilliseconds), ("read_ms", ReadLatency.TotalMilliseconds), ("vary", Varies ? 1 : 0), ("vary_disks", DisksVary ? 1 : 0), ("objects", Objects), ("clients", Clients), ("concurrency", Concurrency), ("volumes", Volumes), ("think_ms", ThinkTime.TotalMilliseconds),
        ("monitor_change_share", MonitorChangeShare), ("monitor_change_interval_s", MonitorChangeInterval.TotalSeconds),
        ("snapshot_interval_s", SnapshotInterval.TotalSeconds), ("snapshot_share", SnapshotShare), ("lockers", Lockers), ("lock_share", LockShare), ("duration_s", Duration.TotalSeconds),
        ("fault_interval_s", FaultInterval.TotalSeconds), ("fault_length", FaultLength), ("convergence_s", ConvergenceBound.TotalSeconds),
    ];

    /// <summary>Sets a number by its name in files.</summary>
    /// <param name="key">The name.</param>
    /// <param name="number">The number.</param>
    /// <returns>The scenario with it; null if there is no such name.</returns>
    internal Scenario? With(string key, double number) => key switch
    {
        "monitors" => this with { Monitors = (int)number },
        "osds" => this with { MinOsds = (int)number, MaxOsds = (int)number },
        "min_osds" => this with { MinOsds = (int)number },
        "max_osds" => this with { MaxOsds = (int)number },
        "size" => this with { Size = (int)number },
        "min_size" => this with { MinSize = (int)number },
        "pg_num" => this with { PgCount = (int)number },
        "log_entries" => this with { LogEntries = (int)number },
        "objects" => this with { Objects = (int)number },
        "clients" => this with { Clients = (int)number },
        "volumes" => this with { Volumes = (int)number },
        "concurrency" => this with { Concurrency = (int)number },
        "operators" => this with { Operators = (int)number },
        "lease_ms" => this with { LeaseLength = TimeSpan.FromMilliseconds(number) },
        "grace_ms" => this with { HeartbeatGrace = TimeSpan.FromMilliseconds(number) },
        "backfill_objects" => this with { BackfillBatchObjects = (int)number },
        "recovery_bytes" => this with { RecoveryChunkBytes = (int)number },
        "raft_bytes" => this with { RaftAppendBytes = (long)number },
        "background_bytes" => this with { BackgroundBytes = (long)number },
        "commit_ms" => this with { CommitLatency = TimeSpan.FromMilliseconds(number) },
        "read_ms" => this with { ReadLatency = TimeSpan.FromMilliseconds(number) },
        "vary_disks" => this with { DisksVary = number != 0 },
        "vary" => this with { Varies = number != 0 },
        "think_ms" => this with { ThinkTime = TimeSpan.FromMilliseconds(number) },
        "monitor_change_share" => this with { MonitorChangeShare = number },
        "monitor_change_interval_s" => this with { MonitorChangeInterval = TimeSpan.FromSeconds(number) },
        "snapshot_interval_s" => this with { SnapshotInterval = TimeSpan.FromSeconds(number) },
        "snapshot_share" => this with { SnapshotShare = number },
        "lockers" => this with { Lockers = (int)number },
        "lock_share" => this with { LockShare = number },
        "fault_length" => this with { FaultLength = number },
        "duration_s" => this with { Duration = TimeSpan.FromSeconds(number) },
        "fault_interval_s" => this with { FaultInterval = TimeSpan.FromSeconds(number) },
        "convergence_s" => this with { ConvergenceBound = TimeSpan.FromSeconds(number) },
        _ => null,
    };
}
