using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// From the chosen log to the first operation: up_thru, older leases, the members.
internal sealed partial class PlacementGroup
{
    private void WaitToActivate()
    {
        _phase = GroupPhase.WaitActivate;
        _peeringSentAt = _host.Now;
        if (!HasUpThru())
        {
            _host.RequestUpThru(Interval);
        }

        TryActivate();
    }

    private bool HasUpThru() => Mutations.Active(Mutation.IgnoresUpThru) || (_map.FindOsd(_host.Self) is { } self && self.UpThru >= (Mutations.Active(Mutation.UpThruOfEarlierInterval) ? _history.LastEpochStarted : Interval));

    // Invariants 2 and 5: not before the map has our up_thru, nor while an older primary may still hold a lease.
    private void TryActivate()
    {
        if (!HasUpThru())
        {
            return;
        }

        TimeSpan until = LeaseWait();
        bool waitedBefore = _leaseWaitUntil == until;
        _leaseWaitUntil = until;
        if (until > _host.Now)
        {
            if (!waitedBefore)
            {
                _host.Reached(RarePath.LeaseWaitedOut);
            }

            _host.Wake(this, until - _host.Now + TimeSpan.FromMilliseconds(1));
            return;
        }

        Activate();
    }

    private TimeSpan LeaseWait()
    {
        bool needed = _history.HasGap, dead = false; // an interval that nobody knows of had a primary too
        foreach (PastInterval interval in _history.Past)
        {
            // One who is up has answered us in this interval, and stopped serving in his.
            bool mayServe = interval.Primary != _host.Self && !_map.IsUp(interval.Primary);
            bool isDead = mayServe && _host.IsKnownDead(interval.Primary, interval.PrimaryUpFrom);
            needed |= mayServe && !isDead;
            dead |= isDead;
        }

        if (dead && !needed)
        {
            _host.Reached(RarePath.LeaseWaitSkipped);
        }

        if (!needed || Mutations.Active(Mutation.LeaseNotWaitedOut))
        {
            return TimeSpan.Zero;
        }

        TimeSpan until = _leasePromisedUntil;
        foreach (PeerState peer in _peers.Values)
        {
            until = peer.HasInfo && peer.PromisedUntil > until ? peer.PromisedUntil : until;
        }

        return until;
    }

    private void Activate()
    {
        Invariant.Holds(HasUpThru(), "a PG goes active before the map has its primary's up_thru for the interval");
        Invariant.Holds(_info.IsComplete, "a PG is activated by a primary that is still being backfilled");
        Invariant.Holds(_blockedBy.Count == 0, "a PG goes active though an earlier interval that may have accepted writes has no survivor");
        _phase = GroupPhase.Activating;
        if (_acting.Length >= _pool.MinSize)
        {
            // Fewer members accept no writes. Were their interval to count as started, its copies would be needed for ever, and one
            // disk that is lost afterwards would leave the PG incomplete though nothing was written to it alone.
            _info.LastEpochStarted = Interval;
        }

        if (Mutations.Active(Mutation.PastForgottenWhenActive))
        {
            _history.LastEpochClean = Interval;
            _history.Prune();
        }

        PersistInfo(_transaction);
        PersistHistory(_transaction);
        SubmitMeta(_transaction, CommitKind.PrimaryActivated);
        _activateSentAt = _host.Now;
        foreach (PeerState peer in _peers.Values)
        {
            if (IsTarget(peer.Osd))
            {
                SendActivate(peer);
            }
        }

        _host.StateChanged();
    }

    private bool IsTarget(OsdId osd) => osd != _host.Self && (Array.IndexOf(_acting, osd) >= 0 || Array.IndexOf(_up, osd) >= 0);

    private bool IsActing(OsdId osd) => Array.IndexOf(_acting, osd) >= 0;

    private void SendActivate(PeerState peer)
    {
        // An up member outside the acting set is filled; it goes on where it was if the log reaches back to it.
        bool overlaps = peer.Info.LastUpdate >= _info.LogTail;
        bool reset = !IsActing(peer.Osd) && !(peer.Exists && overlaps && !peer.Info.IsComplete);
        LogSegment segment = reset ? _log.Since(_info.LogTail, _info.LogTail, !Mutations.Active(Mutation.DuplicatesLostAtBackfill)) : _log.Since(peer.Info.LastUpdate, _info.LogTail, false);
        WireWriter body = Begin();
        body.WriteBoolean(reset);
        body.WriteUInt32(_info.LastEpochStarted.Value);
        body.WriteInt64(_info.Objects);
        body.WriteInt64(_info.Bytes);
        body.WriteBoolean(_info.CountsEstimated);
        _history.Encode(body);
        segment.Encode(body);
        _host.Send(peer.Osd, OsdMessageType.Activate, body);
    }

    private void OnPrimaryActivated()
    {
        _selfActivated = true;
        TryBecomeActive();
    }

    private void TryBecomeActive()
    {
        if (_phase != GroupPhase.Activating || !_selfActivated)
        {
            return;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (IsTarget(peer.Osd) && !peer.IsActivated && !Mutations.Active(Mutation.PrimaryActiveBeforeMembers))
            {
                return;
            }
        }

        _phase = GroupPhase.Active;
        _committedTo = _info.LastUpdate;
        foreach (PeerState peer in _peers.Values)
        {
            peer.LeaseAgreedAt = peer.IsActivated ? _activateSentAt : s_never;
            peer.Durable = _committedTo;
        }

        _leaseSentAt = _activateSentAt;
        LearnScrubState();
        UpdateLease();
        _history.LastEpochStarted = _acting.Length >= _pool.MinSize ? Interval : _history.LastEpochStarted;
        if (!Same(_up, _acting))
        {
            _host.Reached(RarePath.PgTempServed);
        }

        ShareHistory();
        FillRecoveryQueue();
        BeginBackfill();
        CheckClean();
        RetryWaiting();
        Recover();
        _host.StateChanged();
    }

    private void ShareHistory()
    {
        PersistHistory(_transaction);
        SubmitMeta(_transaction);
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated)
            {
                WireWriter body = Begin();
                _history.Encode(body);
                _host.Send(peer.Osd, OsdMessageType.HistoryUpdate, body);
            }
        }
    }
}
