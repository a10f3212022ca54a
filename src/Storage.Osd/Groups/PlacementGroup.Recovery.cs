using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Recovery by log: objects that a member lacks are copied whole, the primary's own first. One object at a time is fetched
// from one holder or sent to all that lack it; while that goes on it does not change.
internal sealed partial class PlacementGroup
{
    private readonly Dictionary<ObjectId, Recovery> _recovering = [];
    private readonly Queue<ObjectId> _recoverFirst = new();
    private readonly HashSet<ObjectId> _unfound = [];
    private readonly HashSet<ObjectId> _damaged = [];

    private sealed class Recovery(ObjectId id, PgVersion version)
    {
        public ObjectId Object { get; } = id;

        public PgVersion Version { get; } = version;

        /// <summary>From whom we fetch, or none while we send; this OSD itself while a damaged copy is mended.</summary>
        public OsdId Source = OsdId.None;

        /// <summary>The search for blocks of it that a damaged copy lacks, while that goes on.</summary>
        public Mending? Mending;

        public bool MendingTried;

        public readonly List<OsdId> Tried = [];

        /// <summary>To whom we send and who has not confirmed.</summary>
        public readonly List<OsdId> Targets = [];

        /// <summary>Set where this is backfill of one target rather than recovery.</summary>
        public PeerState? Backfilling;

        /// <summary>The lane that it occupies; none if a client wanted it.</summary>
        public Lane? Lane;

        /// <summary>A client waits for it.</summary>
        public bool IsUrgent;
    }

    private bool IsBeingCopied(ObjectId id) => _recovering.TryGetValue(id, out Recovery? recovery) && !recovery.Source.IsSome;

    private bool IsClean { get; set; }

    private void RecoverFirst(ObjectId id)
    {
        _recoverFirst.Enqueue(id);
        Recover();
        if (_unfound.Contains(id))
        {
            FailIfHopeless(id);
        }
    }

    // All copies there are cannot be read. While another one may come back, operations wait for it.
    private void FailIfHopeless(ObjectId id)
    {
        if (_damaged.Contains(id) && UnaskedHolders().Count == 0)
        {
            FailWaiting(id, Storage.Messaging.ResultCode.IoError);
        }
    }

    private void TickRecovery()
    {
        if (_phase == GroupPhase.Active)
        {
            if (_recoveryQueue.Count == 0 && _recovering.Count == 0 && MissingCopies > 0)
            {
                FillRecoveryQueue(); // what was refused before is tried again
            }

            Recover();
            StepBackfill();
            CheckClean();
        }
    }

    private void Recover()
    {
        if (_phase != GroupPhase.Active)
        {
            return;
        }

        while (_recoverFirst.TryDequeue(out ObjectId? wanted))
        {
            _host.Reached(RarePath.RecoveredFirst);
            StartRecovery(wanted, null);
        }

        DropObsolete();
        if (_recoveryQueue.Count == 0 || (_map.Flags & ClusterFlags.NoRecover) != 0)
        {
            ReleaseIfDone();
            return;
        }

        if (Reserve(_recoveryReservation))
        {
            StartRecoveryLanes();
        }
    }

    // What nobody lacks any more, or cannot be had now, need not wait for a turn.
    private void DropObsolete()
    {
        while (_recoveryQueue.TryPeek(out ObjectId? id) && (_unfound.Contains(id) || !IsMissedByAnyone(id)))
        {
            _recoveryQueue.Dequeue();
        }
    }

    // Without a lane it is for a client, and nothing of it waits for a turn.
    private void StartRecovery(ObjectId id, Lane? lane)
    {
        if (_recovering.TryGetValue(id, out Recovery? known))
        {
            if (lane is null)
            {
                Promote(known);
            }

            return;
        }

        if (_missing.TryGetValue(id, out PgVersion need))
        {
            Recovery pull = Occupy(new Recovery(id, need), lane);
            _recovering.Add(id, pull);
            PullNext(pull);
            return;
        }

        var push = new Recovery(id, LocalVersion(id));
        if (push.Version != PgVersion.Zero && AddTargets(push))
        {
            _recovering.Add(id, Occupy(push, lane));
            SendToTargets(push);
        }
    }

    private static Recovery Occupy(Recovery recovery, Lane? lane)
    {
        recovery.Lane = lane;
        recovery.IsUrgent = lane is null;
        if (lane is not null)
        {
            lane.Current = recovery;
        }

        return recovery;
    }

    private bool AddTargets(Recovery recovery)
    {
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && peer.Missing.ContainsKey(recovery.Object))
            {
                recovery.Targets.Add(peer.Osd);
            }
        }

        return recovery.Targets.Count > 0;
    }

    private void SendToTargets(Recovery recovery)
    {
        foreach (OsdId target in recovery.Targets.ToArray())
        {
            StartSending(target, recovery);
        }
    }

    // Whether an OSD that can be asked may have a copy of an object, in whatever version.
    private bool MayHold(PeerState peer, ObjectId id) => peer.HasInfo && (peer.Exists || peer.IsActivated) && _map.IsUp(peer.Osd) && peer.Info.Covers(id);

    // Asks the next one who may hold the object: members first, then anybody else who has a copy of the PG.
    private void PullNext(Recovery recovery)
    {
        ObjectId id = recovery.Object;
        OsdId source = OsdId.None;
        foreach (PeerState peer in _peers.Values)
        {
            if (recovery.Tried.Contains(peer.Osd) || !MayHold(peer, id) || peer.Missing.ContainsKey(id))
            {
                continue;
            }

            if (!source.IsSome || (IsActing(peer.Osd) && !IsActing(source)))
            {
                source = peer.Osd;
            }
        }

        if (!source.IsSome)
        {
            if (StartMending(recovery))
            {
                return;
            }

            EndRecovery(recovery);
            _unfound.Add(id);
            _host.Reached(RarePath.ObjectUnfound);
            FailIfHopeless(id);

            _host.StateChanged();
            return;
        }

        recovery.Source = source;
        SendPull(recovery);
    }

    private void SendPull(Recovery recovery)
    {
        WireWriter body = Begin();
        recovery.Object.Encode(body);
        body.WriteVersion(recovery.Version);
        body.WriteBoolean(recovery.IsUrgent);
        _host.Send(recovery.Source, OsdMessageType.Pull, body);
    }

    private void OnPullRefused(OsdId from, ObjectId id, PgVersion version, bool damaged)
    {
        if (!_recovering.TryGetValue(id, out Recovery? recovery) || recovery.Source != from || recovery.Version != version || !_missing.ContainsKey(id))
        {
            return; // what is here already is only waited for until it is on disk
        }

        _host.Reached(RarePath.PullRefused);
        recovery.Tried.Add(from);
        if (damaged && _peers.TryGetValue(from, out PeerState? peer) && peer.IsActivated)
        {
            peer.Missing[id] = version; // repaired once we have a good copy
            _recoveryQueue.Enqueue(id);
        }

        PullNext(recovery);
    }

    // Our own copy is whole again.
    private void OnSelfRecovered(ObjectId id)
    {
        _host.Reached(RarePath.ObjectPulled);
        ResolveFinding(id);
        if (_recovering.TryGetValue(id, out Recovery? recovery))
        {
            recovery.Source = OsdId.None;
            if (AddTargets(recovery))
            {
                RetryObject(id); // reads can go on
                SendToTargets(recovery);
                return;
            }

            FinishRecovery(recovery);
        }
    }

    private void OnTargetRecovered(OsdId target, ObjectId id, bool done)
    {
        if (!_recovering.TryGetValue(id, out Recovery? recovery) || !recovery.Targets.Remove(target))
        {
            return;
        }

        if (done && _peers.TryGetValue(target, out PeerState? peer))
        {
            peer.Missing.Remove(id);
            ResolveFinding(id);
        }

        if (recovery.Backfilling?.Backfill is { } backfill)
        {
            backfill.OnPushed(id, done);
        }

        if (recovery.Targets.Count == 0)
        {
            FinishRecovery(recovery, goOn: done);
        }
    }

    private void FinishRecovery(Recovery recovery, bool goOn = true)
    {
        EndRecovery(recovery);
        RetryObject(recovery.Object);
        if (goOn && !_startingLanes)
        {
            Recover(); // after a refusal the next tick tries again
            StepBackfill();
        }

        CheckClean();
    }

    // While we sent an object our copy turned out to be damaged.
    private void OnSourceDamaged(ObjectId id)
    {
        CancelSendingOf(id);
        if (_recovering.TryGetValue(id, out Recovery? recovery))
        {
            EndRecovery(recovery);
            recovery.Backfilling?.Backfill?.OnPushed(id, false);
        }

        MarkDamaged(id);
        RecoverFirst(id);
        RetryObject(id); // whoever waited for the end of the copying, where nothing of it is left to be recovered
    }

    private void ResendRecovery(OsdId osd)
    {
        if (_phase != GroupPhase.Active)
        {
            return;
        }

        foreach (Recovery recovery in _recovering.Values.ToArray())
        {
            if (recovery.Source == osd || recovery.Targets.Contains(osd))
            {
                _host.Reached(RarePath.RecoveryResent);
            }

            if (recovery.Source == osd)
            {
                if (_missing.ContainsKey(recovery.Object))
                {
                    SendPull(recovery); // else it came and is not on disk yet; writes go on, so that the source has another version now
                }
            }
            else if (recovery.Targets.Contains(osd))
            {
                StartSending(osd, recovery);
            }
        }

        ResendMending(osd);
    }

    // The map changed within the interval: a source may be gone, or one may have come back.
    private void RecoverySourcesChanged()
    {
        if (_phase != GroupPhase.Active)
        {
            return;
        }

        foreach (Recovery recovery in _recovering.Values.ToArray())
        {
            if (recovery.Source.IsSome && recovery.Mending is null && !_peers.ContainsKey(recovery.Source) && _missing.ContainsKey(recovery.Object))
            {
                PullNext(recovery);
            }
        }

        MendingSourcesChanged();

        if (_unfound.Count > 0)
        {
            ProbeAll();
        }
    }

    private void AbandonRecovery()
    {
        IsClean = false;
        foreach (Lane lane in _recoveryLanes)
        {
            lane.Current = null;
        }

        foreach (Lane lane in _backfillLanes)
        {
            lane.Current = null;
        }

        _recovering.Clear();
        _recoveryQueue.Clear();
        _recoverFirst.Clear();
        _unfound.Clear();
        CancelSending();
    }

    private bool HasMissing()
    {
        if (_missing.Count > 0)
        {
            return true;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && (peer.Missing.Count > 0 || peer.Backfill is not null))
            {
                return true;
            }
        }

        return false;
    }

    // All copies of the present members are whole: the up set takes over from stand-ins, or the past may be forgotten.
    private void CheckClean()
    {
        if (_phase != GroupPhase.Active || IsClean || (HasMissing() && !Mutations.Active(Mutation.CleanTooEarly)))
        {
            return;
        }

        if (!Same(_up, _acting))
        {
            // All of the up set is whole now; stand-ins stay only where it is too small.
            _wanted = [.. _up.Concat(_acting.Except(_up)).Take(Math.Max(_pool.Size, _up.Length))];
            if (!Same(_wanted, _acting) && _host.Now - _peeringSentAt >= s_retry)
            {
                AskForActing();
            }

            return;
        }

        if (_acting.Length < _pool.Size)
        {
            return;
        }

        IsClean = true;
        _history.LastEpochClean = Interval;
        _history.Prune();
        Invariant.Holds(_history.Past.Count == 0, "a PG is clean and still remembers earlier intervals");
        ForgetFindingsOfOthers();
        ShareHistory();
        _shareScrub = true;
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.HasInfo && peer.Exists && !IsTarget(peer.Osd))
            {
                SendRemove(peer.Osd);
            }
        }

        ContinueTrim();
        _host.StateChanged();
    }
}
