using Storage.Cluster;

namespace Storage.Osd;

// For the simulator: what is still on the books once everything has ended.
internal sealed partial class PlacementGroup
{
    /// <summary>Lists what has not ended. The PG is clean and no client waits: what stays here will never end.</summary>
    /// <param name="left">Gets what it is.</param>
    public void ListLeftovers(List<string> left)
    {
        if (_removed)
        {
            return;
        }

        foreach ((string what, int count) in Books())
        {
            if (count > 0)
            {
                left.Add($"pg {Id} has {what}");
            }
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (_phase == GroupPhase.Active && peer.IsActivated && (peer.Missing.Count > 0 || peer.Backfill is not null))
            {
                left.Add($"pg {Id} thinks that {peer.Osd} lacks something");
            }
        }
    }

    /// <summary>Compares the number of objects and bytes that this primary gives with what is there; nobody writes.</summary>
    /// <returns>The difference, or null: also where it is known to be an estimate.</returns>
    public string? FindWrongCount()
    {
        if (_phase != GroupPhase.Active || _info.CountsEstimated)
        {
            return null;
        }

        long objects = 0, bytes = 0;
        var ids = new List<ObjectId>();
        _host.Store.ListObjects(_collection, null, int.MaxValue, ids);
        foreach (ObjectId id in ids)
        {
            if (IsContent(id) && !(id.Snapshot == ObjectId.NoSnapshot && PeekSnapshots(id).IsTombstone) && _host.Store.TryStat(_collection, id, out long size))
            {
                objects++;
                bytes += size;
            }
        }

        return objects == _info.Objects && bytes == _info.Bytes ? null : $"pg {Id} counts {_info.Objects} objects of {_info.Bytes} bytes and has {objects} of {bytes}";
    }

    private IEnumerable<(string What, int Count)> Books() =>
    [
        ("operations that wait for the PG", _waitingForActive.Count),
        ("objects that operations wait for", _waitingForObject.Count),
        ("operations that wait for a lease", _waitingForLease.Count),
        ("writes in flight", _inFlight.Count),
        ("objects being written", _writing.Count),
        ("answers held back", _deferred.Count),
        ("commits awaited", _commits.Count),
        ("writes that wait for an earlier one", _stalled.Count),
        ("steps in a transaction that nobody submitted", _transaction.Count),
        ("objects missing", _missing.Count),
        ("unfound objects", _unfound.Count),
        ("damaged objects", _damaged.Count),
        ("objects being recovered", _recovering.Count),
        ("objects to be recovered first", _recoverFirst.Count),
        ("objects to be recovered", _recoveryQueue.Count),
        ("objects being received", _receiving.Count),
        ("pieces that wait for their turn", _applying.Count),
        ("slots for recovery", _recoveryReservation.Stage == ReservationStage.None ? 0 : 1),
        ("slots for backfill", _backfillReservation.Stage == ReservationStage.None ? 0 : 1),
        ("slots given to the primary", _slotAskedAt.Count(at => at != s_never)),
        ("scrubs", _scrub is null && _build is null && _scrubTurn is not ({ IsQueued: true } or { IsRunning: true }) ? 0 : 1),
        ("slots for scrub", _scrubReserved ? 1 : 0),
        ("objects being repaired", _repairing.Count),
        ("objects being trimmed", _trimming.Count),
        ("earlier intervals remembered", _phase == GroupPhase.Active ? _history.Past.Count : 0),
    ];
}
