using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Transactions that go to the journal in one write. Its memory doubles as the cache of the small writes in it: overlay
/// blocks point here until they are written to their place, each holding a reference. Loop only.
/// </summary>
internal sealed class JournalBatch(PageBuffer buffer)
{
    private readonly List<(IStoreCompletion? Completion, ulong Token)> _waiting = [];

    public PageBuffer Buffer { get; set; } = buffer;

    /// <summary>Bytes used, from the header on.</summary>
    public int Length { get; set; } = JournalFormat.HeaderSize;

    public int Transactions { get; set; }

    public ulong Sequence { get; set; }

    public ulong FirstTransaction { get; set; }

    public ulong LastTransaction { get; set; }

    /// <summary>Position in the ring (ever growing), or -1 while it has none.</summary>
    public long Position { get; set; } = -1;

    /// <summary>Large writes of its transactions that are still on their way to the disk; it must not be written before.</summary>
    public int PendingData { get; set; }

    /// <summary>Everything in it would survive a crash.</summary>
    public bool Durable { get; set; }

    public int References { get; private set; } = 1;

    public List<(IStoreCompletion? Completion, ulong Token)> Waiting => _waiting;

    public int PaddedLength => (Length + StoreLimits.BlockSize - 1) & ~(StoreLimits.BlockSize - 1);

    public void Retain() => References++;

    public void Release()
    {
        Invariant.Holds(References > 0);
        if (--References == 0)
        {
            Buffer.Release();
        }
    }
}
