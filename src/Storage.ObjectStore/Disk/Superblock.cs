using System.Buffers.Binary;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// First block of a store, and a copy in the second; written by mkfs and when the store grows, the copy first: <c>0 magic(8) 8 version(1) 9 zero(3) 12 block size(4) 16 store id(16)
/// 32 length(8) 40 ring offset(8) 48 ring length(8) 56 data offset(8) 64 data units(4) 68 zero 4092 CRC-32C(4)</c>.
/// </summary>
internal sealed record Superblock(Guid Store, long Length, long RingOffset, long RingLength, long DataOffset, uint DataUnits)
{
    private const ulong Magic = 0x31304B4C42525453; // "STRBLK01"
    private const byte Version = 2;

    /// <summary>Where the copy lies.</summary>
    public const long CopyOffset = StoreLimits.BlockSize;

    public static Superblock Plan(Guid store, long length, long ringLength)
    {
        const long RingStart = 1 << 20;
        long units = (length - RingStart - ringLength) / StoreLimits.BlockSize;
        if (units < 256 || units > uint.MaxValue - 64L)
        {
            throw new ArgumentException($"{length} bytes with a journal of {ringLength} bytes leave {units} units of 4 KiB for data");
        }

        return new Superblock(store, length, RingStart, ringLength, RingStart + ringLength, (uint)units);
    }

    /// <summary>The same store on a longer device.</summary>
    /// <exception cref="ArgumentException">It would not get longer.</exception>
    public Superblock Grow(long length)
    {
        long units = (length - DataOffset) / StoreLimits.BlockSize;
        if (units <= DataUnits || units > uint.MaxValue - 64L)
        {
            throw new ArgumentException($"the store has {Length} bytes; {length} bytes do not make it grow");
        }

        return this with { Length = length, DataUnits = (uint)units };
    }

    public void Write(Span<byte> block)
    {
        block.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(block, Magic);
        block[8] = Version;
        BinaryPrimitives.WriteInt32LittleEndian(block[12..], StoreLimits.BlockSize);
        Store.TryWriteBytes(block[16..]);
        BinaryPrimitives.WriteInt64LittleEndian(block[32..], Length);
        BinaryPrimitives.WriteInt64LittleEndian(block[40..], RingOffset);
        BinaryPrimitives.WriteInt64LittleEndian(block[48..], RingLength);
        BinaryPrimitives.WriteInt64LittleEndian(block[56..], DataOffset);
        BinaryPrimitives.WriteUInt32LittleEndian(block[64..], DataUnits);
        BinaryPrimitives.WriteUInt32LittleEndian(block[4092..], Crc32C.Compute(block[..4092]));
    }

    public static bool HasMagic(ReadOnlySpan<byte> block) => BinaryPrimitives.ReadUInt64LittleEndian(block) == Magic;

    /// <summary>Reads the first of two blocks, or the copy if a crash tore the first while the store grew.</summary>
    /// <exception cref="MalformedDataException">Foreign, damaged or newer.</exception>
    public static Superblock ReadEither(ReadOnlySpan<byte> blocks, long deviceLength)
    {
        ReadOnlySpan<byte> copy = blocks.Slice((int)CopyOffset, StoreLimits.BlockSize);
        bool torn = HasMagic(blocks) && blocks[8] == Version && !HasChecksum(blocks[..StoreLimits.BlockSize]);
        return Read(torn && HasMagic(copy) && HasChecksum(copy) ? copy : blocks[..StoreLimits.BlockSize], deviceLength);
    }

    private static bool HasChecksum(ReadOnlySpan<byte> block) => BinaryPrimitives.ReadUInt32LittleEndian(block[4092..]) == Crc32C.Compute(block[..4092]);

    /// <summary>Reads and checks; refuses what this build does not know.</summary>
    /// <exception cref="MalformedDataException">Foreign, damaged or newer.</exception>
    public static Superblock Read(ReadOnlySpan<byte> block, long deviceLength)
    {
        if (!HasMagic(block))
        {
            throw new MalformedDataException("the block file is not a store: its superblock has another magic number");
        }

        if (block[8] != Version)
        {
            throw new MalformedDataException($"the store has format version {block[8]}; this build knows {Version}");
        }

        if (!HasChecksum(block))
        {
            throw new MalformedDataException("the superblock's checksum does not match");
        }

        var result = new Superblock(
            new Guid(block.Slice(16, 16)),
            BinaryPrimitives.ReadInt64LittleEndian(block[32..]),
            BinaryPrimitives.ReadInt64LittleEndian(block[40..]),
            BinaryPrimitives.ReadInt64LittleEndian(block[48..]),
            BinaryPrimitives.ReadInt64LittleEndian(block[56..]),
            BinaryPrimitives.ReadUInt32LittleEndian(block[64..]));
        if (result.Length > deviceLength)
        {
            throw new MalformedDataException($"the store was made with {result.Length} bytes, the device has {deviceLength}");
        }

        return result;
    }
}
