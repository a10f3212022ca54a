using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// What the simulator compares between events: across the OSDs of a cluster, and this copy with its own disk.
internal sealed partial class PlacementGroup
{
    /// <summary>Primary, everybody in the acting set has started the interval.</summary>
    public bool IsActive => _phase == GroupPhase.Active;

    /// <summary>Would answer a client now.</summary>
    public bool IsServing => CanServe && HoldsLease();

    /// <summary>Until when the members' consent to serve lasts, by this OSD's clock; meaningful while <see cref="IsActive"/>.</summary>
    public TimeSpan LeaseUntil => _leaseUntil;

    /// <summary>Until when this OSD has promised to help no other primary, by its own clock.</summary>
    public TimeSpan LeasePromisedUntil => _leasePromisedUntil;

    /// <summary>The newest interval that this copy knows to have been clean: what was before it is forgotten.</summary>
    public Epoch LastEpochClean => _history.LastEpochClean;

    /// <summary>Writes up to here are durable on all members; meaningful while <see cref="IsActive"/>.</summary>
    public PgVersion CommittedTo => _committedTo;

    public PgInfo Info => _info;

    public PgLog Log => _log;

    public IReadOnlyDictionary<ObjectId, PgVersion> Missing => _missing;

    public bool HasWritesInFlight => _inFlight.Count > 0;

    public int MinSize => _pool.MinSize;

    /// <summary>pg_num by the newest map that this copy took account of.</summary>
    public int PgCount => _pool.PgCount;

    /// <summary>All copies are complete by this primary's word.</summary>
    public bool IsKnownClean => _phase == GroupPhase.Active && IsClean;

    /// <summary>Has started this interval, as a member that is not the primary.</summary>
    public bool IsReplicaActive => _replicaActive;

    /// <summary>This copy of an object was found damaged and is not repaired yet; others need not know.</summary>
    public bool IsDamaged(ObjectId id) => _damaged.Contains(id);

    /// <summary>What the primary believes of an activated member; null of others.</summary>
    public PeerState? ActivatedPeer(OsdId osd) => _peers.TryGetValue(osd, out PeerState? peer) && peer.IsActivated ? peer : null;

    /// <summary>A number that stands for what the primary has heard from the others in this interval.</summary>
    public long Heard
    {
        get
        {
            long heard = (long)_phase;
            foreach (PeerState peer in _peers.Values)
            {
                heard = (((heard * 31) + peer.LeaseAgreedAt.Ticks) * 31) + peer.Missing.Count + (peer.HasInfo ? 1 << 20 : 0) + (peer.IsActivated ? 1 << 21 : 0);
            }

            return heard;
        }
    }

    /// <summary>Version of this copy of an object, Zero if there is none.</summary>
    public PgVersion VersionOf(ObjectId id) => LocalVersion(id);

    /// <summary>Lists the objects here that clients know, without snapshots, in order.</summary>
    /// <param name="heads">Emptied and filled.</param>
    public void ListHeads(List<ObjectId> heads)
    {
        heads.Clear();
        _host.Store.ListObjects(_collection, null, int.MaxValue, heads);
        heads.RemoveAll(static id => id == MetaObject || id.Snapshot != ObjectId.NoSnapshot);
    }

    /// <summary>Compares what this copy has in memory with what it wrote down, and its objects with its log.</summary>
    /// <returns>The first contradiction, or null.</returns>
    public string? FindContradiction()
    {
        if (_removed)
        {
            return null;
        }

        return CompareInfo() ?? CompareRecords() ?? CompareObjects();
    }

    private string? CompareInfo()
    {
        if (!_host.Store.TryGetAttribute(_collection, MetaObject, InfoAttribute, out ReadOnlyMemory<byte> bytes))
        {
            return "no info on disk";
        }

        var reader = new WireReader(bytes.Span);
        PgInfo info = PgInfo.Decode(ref reader);
        bool isWhole = ReadMirror();
        PgLogRecord.Bring(info, _mirror, _mirrorAfter);
        return info.LastUpdate != _info.LastUpdate || info.LogTail != _info.LogTail || info.LastEpochStarted != _info.LastEpochStarted
            || info.IsComplete != _info.IsComplete || info.BackfillCursor != _info.BackfillCursor || info.Objects != _info.Objects || info.Bytes != _info.Bytes
            ? $"on disk the copy has log {info.LogTail}..{info.LastUpdate}, started {info.LastEpochStarted}, complete {info.IsComplete} {info.BackfillCursor}, {info.Objects} objects, {info.Bytes} bytes; "
                + $"in memory {_info.LogTail}..{_info.LastUpdate}, {_info.LastEpochStarted}, {_info.IsComplete} {_info.BackfillCursor}, {_info.Objects}, {_info.Bytes}"
            : CompareLog(_mirror, isWhole);
    }

    // Reads what the disk's log got since the last look, or all of it: where it does not go on from there, and once an interval.
    private bool ReadMirror()
    {
        LogRange range = _host.Store.GetLog(_collection);
        var now = (Interval, _info.LastEpochStarted, _pool.PgCount, _info.IsComplete, range.First);
        bool isWhole = now != _mirroredIn || range.Next < _mirroredTo || _mirror.Count == 0;
        if (isWhole)
        {
            _mirroredIn = now;
            _mirroredTo = range.First;
            _mirrorAfter = default;
            _mirror.Clear();
        }

        if (_mirroredTo < range.Next)
        {
            _mirrored.Clear();
            _host.Store.ReadLog(_collection, _mirrored);
            for (int i = (int)(_mirroredTo - range.First); i < _mirrored.Count; i++)
            {
                PgLogRecord.Apply(_mirrored[i].Span, _mirror, ref _mirrorAfter);
            }

            _mirroredTo = range.Next;
        }

        return isWhole;
    }

    // What the disk's log says, as far as FindContradiction has read it.
    private readonly PgLog _mirror = new();
    private readonly List<ReadOnlyMemory<byte>> _mirrored = [];
    private (PgVersion Tail, long Objects, long Bytes) _mirrorAfter;
    private (Epoch Interval, Epoch Started, int PgCount, bool IsComplete, long First) _mirroredIn;
    private readonly List<ObjectId> _heads = [];
    private readonly Dictionary<ObjectId, (PgVersion Should, PgVersion Version, LogEntryKind Kind)> _latest = [];
    private PgVersion _latestFrom;
    private PgVersion _latestTo;
    private long _latestCuts;
    private long _mirroredTo;
    private PgVersion _duplicatesComparedTo;

    // Operations beyond the log come in order of version: those that were compared once stay as they are until all is read again.
    private string? CompareLog(PgLog stored, bool isWhole)
    {
        for (int i = 0; i < Math.Min(stored.Count, _log.Count); i++)
        {
            if (stored.Entries.Packed(i).SequenceEqual(_log.Entries.Packed(i)))
            {
                continue;
            }

            PgLogEntry entry = stored.Entries[i];
            PgLogEntry known = _log.Entries[i];
            if (known.Version != entry.Version || known.Operation != entry.Operation || known.Object != entry.Object || known.Kind != entry.Kind
                || !known.Clones.AsSpan().SequenceEqual(entry.Clones))
            {
                return $"log entry {entry.Version} of {entry.Object} is on disk and not in memory";
            }
        }

        if (stored.Count != _log.Count)
        {
            return $"{stored.Count} log entries are on disk, {_log.Count} in memory";
        }

        // What the disk still has beyond these is forgotten piece by piece.
        while (stored.TryDropDuplicate(_host.Options.DuplicateEntries, out _))
        {
        }

        HashSet<DuplicateEntry>? duplicates = isWhole ? [.. stored.Duplicates] : null;
        foreach (DuplicateEntry duplicate in _log.DuplicatesAfter(isWhole ? PgVersion.Zero : _duplicatesComparedTo))
        {
            _duplicatesComparedTo = duplicate.Version;
            if (duplicates is not null ? !duplicates.Contains(duplicate) : !stored.TryFindOperation(duplicate.Operation, out PgVersion version) || version != duplicate.Version)
            {
                return $"operation {duplicate.Operation} of {duplicate.Version}, beyond the log, is in memory and not on disk";
            }

            if (!IsRecognised(duplicate.Operation))
            {
                return $"operation {duplicate.Operation} of {duplicate.Version} would not be recognised";
            }
        }

        return duplicates is not null && duplicates.Count > _log.Duplicates.Count
            ? $"{duplicates.Count} operations beyond the log are on disk, {_log.Duplicates.Count} in memory"
            : null;
    }

    private string? CompareRecords()
    {
        var records = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        _host.Store.ListOmap(_collection, MetaObject, default, int.MaxValue, records);
        int missing = 0, damaged = 0, findings = 0, parts = 0;
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in records)
        {
            var keyReader = new WireReader(key.Span[1..]);
            var valueReader = new WireReader(value.Span);
            char letter = (char)key.Span[0];
            if (letter is not ('M' or 'B' or 'S' or 'T'))
            {
                continue;
            }

            ObjectId id = ObjectId.Decode(ref keyReader);
            switch (letter)
            {
                case 'M' when !_missing.TryGetValue(id, out PgVersion need) || need != valueReader.ReadPgVersion():
                    return $"{id} is missing on disk and not in memory";
                case 'B' when !_damaged.Contains(id):
                    return $"{id} is damaged on disk and not in memory";
                case 'S' when !_findings.ContainsKey(id):
                    return $"{id} has a scrub's finding on disk and none in memory";
                case 'T' when !_receiving.ContainsKey(id):
                    return $"{id} is there in part on disk and nobody knows";
                default:
                    missing += letter == 'M' ? 1 : 0;
                    damaged += letter == 'B' ? 1 : 0;
                    findings += letter == 'S' ? 1 : 0;
                    parts += letter == 'T' ? 1 : 0;
                    break;
            }
        }

        return missing != _missing.Count ? $"{missing} missing objects are on disk, {_missing.Count} in memory"
            : damaged != _damaged.Count ? $"{damaged} damaged objects are on disk, {_damaged.Count} in memory"
            : findings != _findings.Count ? $"{findings} findings of scrubs are on disk, {_findings.Count} in memory"
            : parts != _receiving.Count ? $"{parts} objects are there in part on disk, {_receiving.Count} in memory"
            : null;
    }

    // What no client asked for has no id of its own.
    private bool IsRecognised(Storage.Messaging.OperationId operation) => operation.Client == 0 || _log.TryFindOperation(operation, out _);

    private string? CompareObjects()
    {
        if (_log.Count > 0)
        {
            LearnLatest();
        }
        else
        {
            _latest.Clear();
            _latestTo = PgVersion.Zero;
        }

        for (int i = 0; i < _log.Count; i++)
        {
            if (!IsRecognised(_log.Entries.OperationAt(i)))
            {
                return $"operation {_log.Entries.OperationAt(i)} of {_log.Entries.VersionAt(i)} would not be recognised";
            }
        }

        foreach ((ObjectId id, (PgVersion should, PgVersion version, LogEntryKind kind)) in _latest)
        {
            if (_missing.TryGetValue(id, out PgVersion need))
            {
                if (need != should)
                {
                    return $"{id} is missing at {need}; the log says {kind} {version}";
                }
            }
            else if (_info.Covers(id) && LocalVersion(id) != should)
            {
                return $"{id} is here at {LocalVersion(id)}, not missing; the log says {kind} {version}";
            }
        }

        ListHeads(_heads);
        foreach (ObjectId id in _heads)
        {
            if (_info.Covers(id) && !_missing.ContainsKey(id) && !_latest.ContainsKey(id) && LocalVersion(id) > _info.LogTail)
            {
                return $"{id} is here at {LocalVersion(id)}, which is not in the log {_info.LogTail}..{_info.LastUpdate}";
            }
        }

        return null;
    }

    // What the log says last of each object: of what came since the last look, as long as the log only grew at its end and lost at its beginning.
    private void LearnLatest()
    {
        PgVersion first = _log.Entries.VersionAt(0);
        if (_log.Cuts != _latestCuts || _latestTo < first)
        {
            _latest.Clear();
            _latestTo = PgVersion.Zero;
            _latestCuts = _log.Cuts;
        }
        else if (first != _latestFrom)
        {
            foreach ((ObjectId id, (_, PgVersion version, _)) in _latest)
            {
                if (version < first)
                {
                    _latest.Remove(id); // which a dictionary allows while it is gone through
                }
            }
        }

        _latestFrom = first;
        for (int i = _log.IndexAfter(_latestTo); i < _log.Count; i++)
        {
            PgLogEntry entry = _log.Entries[i];
            _latestTo = entry.Version;
            if (entry.Kind == LogEntryKind.Elsewhere)
            {
                continue;
            }

            _latest[entry.Object] = (entry.Kind == LogEntryKind.Delete ? PgVersion.Zero : entry.Version, entry.Version, entry.Kind);
            foreach (CloneEffect effect in entry.Clones)
            {
                _latest[entry.Object.WithSnapshot(effect.Snapshot)] = (effect.Kind == LogEntryKind.Delete ? PgVersion.Zero : entry.Version, entry.Version, entry.Kind);
            }
        }
    }
}
