using System.Globalization;
using Microsoft.Win32.SafeHandles;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// Raft storage in a directory of its own: preallocated log segments (<see cref="LogSegment"/> draws them), one snapshot
/// file, a lock. Each batch is one record, written at once and synced; so it is found whole after a crash or not at all.
/// </summary>
/// <remarks>
/// On opening, the record a crash may have torn is dropped; any other damage, a missing or shortened file, another
/// node's file or an unknown version is refused, and nothing is changed.
/// </remarks>
public sealed class FileRaftStorage : IRaftStorage
{
    /// <summary>Size of a segment in bytes unless one record needs more.</summary>
    public const int DefaultSegmentBytes = 4 << 20;

    private const string SegmentPrefix = "log-";
    private const string TemporarySuffix = ".tmp";
    private static readonly byte[] s_zeros = new byte[64 << 10];

    private readonly string _directory;
    private readonly NodeId _node;
    private readonly int _segmentBytes;
    private readonly RaftFiles _files;
    private readonly FileStream _lock;
    private readonly WireWriter _payload = new(4096);
    private readonly List<Segment> _segments = []; // ascending; the last one is written to
    private SafeFileHandle? _active;
    private uint _activeChecksum;
    private int _activeBytes;
    private int _activeOffset;
    private ulong _nextSequence = 1;
    private HardState _hardState;
    private RaftSnapshot? _snapshot;
    private byte[] _record = new byte[4096];
    private bool _loaded;
    private bool _failed;

    private sealed class Segment(ulong number, string path)
    {
        public ulong Number { get; } = number;

        public string Path { get; } = path;

        /// <summary>The highest index any of its records speaks of.</summary>
        public ulong MaxIndex { get; set; }
    }

    /// <summary>Opens a directory, which is created if it is missing, and locks it against other processes.</summary>
    /// <param name="directory">The directory; nothing else may be in it.</param>
    /// <param name="node">The node whose state it is.</param>
    /// <param name="segmentBytes">Size of a segment in bytes, at least 4 KiB.</param>
    /// <exception cref="IOException">The directory cannot be used, or another process has it open.</exception>
    public FileRaftStorage(string directory, NodeId node, int segmentBytes = DefaultSegmentBytes)
        : this(directory, node, segmentBytes, new RaftFiles())
    {
    }

    internal FileRaftStorage(string directory, NodeId node, int segmentBytes, RaftFiles files)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentOutOfRangeException.ThrowIfLessThan(segmentBytes, 4096);
        if (node.IsNone)
        {
            throw new ArgumentException("a node needs an id other than 0", nameof(node));
        }

        _directory = Path.GetFullPath(directory);
        _node = node;
        _segmentBytes = segmentBytes;
        _files = files;
        Directory.CreateDirectory(_directory);
        _lock = new FileStream(Path.Combine(_directory, "LOCK"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
    }

    /// <inheritdoc/>
    public RaftStartState? Load()
    {
        Invariant.Holds(!_loaded, "Load is called once");
        RaftSnapshot? snapshot = ReadNewestSnapshot();
        var replay = new LogReplay();
        long tornAt = ReadSegments(replay);
        if (snapshot is null)
        {
            if (_segments.Count > 1 || (_segments.Count == 1 && (_nextSequence > 2 || replay.HardState != default)))
            {
                throw new RaftStorageCorruptException(_directory, 0, "log segments are there and no snapshot");
            }

            return null; // empty, or the crash came within Bootstrap, before any promise
        }

        if (_segments.Count == 0)
        {
            throw new RaftStorageCorruptException(_directory, 0, $"a snapshot at {snapshot.Index} is there and no log segment");
        }

        IReadOnlyList<RaftEntry> entries;
        bool mustVoid;
        try
        {
            entries = replay.EntriesAfter(snapshot, out mustVoid);
        }
        catch (MalformedDataException e)
        {
            throw new RaftStorageCorruptException(_segments[0].Path, 0, e.Message, e);
        }

        _hardState = replay.HardState with { Commit = Math.Max(replay.HardState.Commit, snapshot.Index) };
        if (snapshot.Term > _hardState.Term)
        {
            // Installed in a term whose record did not make it to disk: nothing was promised in that term.
            _hardState = new HardState(snapshot.Term, NodeId.None, _hardState.Commit);
        }

        ulong lastIndex = entries.Count == 0 ? snapshot.Index : entries[^1].Index;
        if (_hardState.Commit > lastIndex)
        {
            throw new RaftStorageCorruptException(
                _segments[^1].Path, _activeOffset, $"index {_hardState.Commit} was committed and the log ends at {lastIndex}");
        }

        // All is read and sound: from here on the directory may be changed.
        _snapshot = snapshot;
        Guard("open the log", () => OpenActive(tornAt));
        _loaded = true;
        if (mustVoid)
        {
            Guard("void the log", () => AppendRecord(_hardState, new LogPosition(snapshot.Index, snapshot.Term), []));
        }

        Guard("remove old files", RemoveSuperseded);
        return new RaftStartState(_hardState, snapshot, entries);
    }

    /// <inheritdoc/>
    public RaftStartState Bootstrap(RaftSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        Invariant.Holds(!_loaded && _snapshot is null, "only a new storage is bootstrapped");
        foreach (Segment segment in _segments)
        {
            File.Delete(segment.Path); // of a Bootstrap that a crash cut short
        }

        _segments.Clear();
        _nextSequence = 1;
        _hardState = new HardState(snapshot.Term, NodeId.None, snapshot.Index);

        // The snapshot comes last: where there is one, there must be a log.
        Guard("create the log", () => AppendRecord(default, null, []));
        WriteSnapshot(snapshot);
        _loaded = true;
        return new RaftStartState(_hardState, snapshot, []);
    }

    /// <inheritdoc/>
    public void Persist(Ready ready)
    {
        ArgumentNullException.ThrowIfNull(ready);
        CheckUsable();
        LogPosition? voided = null;
        if (ready.Snapshot is { } snapshot)
        {
            WriteSnapshot(snapshot);
            voided = new LogPosition(snapshot.Index, snapshot.Term);
        }

        // Where only the commit index moved there is no record: so never is more than one record unsynced, and the
        // index is known again from the leader.
        if (ready.MustPersist)
        {
            Guard("append to the log", () => AppendRecord(ready.HardState, voided, ready.Entries));
            _hardState = ready.HardState;
        }

        if (voided is not null)
        {
            Guard("remove old files", RemoveSuperseded);
        }
    }

    /// <inheritdoc/>
    public void SaveSnapshot(RaftSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        CheckUsable();
        Invariant.Holds(_snapshot is not null && snapshot.Index > _snapshot.Index);
        WriteSnapshot(snapshot);
        Guard("remove old files", RemoveSuperseded);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _active?.Dispose();
        _lock.Dispose();
    }

    private void CheckUsable()
    {
        Invariant.Holds(_loaded, "Load or Bootstrap comes first");
        if (_failed)
        {
            throw new RaftStorageFailedException($"{_directory}: an earlier write failed; the process must start again from disk");
        }
    }

    private void Guard(string what, Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _failed = true;
            throw new RaftStorageFailedException($"{_directory}: cannot {what}: {e.Message}", e);
        }
    }

    private RaftSnapshot? ReadNewestSnapshot()
    {
        string? newest = null;
        ulong newestIndex = 0;
        foreach (string path in Directory.EnumerateFiles(_directory))
        {
            if (SnapshotFile.TryParseIndex(path, out ulong index) && (newest is null || index > newestIndex))
            {
                newest = path;
                newestIndex = index;
            }
        }

        if (newest is null)
        {
            return null;
        }

        RaftSnapshot snapshot = SnapshotFile.Decode(newest, _node, File.ReadAllBytes(newest));
        if (SnapshotFile.Name(snapshot) != Path.GetFileName(newest))
        {
            throw new RaftStorageCorruptException(newest, 0, $"holds the snapshot of index {snapshot.Index}, term {snapshot.Term}");
        }

        return snapshot;
    }

    // Returns the end of what may lie behind the last whole record of the last segment, to be wiped before the next append.
    private long ReadSegments(LogReplay replay)
    {
        foreach (string path in Directory.EnumerateFiles(_directory, SegmentPrefix + "*.raft"))
        {
            string name = Path.GetFileNameWithoutExtension(path)[SegmentPrefix.Length..];
            if (!ulong.TryParse(name, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong number))
            {
                throw new RaftStorageCorruptException(path, 0, "no log segment has such a name");
            }

            _segments.Add(new Segment(number, path));
        }

        _segments.Sort((a, b) => a.Number.CompareTo(b.Number));
        long used = 0;
        for (int i = 0; i < _segments.Count; i++)
        {
            Segment segment = _segments[i];
            if (i > 0 && segment.Number != _segments[i - 1].Number + 1)
            {
                throw new RaftStorageCorruptException(segment.Path, 0, $"segment {_segments[i - 1].Number + 1} is missing before it");
            }

            used = ReadSegment(segment, replay, first: i == 0, last: i == _segments.Count - 1);
        }

        return used;
    }

    private long ReadSegment(Segment segment, LogReplay replay, bool first, bool last)
    {
        byte[] file = File.ReadAllBytes(segment.Path);
        LogSegment.Header header = LogSegment.ReadHeader(segment.Path, file);
        if (header.Node != _node || header.Number != segment.Number)
        {
            throw new RaftStorageCorruptException(
                segment.Path, 16, $"is segment {header.Number} of node {header.Node}, not segment {segment.Number} of node {_node}");
        }

        if (!first && header.FirstSequence != _nextSequence)
        {
            throw new RaftStorageCorruptException(
                segment.Path, 40, $"starts with record {header.FirstSequence} and the segment before it ends before {_nextSequence}");
        }

        _nextSequence = header.FirstSequence;
        int offset = LogSegment.HeaderBytes;
        while (LogSegment.TryReadRecord(file, offset, header.Checksum, (uint)_nextSequence, out ReadOnlySpan<byte> payload))
        {
            try
            {
                replay.Read(payload);
            }
            catch (MalformedDataException e)
            {
                throw new RaftStorageCorruptException(segment.Path, offset, e.Message, e);
            }

            segment.MaxIndex = Math.Max(segment.MaxIndex, replay.RecordMaxIndex);
            offset = Math.Min(file.Length, offset + LogSegment.RecordBytes(payload.Length));
            _nextSequence++;
        }

        // The first record was synced with the file, before the rename: it cannot be torn.
        string? damage = LogSegment.ExplainDamage(file, offset, header.Checksum, (uint)_nextSequence, last)
            ?? (offset == LogSegment.HeaderBytes ? "the segment's first record is missing" : null);
        if (damage is not null)
        {
            throw new RaftStorageCorruptException(segment.Path, offset, damage);
        }

        _activeOffset = offset;
        _activeBytes = file.Length;
        _activeChecksum = header.Checksum;
        return offset + file.AsSpan(offset).LastIndexOfAnyExcept((byte)0) + 1;
    }

    private void OpenActive(long tornEnd)
    {
        _active = File.OpenHandle(_segments[^1].Path, FileMode.Open, FileAccess.ReadWrite, FileShare.Read);
        if (tornEnd > _activeOffset)
        {
            for (long at = _activeOffset; at < tornEnd;)
            {
                int count = (int)Math.Min(s_zeros.Length, tornEnd - at);
                _files.Write(_active, s_zeros.AsSpan(0, count), at);
                at += count;
            }
        }

        // A record read from the page cache may have missed its sync when the process died: it counts as durable from
        // now on, so it must be.
        _files.Sync(_active);
        _files.SyncDirectory(_directory);
    }

    private void AppendRecord(HardState hardState, LogPosition? voided, IReadOnlyList<RaftEntry> entries)
    {
        _payload.Clear();
        LogReplay.WriteRecord(_payload, hardState, voided, entries);
        int bytes = LogSegment.RecordBytes(_payload.Length);
        if (_active is null || bytes > _activeBytes - _activeOffset)
        {
            StartSegment(bytes);
        }
        else
        {
            if (_record.Length < bytes)
            {
                _record = new byte[Math.Max(bytes, _record.Length * 2)];
            }

            Span<byte> record = _record.AsSpan(0, bytes);
            LogSegment.WriteRecord(record, _activeChecksum, _nextSequence, _payload.WrittenSpan);
            _files.Write(_active, record, _activeOffset);
            _files.Sync(_active);
        }

        _activeOffset += bytes;
        _nextSequence++;
        ulong maxIndex = Math.Max(voided?.Index ?? 0, entries.Count == 0 ? 0 : entries[^1].Index);
        _segments[^1].MaxIndex = Math.Max(_segments[^1].MaxIndex, maxIndex);
    }

    // The payload in hand becomes the new segment's first record.
    private void StartSegment(int recordBytes)
    {
        ulong number = _segments.Count == 0 ? 1 : _segments[^1].Number + 1;
        string path = Path.Combine(_directory, $"{SegmentPrefix}{number:x16}.raft");
        string temporary = path + TemporarySuffix;
        int fileBytes = Math.Max(_segmentBytes, checked(LogSegment.HeaderBytes + recordBytes));
        var head = new byte[LogSegment.HeaderBytes + recordBytes];
        uint checksum = LogSegment.WriteHeader(head, _node, number, fileBytes, _nextSequence);
        LogSegment.WriteRecord(head.AsSpan(LogSegment.HeaderBytes), checksum, _nextSequence, _payload.WrittenSpan);
        SafeFileHandle file = File.OpenHandle(temporary, FileMode.Create, FileAccess.ReadWrite, FileShare.Read);
        try
        {
            _files.Write(file, head, 0);
            for (int at = head.Length; at < fileBytes;)
            {
                int count = Math.Min(s_zeros.Length, fileBytes - at);
                _files.Write(file, s_zeros.AsSpan(0, count), at);
                at += count;
            }

            _files.Sync(file);
            File.Move(temporary, path, overwrite: true);
            _files.SyncDirectory(_directory);
        }
        catch (IOException)
        {
            file.Dispose();
            throw;
        }

        _active?.Dispose();
        _active = file;
        _activeChecksum = checksum;
        _activeBytes = fileBytes;
        _activeOffset = LogSegment.HeaderBytes;
        _segments.Add(new Segment(number, path));
    }

    private void WriteSnapshot(RaftSnapshot snapshot)
    {
        Guard("write the snapshot", () =>
        {
            string path = Path.Combine(_directory, SnapshotFile.Name(snapshot));
            string temporary = path + TemporarySuffix;
            using (SafeFileHandle file = File.OpenHandle(temporary, FileMode.Create, FileAccess.Write, FileShare.None))
            {
                _files.Write(file, SnapshotFile.Encode(_node, snapshot), 0);
                _files.Sync(file);
            }

            File.Move(temporary, path, overwrite: true);
            _files.SyncDirectory(_directory);
        });
        _snapshot = snapshot;
    }

    private void RemoveSuperseded()
    {
        Invariant.Holds(_snapshot is not null);
        string current = SnapshotFile.Name(_snapshot);
        foreach (string path in Directory.EnumerateFiles(_directory))
        {
            bool oldSnapshot = SnapshotFile.TryParseIndex(path, out _) && Path.GetFileName(path) != current;
            if (oldSnapshot || path.EndsWith(".raft" + TemporarySuffix, StringComparison.Ordinal))
            {
                File.Delete(path);
            }
        }

        // From the front only, and synced one by one: a crash leaves a log without holes.
        while (_segments.Count > 1 && _segments[0].MaxIndex <= _snapshot.Index)
        {
            File.Delete(_segments[0].Path);
            _files.SyncDirectory(_directory);
            _segments.RemoveAt(0);
        }
    }
}
