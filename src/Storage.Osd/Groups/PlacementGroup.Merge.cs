using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// How a copy takes over the authoritative log: on the primary while peering, on the others at activation.
internal sealed partial class PlacementGroup
{
    private void HandleLogRequest(OsdId from, ref WireReader reader)
    {
        PgVersion since = reader.ReadPgVersion();
        WireWriter body = Begin();
        _info.Encode(body);
        _log.Since(since, _info.LogTail, false).Encode(body);
        _host.Answer(from, OsdMessageType.LogReply, body);
    }

    private void HandleLogReply(OsdId from, ref WireReader reader)
    {
        if (_phase != GroupPhase.GetLog || from != _authority)
        {
            return;
        }

        PgInfo info = PgInfo.Decode(ref reader);
        LogSegment segment = LogSegment.Decode(ref reader);
        if (!TryMerge(segment))
        {
            // Our log shares nothing with the one that counts: this copy must be filled anew, and somebody else serves.
            _host.Reached(RarePath.LogGap);
            ResetCopy(new LogSegment(PgVersion.Zero, [], []));
            SubmitMeta(_transaction);
            StartPeering();
            return;
        }

        _host.Reached(RarePath.AuthoritativeLogFetched);
        _info.LastEpochStarted = info.LastEpochStarted > _info.LastEpochStarted ? info.LastEpochStarted : _info.LastEpochStarted;
        _info.Objects = info.Objects;
        _info.Bytes = info.Bytes;
        _info.CountsEstimated = info.CountsEstimated;
        PersistInfo(_transaction);
        SubmitMeta(_transaction);
        WaitToActivate();
    }

    private void HandleActivate(OsdId from, ref WireReader reader)
    {
        if (from != Primary || IsPrimary)
        {
            return;
        }

        bool reset = reader.ReadBoolean();
        Epoch started = reader.ReadEpoch();
        long objects = reader.ReadInt64();
        long bytes = reader.ReadInt64();
        bool estimated = reader.ReadBoolean();
        PgHistory history = PgHistory.Decode(ref reader);
        LogSegment segment = LogSegment.Decode(ref reader);
        bool merged = true;
        if (_replicaActive)
        {
            // Sent again after a lost connection; the answer is the same. Writes cannot have come before it.
        }
        else if (reset)
        {
            ResetCopy(segment);
        }
        else if (!TryMerge(segment))
        {
            _host.Reached(RarePath.LogGap);
            ResetCopy(new LogSegment(PgVersion.Zero, [], []));
            merged = false;
        }

        _history.Merge(history);
        PromiseLease();
        if (merged)
        {
            _replicaActive = true;
            _info.LastEpochStarted = Mutations.Active(Mutation.LastEpochStartedNotPersisted) || started < _info.LastEpochStarted ? _info.LastEpochStarted : started;
            _info.Objects = objects;
            _info.Bytes = bytes;
            _info.CountsEstimated = estimated;
        }

        PersistInfo(_transaction);
        PersistHistory(_transaction);
        SubmitMeta(_transaction, CommitKind.ReplicaActivated, from);
    }

    private void OnReplicaActivated(OsdId primary)
    {
        WireWriter body = Begin();
        body.WriteBoolean(_replicaActive);
        _info.Encode(body);
        body.WriteMissing(_missing);
        _host.Answer(primary, OsdMessageType.ActivateReply, body);
    }

    private void HandleActivateReply(OsdId from, ref WireReader reader)
    {
        if (_phase != GroupPhase.Activating || !_peers.TryGetValue(from, out PeerState? peer) || peer.IsActivated)
        {
            return;
        }

        bool active = reader.ReadBoolean();
        peer.Info = PgInfo.Decode(ref reader);
        peer.Missing = reader.ReadMissing();
        if (!active)
        {
            StartPeering(); // its log did not meet ours; who serves is decided again
            return;
        }

        Invariant.Holds(peer.Info.LastUpdate == _info.LastUpdate, "a member started the interval with another log than the primary's");
        peer.IsActivated = true;
        TryBecomeActive();
    }

    // Makes our log agree with the segment: entries that the segment's owner does not have are rolled back, those we lack
    // are added, and objects whose content changes by that are missing until they are recovered.
    private bool TryMerge(LogSegment segment)
    {
        if (!TryFindCommonPoint(segment, out PgVersion common))
        {
            return false;
        }

        List<PgLogEntry> divergent = _log.RemoveAfter(common);
        if (divergent.Count > 0 && !Mutations.Active(Mutation.LogCutNotPersisted))
        {
            PersistCut(_transaction, common);
        }

        var latest = new Dictionary<ObjectId, PgVersion>();
        var cloned = new Dictionary<ObjectId, PgVersion>();
        foreach (PgLogEntry entry in segment.Entries)
        {
            if (entry.Version > common)
            {
                CloneAsLogged(in entry, cloned);
                _log.Add(entry);
                PersistEntry(_transaction, entry);
                if (entry.Kind == LogEntryKind.Elsewhere)
                {
                    continue;
                }

                latest[entry.Object] = entry.Kind == LogEntryKind.Delete ? PgVersion.Zero : entry.Version;
                foreach (CloneEffect effect in entry.Clones)
                {
                    latest[entry.Object.WithSnapshot(effect.Snapshot)] = effect.Kind == LogEntryKind.Delete ? PgVersion.Zero : entry.Version;
                }
            }
        }

        _info.LastUpdate = segment.Head > common ? segment.Head : common;
        Invariant.Holds(
            _log.Count == 0 ? _info.LastUpdate == _info.LogTail : _log.Newest == _info.LastUpdate,
            "after a merge a PG's log does not end with what its info names as the newest write");
        Invariant.Holds(_info.LastUpdate == segment.Head, "after a merge a copy's log ends elsewhere than the authoritative one");
        foreach ((ObjectId id, PgVersion version) in latest)
        {
            if (Mutations.Active(Mutation.MissingNotNoted))
            {
                break;
            }

            if (cloned.GetValueOrDefault(id, PgVersion.Zero) != version || version == PgVersion.Zero)
            {
                Require(id, version);
            }
        }

        RollBack(divergent, latest, common);
        return true;
    }

    // A clone that an entry made is what the object was before it. Where that is here still, the clone is made here as well: nobody need send it,
    // and it does not go with the object, which recovery replaces, at a time when this may be the only whole copy of it.
    private void CloneAsLogged(in PgLogEntry entry, Dictionary<ObjectId, PgVersion> cloned)
    {
        ObjectId head = entry.Object;
        if (entry.Clones.Length == 0 || entry.IsLost || entry.Kind == LogEntryKind.Elsewhere || entry.Prior == PgVersion.Zero
            || _missing.ContainsKey(head) || !_info.Covers(head) || LocalVersion(head) != entry.Prior)
        {
            return;
        }

        foreach (CloneEffect effect in entry.Clones)
        {
            ObjectId clone = head.WithSnapshot(effect.Snapshot);
            if (effect.Kind == LogEntryKind.Modify && effect.Prior == PgVersion.Zero
                && _info.Covers(clone) && !_missing.ContainsKey(clone) && LocalVersion(clone) == PgVersion.Zero)
            {
                _host.Reached(RarePath.CloneMadeByLog);
                AppendClone(_transaction, head, clone, _host.Store.TryGetAttribute(_collection, head, SnapSet.Attribute, out _), entry.Version);
                cloned[clone] = entry.Version;
            }
        }
    }

    private void RollBack(List<PgLogEntry> divergent, Dictionary<ObjectId, PgVersion> latest, PgVersion common)
    {
        if (divergent.Count == 0 || Mutations.Active(Mutation.KeepsDivergentObjects))
        {
            return;
        }

        _host.Reached(RarePath.DivergentRolledBack);

        // The oldest divergent entry of an object tells what it was before.
        var done = new HashSet<ObjectId>();
        foreach (PgLogEntry entry in divergent)
        {
            if (entry.Kind == LogEntryKind.Elsewhere)
            {
                continue;
            }

            RollBackObject(entry.Object, entry.Prior);
            foreach (CloneEffect effect in entry.Clones)
            {
                if (RollBackObject(entry.Object.WithSnapshot(effect.Snapshot), effect.Prior))
                {
                    _host.Reached(RarePath.DivergentCloneRolledBack);
                }
            }
        }

        bool RollBackObject(ObjectId id, PgVersion prior)
        {
            if (latest.ContainsKey(id) || !done.Add(id))
            {
                return false;
            }

            Invariant.Holds(prior <= common, "the oldest divergent entry of an object says that the object was changed after the logs parted");
            Require(id, prior);
            if (_missing.ContainsKey(id))
            {
                _host.Reached(RarePath.DivergentObjectMissing);
            }

            return true;
        }
    }

    // The object should be at a version (Zero: absent). What is there is kept if it is that already, and missing otherwise.
    private void Require(ObjectId id, PgVersion version)
    {
        if (version == PgVersion.Zero)
        {
            ClearMissing(_transaction, id);
            if (_receiving.Remove(id))
            {
                ForgetPart(_transaction, id);
            }

            if (!Mutations.Active(Mutation.DeleteNotRecovered))
            {
                RemoveObject(_transaction, id);
            }
        }
        else if (!_info.Covers(id))
        {
            ClearMissing(_transaction, id);
        }
        else if (!_missing.ContainsKey(id) && LocalVersion(id) == version)
        {
            // Our copy is the right one.
        }
        else
        {
            SetMissing(_transaction, id, version);
        }
    }

    private bool TryFindCommonPoint(LogSegment segment, out PgVersion common)
    {
        for (int i = _log.Count - 1; i >= 0; i--)
        {
            common = _log.Entries.VersionAt(i);
            if (Contains(segment, common))
            {
                return true;
            }

            if (common < segment.Tail)
            {
                return false;
            }
        }

        common = _info.LogTail;
        return Contains(segment, common);
    }

    private static bool Contains(LogSegment segment, PgVersion version)
    {
        if (version == segment.Tail)
        {
            return true;
        }

        int low = 0, high = segment.Entries.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int order = segment.Entries[middle].Version.CompareTo(version);
            if (order == 0)
            {
                return true;
            }

            if (order < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }

        return false;
    }

    // Forgets log and missing set; the copy counts as empty until backfill has compared it object by object.
    private void ResetCopy(LogSegment segment)
    {
        _log.Clear();
        _missing.Clear();
        _host.Counters.RepairedErrors += _damaged.Count; // what was damaged counts no longer
        _damaged.Clear();
        _findings.Clear();
        UpdateScrubErrors();
        _transaction.ClearOmap(_collection, MetaObject);
        ForgetLogOnDisk(_transaction);
        _info.IsComplete = false;
        _info.BackfillCursor = null;
        _info.LogTail = segment.Tail;
        _info.LastUpdate = segment.Head;
        foreach (DuplicateEntry duplicate in segment.Duplicates)
        {
            _log.AddDuplicate(duplicate);
            PersistDuplicate(_transaction, duplicate);
        }

        foreach (PgLogEntry entry in segment.Entries)
        {
            _log.Add(entry);
            PersistEntry(_transaction, entry);
        }

        PersistInfo(_transaction);
    }
}
