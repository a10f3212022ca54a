using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

internal sealed partial class PlacementGroup
{
    private static readonly TimeSpan s_retry = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_strayRetry = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_askAgain = TimeSpan.FromSeconds(5);

    // Primary only. Everybody who was asked in this interval, ordered by number so that nothing depends on arrival.
    private readonly OsdTable<PeerState> _peers = new();
    private readonly List<OsdId> _blockedBy = [];
    private OsdId _authority = OsdId.None;
    private OsdId[] _wanted = [];
    private TimeSpan _peeringSentAt;
    private TimeSpan _askedAt;
    private TimeSpan _activateSentAt;
    private TimeSpan _leaseWaitUntil;
    private bool _selfActivated;
    private bool _intervalChanged = true;

    // What this OSD took before the interval may be in its memory only. Its log is shown to nobody, nor followed, until it is on disk: were it lost
    // with this process, others would wait for ever for objects in versions that nobody ever kept.
    private readonly List<OsdId> _askedUnsettled = [];
    private bool _settled = true;
    private ulong _settledBy;
    private TimeSpan _notifiedAt = s_never;

    private void StartPeering()
    {
        _phase = GroupPhase.GetInfo;
        _peers.Clear();
        _authority = OsdId.None;
        _selfActivated = false;
        _peeringSentAt = _host.Now;
        _askedAt = _host.Now;
        PeeringStep();
    }

    private void PeeringStep()
    {
        switch (_phase)
        {
            case GroupPhase.GetInfo or GroupPhase.Down or GroupPhase.Incomplete:
                TryChoose();
                break;
            case GroupPhase.WaitActivate:
                TryActivate();
                break;
            default:
                break;
        }
    }

    // Invariant 3: everybody alive who was in an interval that may have accepted writes is asked, and the present members.
    private bool ProbeAll()
    {
        foreach (PastInterval interval in _history.Past)
        {
            if (Mutations.Active(Mutation.AsksPresentMembersOnly))
            {
                break;
            }

            foreach (OsdId osd in interval.Acting)
            {
                Probe(osd);
            }
        }

        foreach (OsdId osd in _up)
        {
            Probe(osd);
        }

        foreach (OsdId osd in _acting)
        {
            Probe(osd);
        }

        bool all = true;
        foreach (PeerState peer in _peers.Values)
        {
            all &= peer.HasInfo || !_map.IsUp(peer.Osd);
        }

        return all;
    }

    private void Probe(OsdId osd)
    {
        if (osd != _host.Self && _map.IsUp(osd) && !_peers.ContainsKey(osd))
        {
            _peers.Add(osd, new PeerState(osd));
            _host.Send(osd, OsdMessageType.InfoRequest, Begin());
        }
    }

    private void TryChoose()
    {
        GroupPhase before = _phase;
        _blockedBy.Clear();
        if (!ProbeAll() || !_settled)
        {
            _phase = GroupPhase.GetInfo;
        }
        else if (_history.HasGap && !TryCoverGap())
        {
            _phase = _blockedBy.Count > 0 ? GroupPhase.Down : GroupPhase.GetInfo;
        }
        else if (IsBlockedByPast())
        {
            _phase = GroupPhase.Down;
        }
        else
        {
            Choose();
        }

        if (_phase != before)
        {
            if (_phase is GroupPhase.Down or GroupPhase.Incomplete)
            {
                _host.Reached(_phase == GroupPhase.Down ? RarePath.GroupDown : RarePath.GroupIncomplete);
            }

            _host.StateChanged();
        }
    }

    private bool IsBlockedByPast()
    {
        foreach (PastInterval interval in _history.Past)
        {
            bool survived = false, blocked = false;
            foreach (OsdId osd in interval.Acting)
            {
                if (_map.FindOsd(osd) is not { } record || record.LostAt > interval.Last)
                {
                    continue; // removed or declared lost by an operator: nobody waits for it
                }

                // Who is up has had a map before. A disk whose first map is of the interval or later came in the place of the one that was in it.
                bool here = osd == _host.Self
                    ? _host.DiskSince < interval.First || Mutations.Active(Mutation.NewDiskCountsAsOld)
                    : _peers.TryGetValue(osd, out PeerState? peer) && peer.HasInfo && _map.IsUp(osd) && (peer.DiskSince < interval.First || Mutations.Active(Mutation.NewDiskCountsAsOld));
                survived |= here;
                if (!here)
                {
                    blocked = true;
                    if (!_blockedBy.Contains(osd))
                    {
                        _blockedBy.Add(osd);
                    }
                }
            }

            if (!survived && blocked && !Mutations.Active(Mutation.GoesOnWithoutSurvivors))
            {
                return true;
            }
        }

        _blockedBy.Clear();
        return false;
    }

    private void Choose()
    {
        OsdId authority = ChooseAuthority();
        if (!authority.IsSome)
        {
            _phase = GroupPhase.Incomplete;
            return;
        }

        _authority = authority;
        OsdId[] wanted = ChooseActing(authority);
        _wanted = wanted;
        if (!Same(wanted, _acting))
        {
            _phase = GroupPhase.WaitActing;
            AskForActing();
            return;
        }

        PgInfo best = InfoOf(authority);
        if (authority != _host.Self && best.LastUpdate != _info.LastUpdate)
        {
            _phase = GroupPhase.GetLog;
            SendLogRequest();
            return;
        }

        if (best.LastEpochStarted > _info.LastEpochStarted)
        {
            _info.LastEpochStarted = best.LastEpochStarted; // our log is the authority's
            PersistInfo(_transaction);
            SubmitMeta(_transaction);
        }

        WaitToActivate();
    }

    private PgInfo InfoOf(OsdId osd) => osd == _host.Self ? _info : _peers[osd].Info;

    private IEnumerable<(OsdId Osd, PgInfo Info)> Infos()
    {
        yield return (_host.Self, _info);
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.HasInfo && _map.IsUp(peer.Osd) && (peer.Exists || Array.IndexOf(_up, peer.Osd) >= 0 || Array.IndexOf(_acting, peer.Osd) >= 0))
            {
                yield return (peer.Osd, peer.Info);
            }
        }
    }

    // Invariant 4: highest last_epoch_started, then highest last_update, then longest tail.
    private OsdId ChooseAuthority()
    {
        if (Mutations.Active(Mutation.AuthorityIsOwn) && _info.IsComplete)
        {
            return _host.Self;
        }

        Epoch newest = _history.LastEpochStarted;
        foreach ((_, PgInfo info) in Infos())
        {
            if (info.IsComplete && info.LastEpochStarted > newest)
            {
                newest = info.LastEpochStarted;
            }
        }

        OsdId best = OsdId.None;
        PgInfo? bestInfo = null;
        foreach ((OsdId osd, PgInfo info) in Infos())
        {
            if (!info.IsComplete || (info.LastEpochStarted < newest && !Mutations.Active(Mutation.AuthorityByLastUpdate)))
            {
                continue;
            }

            if (bestInfo is null || info.LastUpdate > bestInfo.LastUpdate || (info.LastUpdate == bestInfo.LastUpdate && info.LogTail < bestInfo.LogTail))
            {
                best = osd;
                bestInfo = info;
            }
        }

        return best;
    }

    // Who serves: members of the up set that log recovery can complete; others with a whole copy stand in for the rest.
    private OsdId[] ChooseActing(OsdId authority)
    {
        PgInfo best = InfoOf(authority);
        OsdId primary = authority;
        if (_up.Length > 0 && CanRecover(_up[0], best.LogTail))
        {
            primary = _up[0];
        }
        else if (CanRecover(_host.Self, best.LogTail))
        {
            primary = _host.Self;
        }

        PgVersion tail = InfoOf(primary).LogTail;
        var wanted = new List<OsdId>(_pool.Size) { primary };
        foreach (OsdId osd in _up)
        {
            AddIfUsable(osd);
        }

        foreach (OsdId osd in _acting)
        {
            AddIfUsable(osd);
        }

        foreach (OsdId osd in _peers.Keys)
        {
            AddIfUsable(osd);
        }

        return [.. wanted];

        void AddIfUsable(OsdId osd)
        {
            if (wanted.Count < _pool.Size && !wanted.Contains(osd) && CanRecover(osd, tail))
            {
                wanted.Add(osd);
            }
        }
    }

    private bool CanRecover(OsdId osd, PgVersion tail)
    {
        foreach ((OsdId known, PgInfo info) in Infos())
        {
            if (known == osd)
            {
                return info.IsComplete && info.LastUpdate >= tail;
            }
        }

        return false;
    }

    private void AskForActing()
    {
        _peeringSentAt = _host.Now;
        if (!Same(_wanted, _up))
        {
            _host.Reached(RarePath.PgTempRequested);
        }

        _host.RequestPgTemp(Id, Same(_wanted, _up) ? [] : _wanted);
    }

    private void SendLogRequest()
    {
        WireWriter body = Begin();
        body.WriteVersion(_info.LastUpdate);
        _host.Send(_authority, OsdMessageType.LogRequest, body);
    }

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

    private void ResendPeering(OsdId osd)
    {
        if (!_peers.TryGetValue(osd, out PeerState? peer))
        {
            return;
        }

        if (!peer.HasInfo)
        {
            _host.Send(osd, OsdMessageType.InfoRequest, Begin());
        }
        else if (_phase == GroupPhase.GetLog && osd == _authority)
        {
            SendLogRequest();
        }
        else if (_phase == GroupPhase.Activating && IsTarget(osd) && !peer.IsActivated)
        {
            SendActivate(peer);
        }
    }

    private void TickPeering()
    {
        if (_phase is GroupPhase.WaitActivate or GroupPhase.WaitActing && _host.Now - _peeringSentAt >= s_retry)
        {
            _peeringSentAt = _host.Now;
            if (_phase == GroupPhase.WaitActing)
            {
                AskForActing();
            }
            else if (!HasUpThru())
            {
                _host.RequestUpThru(Interval);
            }
        }

        if (_phase is GroupPhase.GetInfo or GroupPhase.GetLog or GroupPhase.Activating && _host.Now - _askedAt >= s_askAgain)
        {
            // A connection that breaks is noticed. Who could not make anything of a question when it came, for want of maps, says nothing.
            _askedAt = _host.Now;
            foreach (PeerState peer in _peers.Values.ToArray())
            {
                if (_map.IsUp(peer.Osd))
                {
                    ResendPeering(peer.Osd);
                }
            }
        }

        PeeringStep();
    }

    private void OnSettled()
    {
        _settled = true;
        foreach (OsdId osd in _askedUnsettled)
        {
            AnswerInfo(osd);
        }

        _askedUnsettled.Clear();
        if (IsPrimary)
        {
            PeeringStep();
        }
        else if (!IsMember)
        {
            SendNotify();
        }
    }

    private void AnswerInfo(OsdId from)
    {
        if (_settled)
        {
            AnswerInfo(_host, Header, from, true, _info, _history, _leasePromisedUntil);
        }
        else if (!_askedUnsettled.Contains(from))
        {
            _host.Reached(RarePath.AskedUnsettled);
            _askedUnsettled.Add(from);
        }
    }

    /// <summary>Answers a primary's question, also for a PG that this OSD does not hold.</summary>
    public static void AnswerInfo(IPlacementGroupHost host, GroupHeader header, OsdId from, bool exists, PgInfo info, PgHistory history, TimeSpan promisedUntil)
    {
        WireWriter body = host.Scratch();
        header.Encode(body);
        body.WriteBoolean(exists);
        info.Encode(body);
        history.Encode(body);
        body.WriteUInt32(host.DiskSince.Value);
        body.WriteInt32(promisedUntil > host.Now ? (int)Math.Ceiling((promisedUntil - host.Now).TotalMilliseconds) : 0);
        host.Answer(from, OsdMessageType.InfoReply, body);
    }

    private void HandleInfoReply(OsdId from, ref WireReader reader)
    {
        if (!_peers.TryGetValue(from, out PeerState? peer) || peer.HasInfo)
        {
            return;
        }

        peer.Exists = reader.ReadBoolean();
        peer.Info = PgInfo.Decode(ref reader);
        PgHistory history = PgHistory.Decode(ref reader);
        peer.DiskSince = reader.ReadEpoch();
        peer.PromisedUntil = _host.Now + TimeSpan.FromMilliseconds(reader.ReadInt32());
        peer.HasInfo = true;
        if (peer.Exists)
        {
            _history.Merge(history);
        }

        PeeringStep();
        if (IsClean && !IsTarget(from) && peer.Exists)
        {
            SendRemove(from);
        }
        else if (_phase == GroupPhase.Active && _unfound.Count > 0)
        {
            _unfound.Clear(); // one more who may have it
            FillRecoveryQueue();
            Recover();
        }
    }

    private void SendNotify()
    {
        if (!_settled)
        {
            return; // follows when it is
        }

        _notifiedAt = _host.Now;
        if (Primary.IsSome)
        {
            _host.Reached(RarePath.StrayNotified);
            WireWriter body = Begin();
            _info.Encode(body);
            _history.Encode(body);
            _host.Send(Primary, OsdMessageType.Notify, body);
        }
    }

    private void TickStray()
    {
        if (_host.Now - _notifiedAt >= s_strayRetry)
        {
            SendNotify();
        }
    }

    private void HandleNotify(OsdId from, ref WireReader reader)
    {
        PgInfo.Decode(ref reader);
        PgHistory history = PgHistory.Decode(ref reader);
        if (_phase is GroupPhase.GetInfo or GroupPhase.Down or GroupPhase.Incomplete)
        {
            // It may know a past that we do not, and hold a copy that we did not know to ask for.
            _history.Merge(history);
            Probe(from);
            PeeringStep();
        }
        else if ((IsClean || (Mutations.Active(Mutation.StrayRemovedEarly) && _phase == GroupPhase.Active)) && !IsTarget(from))
        {
            SendRemove(from);
        }
        else if (_phase == GroupPhase.Active && !_peers.ContainsKey(from))
        {
            Probe(from); // a further source for objects that are not found elsewhere
        }
    }

    private void SendRemove(OsdId osd)
    {
        Invariant.Holds((IsClean || Mutations.Active(Mutation.StrayRemovedEarly)) && !IsTarget(osd) && osd != _host.Self, "a copy is removed that the PG still needs");
        _host.Send(osd, OsdMessageType.Remove, Begin());
    }

    private void HandleRemove(OsdId from)
    {
        if (from != Primary || IsMember)
        {
            return;
        }

        _host.Reached(RarePath.StrayRemoved);
        _removed = true;
        _host.Removed(this);
    }

    private void HandleHistoryUpdate(OsdId from, ref WireReader reader)
    {
        if (from == Primary && _history.Merge(PgHistory.Decode(ref reader)))
        {
            PersistHistory(_transaction);
            SubmitMeta(_transaction);
        }
    }
}
