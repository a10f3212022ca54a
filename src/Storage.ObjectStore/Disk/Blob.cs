using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Up to 16 blocks that lie compressed in units one behind the other, each unit with a CRC-32C of what is on the disk. Never changed once written;
/// who refers to it holds a reference on every one of its units.
/// </summary>
/// <remarks>On disk and in the journal: <c>pool(8) algorithm(1) blocks(1) length(4) unit(4) units(1) CRC-32C of each unit(4 each)</c>.</remarks>
internal sealed class Blob(long pool, PoolCompression algorithm, int blocks, int length, uint unit, uint[] checksums)
{
    /// <summary>The most blocks, and the alignment in the object at which writes are cut for it.</summary>
    public const int MostBlocks = 16;

    /// <summary>Shorter runs of blocks are not compressed.</summary>
    public const int LeastBlocks = 4;

    public long Pool => pool;

    public PoolCompression Algorithm => algorithm;

    /// <summary>Blocks that it holds.</summary>
    public int Blocks => blocks;

    /// <summary>Bytes of the compressed form; zeroes follow to the end of the last unit.</summary>
    public int Length => length;

    /// <summary>The first unit.</summary>
    public uint Unit => unit;

    public int Units => checksums.Length;

    public ReadOnlySpan<uint> Checksums => checksums;

    /// <summary>The most units that so many blocks may take compressed; at least one must be saved.</summary>
    public static int MostUnits(int blocks, double ratio) => Math.Min((int)(blocks * ratio), blocks - 1);

    public bool HasChecksums(ReadOnlySpan<byte> stored)
    {
        for (int i = 0; i < checksums.Length; i++)
        {
            if (Crc32C.Compute(stored.Slice(i * StoreLimits.BlockSize, StoreLimits.BlockSize)) != checksums[i])
            {
                return false;
            }
        }

        return true;
    }

    public void Write(WireWriter writer)
    {
        writer.WriteInt64(pool);
        writer.WriteByte((byte)algorithm);
        writer.WriteByte((byte)blocks);
        writer.WriteInt32(length);
        writer.WriteUInt32(unit);
        writer.WriteByte((byte)checksums.Length);
        foreach (uint checksum in checksums)
        {
            writer.WriteUInt32(checksum);
        }
    }

    public static Blob Read(ref WireReader reader)
    {
        long pool = reader.ReadInt64();
        var algorithm = (PoolCompression)reader.ReadByte();
        int blocks = reader.ReadByte();
        int length = reader.ReadInt32();
        uint unit = reader.ReadUInt32();
        uint[] checksums = new uint[reader.ReadByte()];
        if (algorithm is not (PoolCompression.Lz4 or PoolCompression.Zstd) || blocks is 0 or > MostBlocks || checksums.Length == 0 || checksums.Length > blocks
            || length < 1 || length > checksums.Length * StoreLimits.BlockSize || unit == 0)
        {
            throw new MalformedDataException($"compressed data of {blocks} blocks by algorithm {(byte)algorithm}: {length} bytes in {checksums.Length} units from {unit} on");
        }

        for (int i = 0; i < checksums.Length; i++)
        {
            checksums[i] = reader.ReadUInt32();
        }

        return new Blob(pool, algorithm, blocks, length, unit, checksums);
    }
}

/// <summary>Blocks of a chunk that lie in a blob. Holds one reference on the blob.</summary>
/// <param name="Blob">The blob.</param>
/// <param name="First">Block of the chunk at which the blob's first would lie; below 0 or at the chunk's end where only a part of it was cloned here.</param>
/// <param name="Mask">A bit for each block of the chunk that is read from it.</param>
internal readonly record struct ChunkBlob(Blob Blob, int First, ulong Mask);
