using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>A write that was applied here and sent to the members, and that is not durable everywhere yet. Pooled by its group.</summary>
internal sealed class InFlightWrite
{
    public PgLogEntry Entry;

    /// <summary>Null once its client is gone or when nobody waits.</summary>
    public ClientOperation? Operation;

    /// <summary>What it does to the object; kept to send it again after a lost connection.</summary>
    public readonly Transaction Transaction = new();

    /// <summary>Retries of the operation that arrived meanwhile.</summary>
    public readonly List<ClientOperation> Retries = [];

    /// <summary>Backfill targets that get the entry without the data, because they do not have the object yet.</summary>
    public readonly List<Storage.Cluster.OsdId> EntryOnly = [];

    /// <summary>Clones of the entry that such a target has to take account of all the same: they sort behind its cursor.</summary>
    public readonly List<(Storage.Cluster.OsdId Osd, ulong Snapshot)> Behind = [];

    public PgVersionAndCounts Counts;

    /// <summary>What the entry does to clones, until it is made.</summary>
    public CloneEffect[] Effects = [];

    /// <summary>Bytes of a clone that it makes.</summary>
    public long CloneBytes;

    /// <summary>It trims clones.</summary>
    public bool IsTrim;

    public void Reset()
    {
        Entry = default;
        Operation = null;
        Transaction.Clear();
        Retries.Clear();
        EntryOnly.Clear();
        Behind.Clear();
        Effects = [];
        CloneBytes = 0;
        IsTrim = false;
    }
}

/// <summary>What a write message says besides the entry.</summary>
/// <param name="TrimTo">Log entries up to this one go.</param>
/// <param name="Objects">Objects afterwards.</param>
/// <param name="Bytes">Bytes afterwards.</param>
internal readonly record struct PgVersionAndCounts(Storage.Cluster.PgVersion TrimTo, long Objects, long Bytes);
