using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>What an entry did to its object.</summary>
internal enum LogEntryKind : byte
{
    /// <summary>The object exists afterwards.</summary>
    Modify = 1,

    /// <summary>The object is gone afterwards.</summary>
    Delete = 2,

    /// <summary>The object belongs to another PG since a split; the entry keeps the log without gaps, and says nothing more.</summary>
    Elsewhere = 3,
}

/// <summary>What an entry did to a clone of its object. The clone's version afterwards is the entry's.</summary>
/// <param name="Snapshot">The clone's number.</param>
/// <param name="Kind">What happened.</param>
/// <param name="Prior">The clone's version before, Zero if it did not exist.</param>
internal readonly record struct CloneEffect(ulong Snapshot, LogEntryKind Kind, PgVersion Prior);

/// <summary>One write in a PG's log. A value: logs keep it packed (<see cref="PackedEntries"/>).</summary>
/// <param name="Version">Its place; the object's version afterwards.</param>
/// <param name="Prior">The object's version before, Zero if it did not exist.</param>
/// <param name="Object">The object.</param>
/// <param name="Kind">What happened.</param>
/// <param name="Operation">The client operation; the default for what the group does itself.</param>
/// <param name="Reply">The packed answers of its steps if one of them carries bytes, else empty; a retry gets them again.</param>
/// <param name="Clones">What happened to clones of the object in the same transaction.</param>
internal readonly record struct PgLogEntry(PgVersion Version, PgVersion Prior, ObjectId Object, LogEntryKind Kind, OperationId Operation, byte[] Reply, CloneEffect[] Clones)
{
    private const byte FormatVersion = 4;
    private const byte VersionWithoutTouched = 3;
    private const byte LostBit = 0x80;
    private static readonly ObjectId s_nothing = new("", 0, 0);

    /// <summary>An operator gave the object's newest version up: members get no data, and what they hold of the object does not count.</summary>
    public bool IsLost { get; init; }

    /// <summary>What it did to the object's data.</summary>
    public TouchedRange Touched { get; init; } = TouchedRange.Everything;

    /// <summary>A client asked for it.</summary>
    public bool IsClients => Operation.Sequence != 0;

    /// <summary>The object's version afterwards; Zero if it is gone.</summary>
    public PgVersion VersionAfter => Kind == LogEntryKind.Delete ? PgVersion.Zero : Version;

    /// <summary>What stands in a PG's log for an entry that went to another PG.</summary>
    public static PgLogEntry Elsewhere(PgVersion version) => new(version, PgVersion.Zero, s_nothing, LogEntryKind.Elsewhere, default, [], []);

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteVersion(Version);
        writer.WriteVersion(Prior);
        writer.WriteByte((byte)((byte)Kind | (IsLost ? LostBit : 0)));
        writer.WriteUInt64(Operation.Client);
        writer.WriteUInt64(Operation.Sequence);
        Object.Encode(writer);
        writer.WriteBytes(Reply);
        writer.WriteInt32(Clones.Length);
        foreach (CloneEffect effect in Clones)
        {
            writer.WriteUInt64(effect.Snapshot);
            writer.WriteByte((byte)effect.Kind);
            writer.WriteVersion(effect.Prior);
        }

        writer.WriteInt64(Touched.From);
        writer.WriteInt64(Touched.To);
    }

    public static PgLogEntry Decode(ref WireReader reader)
    {
        byte format = reader.ReadVersion(FormatVersion, "log entry");
        if (format < VersionWithoutTouched)
        {
            throw new MalformedDataException($"log entry of version {format}, which no release wrote");
        }

        PgVersion version = reader.ReadPgVersion();
        PgVersion prior = reader.ReadPgVersion();
        byte what = reader.ReadByte();
        var kind = (LogEntryKind)(what & ~LostBit);
        var operation = new OperationId(reader.ReadUInt64(), reader.ReadUInt64());
        ObjectId id = ObjectId.Decode(ref reader);
        ReadOnlySpan<byte> reply = reader.ReadBytes();
        int count = reader.ReadCount(21);
        CloneEffect[] clones = count == 0 ? [] : new CloneEffect[count];
        for (int i = 0; i < count; i++)
        {
            clones[i] = new CloneEffect(reader.ReadUInt64(), (LogEntryKind)reader.ReadByte(), reader.ReadPgVersion());
            CheckClone(version, clones[i].Snapshot, clones[i].Kind);
        }

        TouchedRange touched = format == VersionWithoutTouched ? TouchedRange.Everything : new TouchedRange(reader.ReadInt64(), reader.ReadInt64());
        return kind is LogEntryKind.Modify or LogEntryKind.Delete or LogEntryKind.Elsewhere
            ? new PgLogEntry(version, prior, id, kind, operation, reply.IsEmpty ? [] : reply.ToArray(), clones) { IsLost = (what & LostBit) != 0, Touched = touched }
            : throw new MalformedDataException($"log entry {version} of unknown kind {(byte)kind}");
    }

    /// <summary>What a log wants to know of an entry that it keeps as it is written.</summary>
    internal readonly record struct Outline(PgVersion Version, OperationId Operation, uint Hash);

    /// <summary>Reads over an entry of the present format; checks as much as <see cref="Decode"/> and makes nothing.</summary>
    /// <returns>False, with nothing read, if it is of an older format.</returns>
    /// <exception cref="MalformedDataException">The bytes are no log entry.</exception>
    public static bool TrySkim(ref WireReader reader, out Outline outline)
    {
        WireReader from = reader;
        if (from.ReadByte() != FormatVersion)
        {
            outline = default;
            return false;
        }

        PgVersion version = from.ReadPgVersion();
        from.ReadRaw(12);
        var kind = (LogEntryKind)(from.ReadByte() & ~LostBit);
        var operation = new OperationId(from.ReadUInt64(), from.ReadUInt64());
        uint hash = ObjectId.Skim(ref from);
        from.ReadBytes();
        for (int i = from.ReadCount(21); i > 0; i--)
        {
            ulong snapshot = from.ReadUInt64();
            var effect = (LogEntryKind)from.ReadByte();
            from.ReadRaw(12);
            CheckClone(version, snapshot, effect);
        }

        from.ReadRaw(16);
        if (kind is not (LogEntryKind.Modify or LogEntryKind.Delete or LogEntryKind.Elsewhere))
        {
            throw new MalformedDataException($"log entry {version} of unknown kind {(byte)kind}");
        }

        outline = new Outline(version, operation, hash);
        reader = from;
        return true;
    }

    private static void CheckClone(PgVersion version, ulong snapshot, LogEntryKind kind)
    {
        if (kind is not (LogEntryKind.Modify or LogEntryKind.Delete) || snapshot is 0 or > SnapshotIntervals.LargestId)
        {
            throw new MalformedDataException($"log entry {version} does {(byte)kind} to clone {snapshot}");
        }
    }
}

/// <summary>
/// An operation whose log entry was trimmed: enough to recognise a retry, which is answered as done. What its steps returned went with
/// the entry: a retry that comes so late gets the results without bytes (docs/architecture.md).
/// </summary>
/// <param name="Operation">The operation.</param>
/// <param name="Version">Its entry's place.</param>
/// <param name="Hash">Hash of its object, which tells the PG that it goes to in a split.</param>
internal readonly record struct DuplicateEntry(OperationId Operation, PgVersion Version, uint Hash);

/// <summary>A run of a log: every entry after <paramref name="Tail"/>, which the sender's log has too (or begins at).</summary>
internal sealed record LogSegment(PgVersion Tail, List<PgLogEntry> Entries, List<DuplicateEntry> Duplicates)
{
    public PgVersion Head => Entries.Count > 0 ? Entries[^1].Version : Tail;

    public void Encode(WireWriter writer)
    {
        writer.WriteVersion(Tail);
        writer.WriteInt32(Entries.Count);
        foreach (PgLogEntry entry in Entries)
        {
            entry.Encode(writer);
        }

        writer.WriteInt32(Duplicates.Count);
        foreach (DuplicateEntry duplicate in Duplicates)
        {
            writer.WriteUInt64(duplicate.Operation.Client);
            writer.WriteUInt64(duplicate.Operation.Sequence);
            writer.WriteVersion(duplicate.Version);
            writer.WriteUInt32(duplicate.Hash);
        }
    }

    public static LogSegment Decode(ref WireReader reader)
    {
        PgVersion tail = reader.ReadPgVersion();
        PgVersion last = tail;
        int count = reader.ReadCount(40);
        var entries = new List<PgLogEntry>(count);
        for (int i = 0; i < count; i++)
        {
            PgLogEntry entry = PgLogEntry.Decode(ref reader);
            if (entry.Version <= last)
            {
                throw new MalformedDataException($"log entry {entry.Version} follows {last}");
            }

            last = entry.Version;
            entries.Add(entry);
        }

        count = reader.ReadCount(32);
        var duplicates = new List<DuplicateEntry>(count);
        for (int i = 0; i < count; i++)
        {
            duplicates.Add(new DuplicateEntry(new OperationId(reader.ReadUInt64(), reader.ReadUInt64()), reader.ReadPgVersion(), reader.ReadUInt32()));
        }

        return new LogSegment(tail, entries, duplicates);
    }
}

/// <summary>The newest writes of a PG in memory, with an index of operation ids that reaches beyond the log's tail.</summary>
internal sealed class PgLog
{
    private readonly PackedEntries _entries = new();
    private readonly OperationIndex _operations = new();
    private readonly BlockList<DuplicateEntry> _duplicates = new();

    /// <summary>The entries in order of version. Whoever takes one decodes it: what is asked often has methods of its own.</summary>
    public PackedEntries Entries => _entries;

    public int Count => _entries.Count;

    /// <summary>How often entries were taken out at the end, or all: while it stays the same, entries of a version are what they were.</summary>
    public long Cuts { get; private set; }

    /// <summary>Version of the newest entry, of which there must be one.</summary>
    public PgVersion Newest => _entries.VersionAt(_entries.Count - 1);

    public BlockList<DuplicateEntry> Duplicates => _duplicates;

    /// <summary>Operations beyond the log with a version above <paramref name="version"/>, in order.</summary>
    public IEnumerable<DuplicateEntry> DuplicatesAfter(PgVersion version)
    {
        foreach (DuplicateEntry duplicate in _duplicates)
        {
            if (duplicate.Version > version)
            {
                yield return duplicate;
            }
        }
    }

    /// <summary>The oldest operation known beyond the log's tail.</summary>
    public bool TryPeekDuplicate(out DuplicateEntry oldest)
    {
        oldest = _duplicates.Count > 0 ? _duplicates[0] : default;
        return _duplicates.Count > 0;
    }

    public void Add(in PgLogEntry entry)
    {
        Invariant.Holds(_entries.Count == 0 || entry.Version > Newest, "a log entry is not newer than the one before it");
        _entries.Add(in entry);
        if (entry.IsClients)
        {
            _operations.Set(entry.Operation, entry.Version);
        }
    }

    /// <summary>Adds an entry as it is written.</summary>
    /// <param name="packed">What <see cref="PgLogEntry.Encode"/> wrote.</param>
    /// <param name="outline">What it says.</param>
    public void AddPacked(ReadOnlySpan<byte> packed, in PgLogEntry.Outline outline)
    {
        Invariant.Holds(_entries.Count == 0 || outline.Version > Newest, "a log entry is not newer than the one before it");
        _entries.Add(packed, in outline);
        if (outline.Operation.Sequence != 0)
        {
            _operations.Set(outline.Operation, outline.Version);
        }
    }

    /// <summary>Adds to an empty log what concerns one PG: entries of others' objects as <see cref="LogEntryKind.Elsewhere"/>.</summary>
    /// <returns>Whether all of it concerns that PG.</returns>
    public bool CopyTo(PgLog other, uint seed, int hashBits)
    {
        bool isAll = true;
        foreach (DuplicateEntry duplicate in _duplicates)
        {
            if (PgSplit.Holds(duplicate.Hash, seed, hashBits))
            {
                other.AddDuplicate(duplicate);
            }
            else
            {
                isAll = false;
            }
        }

        foreach (PgLogEntry entry in _entries)
        {
            bool concerns = entry.Kind == LogEntryKind.Elsewhere || PgSplit.Holds(entry.Object.Hash, seed, hashBits);
            other.Add(concerns ? entry : PgLogEntry.Elsewhere(entry.Version));
            isAll &= concerns;
        }

        return isAll;
    }

    public void AddDuplicate(DuplicateEntry duplicate)
    {
        _duplicates.Add(in duplicate);
        if (!_operations.TryGet(duplicate.Operation, out _))
        {
            _operations.Set(duplicate.Operation, duplicate.Version);
        }
    }

    /// <summary>Takes the oldest duplicate out if there are more than <paramref name="keep"/>.</summary>
    public bool TryDropDuplicate(int keep, out DuplicateEntry dropped)
    {
        dropped = default;
        if (_duplicates.Count <= keep)
        {
            return false;
        }

        dropped = _duplicates[0];
        _duplicates.RemoveFirst(1);
        _operations.Remove(dropped.Operation, dropped.Version);
        return true;
    }

    public bool TryFindOperation(OperationId operation, out PgVersion version) => _operations.TryGet(operation, out version);

    /// <summary>Index of the first entry with a version above <paramref name="version"/>.</summary>
    public int IndexAfter(PgVersion version)
    {
        int low = 0, high = _entries.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (_entries.VersionAt(middle) <= version)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    public PgLogEntry? Find(PgVersion version)
    {
        int at = IndexAfter(version) - 1;
        return at >= 0 && _entries.VersionAt(at) == version ? _entries[at] : null;
    }

    /// <summary>The operation of the entry with a version, if there is one.</summary>
    public bool TryFindOperationOf(PgVersion version, out OperationId operation)
    {
        int at = IndexAfter(version) - 1;
        bool found = at >= 0 && _entries.VersionAt(at) == version;
        operation = found ? _entries.OperationAt(at) : default;
        return found;
    }

    /// <summary>Takes the entries after a version out.</summary>
    public List<PgLogEntry> RemoveAfter(PgVersion version)
    {
        List<PgLogEntry> removed = From(IndexAfter(version));
        Cuts++;
        _entries.RemoveLast(removed.Count);
        foreach (PgLogEntry entry in removed)
        {
            _operations.Remove(entry.Operation, entry.Version);
        }

        return removed;
    }

    /// <summary>Moves the entries up to a version into the duplicates.</summary>
    public void Trim(PgVersion to)
    {
        int count = IndexAfter(to);
        for (int i = 0; i < count; i++)
        {
            OperationId operation = _entries.OperationAt(i);
            PgVersion version = _entries.VersionAt(i);
            if (Mutations.Active(Mutation.DuplicatesEndAtLogTail) && _operations.TryGet(operation, out PgVersion known))
            {
                _operations.Remove(operation, known);
            }

            if (operation.Sequence != 0)
            {
                _duplicates.Add(new DuplicateEntry(operation, version, _entries.HashAt(i)));
            }
        }

        _entries.RemoveFirst(count);
    }

    public void Clear()
    {
        Cuts++;
        _entries.Clear();
        _operations.Clear();
        _duplicates.Clear();
    }

    /// <summary>The entries from the newest one not after <paramref name="since"/> on, which becomes the segment's tail.</summary>
    public LogSegment Since(PgVersion since, PgVersion logTail, bool withDuplicates)
    {
        int at = IndexAfter(since);
        PgVersion tail = at > 0 ? _entries.VersionAt(at - 1) : logTail;
        return new LogSegment(tail, From(at), withDuplicates ? [.. _duplicates] : []);
    }

    private List<PgLogEntry> From(int index)
    {
        var entries = new List<PgLogEntry>(_entries.Count - index);
        for (int i = index; i < _entries.Count; i++)
        {
            entries.Add(_entries[i]);
        }

        return entries;
    }
}
