using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Transactions that go to the journal in one write. Its memory doubles as the cache of the small writes in it: overlay
/// blocks point here until they are written to their place, each holding a reference. Loop only.
/// </summary>
/// <remarks>
/// Batches lie one behind the other in one buffer, each at a page of its own and with a reference on it, so that nothing is copied
/// when one is closed and the next begins.
/// </remarks>
internal sealed class JournalBatch(PageBuffer buffer, int start = 0)
{
    private readonly List<(IStoreCompletion? Completion, ulong Token)> _waiting = [];

    /// <summary>Its memory: from its header to the end of the buffer.</summary>
    public Span<byte> Span => buffer.Span[start..];

    /// <summary>Bytes that it can hold.</summary>
    public int Capacity => buffer.Capacity - start;

    /// <summary>Its first bytes.</summary>
    public BufferSegment Slice(int length) => buffer.Slice(start, length);

    /// <summary>A batch in the memory behind this one, which gets no more; null if there is little left.</summary>
    public JournalBatch? TryFollow(int leastCapacity)
    {
        int next = start + PaddedLength;
        return buffer.Capacity - next >= leastCapacity ? new JournalBatch(buffer.Retain(), next) : null;
    }

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
            buffer.Release();
        }
    }
}
