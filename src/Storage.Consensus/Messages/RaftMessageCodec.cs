using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// The wire form of <see cref="RaftMessage"/>, little-endian:
/// <code>
/// version u8 | kind u8 | flags u8 (1 reject, 2 transfer) | from u64 | to u64 | term u64 | index u64 | log term u64
/// | commit u64 | reject hint u64 | context u64
/// | entry count i32 | per entry: term u64, kind u8, length i32, data      (indexes follow from index)
/// | has snapshot u8 | index u64, term u64, configuration, length i32, data
/// </code>
/// </summary>
public static class RaftMessageCodec
{
    private const byte FormatVersion = 1;
    private const byte FlagReject = 1;
    private const byte FlagTransfer = 2;

    /// <summary>Encodes a message.</summary>
    /// <param name="writer">Where to.</param>
    /// <param name="message">The message.</param>
    public static void Write(WireWriter writer, RaftMessage message)
    {
        ArgumentNullException.ThrowIfNull(writer);
        ArgumentNullException.ThrowIfNull(message);
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)message.Kind);
        writer.WriteByte((byte)((message.Reject ? FlagReject : 0) | (message.Transfer ? FlagTransfer : 0)));
        writer.WriteUInt64(message.From.Value);
        writer.WriteUInt64(message.To.Value);
        writer.WriteUInt64(message.Term);
        writer.WriteUInt64(message.Index);
        writer.WriteUInt64(message.LogTerm);
        writer.WriteUInt64(message.Commit);
        writer.WriteUInt64(message.RejectHint);
        writer.WriteUInt64(message.Context);
        writer.WriteInt32(message.Entries.Count);
        for (int i = 0; i < message.Entries.Count; i++)
        {
            RaftEntry entry = message.Entries[i];
            Invariant.Holds(entry.Index == message.Index + (ulong)i + 1);
            WriteEntry(writer, in entry);
        }

        writer.WriteBoolean(message.Snapshot is not null);
        if (message.Snapshot is { } snapshot)
        {
            WriteSnapshot(writer, snapshot);
        }
    }

    /// <summary>Decodes a message; all data is copied.</summary>
    /// <param name="data">Exactly one message.</param>
    /// <returns>The message.</returns>
    /// <exception cref="MalformedDataException">The bytes are no message of a version known here.</exception>
    public static RaftMessage Read(ReadOnlySpan<byte> data)
    {
        var reader = new WireReader(data);
        reader.ReadVersion(FormatVersion, "Raft message");
        byte kind = reader.ReadByte();
        if (kind is < (byte)RaftMessageKind.PreVote or > (byte)RaftMessageKind.TimeoutNow)
        {
            throw new MalformedDataException($"Raft message of unknown kind {kind}");
        }

        byte flags = reader.ReadByte();
        if ((flags & ~(FlagReject | FlagTransfer)) != 0)
        {
            throw new MalformedDataException($"Raft message with unknown flags 0x{flags:x2}");
        }

        var from = new NodeId(reader.ReadUInt64());
        var to = new NodeId(reader.ReadUInt64());
        ulong term = reader.ReadUInt64();
        ulong index = reader.ReadUInt64();
        ulong logTerm = reader.ReadUInt64();
        ulong commit = reader.ReadUInt64();
        ulong rejectHint = reader.ReadUInt64();
        ulong context = reader.ReadUInt64();
        RaftEntry[] entries = ReadEntries(ref reader, index + 1);
        RaftSnapshot? snapshot = reader.ReadBoolean() ? ReadSnapshot(ref reader) : null;
        reader.ExpectEnd();
        if (from.IsNone || to.IsNone)
        {
            throw new MalformedDataException("Raft message without sender or receiver");
        }

        if ((snapshot is not null) != (kind == (byte)RaftMessageKind.InstallSnapshot))
        {
            throw new MalformedDataException($"Raft message {(RaftMessageKind)kind} with{(snapshot is null ? "out" : "")} a snapshot");
        }

        return new RaftMessage
        {
            Kind = (RaftMessageKind)kind,
            From = from,
            To = to,
            Term = term,
            Index = index,
            LogTerm = logTerm,
            Commit = commit,
            RejectHint = rejectHint,
            Context = context,
            Reject = (flags & FlagReject) != 0,
            Transfer = (flags & FlagTransfer) != 0,
            Entries = entries,
            Snapshot = snapshot,
        };
    }

    internal static void WriteEntry(WireWriter writer, in RaftEntry entry)
    {
        writer.WriteUInt64(entry.Term);
        writer.WriteByte((byte)entry.Kind);
        writer.WriteBytes(entry.Data.Span);
    }

    internal static RaftEntry[] ReadEntries(ref WireReader reader, ulong firstIndex)
    {
        var entries = new RaftEntry[reader.ReadCount(RaftEntry.OverheadBytes)];
        ulong previousTerm = 0;
        for (int i = 0; i < entries.Length; i++)
        {
            ulong term = reader.ReadUInt64();
            byte kind = reader.ReadByte();
            if (kind is < (byte)EntryKind.Command or > (byte)EntryKind.Configuration)
            {
                throw new MalformedDataException($"Raft entry {firstIndex + (ulong)i} of unknown kind {kind}");
            }

            if (term < previousTerm || term == 0)
            {
                throw new MalformedDataException($"Raft entry {firstIndex + (ulong)i} has term {term} after {previousTerm}");
            }

            byte[] data = reader.ReadBytes().ToArray();
            if (kind == (byte)EntryKind.Configuration)
            {
                RaftConfiguration.Decode(data); // refused here, where the sender can still be blamed
            }

            previousTerm = term;
            entries[i] = new RaftEntry(firstIndex + (ulong)i, term, (EntryKind)kind, data);
        }

        return entries;
    }

    internal static void WriteSnapshot(WireWriter writer, RaftSnapshot snapshot)
    {
        writer.WriteUInt64(snapshot.Index);
        writer.WriteUInt64(snapshot.Term);
        snapshot.Configuration.Write(writer);
        writer.WriteBytes(snapshot.Data.Span);
    }

    internal static RaftSnapshot ReadSnapshot(ref WireReader reader)
    {
        ulong index = reader.ReadUInt64();
        ulong term = reader.ReadUInt64();
        RaftConfiguration configuration = RaftConfiguration.Read(ref reader);
        return new RaftSnapshot(index, term, configuration, reader.ReadBytes().ToArray());
    }
}
