using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;

namespace Storage.Osd;

// Following the cluster map.
public sealed partial class OsdDaemon
{
    private readonly Transaction _mapTransaction = new();
    private Epoch _trimmedAt;

    // This process skipped maps while it was up, up to this one: only a life that begins afterwards serves.
    private Epoch _livesAfter;

    private void LoadGroups()
    {
        foreach (CollectionId collection in _store.ListCollections())
        {
            if (collection == CollectionId.Meta)
            {
                continue;
            }

            if (PlacementGroup.IsMarkedForRemoval(_store, collection.Group))
            {
                _rarePaths.Reached(RarePath.RemovalResumed);
                BeginRemoval(collection.Group, isMarked: true);
                continue;
            }

            PlacementGroup? group = PlacementGroup.Load(this, collection.Group, _maps.MapAt);
            if (group is not null)
            {
                _groups.Add(collection.Group, group);
            }
        }

        // A group may be split on its way, and its children have a way to go too.
        var behind = new HashSet<PgId>();
        while (_groups.Values.Where(group => !behind.Contains(group.Id)).ToArray() is { Length: > 0 } groups)
        {
            foreach (PlacementGroup group in groups)
            {
                behind.Add(group.Id);
                CatchUp(group);
            }
        }

        _maps.ForgetBefore(new Epoch(Math.Max(1, (Map?.Epoch.Value ?? 1) - Math.Min(256, (Map?.Epoch.Value ?? 1) - 1))));
    }

    // Takes a group that was loaded through the maps since it was last persisted.
    private void CatchUp(PlacementGroup group)
    {
        while (group.MapEpoch < Map!.Epoch)
        {
            ClusterMap? next = _maps.MapAt(group.MapEpoch.Next);
            if (next is null)
            {
                next = Map; // maps were skipped; peers know what happened in between
                if (next.Contains(group.Id))
                {
                    group.SkipToMap(next);
                    continue;
                }
            }

            if (!next.Contains(group.Id))
            {
                DeleteGroup(group);
                return;
            }

            group.AdvanceMap(next);
        }
    }

    private void HandleMapUpdate(MapUpdate update, bool fromMonitor = true)
    {
        ClusterMap? applied = Map;
        Epoch before = Map?.Epoch ?? Epoch.None;
        if (!update.Full.IsEmpty)
        {
            TakeWhole(update.Full, fromMonitor);
        }

        foreach (ReadOnlyMemory<byte> bytes in update.Increments)
        {
            ClusterMapIncrement change = ClusterMapIncrement.Decode(bytes.Span);
            if (Map is null || change.Epoch > Map.Epoch.Next)
            {
                _monitor.Subscribe(); // something between is missing
                break;
            }

            if (change.Epoch == Map.Epoch.Next)
            {
                ClusterMap previous = Map;
                TakeNext(previous, _maps.Add(_mapTransaction, change, bytes));
            }
        }

        if (_running && Map is not null && Map.Epoch != before)
        {
            ApplyMaps(applied);
        }
    }

    private void TakeWhole(ReadOnlyMemory<byte> bytes, bool fromMonitor)
    {
        ClusterMap whole = ClusterMap.Decode(bytes.Span);
        if (Map is not null && whole.Epoch <= Map.Epoch)
        {
            return;
        }

        if (whole.Fsid != _identity!.Fsid)
        {
            throw new MalformedDataException($"a map of cluster {whole.Fsid}; this disk belongs to {_identity.Fsid}");
        }

        if (Map is not null && !fromMonitor)
        {
            // A peer that has no increments at hand, such as one with a new disk; monitors keep them. What lies between tells who
            // served in the meantime: whoever skips it may be the last one to know.
            _monitor.Subscribe();
            return;
        }

        if (Map is not null && whole.FindOsd(Id) is { IsUp: true } self && self.Instance == _options.Instance && self.UpFrom < whole.Epoch)
        {
            // Intervals began and ended that we took part in without knowing. Only a new life makes that safe: we serve nothing until the
            // map has shown us down and up again, so that others know a beginning of it that they know too.
            _rarePaths.Reached(RarePath.LifeEndedAtGap);
            Log.LifeEnded(_logger, Id, Map.Epoch, whole.Epoch);
            _livesAfter = whole.Epoch;
        }

        _maps.AddWhole(_mapTransaction, bytes);
        SubmitMaps();
        foreach (PlacementGroup group in _groups.Values.ToArray())
        {
            if (Map!.Contains(group.Id))
            {
                group.SkipToMap(Map);
            }
            else
            {
                DeleteGroup(group);
            }
        }
    }

    // The map still shows the life that ended when maps were skipped.
    private bool MustLeave => Map?.FindOsd(Id) is { IsUp: true } self && self.Instance == _options.Instance && self.UpFrom <= _livesAfter;

    private void TakeNext(ClusterMap? before, ClusterMap next)
    {
        if (before is not null && before.Pools.Any(pool => next.FindPool(pool.Id) is { } after && after.PgCount != pool.PgCount))
        {
            // PGs split when they take this map, and say so on disk: it has to be there before them.
            SubmitMaps();
        }

        foreach (PlacementGroup group in _groups.Values.ToArray())
        {
            if (next.Contains(group.Id))
            {
                group.AdvanceMap(next);
            }
            else
            {
                DeleteGroup(group);
            }
        }
    }

    private void ApplyMaps(ClusterMap? before)
    {
        bool wasUp = IsUp;
        OsdInfo? self = Map!.FindOsd(Id);
        IsUp = self is { IsUp: true } && self.Instance == _options.Instance && self.UpFrom > _livesAfter;
        if (IsUp)
        {
            _maps.NoteUp(_mapTransaction, self!.UpFrom);
        }

        // Before anything that rests on these maps: the store keeps what was submitted in order.
        SubmitMaps();
        TrimMaps();
        UpdatePeers();
        ApplyWorkSettings();
        ApplyRecoverySettings();
        ApplySpaceSettings();
        ApplyMemorySettings();
        ApplyCompression();
        if (IsUp)
        {
            // Whose PGs there are is looked at only if that can have changed: with many PGs it is most of a map's cost.
            if (!wasUp || before is null || PlacementChanged(before, Map))
            {
                CreateGroups();
            }

            foreach (PlacementGroup group in _groups.Values.ToArray())
            {
                group.ApplyMap();
            }
        }
        else if (!_stopping)
        {
            if (wasUp && !MustLeave)
            {
                _rarePaths.Reached(RarePath.WronglyMarkedDown);
                Log.WronglyDown(_logger, Id, Map.Epoch);
            }

            _monitor.Boot(again: wasUp);
        }

        ReleaseHeld();
    }

    private void SubmitMaps()
    {
        if (_mapTransaction.Count > 0)
        {
            _store.Submit(_mapTransaction, null, 0);
            _mapTransaction.Clear();
        }
    }

    private static bool PlacementChanged(ClusterMap before, ClusterMap after)
    {
        if (!ReferenceEquals(before.Crush, after.Crush) || !ReferenceEquals(before.PgTemp, after.PgTemp) || !ReferenceEquals(before.UpmapItems, after.UpmapItems)
            || before.MaxOsd != after.MaxOsd || !before.Pools.SequenceEqual(after.Pools))
        {
            return true;
        }

        for (int i = 0; i < after.MaxOsd; i++)
        {
            var id = new OsdId(i);
            if (before.FindOsd(id) is var old && after.FindOsd(id) is var now && !ReferenceEquals(old, now) && (old is null || now is null || old with { UpThru = now.UpThru } != now))
            {
                return true;
            }
        }

        return false;
    }

    private void TrimMaps()
    {
        Epoch newest = Map!.Epoch;
        if (newest.Value < _trimmedAt.Value + 64 || newest.Value < _options.MapEpochsKept)
        {
            return;
        }

        _trimmedAt = newest;
        var before = new Epoch(newest.Value - (uint)_options.MapEpochsKept);
        foreach (PlacementGroup group in _groups.Values)
        {
            group.PersistMapEpoch(); // in order before the trimming, so that no group needs a map that is gone
        }

        _maps.Trim(_mapTransaction, before);
        _store.Submit(_mapTransaction, null, 0);
        _mapTransaction.Clear();
    }

    // The primary makes its new PGs; other members make theirs when it tells them.
    private void CreateGroups()
    {
        foreach (PoolInfo pool in Map!.Pools)
        {
            for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
            {
                var id = new PgId(pool.Id, seed);
                if (Map.Locate(id).Primary == Id && !_groups.ContainsKey(id))
                {
                    FinishRemoval(id);
                    _groups.Add(id, PlacementGroup.Create(this, id, Map, HistoryFromMaps(id, pool), complete: true));
                }
            }
        }
    }

    // What our maps tell of the PG's past, that of the PGs it came out of included. Where they do not reach back to the pool's creation,
    // up_thru may prove that it was never active; otherwise peers must tell.
    private PgHistory HistoryFromMaps(PgId id, PoolInfo pool)
    {
        Epoch first = Map!.Epoch;
        while (first > pool.Created && _maps.MapAt(new Epoch(first.Value - 1)) is { } older && older.FindPool(id.Pool) is not null)
        {
            first = older.Epoch;
        }

        ClusterMap map = _maps.MapAt(first) ?? Map;
        var history = new PgHistory { Created = pool.Created, KnownFrom = first, SameIntervalSince = first, MapEpoch = Map.Epoch };
        if (first > pool.Created && map.Osds.All(osd => osd.UpThru < pool.Created))
        {
            history.KnownFrom = pool.Created;
        }

        (PgId then, PoolInfo before, PgMapping mapping) = Look(map);
        while (map.Epoch < Map.Epoch)
        {
            ClusterMap next = _maps.MapAt(map.Epoch.Next)!;
            (PgId following, PoolInfo after, PgMapping nextMapping) = Look(next);
            if (PlacementGroup.IntervalChanges(then, map, next, before, after, mapping.Up, mapping.Acting, nextMapping))
            {
                if (PlacementGroup.MaybeWentActive(map, before, mapping.Acting, history.SameIntervalSince))
                {
                    history.Past.Add(new PastInterval(history.SameIntervalSince, map.Epoch, mapping.Acting, map.FindOsd(mapping.Primary)!.UpFrom));
                }

                history.SameIntervalSince = next.Epoch;
            }

            (map, then, before, mapping) = (next, following, after, nextMapping);
        }

        return history;

        (PgId Group, PoolInfo Pool, PgMapping Mapping) Look(ClusterMap at)
        {
            PoolInfo info = at.FindPool(id.Pool)!;
            var group = new PgId(id.Pool, PgSplit.AncestorOf(id.Seed, info.PgCount));
            return (group, info, at.Locate(group));
        }
    }

    private void DeleteGroup(PlacementGroup group)
    {
        group.Stop();
        _groups.Remove(group.Id);
        BeginRemoval(group.Id, isMarked: false);
    }
}
