using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// What OSDs that have, had or want a copy tell each other of it.
internal sealed partial class PlacementGroup
{
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
        if (_peers.TryGetValue(osd, out PeerState? peer))
        {
            peer.Exists = false; // nothing more is to be had from it, nor would it answer
        }
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
