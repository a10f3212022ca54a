using Storage.Cluster;

namespace Storage.Osd;

/// <summary>Settings of one OSD. Immutable; every default is meant for production.</summary>
public sealed record OsdOptions
{
    /// <summary>Identifies this run of the process; must be the instance that the transport's identity carries. Drawn at random by the host.</summary>
    public required ulong Instance { get; init; }

    /// <summary>Where OSDs and clients find it, and where it listens; port 0 picks one.</summary>
    public required NodeAddress ListenAddress { get; init; }

    /// <summary>Host to listen on in place of that of <see cref="ListenAddress"/>; null for the same.</summary>
    public string? BindHost { get; init; }

    /// <summary>The monitors to try, in turn.</summary>
    public required IReadOnlyList<NodeAddress> MonitorAddresses { get; init; }

    /// <summary>Time between pings to a peer.</summary>
    public TimeSpan HeartbeatInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Silence of a peer after which it is reported.</summary>
    public TimeSpan HeartbeatGrace { get; init; } = TimeSpan.FromSeconds(4);

    /// <summary>How much faster or slower than true time a machine's monotonic clock may run, as a share: what the safety of read leases
    /// rests on. A primary whose clock is this much too slow stops serving no later than a member whose clock is this much too fast ends its
    /// promise, because the primary uses (1 − d) / (1 + d) of the lease. Clocks that NTP slews stay a hundred times below.</summary>
    public const double LargestClockDrift = 0.05;

    /// <summary>Peers that are pinged, at most: enough that every OSD is watched from several failure domains, and no more however many
    /// PGs there are.</summary>
    public int HeartbeatPeers { get; init; } = 16;

    /// <summary>How long a read lease lasts; below <see cref="HeartbeatGrace"/>, so that a primary that was cut off has lost
    /// its lease by the time the map says that it is down.</summary>
    public TimeSpan LeaseLength { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Time between statistics to the monitor when nothing changes.</summary>
    public TimeSpan StatisticsInterval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Log entries kept per PG: what recovery can bridge without backfill.</summary>
    public int LogEntries { get; init; } = 1000;

    /// <summary>Operation ids kept per PG beyond the log, to recognise late retries.</summary>
    public int DuplicateEntries { get; init; } = 2000;

    /// <summary>Objects of one PG that recover or are filled at once, apart from those that clients wait for.</summary>
    public int RecoveryObjectsPerGroup { get; init; } = 4;

    /// <summary>Objects that backfill compares at once, and after which its cursor moves.</summary>
    public int BackfillBatchObjects { get; init; } = 64;

    /// <summary>PGs that recover by log at once: as primary, and as many as target of others.</summary>
    public int RecoveryGroups { get; init; } = 4;

    /// <summary>PGs that backfill at once: as primary, and as many as target of others. Setting <c>osd_max_backfills</c> replaces it.</summary>
    public int BackfillGroups { get; init; } = 2;

    /// <summary>Data bytes in one recovery message while no client is active.</summary>
    public int RecoveryChunkBytes { get; init; } = 4 << 20;

    /// <summary>Data bytes in one recovery message while clients are active: what one of their operations may find before it on the wire.</summary>
    public int BusyRecoveryChunkBytes { get; init; } = 1 << 20;

    /// <summary>Most background work under way at once, in bytes: what the OSD does for itself, and as much again that others wait for. What is
    /// right the scheduler finds by itself; this is its upper bound.</summary>
    public long MostBackgroundBytes { get; init; } = WorkScheduler.MostIdleWindow;

    /// <summary>Objects of one PG whose clones are trimmed at once, or wait for their turn.</summary>
    public int TrimObjectsPerGroup { get; init; } = 4;

    /// <summary>Objects that go at once of a copy that nobody needs any more.</summary>
    public int RemovalObjects { get; init; } = 64;

    /// <summary>Every PG is scrubbed once in this time: what its copies say of themselves is compared. Zero for never. Cheap, and it
    /// finds lost and stray objects early.</summary>
    public TimeSpan ScrubInterval { get; init; } = TimeSpan.FromDays(1);

    /// <summary>Every PG is deep-scrubbed once in this time: all data is read and compared. Zero for never. A week is well below the
    /// time in which a second copy of the same block is likely to go bad as well.</summary>
    public TimeSpan DeepScrubInterval { get; init; } = TimeSpan.FromDays(7);

    /// <summary>Scrubs that this OSD leads or takes part in at once. One keeps disks free for clients.</summary>
    public int ScrubGroups { get; init; } = 1;

    /// <summary>Objects that a scrub looks at in one go; writes to them wait meanwhile.</summary>
    public int ScrubChunkObjects { get; init; } = 25;

    /// <summary>Data bytes that a deep scrub reads in one go (at least one object): some 40 ms of a slow disk.</summary>
    public long ScrubChunkBytes { get; init; } = 4 << 20;

    /// <summary>Pause of a scrub between two such goes.</summary>
    public TimeSpan ScrubPause { get; init; } = TimeSpan.FromMilliseconds(10);

    /// <summary>A scrub is given up when a member does not answer for so long.</summary>
    public TimeSpan ScrubTimeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>Whether a deep scrub replaces bad copies by itself where it is certain which copy is good. It never removes anything.</summary>
    public bool ScrubAutoRepair { get; init; } = true;

    /// <summary>Objects that one scrub repairs by itself; more damage than that is left for an operator to look at.</summary>
    public int ScrubAutoRepairObjects { get; init; } = 50;

    /// <summary>Use of the disk above which writes that need space are refused, on every member of the PG. Setting <c>mon_osd_full_ratio</c>
    /// of the cluster takes precedence. Below the store's own limit, which is for what is on its way already.</summary>
    public double FullRatio { get; init; } = 0.95;

    /// <summary>The largest object.</summary>
    public long LargestObjectBytes { get; init; } = 1L << 30;

    /// <summary>Operations of one connection under way before its socket is no longer read.</summary>
    public int OperationsPerConnection { get; init; } = 1024;

    /// <summary>Age at which a client operation that is not answered is reported as slow.</summary>
    public TimeSpan SlowOperationAge { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Map epochs kept on disk beyond what the PGs need.</summary>
    public int MapEpochsKept { get; init; } = 500;
}
