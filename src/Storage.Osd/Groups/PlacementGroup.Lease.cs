using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Read leases (design §6.5). Members promise, for a while from the moment they receive the request, to help no other primary;
// the primary counts from the moment it sent it, and less, because clocks do not run alike (OsdOptions.LargestClockDrift).
internal sealed partial class PlacementGroup
{
    private TimeSpan _leaseSentAt = s_never;
    private TimeSpan _leaseUntil = s_never;

    private bool HoldsLease() => _acting.Length == 1 || _host.Now < _leaseUntil;

    private void UpdateLease()
    {
        TimeSpan agreed = TimeSpan.MaxValue;
        foreach (OsdId osd in _acting)
        {
            if (osd != _host.Self)
            {
                TimeSpan at = _peers[osd].LeaseAgreedAt;
                agreed = at < agreed ? at : agreed;
            }
        }

        double share = Mutations.Active(Mutation.LeaseLongerThanPromised) ? 2 : (1 - OsdOptions.LargestClockDrift) / (1 + OsdOptions.LargestClockDrift);
        _leaseUntil = agreed == TimeSpan.MaxValue ? agreed : agreed + (_host.Options.LeaseLength * share);
    }

    private void TickLease()
    {
        if (_phase == GroupPhase.Active && _host.Now - _leaseSentAt >= _host.Options.LeaseLength / 3)
        {
            RenewLease();
        }
    }

    private void RenewLease()
    {
        // Those that wait must not make a request each.
        if (_acting.Length == 1 || _host.Now - _leaseSentAt < TimeSpan.FromMilliseconds(50))
        {
            return;
        }

        _leaseSentAt = _host.Now;
        foreach (OsdId osd in _acting)
        {
            if (osd != _host.Self)
            {
                WireWriter body = Begin();
                body.WriteInt64(_leaseSentAt.Ticks);
                _host.Send(osd, OsdMessageType.Lease, body);
            }
        }
    }

    private void PromiseLease()
    {
        TimeSpan until = _host.Now + _host.Options.LeaseLength;
        _leasePromisedUntil = until > _leasePromisedUntil ? until : _leasePromisedUntil;
    }

    private void HandleLease(OsdId from, ref WireReader reader)
    {
        long sent = reader.ReadInt64();
        if (from == Primary && _replicaActive)
        {
            PromiseLease();
            WireWriter body = Begin();
            body.WriteInt64(sent);
            _host.Answer(from, OsdMessageType.LeaseReply, body);
        }
    }

    private void HandleLeaseReply(OsdId from, ref WireReader reader)
    {
        var sent = new TimeSpan(reader.ReadInt64());
        if (_phase == GroupPhase.Active && _peers.TryGetValue(from, out PeerState? peer) && sent > peer.LeaseAgreedAt && sent <= _host.Now)
        {
            peer.LeaseAgreedAt = Mutations.Active(Mutation.LeaseCountedFromAnswer) ? _host.Now : sent;
            UpdateLease();
            if (HoldsLease())
            {
                RetryLease();
            }
        }
    }
}
