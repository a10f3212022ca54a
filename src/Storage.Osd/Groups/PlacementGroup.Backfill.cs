using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Filling a copy that the log cannot bring up to date: object by object in ObjectId order, in batches, behind a durable cursor.
internal sealed partial class PlacementGroup
{
    private void BeginBackfill()
    {
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && !peer.Info.IsComplete)
            {
                _host.Reached(peer.Info.BackfillCursor is null ? RarePath.BackfillStarted : RarePath.BackfillResumed);
                peer.Backfill = new Backfill();
            }
        }

        StepBackfill();
    }

    private bool IsBackfilling
    {
        get
        {
            foreach (PeerState peer in _peers.Values)
            {
                if (peer.Backfill is not null)
                {
                    return true;
                }
            }

            return false;
        }
    }

    // Copies that are only in the wrong place may be told to stay there.
    private bool MayBackfill() => (_map.Flags & ClusterFlags.NoBackfill) == 0
        && ((_map.Flags & ClusterFlags.NoRebalance) == 0 || _acting.Length < _pool.Size);

    private void StepBackfill()
    {
        if (_phase != GroupPhase.Active || !IsBackfilling)
        {
            return;
        }

        if (!MayBackfill())
        {
            Unreserve(_backfillReservation);
            return;
        }

        if (!Reserve(_backfillReservation))
        {
            _host.Reached(RarePath.BackfillWaited);
            return;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.Backfill is { } backfill)
            {
                Step(peer, backfill);
            }
        }
    }

    private void Step(PeerState peer, Backfill backfill)
    {
        if (backfill.Scanning || backfill.Advancing)
        {
            return;
        }

        if (!backfill.InBatch)
        {
            backfill.Scanning = true;
            SendScan(peer);
            return;
        }

        StartBackfillLanes(backfill.Pending);
        if (backfill.IsBatchDone)
        {
            // From here on writes to the batch's objects go with their data: the target has what they build on.
            peer.Info.IsComplete = backfill.End is null;
            peer.Info.BackfillCursor = backfill.End;
            backfill.EndBatch();
            backfill.Advancing = true;
            SendProgress(peer);
        }
    }

    private void SendScan(PeerState peer)
    {
        WireWriter body = Begin();
        WriteCursor(body, peer.Info.BackfillCursor);
        _host.Send(peer.Osd, OsdMessageType.Scan, body);
    }

    private void SendProgress(PeerState peer)
    {
        WireWriter body = Begin();
        body.WriteBoolean(peer.Info.IsComplete);
        WriteCursor(body, peer.Info.BackfillCursor);
        _host.Send(peer.Osd, OsdMessageType.BackfillProgress, body);
    }

    private static void WriteCursor(WireWriter body, ObjectId? cursor)
    {
        body.WriteBoolean(cursor is not null);
        cursor?.Encode(body);
    }

    private static ObjectId? ReadCursor(ref WireReader reader) => reader.ReadBoolean() ? ObjectId.Decode(ref reader) : null;

    // The objects after a cursor with their versions, in order.
    private bool ListAfter(ObjectId? cursor, List<(ObjectId Id, PgVersion Version)> objects)
    {
        var ids = new List<ObjectId>();
        bool more = _host.Store.ListObjects(_collection, cursor, _host.Options.BackfillBatchObjects + 1, ids);
        foreach (ObjectId id in ids)
        {
            if (IsContent(id) && (cursor is null || id > cursor))
            {
                objects.Add((id, LocalVersion(id)));
            }
        }

        // A page may hold nothing that counts; its end still bounds what was looked at.
        if (more && objects.Count == 0)
        {
            return ListAfter(ids[^1], objects);
        }

        return more;
    }

    private void HandleScan(OsdId from, ref WireReader reader)
    {
        ObjectId? cursor = ReadCursor(ref reader);
        if (from != Primary || !_replicaActive)
        {
            return;
        }

        var objects = new List<(ObjectId Id, PgVersion Version)>();
        bool more = ListAfter(cursor, objects);
        WireWriter body = Begin();
        body.WriteBoolean(more);
        body.WriteInt32(objects.Count);
        foreach ((ObjectId id, PgVersion version) in objects)
        {
            id.Encode(body);
            body.WriteVersion(version);
        }

        _host.Answer(from, OsdMessageType.ScanReply, body);
    }

    private void HandleScanReply(OsdId from, ref WireReader reader)
    {
        if (_phase != GroupPhase.Active || !_peers.TryGetValue(from, out PeerState? peer) || peer.Backfill is not { Scanning: true } backfill)
        {
            return;
        }

        bool theirMore = reader.ReadBoolean();
        var theirs = new SortedDictionary<ObjectId, PgVersion>();
        for (int i = reader.ReadCount(28); i > 0; i--)
        {
            ObjectId id = ObjectId.Decode(ref reader);
            theirs[id] = reader.ReadPgVersion();
        }

        var ours = new List<(ObjectId Id, PgVersion Version)>();
        bool ourMore = ListAfter(peer.Info.BackfillCursor, ours);
        ObjectId? end = ourMore ? ours[^1].Id : null;
        if (theirMore && theirs.Count > 0)
        {
            ObjectId last = theirs.Keys.Last();
            end = end is null || last < end ? last : end;
        }

        backfill.Scanning = false;
        backfill.BeginBatch(end);
        foreach ((ObjectId id, PgVersion version) in ours)
        {
            if (end is null || id <= end)
            {
                bool same = theirs.Remove(id, out PgVersion their) && their == version && !_missing.ContainsKey(id) && !peer.Missing.ContainsKey(id);
                Note(id, same);
            }
        }

        foreach (ObjectId id in theirs.Keys)
        {
            if (end is null || id <= end)
            {
                Note(id, Mutations.Active(Mutation.BackfillSkipsRemoved)); // not ours: it goes
            }
        }

        foreach (ObjectId id in _missing.Keys)
        {
            if ((end is null || id <= end) && !peer.Info.Covers(id))
            {
                Note(id, false); // it may be absent here while it is missing
            }
        }

        StepBackfill();

        void Note(ObjectId id, bool same)
        {
            if (same)
            {
                backfill.MarkSame(id);
            }
            else
            {
                backfill.AddPending(id);
            }
        }
    }

    private void HandleBackfillProgress(OsdId from, ref WireReader reader)
    {
        bool complete = reader.ReadBoolean();
        ObjectId? cursor = ReadCursor(ref reader);
        if (from != Primary || !_replicaActive)
        {
            return;
        }

        if (!_info.IsComplete)
        {
            Invariant.Holds(complete || (cursor is not null && (_info.BackfillCursor is null || cursor >= _info.BackfillCursor)), "a backfill cursor goes back");
            _info.IsComplete = complete;
            _info.BackfillCursor = complete ? null : cursor;
            PersistInfo(_transaction);
        }

        SubmitMeta(_transaction, CommitKind.BackfillProgress, from);
    }

    private void AnswerBackfillProgress(OsdId primary)
    {
        WireWriter body = Begin();
        body.WriteBoolean(_info.IsComplete);
        WriteCursor(body, _info.BackfillCursor);
        _host.Answer(primary, OsdMessageType.BackfillProgressReply, body);
    }

    private void HandleBackfillProgressReply(OsdId from, ref WireReader reader)
    {
        bool complete = reader.ReadBoolean();
        ObjectId? cursor = ReadCursor(ref reader);
        if (_phase != GroupPhase.Active || !_peers.TryGetValue(from, out PeerState? peer) || peer.Backfill is not { Advancing: true } backfill
            || complete != peer.Info.IsComplete || cursor != peer.Info.BackfillCursor)
        {
            return;
        }

        backfill.Advancing = false;
        if (complete)
        {
            _host.Reached(RarePath.BackfillFinished);
            peer.Backfill = null;
            _host.Reached(RarePath.BackfillFinished);
            ReleaseIfDone();
            CheckClean();
            _host.StateChanged();
            return;
        }

        if (_backfillReservation.IsGranted && _host.IsSlotWantedAbove(SlotKind.Backfill, _backfillReservation.Priority))
        {
            // What the cursor covers is durable there: somebody who has fewer copies goes first.
            _host.Reached(RarePath.BackfillYielded);
            Unreserve(_backfillReservation);
        }

        StepBackfill();
    }

    private void ResendBackfill(OsdId osd)
    {
        if (_phase == GroupPhase.Active && _peers.TryGetValue(osd, out PeerState? peer) && peer.Backfill is { } backfill)
        {
            if (backfill.Scanning)
            {
                SendScan(peer);
            }
            else if (backfill.Advancing)
            {
                SendProgress(peer);
            }
        }
    }
}
