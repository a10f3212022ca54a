using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Which object is recovered or filled next, and when. A lane copies one object after the other, each when the scheduler gives
// it its turn; only then is the object chosen, so that as few as possible are closed to writes.
internal sealed partial class PlacementGroup
{
    private readonly Queue<ObjectId> _recoveryQueue = new();
    private Lane[] _recoveryLanes = [];
    private Lane[] _backfillLanes = [];
    private bool _startingLanes;

    private sealed class Lane(PlacementGroup group, WorkClass workClass) : WorkItem
    {
        /// <summary>What it copies now; null while it waits for its turn or has nothing to do.</summary>
        public Recovery? Current;

        public WorkClass Kind { get; } = workClass;

        public bool IsFree => Current is null && !IsQueued && !IsRunning;

        protected internal override bool Run() => group.RunLane(this);
    }

    // All that anybody lacks, our own objects first.
    private void FillRecoveryQueue()
    {
        _recoveryQueue.Clear();
        foreach (ObjectId id in _missing.Keys)
        {
            _recoveryQueue.Enqueue(id);
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated)
            {
                foreach (ObjectId id in peer.Missing.Keys)
                {
                    _recoveryQueue.Enqueue(id);
                }
            }
        }
    }

    private bool IsMissedByAnyone(ObjectId id)
    {
        if (_missing.ContainsKey(id))
        {
            return true;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && peer.Missing.ContainsKey(id))
            {
                return true;
            }
        }

        return false;
    }

    private int CopyBytes => _host.ClientsActive ? Math.Min(_host.Options.BusyRecoveryChunkBytes, _host.Options.RecoveryChunkBytes) : _host.Options.RecoveryChunkBytes;

    private int TypicalObjectBytes => (int)Math.Min(CopyBytes, _info.Objects > 0 ? Math.Max(0, _info.Bytes) / _info.Objects : 0);

    private void StartRecoveryLanes()
    {
        if (_recoveryLanes.Length == 0)
        {
            _recoveryLanes = MakeLanes(WorkClass.Recovery);
        }

        int wanted = _recoveryQueue.Count;
        foreach (Lane lane in _recoveryLanes)
        {
            if (wanted > 0 && lane.IsFree)
            {
                wanted--;
                _host.Schedule(this, lane, WorkClass.Recovery, TypicalObjectBytes);
            }
        }
    }

    private void StartBackfillLanes(int wanted)
    {
        if (_backfillLanes.Length == 0)
        {
            _backfillLanes = MakeLanes(WorkClass.Backfill);
        }

        foreach (Lane lane in _backfillLanes)
        {
            if (wanted > 0 && lane.IsFree)
            {
                wanted--;
                _host.Schedule(this, lane, WorkClass.Backfill, TypicalObjectBytes);
            }
        }
    }

    private Lane[] MakeLanes(WorkClass workClass)
    {
        var lanes = new Lane[_host.Options.RecoveryObjectsPerGroup];
        for (int i = 0; i < lanes.Length; i++)
        {
            lanes[i] = new Lane(this, workClass);
        }

        return lanes;
    }

    // Says whether the lane's turn is over at once: there was nothing left to do.
    private bool RunLane(Lane lane)
    {
        if (_phase != GroupPhase.Active)
        {
            return true;
        }

        _startingLanes = true;
        if (lane.Kind == WorkClass.Recovery)
        {
            RunRecoveryLane(lane);
        }
        else
        {
            RunBackfillLane(lane);
        }

        _startingLanes = false;
        if (lane.Current is null)
        {
            ReleaseIfDone();
        }

        return lane.Current is null;
    }

    private void RunRecoveryLane(Lane lane)
    {
        while (lane.Current is null && _recoveryReservation.IsGranted && _recoveryQueue.TryDequeue(out ObjectId? id))
        {
            if (!_recovering.ContainsKey(id) && !_unfound.Contains(id) && IsMissedByAnyone(id))
            {
                StartRecovery(id, lane);
            }
        }
    }

    private void RunBackfillLane(Lane lane)
    {
        if (!_backfillReservation.IsGranted)
        {
            return;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (lane.Current is not null || peer.Backfill is not { InBatch: true } backfill)
            {
                continue;
            }

            for (int rounds = backfill.Pending; rounds > 0 && lane.Current is null && backfill.TryTake(out ObjectId? id); rounds--)
            {
                if (_recovering.ContainsKey(id!) || _unfound.Contains(id!))
                {
                    backfill.AddPending(id!);
                }
                else if (_missing.ContainsKey(id!))
                {
                    backfill.AddPending(id!); // our own copy first
                    StartRecovery(id!, lane);
                }
                else
                {
                    var recovery = new Recovery(id!, LocalVersion(id!)) { Backfilling = peer, Lane = lane };
                    lane.Current = recovery;
                    recovery.Targets.Add(peer.Osd);
                    _recovering.Add(id!, recovery);
                    backfill.OnPushing();
                    StartSending(peer.Osd, recovery);
                }
            }
        }
    }

    // Takes a recovery off the books, whatever became of it.
    private void EndRecovery(Recovery recovery)
    {
        if (_recovering.TryGetValue(recovery.Object, out Recovery? known) && ReferenceEquals(known, recovery))
        {
            _recovering.Remove(recovery.Object);
        }

        if (recovery.Lane is { } lane)
        {
            recovery.Lane = null;
            lane.Current = null;
            _host.Finish(lane);
        }
    }

    // Slots are for those who have something to do.
    private void ReleaseIfDone()
    {
        if (_recoveryReservation.Stage != ReservationStage.None && _recoveryQueue.Count == 0 && AllFree(_recoveryLanes))
        {
            Unreserve(_recoveryReservation);
        }

        if (_backfillReservation.Stage != ReservationStage.None && !IsBackfilling)
        {
            Unreserve(_backfillReservation);
        }

        static bool AllFree(Lane[] lanes)
        {
            foreach (Lane lane in lanes)
            {
                if (lane.Current is not null)
                {
                    return false;
                }
            }

            return true;
        }
    }

    // A client waits for an object that is being copied: no piece of it waits for a turn any more, wherever it is.
    private void Promote(Recovery recovery)
    {
        if (recovery.IsUrgent)
        {
            return;
        }

        recovery.IsUrgent = true;
        if (recovery.Source.IsSome && recovery.Mending is null)
        {
            SendUrge(recovery.Source, recovery.Object);
        }

        foreach (OsdId target in recovery.Targets)
        {
            SendUrge(target, recovery.Object);
            if (_sending.TryGetValue((target, recovery.Object), out Sending? sending))
            {
                Promote(sending);
            }
        }
    }

    private void Promote(Sending sending)
    {
        sending.IsUrgent = true;
        if (sending.Turn is { IsQueued: true } turn)
        {
            _host.Reached(RarePath.RecoveryPreempted);
            _host.Cancel(turn);
            ReadPiece(sending);
        }
    }

    private void SendUrge(OsdId to, ObjectId id)
    {
        WireWriter body = Begin();
        id.Encode(body);
        _host.Send(to, OsdMessageType.Urge, body);
    }

    private void HandleUrge(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        if (from != Primary || IsPrimary)
        {
            return;
        }

        if (_sending.TryGetValue((from, id), out Sending? sending))
        {
            Promote(sending);
        }

        if (_applying.TryGetValue(id, out ApplyTurn? apply) && apply.IsQueued)
        {
            _host.Reached(RarePath.RecoveryPreempted);
            _host.Cancel(apply);
            _host.AccountClient(apply.Data.Length);
            apply.Apply();
        }
    }
}
