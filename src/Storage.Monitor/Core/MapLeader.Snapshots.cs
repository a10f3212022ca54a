using Storage.Cluster;

namespace Storage.Monitor.Core;

// Removed snapshots leave the map once every PG says that it holds nothing of them.
public sealed partial class MapLeader
{
    private static readonly TimeSpan s_purgeInterval = TimeSpan.FromSeconds(1);
    private TimeSpan _purgedAt;

    private void PurgeSnapshots(ClusterMap map, TimeSpan now)
    {
        if (now - _purgedAt < s_purgeInterval)
        {
            return;
        }

        _purgedAt = now;
        foreach (PoolInfo pool in map.Pools)
        {
            if (pool.RemovedSnapshots.IsEmpty)
            {
                continue;
            }

            SnapshotIntervals purged = Statistics.PurgedSnapshots(pool);
            if (purged.IsEmpty)
            {
                continue;
            }

            long id = pool.Id;
            Request(
                new MapChange((draft, _) =>
                {
                    if (draft.Pools.FirstOrDefault(pool => pool.Id == id) is not { } pool)
                    {
                        return Verdict.NoChange;
                    }

                    SnapshotIntervals left = pool.RemovedSnapshots.Except(purged);
                    if (left.Equals(pool.RemovedSnapshots))
                    {
                        return Verdict.NoChange;
                    }

                    SnapshotIntervals gone = pool.PurgedSnapshots;
                    foreach (ulong snapshot in pool.RemovedSnapshots.Except(left).Ids())
                    {
                        gone = gone.Add(snapshot);
                    }

                    draft.Set(pool with { RemovedSnapshots = left, PurgedSnapshots = gone });
                    return Verdict.Drafted;
                }),
                ("purge", id));
        }
    }
}
