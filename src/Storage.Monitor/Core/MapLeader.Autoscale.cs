using System.Globalization;
using Storage.Cluster;
using Storage.Monitor.Status;

namespace Storage.Monitor.Core;

// Raises pg_num where an operator leaves it to the cluster: by at most a doubling at a time, and only of a pool that is clean and spread.
public sealed partial class MapLeader
{
    private TimeSpan _autoscaledAt;

    private void Autoscale(ClusterMap map, TimeSpan now)
    {
        if (now - _autoscaledAt < Policy.AutoscaleInterval || now - LeadingSince < Policy.AutoscaleInterval
            || !map.Pools.Any(pool => pool.Autoscale == PgAutoscale.On)
            || (map.Flags & (ClusterFlags.NoBackfill | ClusterFlags.NoRecover | ClusterFlags.NoRebalance | ClusterFlags.Pause)) != 0)
        {
            return;
        }

        _autoscaledAt = now;
        if (PgAutoscaler.Demands(map, Statistics, [.. Statistics.Views(map, now, Policy.StaleAfter)]) is not { } demands)
        {
            return;
        }

        foreach (PoolAdvice advice in PgAutoscaler.Advise(demands, Policy.GroupsPerOsd))
        {
            if (map.FindPool(advice.Demand.Pool) is not { Autoscale: PgAutoscale.On, PlacedPgCount: 0 } pool || advice.Next <= pool.PgCount || !IsSettled(map, pool, now))
            {
                continue;
            }

            Request(
                new MapChange((draft, _) =>
                {
                    PoolInfo? drafted = draft.Pools.FirstOrDefault(known => known.Id == pool.Id);
                    if (drafted is not { Autoscale: PgAutoscale.On, PlacedPgCount: 0 } || drafted.PgCount != pool.PgCount)
                    {
                        return Verdict.NoChange;
                    }

                    draft.Set(drafted with { PgCount = advice.Next, PlacedPgCount = drafted.PgCount });
                    draft.Log(EventLevel.Info, "autoscaler", string.Create(
                        CultureInfo.InvariantCulture, $"pool '{pool.Name}' has {advice.Share:P1} of the space: pg_num {pool.PgCount} -> {advice.Next} of {advice.Wanted}"));
                    return Verdict.Drafted;
                }),
                ("autoscale", pool.Id, pool.PgCount));
        }
    }
}
