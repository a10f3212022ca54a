using System.Buffers.Binary;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// One write to the journal ring, little-endian, padded to 4 KiB:
/// <code>
///  0 magic(4)  4 version(1)  5 zero(3)  8 epoch(8)  16 batch sequence(8)  24 first transaction(8)
/// 32 transactions(4)  36 payload length(4)  40 store id(16)  56 CRC-32C of all of it with this field zero(4)  60 zero(4)
/// 64 payload: per transaction meta length(4), data length(4), meta, data
/// </code>
/// The epoch grows with every mount, the sequence by one with every batch: what an earlier turn of the ring left behind
/// never passes for a continuation.
/// </summary>
internal static class JournalFormat
{
    public const int HeaderSize = 64;
    private const uint Magic = 0x4C4E4A53; // "SJNL"
    private const byte Version = 1;
    private const int CrcOffset = 56;

    public static void WriteHeader(Span<byte> bytes, JournalBatch batch, ulong epoch, Guid store)
    {
        Span<byte> header = bytes[..HeaderSize];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, Magic);
        header[4] = Version;
        BinaryPrimitives.WriteUInt64LittleEndian(header[8..], epoch);
        BinaryPrimitives.WriteUInt64LittleEndian(header[16..], batch.Sequence);
        BinaryPrimitives.WriteUInt64LittleEndian(header[24..], batch.FirstTransaction);
        BinaryPrimitives.WriteInt32LittleEndian(header[32..], batch.Transactions);
        BinaryPrimitives.WriteInt32LittleEndian(header[36..], bytes.Length - HeaderSize);
        store.TryWriteBytes(header[40..]);
        BinaryPrimitives.WriteUInt32LittleEndian(header[CrcOffset..], Crc32C.Compute(bytes));
    }

    /// <summary>Reads the fixed part; false if it is not the start of a batch of this store with this sequence.</summary>
    public static bool TryReadHeader(ReadOnlySpan<byte> header, Guid store, ulong sequence, out ulong epoch, out int length)
    {
        epoch = BinaryPrimitives.ReadUInt64LittleEndian(header[8..]);
        int payload = BinaryPrimitives.ReadInt32LittleEndian(header[36..]);
        length = payload + HeaderSize;
        return BinaryPrimitives.ReadUInt32LittleEndian(header) == Magic
            && header[4] == Version
            && BinaryPrimitives.ReadUInt64LittleEndian(header[16..]) == sequence
            && payload >= 0 && payload <= Reactor.BufferPool.LargestBuffer - HeaderSize
            && new Guid(header.Slice(40, 16)) == store;
    }

    /// <summary>Whether bytes begin a batch of this store and epoch with a later sequence than the one that is missing.</summary>
    public static bool TryReadLater(ReadOnlySpan<byte> bytes, Guid store, ulong epoch, ulong missing, out ulong sequence)
    {
        sequence = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        return sequence > missing && TryReadHeader(bytes, store, sequence, out ulong found, out _) && found == epoch;
    }

    /// <summary>Checks the whole batch and fills in its numbers; false if it is torn.</summary>
    public static bool TryComplete(Span<byte> bytes, JournalBatch batch)
    {
        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(bytes[CrcOffset..]);
        bytes.Slice(CrcOffset, 4).Clear();
        if (Crc32C.Compute(bytes) != stored)
        {
            return false;
        }

        batch.Sequence = BinaryPrimitives.ReadUInt64LittleEndian(bytes[16..]);
        batch.FirstTransaction = BinaryPrimitives.ReadUInt64LittleEndian(bytes[24..]);
        batch.Transactions = BinaryPrimitives.ReadInt32LittleEndian(bytes[32..]);
        batch.LastTransaction = batch.FirstTransaction + (ulong)batch.Transactions - 1;
        batch.Length = bytes.Length;
        return true;
    }
}
