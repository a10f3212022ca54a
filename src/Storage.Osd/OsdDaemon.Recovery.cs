using Storage.Cluster;

namespace Storage.Osd;

// Recovery shares the OSD: a bounded number of objects is copied at once over all PGs, so that its data never piles up in
// front of clients, leases and heartbeats. What one group no longer uses the next one gets at the end of the pass.
public sealed partial class OsdDaemon
{
    private bool _recoveryHandover;
    private PgId _recoveredLast;

    int IPlacementGroupHost.RecoverySlots
    {
        get
        {
            int free = _options.RecoveryObjects;
            foreach (PlacementGroup group in _groups.Values)
            {
                free -= group.RecoveriesInFlight;
            }

            return Math.Max(0, free);
        }
    }

    void IPlacementGroupHost.RecoverySlotFreed()
    {
        if (!_recoveryHandover)
        {
            _recoveryHandover = true;
            _loop.Defer(static state => ((OsdDaemon)state!).HandOverRecovery(), this);
        }
    }

    private void HandOverRecovery()
    {
        _recoveryHandover = false;
        if (!_running || !IsUp)
        {
            return;
        }

        PgId[] order = [.. _groups.Keys.Order()];
        int after = Array.BinarySearch(order, _recoveredLast);
        int start = after < 0 ? ~after : after + 1;
        for (int i = 0; i < order.Length && ((IPlacementGroupHost)this).RecoverySlots > 0; i++)
        {
            PgId id = order[(start + i) % order.Length];
            if (_groups.TryGetValue(id, out PlacementGroup? group) && group.ContinueRecovery())
            {
                _recoveredLast = id;
            }
        }
    }
}
