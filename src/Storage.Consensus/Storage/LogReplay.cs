using System.Runtime.InteropServices;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>Rebuilds hard state and log from the records in order, and writes records in the same form.</summary>
internal sealed class LogReplay
{
    private const byte FlagVoid = 1;

    private readonly List<RaftEntry> _entries = [];

    public HardState HardState { get; private set; }

    /// <summary>The highest index that the record read last speaks of; 0 for none.</summary>
    public ulong RecordMaxIndex { get; private set; }

    public static void WriteRecord(WireWriter writer, HardState hardState, LogPosition? voidedTo, IReadOnlyList<RaftEntry> entries)
    {
        writer.WriteByte(LogSegment.PayloadVersion);
        writer.WriteByte(voidedTo is null ? (byte)0 : FlagVoid);
        writer.WriteUInt64(hardState.Term);
        writer.WriteUInt64(hardState.Vote.Value);
        writer.WriteUInt64(hardState.Commit);
        if (voidedTo is { } position)
        {
            writer.WriteUInt64(position.Index);
            writer.WriteUInt64(position.Term);
        }

        writer.WriteUInt64(entries.Count == 0 ? 0 : entries[0].Index);
        writer.WriteInt32(entries.Count);
        for (int i = 0; i < entries.Count; i++)
        {
            RaftEntry entry = entries[i];
            Invariant.Holds(entry.Index == entries[0].Index + (ulong)i);
            RaftMessageCodec.WriteEntry(writer, in entry);
        }
    }

    public void Read(ReadOnlySpan<byte> payload)
    {
        var reader = new WireReader(payload);
        reader.ReadVersion(LogSegment.PayloadVersion, "Raft log record");
        byte flags = reader.ReadByte();
        if ((flags & ~FlagVoid) != 0)
        {
            throw new MalformedDataException($"Raft log record with unknown flags 0x{flags:x2}");
        }

        var hardState = new HardState(reader.ReadUInt64(), new NodeId(reader.ReadUInt64()), reader.ReadUInt64());
        RecordMaxIndex = 0;
        if ((flags & FlagVoid) != 0)
        {
            _entries.Clear();
            RecordMaxIndex = reader.ReadUInt64();
            reader.ReadUInt64();
        }

        ulong first = reader.ReadUInt64();
        RaftEntry[] entries = RaftMessageCodec.ReadEntries(ref reader, first);
        reader.ExpectEnd();
        if (hardState.Term < HardState.Term || hardState.Commit < HardState.Commit)
        {
            throw new MalformedDataException($"hard state goes back from {HardState} to {hardState}");
        }

        HardState = hardState;
        if (entries.Length == 0)
        {
            return;
        }

        if (_entries.Count > 0)
        {
            ulong head = _entries[0].Index, last = _entries[^1].Index;
            if (first < head || first > last + 1)
            {
                throw new MalformedDataException($"entries from {first} do not join a log of [{head}, {last}]");
            }

            int keep = checked((int)(first - head));
            _entries.RemoveRange(keep, _entries.Count - keep);
        }

        _entries.AddRange(entries);
        RecordMaxIndex = entries[^1].Index;
    }

    /// <summary>
    /// The entries after <paramref name="snapshot"/>. When the log disagrees with it (a snapshot was installed and the
    /// crash came before the log was voided), none; <paramref name="mustVoid"/> then says to do so now.
    /// </summary>
    public IReadOnlyList<RaftEntry> EntriesAfter(RaftSnapshot snapshot, out bool mustVoid)
    {
        mustVoid = false;
        if (_entries.Count == 0)
        {
            return [];
        }

        ulong head = _entries[0].Index, last = _entries[^1].Index;
        if (head > snapshot.Index + 1)
        {
            throw new MalformedDataException($"the log starts at {head} and the snapshot ends at {snapshot.Index}");
        }

        int skip = checked((int)Math.Min(snapshot.Index + 1 - head, (ulong)_entries.Count));
        if (last < snapshot.Index || (skip > 0 && _entries[skip - 1].Term != snapshot.Term))
        {
            mustVoid = true;
            return [];
        }

        return CollectionsMarshal.AsSpan(_entries)[skip..].ToArray();
    }
}
