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
internal sealed class JournalBatch
{
    private PageBuffer _buffer;
    private int _start;

    /// <summary>An empty one; takes the reference on its memory over.</summary>
    public JournalBatch(PageBuffer buffer, int start = 0) => (_buffer, _start) = (buffer, start);

    /// <summary>Its memory: from its header to the end of the buffer.</summary>
    public Span<byte> Span => _buffer.Span[_start..];

    /// <summary>Bytes that it can hold.</summary>
    public int Capacity => _buffer.Capacity - _start;

    /// <summary>Its first bytes.</summary>
    public BufferSegment Slice(int length) => _buffer.Slice(_start, length);

    /// <summary>Where a batch begins in the memory behind this one, which gets no more.</summary>
    /// <param name="leastCapacity">Bytes that it should have at least.</param>
    /// <param name="buffer">The memory, with a reference for that batch.</param>
    /// <param name="start">Its first byte there.</param>
    /// <returns>False if there is little left.</returns>
    public bool TryFollow(int leastCapacity, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out PageBuffer? buffer, out int start)
    {
        start = _start + PaddedLength;
        buffer = _buffer.Capacity - start >= leastCapacity ? _buffer.Retain() : null;
        return buffer is not null;
    }

    /// <summary>Makes one that nobody refers to any more an empty one again: overlay blocks are old to the garbage collector, and a new
    /// batch behind each would be work for it.</summary>
    public void Begin(PageBuffer buffer, int start)
    {
        Invariant.Holds(References == 0 && PendingData == 0);
        (_buffer, _start) = (buffer, start);
        Length = JournalFormat.HeaderSize;
        Transactions = 0;
        Sequence = FirstTransaction = LastTransaction = 0;
        Position = -1;
        Durable = false;
        References = 1;
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

    public int PaddedLength => (Length + StoreLimits.BlockSize - 1) & ~(StoreLimits.BlockSize - 1);

    public void Retain() => References++;

    public void Release()
    {
        Invariant.Holds(References > 0);
        if (--References == 0)
        {
            _buffer.Release();
        }
    }
}
