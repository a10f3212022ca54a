using Storage.Cluster;
using Storage.Monitor.Status;

namespace Storage.Monitor.Core;

// pg_num grows at once and costs metadata only: new PGs lie where their parents are. Then pgp_num follows in steps, each a small part of
// the pool, and each waits until the one before has been moved.
public sealed partial class MapLeader
{
    private void SpreadSplitPools(ClusterMap map, TimeSpan now)
    {
        const ClusterFlags Held = ClusterFlags.NoBackfill | ClusterFlags.NoRecover | ClusterFlags.NoRebalance | ClusterFlags.Pause;
        if ((map.Flags & Held) != 0)
        {
            return;
        }

        foreach (PoolInfo pool in map.Pools)
        {
            if (pool.PlacedPgCount == 0 || !IsSettled(map, pool, now))
            {
                continue;
            }

            int next = Math.Min(pool.PgCount, pool.PlacedPgCount + Math.Max(1, (int)(pool.PgCount * Policy.TargetMaxMisplacedRatio)));
            Request(
                new MapChange((draft, _) =>
                {
                    PoolInfo? drafted = draft.Pools.FirstOrDefault(known => known.Id == pool.Id);
                    if (drafted is null || drafted.PlacedPgCount != pool.PlacedPgCount || drafted.PgCount != pool.PgCount)
                    {
                        return Verdict.NoChange;
                    }

                    draft.Set(drafted with { PlacedPgCount = next == pool.PgCount ? 0 : next });
                    draft.Log(EventLevel.Info, _name, $"pool '{pool.Name}': pgp_num {pool.PlacedPgCount} -> {next} of {pool.PgCount}");
                    return Verdict.Drafted;
                }),
                ("pgp_num", pool.Id, pool.PlacedPgCount));
        }
    }

    // Every PG is clean by the present map, not by one before the last step.
    private bool IsSettled(ClusterMap map, PoolInfo pool, TimeSpan now)
    {
        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            PgView view = Statistics.View(map, new PgId(pool.Id, seed), now, Policy.StaleAfter);
            if (!view.Is("active") || !view.Is("clean") || view.Report is not { } report
                || !report.Up.SequenceEqual(view.Mapping.Up) || !report.Acting.SequenceEqual(view.Mapping.Acting))
            {
                return false;
            }
        }

        return true;
    }
}
