using System.Buffers.Binary;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// The form of a segment file. It is written whole (header, first record, zeros to its full size), synced and renamed
/// into place before use, so its size never changes.
/// <code>
/// header, 64 bytes:
///    0  magic "RAFTSEG\n"  | 8  version u8, 7 zero bytes | 16 node u64 | 24 segment number u64
///   32  file size u64      | 40 first record's sequence u64 | 48 zero u64 | 56 zero u32 | 60 CRC-32C of [0, 60)
/// record, at a multiple of 16 bytes:
///    0  payload length u32 | 4 sequence low 32 bits u32 | 8 CRC-32C of the payload u32 | 12 CRC-32C of [0, 12) seeded
///                                                                                       with the header's CRC u32
///   16  payload | end mark u32 0xE7D3A9C5 | zeros to the next multiple of 16
/// payload:
///    version u8 | flags u8 (1: the log before is void, its new base follows) | term u64 | vote u64 | commit u64
///    | [base index u64, base term u64] | first index u64 | entry count i32 | entries as on the wire
/// </code>
/// A record never straddles its header over a 512-byte sector. One record at most is unsynced at any time; so only the
/// last may be torn, and a damaged record with a whole one after it is damage, not a crash.
/// </summary>
internal static class LogSegment
{
    public const int HeaderBytes = 64;
    public const int RecordHeaderBytes = 16;
    public const int Alignment = 16;
    public const byte FormatVersion = 1;
    public const byte PayloadVersion = 1;
    private const uint EndMark = 0xE7D3A9C5; // every byte has several bits set: no single flipped bit makes a zero
    private const int SectorBytes = 512;

    private static ReadOnlySpan<byte> Magic => "RAFTSEG\n"u8;

    public readonly record struct Header(NodeId Node, ulong Number, long FileBytes, ulong FirstSequence, uint Checksum);

    public static int RecordBytes(int payloadBytes) =>
        checked(RecordHeaderBytes + payloadBytes + 4 + Alignment - 1) & ~(Alignment - 1);

    public static uint WriteHeader(Span<byte> target, NodeId node, ulong number, long fileBytes, ulong firstSequence)
    {
        target[..HeaderBytes].Clear();
        Magic.CopyTo(target);
        target[8] = FormatVersion;
        BinaryPrimitives.WriteUInt64LittleEndian(target[16..], node.Value);
        BinaryPrimitives.WriteUInt64LittleEndian(target[24..], number);
        BinaryPrimitives.WriteInt64LittleEndian(target[32..], fileBytes);
        BinaryPrimitives.WriteUInt64LittleEndian(target[40..], firstSequence);
        uint checksum = Crc32C.Compute(target[..60]);
        BinaryPrimitives.WriteUInt32LittleEndian(target[60..], checksum);
        return checksum;
    }

    public static Header ReadHeader(string path, ReadOnlySpan<byte> file)
    {
        if (file.Length < HeaderBytes || !file[..8].SequenceEqual(Magic))
        {
            throw new RaftStorageCorruptException(path, 0, "not a Raft log segment");
        }

        if (file[8] != FormatVersion)
        {
            throw new RaftStorageCorruptException(path, 8, $"log segment of format version {file[8]}; this build knows {FormatVersion}");
        }

        uint checksum = BinaryPrimitives.ReadUInt32LittleEndian(file[60..]);
        if (checksum != Crc32C.Compute(file[..60]))
        {
            throw new RaftStorageCorruptException(path, 0, "the segment header fails its checksum");
        }

        long fileBytes = BinaryPrimitives.ReadInt64LittleEndian(file[32..]);
        if (file.Length != fileBytes)
        {
            throw new RaftStorageCorruptException(path, file.Length, $"the segment was made {fileBytes} bytes long and has {file.Length}");
        }

        return new Header(
            new NodeId(BinaryPrimitives.ReadUInt64LittleEndian(file[16..])),
            BinaryPrimitives.ReadUInt64LittleEndian(file[24..]),
            fileBytes,
            BinaryPrimitives.ReadUInt64LittleEndian(file[40..]),
            checksum);
    }

    /// <summary>Frames a payload; <paramref name="target"/> has exactly <see cref="RecordBytes"/>.</summary>
    public static void WriteRecord(Span<byte> target, uint headerChecksum, ulong sequence, ReadOnlySpan<byte> payload)
    {
        Invariant.Holds(target.Length == RecordBytes(payload.Length));
        target.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(target, payload.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(target[4..], (uint)sequence);
        BinaryPrimitives.WriteUInt32LittleEndian(target[8..], Crc32C.Compute(payload));
        BinaryPrimitives.WriteUInt32LittleEndian(target[12..], Crc32C.Compute(target[..12], headerChecksum));
        payload.CopyTo(target[RecordHeaderBytes..]);
        BinaryPrimitives.WriteUInt32LittleEndian(target[(RecordHeaderBytes + payload.Length)..], EndMark);
    }

    /// <summary>Reads the record at <paramref name="offset"/>; false when there is no whole one.</summary>
    public static bool TryReadRecord(ReadOnlySpan<byte> file, int offset, uint headerChecksum, uint sequence, out ReadOnlySpan<byte> payload)
    {
        payload = default;
        if (!TryReadRecordHeader(file, offset, headerChecksum, out int length, out uint found) || found != sequence)
        {
            return false;
        }

        ReadOnlySpan<byte> candidate = file.Slice(offset + RecordHeaderBytes, length);
        if (BinaryPrimitives.ReadUInt32LittleEndian(file[(offset + RecordHeaderBytes + length)..]) != EndMark
            || BinaryPrimitives.ReadUInt32LittleEndian(file[(offset + 8)..]) != Crc32C.Compute(candidate))
        {
            return false;
        }

        payload = candidate;
        return true;
    }

    /// <summary>
    /// Tells a write that a crash cut short from damage, for a place where no whole record is found. Everything in the
    /// file was zero before it was written, so a torn record shows zeros: from some byte on, or in whole sectors.
    /// </summary>
    /// <returns>Null when torn or empty, else what is wrong.</returns>
    public static string? ExplainDamage(ReadOnlySpan<byte> file, int offset, uint headerChecksum, uint sequence, bool lastSegment)
    {
        ReadOnlySpan<byte> rest = file[offset..];
        int used = rest.LastIndexOfAnyExcept((byte)0) + 1;
        if (used == 0)
        {
            return null;
        }

        if (!lastSegment)
        {
            return "damaged record in a segment that was completed";
        }

        for (int later = Alignment; later + RecordHeaderBytes <= rest.Length; later += Alignment)
        {
            if (TryReadRecordHeader(rest, later, headerChecksum, out _, out uint found) && found - sequence is > 0 and < 1u << 24)
            {
                return $"damaged record {sequence}, and record {found} stands whole after it";
            }
        }

        if (!TryReadRecordHeader(rest, 0, headerChecksum, out int length, out uint own))
        {
            bool cut = used < RecordHeaderBytes;             // written up to some byte of its header
            bool sectorMissing = IsZero(rest[..RecordHeaderBytes]); // later sectors reached the disk, this one did not
            return cut || sectorMissing ? null : $"the header of record {sequence} fails its checksum";
        }

        if (own != sequence)
        {
            return $"record {own} stands where record {sequence} belongs";
        }

        int end = RecordHeaderBytes + length + 4;
        if (used > end)
        {
            return $"stray bytes after record {sequence}";
        }

        if (used < end)
        {
            return null; // cut short: the end mark's last byte is not zero
        }

        // Sectors written out of order: one of the record's is still as it was.
        int position = 0;
        while (position < end)
        {
            int sectorEnd = Math.Min(end, (((offset + position) / SectorBytes + 1) * SectorBytes) - offset);
            if (sectorEnd - position > 4 && IsZero(rest[position..sectorEnd]))
            {
                return null;
            }

            position = sectorEnd;
        }

        return $"record {sequence} fails its checksum and was not torn by a crash";
    }

    private static bool TryReadRecordHeader(ReadOnlySpan<byte> file, int offset, uint headerChecksum, out int length, out uint sequence)
    {
        length = 0;
        sequence = 0;
        if (file.Length - offset < RecordHeaderBytes)
        {
            return false;
        }

        ReadOnlySpan<byte> header = file.Slice(offset, RecordHeaderBytes);
        length = BinaryPrimitives.ReadInt32LittleEndian(header);
        sequence = BinaryPrimitives.ReadUInt32LittleEndian(header[4..]);
        return length > 0
            && length <= file.Length - offset - RecordHeaderBytes - 4
            && BinaryPrimitives.ReadUInt32LittleEndian(header[12..]) == Crc32C.Compute(header[..12], headerChecksum);
    }

    private static bool IsZero(ReadOnlySpan<byte> span) => span.IndexOfAnyExcept((byte)0) < 0;
}
