using System.Buffers;
using System.Runtime.InteropServices;
using Storage.Coding;

namespace Storage.Reactor;

/// <summary>
/// Page-aligned native memory with a reference count: what arrives from a socket goes to the disk, to other sockets
/// or into a cache as it is. The renter holds one reference; <see cref="Retain"/> and <see cref="Release"/> come in pairs
/// and may be called from any thread. The last release gives the memory back to its pool.
/// </summary>
public sealed unsafe class PageBuffer : MemoryManager<byte>
{
    /// <summary>Alignment and smallest size, in bytes.</summary>
    public const int PageSize = 4096;

    private readonly BufferPool _pool;
    private byte* _pointer;
    private int _references;

    internal PageBuffer(BufferPool pool, int capacity)
    {
        _pool = pool;
        Capacity = capacity;
        _pointer = (byte*)NativeMemory.AlignedAlloc((nuint)capacity, PageSize);
    }

    /// <summary>Size in bytes, a power of two of at least <see cref="PageSize"/>.</summary>
    public int Capacity { get; }

    /// <summary>Address of the first byte.</summary>
    public nint Address => (nint)_pointer;

    /// <summary>All of the memory.</summary>
    public Span<byte> Span => new(_pointer, Capacity);

    /// <summary>Checksums of its blocks, as far as somebody kept them.</summary>
    public BlockChecksums Checksums => KnownChecksums ??= new BlockChecksums(Capacity);

    internal BlockChecksums? KnownChecksums { get; private set; }

    /// <summary>References held at the moment; for tests and assertions.</summary>
    public int References => Volatile.Read(ref _references);

    /// <summary>Adds a reference.</summary>
    /// <returns>This buffer.</returns>
    public PageBuffer Retain()
    {
        Invariant.Holds(Interlocked.Increment(ref _references) > 1);
        return this;
    }

    /// <summary>Gives one reference back; after the last one the memory may be used by others at once.</summary>
    public void Release()
    {
        int left = Interlocked.Decrement(ref _references);
        Invariant.Holds(left >= 0);
        if (left == 0)
        {
            _pool.Return(this);
        }
    }

    /// <summary>A segment of this buffer; does not change the reference count.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The segment.</returns>
    public BufferSegment Slice(int offset, int length) => new(this, offset, length);

    /// <inheritdoc/>
    public override Span<byte> GetSpan() => Span;

    /// <inheritdoc/>
    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)Capacity);
        return new MemoryHandle(_pointer + elementIndex, default, this);
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
    }

    /// <summary>What its pool's stack knows it by; 0 until it was in it.</summary>
    internal int Number { get; set; }

    /// <summary>The number of the idle one below it.</summary>
    internal int Below { get; set; }

    internal void BeginUse()
    {
        Invariant.Holds(_references == 0);
        _references = 1;
        KnownChecksums?.Forget();
    }

    internal void Free()
    {
        NativeMemory.AlignedFree(_pointer);
        _pointer = null;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // The pool decides when memory goes back to the system.
    }
}

/// <summary>A range of a <see cref="PageBuffer"/>; holds no reference of its own.</summary>
/// <param name="Buffer">The buffer, or null for an empty segment.</param>
/// <param name="Offset">First byte in the buffer.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct BufferSegment(PageBuffer? Buffer, int Offset, int Length)
{
    /// <summary>The bytes.</summary>
    public Span<byte> Span => Buffer is null ? default : Buffer.Span.Slice(Offset, Length);

    /// <summary>The bytes.</summary>
    public Memory<byte> Memory => Buffer is null ? default : Buffer.Memory.Slice(Offset, Length);

    /// <summary>True if there are no bytes.</summary>
    public bool IsEmpty => Length == 0;

    /// <summary>The CRC-32C of the bytes; blocks of which the buffer has one already are not looked at.</summary>
    /// <param name="seed">The checksum of the bytes before, to continue it; 0 to begin.</param>
    /// <returns>The checksum.</returns>
    public uint Checksum(uint seed = 0) => BlockChecksums.Compute(in this, seed);

    /// <summary>Computes the CRC-32C of the bytes, and keeps those of its whole blocks with the buffer. For bytes that do not change any more.</summary>
    /// <returns>The checksum.</returns>
    public uint ComputeChecksum() => BlockChecksums.ComputeAndKeep(in this);

    /// <summary>A part of this segment.</summary>
    /// <param name="offset">First byte, counted from this segment's start.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>The part; no reference is added.</returns>
    public BufferSegment Slice(int offset, int length)
    {
        Invariant.Holds((uint)offset <= (uint)Length && (uint)length <= (uint)(Length - offset));
        return new BufferSegment(Buffer, Offset + offset, length);
    }
}
