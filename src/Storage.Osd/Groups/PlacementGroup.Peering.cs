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
        if (osd != _host.Self && _map.FindOsd(osd) is { IsUp: true } record && !_peers.ContainsKey(osd))
        {
            _peers.Add(osd, new PeerState(osd, record.UpFrom));
            _host.Send(osd, OsdMessageType.InfoRequest, Begin());
        }
    }

    // The map changed within the interval, so not for its members: others may have gone, or come back with what they have now.
    private void ForgetEndedLives()
    {
        bool chosen = false;
        foreach (PeerState peer in _peers.Values.ToArray())
        {
            if (!IsTarget(peer.Osd) && !(_map.FindOsd(peer.Osd) is { IsUp: true } record && record.UpFrom == peer.UpFrom))
            {
                _peers.Remove(peer.Osd);
                _leasePromisedUntil = peer.PromisedUntil > _leasePromisedUntil ? peer.PromisedUntil : _leasePromisedUntil; // what it promised holds
                chosen |= peer.Osd == _authority || Array.IndexOf(_wanted, peer.Osd) >= 0;
            }
        }

        if (chosen && _phase is GroupPhase.GetLog or GroupPhase.WaitActing)
        {
            _host.Reached(RarePath.AuthorityGone);
            _phase = GroupPhase.GetInfo;
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

                bool here = osd == _host.Self
                    ? WasThere(_host.DiskSince, interval.First)
                    : _peers.TryGetValue(osd, out PeerState? peer) && peer.HasInfo && _map.IsUp(osd) && WasThere(peer.DiskSince, interval.First);
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

    // Whether a disk may have been in an interval. One with which its OSD was first up later came in the place of the one that was in it.
    private static bool WasThere(Epoch diskSince, Epoch first) => (diskSince != Epoch.None && diskSince <= first) || Mutations.Active(Mutation.NewDiskCountsAsOld);

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
}
