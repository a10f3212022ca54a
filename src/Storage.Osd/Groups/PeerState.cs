using Storage.Cluster;

namespace Storage.Osd;

/// <summary>What the primary knows of another OSD's copy in this interval.</summary>
internal sealed class PeerState(OsdId osd, Epoch upFrom)
{
    public OsdId Osd { get; } = osd;

    /// <summary>The life of the OSD that was asked; what it said holds for no other, which may have another disk.</summary>
    public Epoch UpFrom { get; } = upFrom;

    /// <summary>It answered in this interval, and so knows of it.</summary>
    public bool HasInfo;

    /// <summary>It holds a copy at all.</summary>
    public bool Exists;

    public PgInfo Info = new();

    /// <summary>The epoch from which on it was first up with its disk; none if it never was.</summary>
    public Epoch DiskSince;

    /// <summary>When its promises to earlier primaries have run out, by our clock.</summary>
    public TimeSpan PromisedUntil;

    /// <summary>It has made the start of this interval durable.</summary>
    public bool IsActivated;

    /// <summary>Objects that it lacks; complete once <see cref="IsActivated"/>.</summary>
    public Dictionary<ObjectId, PgVersion> Missing = [];

    /// <summary>By our clock: when we sent the newest lease request that it agreed to.</summary>
    public TimeSpan LeaseAgreedAt = TimeSpan.FromDays(-10_000);

    /// <summary>Newest version that it has made durable in this interval.</summary>
    public PgVersion Durable;

    /// <summary>It is an up member that is being filled.</summary>
    public Backfill? Backfill;
}
