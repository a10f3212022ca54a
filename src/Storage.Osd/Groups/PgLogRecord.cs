using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>What a record in the log of a PG's collection says.</summary>
internal enum PgLogRecordKind : byte
{
    /// <summary>A write, and what the info says after it.</summary>
    Entry = 1,

    /// <summary>An operation whose entry is not in this log.</summary>
    Duplicate = 2,

    /// <summary>The entries after a version are taken out.</summary>
    Cut = 3,
}

/// <summary>
/// The form of a PG's log on its disk: records in the log of its collection, little-endian, read from the oldest to the newest.
/// <code>
/// version(1) kind(1)
/// kind 1 entry: log tail(12) objects(8) bytes(8) entry     kind 2 duplicate: client(8) sequence(8) version(12) hash(4)
/// kind 3 cut: version(12)
/// </code>
/// Entries up to the log tail are of use for their operations only. An entry moves the info on: where it is newer than what the
/// attribute of the PG's object says, last update, log tail and counts are the entry's. So a write costs one record and nothing else.
/// </summary>
internal static class PgLogRecord
{
    private const byte FormatVersion = 1;

    public static void WriteEntry(WireWriter writer, in PgLogEntry entry, PgVersion logTail, long objects, long bytes)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)PgLogRecordKind.Entry);
        writer.WriteVersion(logTail);
        writer.WriteInt64(objects);
        writer.WriteInt64(bytes);
        entry.Encode(writer);
    }

    public static void WriteDuplicate(WireWriter writer, in DuplicateEntry duplicate)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)PgLogRecordKind.Duplicate);
        writer.WriteUInt64(duplicate.Operation.Client);
        writer.WriteUInt64(duplicate.Operation.Sequence);
        writer.WriteVersion(duplicate.Version);
        writer.WriteUInt32(duplicate.Hash);
    }

    public static void WriteCut(WireWriter writer, PgVersion after)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)PgLogRecordKind.Cut);
        writer.WriteVersion(after);
    }

    /// <summary>The version that a record makes the newest of its log, or Zero if it makes none so.</summary>
    public static PgVersion NewestOf(ReadOnlySpan<byte> record)
    {
        var reader = new WireReader(record);
        if (ReadKind(ref reader) != PgLogRecordKind.Entry)
        {
            return PgVersion.Zero;
        }

        reader.ReadRaw(28);
        return PgLogEntry.TrySkim(ref reader, out PgLogEntry.Outline outline) ? outline.Version : PgLogEntry.Decode(ref reader).Version;
    }

    private static PgLogRecordKind ReadKind(ref WireReader reader)
    {
        reader.ReadExactVersion(FormatVersion, "PG log record");
        return (PgLogRecordKind)reader.ReadByte();
    }

    /// <summary>Reads the log of a PG, and brings the info up to its newest entry.</summary>
    /// <param name="store">The disk.</param>
    /// <param name="collection">The PG's collection.</param>
    /// <param name="log">An empty log, or one that older records than these left behind.</param>
    /// <param name="info">What the attribute says.</param>
    /// <param name="marks">Filled with places of the log and what lies before them, in order.</param>
    /// <exception cref="MalformedDataException">A record of another version, or damaged.</exception>
    public static void Load(IObjectStore store, CollectionId collection, PgLog log, PgInfo info, Queue<PgLogMark> marks)
    {
        LogRange range = store.GetLog(collection);
        if (range.First == range.Next)
        {
            return;
        }

        var records = new List<ReadOnlyMemory<byte>>();
        store.ReadLog(collection, records);
        PgVersion newest = PgVersion.Zero;
        (PgVersion Tail, long Objects, long Bytes) after = default;
        for (int i = 0; i < records.Count; i++)
        {
            PgVersion version = Apply(records[i].Span, log, ref after);
            newest = version > newest ? version : newest;
            if ((i + 1) % PgLogMark.Distance == 0)
            {
                marks.Enqueue(new PgLogMark(range.First + i + 1, newest));
            }
        }

        Bring(info, log, after);
    }

    /// <summary>Does to a log what a record says.</summary>
    /// <param name="record">The record.</param>
    /// <param name="log">The log that the records before it left behind.</param>
    /// <param name="after">What the info says after the newest entry.</param>
    /// <returns>The version that it is about.</returns>
    /// <exception cref="MalformedDataException">A record of another version, or damaged.</exception>
    public static PgVersion Apply(ReadOnlySpan<byte> record, PgLog log, ref (PgVersion Tail, long Objects, long Bytes) after)
    {
        var reader = new WireReader(record);
        PgVersion version;
        switch (ReadKind(ref reader))
        {
            case PgLogRecordKind.Entry:
                after = (reader.ReadPgVersion(), reader.ReadInt64(), reader.ReadInt64());
                int start = reader.Position;
                if (PgLogEntry.TrySkim(ref reader, out PgLogEntry.Outline outline))
                {
                    log.AddPacked(record[start..reader.Position], in outline);
                    version = outline.Version;
                    break;
                }

                PgLogEntry entry = PgLogEntry.Decode(ref reader);
                log.Add(in entry);
                version = entry.Version;
                break;
            case PgLogRecordKind.Duplicate:
                var operation = new OperationId(reader.ReadUInt64(), reader.ReadUInt64());
                version = reader.ReadPgVersion();
                uint hash = reader.ReadUInt32();
                log.AddDuplicate(new DuplicateEntry(operation, version, hash));
                break;
            case PgLogRecordKind.Cut:
                version = reader.ReadPgVersion();
                log.RemoveAfter(version);
                break;
            default:
                throw new MalformedDataException($"a PG log record of unknown kind {record[1]}");
        }

        reader.ExpectEnd();
        return version;
    }

    /// <summary>Brings the info up to the newest entry of its log, and the log up to the tail that the info then has.</summary>
    /// <param name="info">What the attribute says.</param>
    /// <param name="log">What all records left behind.</param>
    /// <param name="after">What the info says after the newest entry.</param>
    public static void Bring(PgInfo info, PgLog log, (PgVersion Tail, long Objects, long Bytes) after)
    {
        if (log.Count > 0 && log.Newest > info.LastUpdate)
        {
            info.LastUpdate = log.Newest;
            (info.LogTail, info.Objects, info.Bytes) = after;
        }

        log.Trim(info.LogTail);
    }
}

/// <summary>A place in a PG's log on disk.</summary>
/// <param name="Index">The first record behind it.</param>
/// <param name="Newest">No record before it is about a newer version.</param>
internal readonly record struct PgLogMark(long Index, PgVersion Newest)
{
    /// <summary>Records between two places: what is forgotten lies on the disk at most that much longer.</summary>
    public const int Distance = 256;
}
