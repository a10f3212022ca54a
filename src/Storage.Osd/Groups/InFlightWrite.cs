using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>A write that was applied here and sent to the members, and that is not durable everywhere yet. Pooled by its group.</summary>
internal sealed class InFlightWrite
{
    public PgLogEntry Entry = null!;

    /// <summary>Null once its client is gone or when nobody waits.</summary>
    public ClientOperation? Operation;

    /// <summary>What it does to the object; kept to send it again after a lost connection.</summary>
    public readonly Transaction Transaction = new();

    /// <summary>Retries of the operation that arrived meanwhile.</summary>
    public readonly List<ClientOperation> Retries = [];

    /// <summary>Backfill targets that get the entry without the data, because they do not have the object yet.</summary>
    public readonly List<Storage.Cluster.OsdId> EntryOnly = [];

    public PgVersionAndCounts Counts;

    public void Reset()
    {
        Entry = null!;
        Operation = null;
        Transaction.Clear();
        Retries.Clear();
        EntryOnly.Clear();
    }
}

/// <summary>What a write message says besides the entry.</summary>
/// <param name="TrimTo">Log entries up to this one go.</param>
/// <param name="Objects">Objects afterwards.</param>
/// <param name="Bytes">Bytes afterwards.</param>
internal readonly record struct PgVersionAndCounts(Storage.Cluster.PgVersion TrimTo, long Objects, long Bytes);
