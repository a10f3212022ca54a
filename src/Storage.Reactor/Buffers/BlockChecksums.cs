using Storage.Coding;

namespace Storage.Reactor;

/// <summary>
/// CRC-32C of the blocks of a <see cref="PageBuffer"/>, each kept by whoever computed it, so that a payload that arrived with a checksum takes it along to
/// the disk and to other sockets: nothing computes it again, and what changes in memory meanwhile is found. Used by one thread at a time, as the buffer's bytes are.
/// </summary>
/// <remarks>Whoever keeps a checksum knows that the block's bytes stay as they are for as long as anybody holds the buffer; a buffer that is rented anew has none.</remarks>
public sealed class BlockChecksums
{
    private const int BlockSize = Crc32C.BlockBytes;

    private readonly uint[] _values;
    private readonly ulong[] _known;
    private bool _any;

    internal BlockChecksums(int capacity)
    {
        int blocks = capacity / BlockSize;
        _values = new uint[blocks];
        _known = new ulong[(blocks + 63) / 64];
    }

    /// <summary>Keeps the checksum of a block.</summary>
    /// <param name="block">Its number in the buffer, from 0.</param>
    /// <param name="checksum">The CRC-32C of its 4096 bytes, which do not change any more.</param>
    public void Keep(int block, uint checksum)
    {
        _values[block] = checksum;
        _known[block >> 6] |= 1UL << (block & 63);
        _any = true;
    }

    /// <summary>Finds the checksum of a block.</summary>
    /// <param name="block">Its number in the buffer, from 0.</param>
    /// <param name="checksum">The CRC-32C of its 4096 bytes.</param>
    /// <returns>False if nobody kept it.</returns>
    public bool TryGet(int block, out uint checksum)
    {
        checksum = _values[block];
        return (_known[block >> 6] >> (block & 63) & 1) != 0;
    }

    internal void Forget()
    {
        if (_any)
        {
            Array.Clear(_known);
            _any = false;
        }
    }

    /// <summary>The checksum of a range, from those of its whole blocks as far as they are kept.</summary>
    internal static uint Compute(in BufferSegment segment, uint seed)
    {
        ReadOnlySpan<byte> bytes = segment.Span;
        if (segment.Buffer?.KnownChecksums is not { _any: true } known || segment.Offset % BlockSize != 0)
        {
            return Crc32C.Compute(bytes, seed);
        }

        uint checksum = seed;
        int at = 0;
        for (; bytes.Length - at >= BlockSize; at += BlockSize)
        {
            checksum = known.TryGet((segment.Offset + at) / BlockSize, out uint block)
                ? Crc32C.AppendBlock(checksum, block)
                : Crc32C.Compute(bytes.Slice(at, BlockSize), checksum);
        }

        return Crc32C.Compute(bytes[at..], checksum);
    }

    /// <summary>Computes the checksum of a range and keeps those of its whole blocks.</summary>
    internal static uint ComputeAndKeep(in BufferSegment segment)
    {
        ReadOnlySpan<byte> bytes = segment.Span;
        if (bytes.Length < BlockSize || segment.Offset % BlockSize != 0)
        {
            return Crc32C.Compute(bytes);
        }

        BlockChecksums kept = segment.Buffer!.Checksums;
        uint checksum = 0;
        int at = 0;
        for (; bytes.Length - at >= BlockSize; at += BlockSize)
        {
            uint block = Crc32C.Compute(bytes.Slice(at, BlockSize));
            kept.Keep((segment.Offset + at) / BlockSize, block);
            checksum = Crc32C.AppendBlock(checksum, block);
        }

        return Crc32C.Compute(bytes[at..], checksum);
    }
}
