using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Following the map: where one interval ends and the next begins.
internal sealed partial class PlacementGroup
{
    /// <summary>Takes account of the next map; the pool must still exist. <see cref="ApplyMap"/> follows after the last one of a batch.</summary>
    public void AdvanceMap(ClusterMap next)
    {
        Invariant.Holds(next.Epoch == _map.Epoch.Next, "a PG follows the map but skips an epoch");
        PgMapping mapping = next.Locate(Id);
        PoolInfo pool = next.FindPool(Id.Pool)!;
        (GroupPhase phase, bool backfilling, int count) = (_phase, IsBackfilling, _pool.PgCount);
        if (IntervalChanges(Id, _map, next, _pool, pool, _up, _acting, mapping))
        {
            if (MaybeWentActive(_map, _pool, _acting, _history.SameIntervalSince) || (_history.IntervalUncertain && _acting.Length >= _pool.MinSize))
            {
                _history.Past.Add(new PastInterval(_history.SameIntervalSince, _map.Epoch, _acting, _map.FindOsd(_acting[0])?.UpFrom ?? Epoch.None));
            }
            else if (_acting.Length >= _pool.MinSize && _acting.Length > 0)
            {
                _host.Reached(RarePath.IntervalSkippedByUpThru);
            }

            EndInterval(next.Epoch);
            _history.IntervalUncertain = false;
        }

        bool wasPrimary = IsPrimary;
        TakeMap(next, pool, mapping);
        _primarySince = wasPrimary ? _primarySince : next.Epoch;
        SplitIfGrown(count, phase, backfilling);
    }

    /// <summary>Goes on with a map that does not follow the last one: what happened in between must come from peers.</summary>
    public void SkipToMap(ClusterMap next)
    {
        _host.Reached(RarePath.MapsSkipped);
        (GroupPhase phase, bool backfilling, int count) = (_phase, IsBackfilling, _pool.PgCount);
        if (_acting.Length >= _pool.MinSize && _acting.Length > 0)
        {
            _history.Past.Add(new PastInterval(_history.SameIntervalSince, _map.Epoch, _acting, _map.FindOsd(_acting[0])?.UpFrom ?? Epoch.None));
        }

        EndInterval(next.Epoch);
        _history.KnownFrom = next.Epoch;
        _history.IntervalUncertain = true;
        TakeMap(next, next.FindPool(Id.Pool)!, next.Locate(Id));
        _primarySince = next.Epoch;
        SplitIfGrown(count, phase, backfilling);
    }

    private void SplitIfGrown(int countBefore, GroupPhase phaseBefore, bool wasBackfilling)
    {
        if (_pool.PgCount != countBefore && PgSplit.ChildrenOf(Id.Seed, countBefore, _pool.PgCount) is { Count: > 0 } children)
        {
            Split(children, countBefore, phaseBefore, wasBackfilling);
        }
    }

    /// <summary>Whether two successive maps lie in different intervals of a PG (design §6.2).</summary>
    public static bool IntervalChanges(PgId id, ClusterMap before, ClusterMap after, PoolInfo poolBefore, PoolInfo poolAfter, OsdId[] up, OsdId[] acting, PgMapping mapping)
    {
        if (!Same(up, mapping.Up) || !Same(acting, mapping.Acting) || poolBefore.Size != poolAfter.Size || poolBefore.MinSize != poolAfter.MinSize)
        {
            return true;
        }

        if (poolBefore.PgCount != poolAfter.PgCount && PgSplit.ChildrenOf(id.Seed, poolBefore.PgCount, poolAfter.PgCount).Count > 0)
        {
            return true; // it is split
        }

        // A member that restarted between two epochs lost what it had not made durable, and its promises.
        return Restarted(before, after, up) || Restarted(before, after, acting);

        static bool Restarted(ClusterMap before, ClusterMap after, OsdId[] osds)
        {
            foreach (OsdId osd in osds)
            {
                if (before.FindOsd(osd)?.UpFrom != after.FindOsd(osd)?.UpFrom)
                {
                    return true;
                }
            }

            return false;
        }
    }

    /// <summary>Whether an interval that ends with <paramref name="last"/> may have accepted writes.</summary>
    public static bool MaybeWentActive(ClusterMap last, PoolInfo pool, OsdId[] acting, Epoch first) =>
        !Mutations.Active(Mutation.ForgetsPastIntervals) && acting.Length >= pool.MinSize && acting.Length > 0 && last.FindOsd(acting[0]) is { } primary && primary.UpThru >= first;

    /// <summary>Acts on the maps taken since the last call.</summary>
    public void ApplyMap()
    {
        if (_intervalChanged)
        {
            _intervalChanged = false;
            AbandonOperations();
            _history.Prune();
            PersistHistory(_transaction);
            if (_receiving.Count > 0)
            {
                DropReceived();
            }

            _settled = Mutations.Active(Mutation.PeersBeforeDurable);
            _settledBy = _lastToken + 1;
            SubmitMeta(_transaction);
            if (IsPrimary)
            {
                StartPeering();
            }
            else
            {
                _phase = GroupPhase.Replica;
                if (!IsMember)
                {
                    SendNotify();
                }
            }

            _host.StateChanged();
        }
        else if (IsPrimary)
        {
            ForgetEndedLives();
            PeeringStep();
            RecoverySourcesChanged();
            TrimMapChanged();
            RetryWaiting();
        }
    }

    /// <summary>Writes down which map this group has reached, so that older ones may be trimmed.</summary>
    public void PersistMapEpoch()
    {
        PersistHistory(_transaction);
        SubmitMeta(_transaction);
    }

    /// <summary>Whether a message of another interval than ours may be looked at.</summary>
    public bool Accepts(OsdId from, in GroupHeader header, Storage.Messaging.MessageType type)
    {
        if (type == OsdMessageType.Notify)
        {
            return IsPrimary;
        }

        if (header.Interval != _history.SameIntervalSince && _history.IntervalUncertain && !IsPrimary && from == Primary && header.Interval < _history.SameIntervalSince
            && header.Epoch >= _history.SameIntervalSince)
        {
            // We skipped maps and could not know when the interval began. The sender has the map that we went on with, so that it does not
            // speak of an interval that was over by then; one who has not got it yet will ask again.
            _history.SameIntervalSince = header.Interval;
            _history.IntervalUncertain = false;
        }

        return header.Interval == _history.SameIntervalSince || Mutations.Active(Mutation.AcceptsOtherIntervals);
    }

    private void TakeMap(ClusterMap next, PoolInfo pool, PgMapping mapping)
    {
        _map = next;
        _pool = pool;
        _up = mapping.Up;
        _acting = mapping.Acting;
        _history.MapEpoch = next.Epoch;
        _hashBits = PgSplit.BitsOf(Id.Seed, pool.PgCount);
    }

    private void EndInterval(Epoch next)
    {
        _intervalChanged = true;
        _askedUnsettled.Clear();
        InterruptScrub();
        _history.SameIntervalSince = next;
        _replicaActive = false;
        _leasePromisedUntil = Mutations.Active(Mutation.PromiseForgotten) ? s_never : _leasePromisedUntil;
        _selfActivated = false;
        _peers.Clear();
        _blockedBy.Clear();
        _gapMetAt = s_never;
        _authority = OsdId.None;
        _wanted = [];
        _phase = GroupPhase.Replica;
        _host.CancelWork(this);
        AbandonApplying();
        _recountedTo = null;
        AbandonWrites();
        AbandonRecovery();
        AbandonReservations();
        AbandonTrim();
    }
}
