namespace Storage.Simulation.Workloads;

/// <summary>
/// The snapshots of the pool's objects, as a volume's header would keep them: read at once, by everybody. When one was announced and when
/// its removal began is known by position in the history.
/// </summary>
internal sealed class SnapshotRegistry
{
    private readonly List<TakenSnapshot> _all = [];

    /// <summary>Every snapshot there ever was, oldest first.</summary>
    public IReadOnlyList<TakenSnapshot> All => _all;

    /// <summary>Those that writers have to name, newest first.</summary>
    public ulong[] Named() => [.. _all.Where(s => s.RemovalOrder == 0).Select(s => s.Id).Reverse()];

    /// <summary>Those that may be read.</summary>
    public ulong[] Readable() => [.. _all.Where(s => s is { AnnouncedOrder: > 0, RemovalOrder: 0 }).Select(s => s.Id)];

    public bool IsLive(ulong id) => _all.Exists(s => s.Id == id && s.RemovalOrder == 0);

    public TakenSnapshot Add(ulong id)
    {
        Coding.Invariant.Holds(_all.Count == 0 || _all[^1].Id < id);
        var taken = new TakenSnapshot(id);
        _all.Add(taken);
        return taken;
    }
}

/// <summary>One snapshot.</summary>
internal sealed class TakenSnapshot(ulong id)
{
    public ulong Id => id;

    /// <summary>From here on every write must name it; 0 while it is being taken.</summary>
    public long AnnouncedOrder { get; set; }

    /// <summary>Where its removal began; 0 before.</summary>
    public long RemovalOrder { get; set; }
}
