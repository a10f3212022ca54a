using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Status;

namespace Storage.Monitor.Core;

/// <summary>What decides how many PGs a pool should have.</summary>
/// <param name="Pool">The pool's number.</param>
/// <param name="Size">Copies.</param>
/// <param name="Groups">pg_num now.</param>
/// <param name="StoredBytes">What it holds, one copy.</param>
/// <param name="TargetRatio">What an operator expects of it, relative to the other pools with such a number; 0 for nothing.</param>
/// <param name="Osds">OSDs that its rule may choose and that take data.</param>
/// <param name="CapacityBytes">Their size.</param>
public readonly record struct PoolDemand(long Pool, int Size, int Groups, long StoredBytes, double TargetRatio, int Osds, long CapacityBytes);

/// <summary>How many PGs a pool should have.</summary>
/// <param name="Demand">From what.</param>
/// <param name="Share">Its share of the OSDs' space that counts, 0 to 1 (above where it holds more than fits).</param>
/// <param name="Wanted">pg_num that suits it, a power of two.</param>
/// <param name="Next">pg_num of the next step there; what it is now where nothing is to be done.</param>
/// <param name="Note">Why it is not what is wanted, or empty.</param>
public readonly record struct PoolAdvice(PoolDemand Demand, double Share, int Wanted, int Next, string Note);

/// <summary>Finds out how many PGs pools should have: in proportion to the space that they fill, about a hundred copies on each OSD. A function
/// of its arguments.</summary>
public static class PgAutoscaler
{
    /// <summary>PG copies on an OSD that all pools together come to when the OSDs are full.</summary>
    public const int DefaultGroupsPerOsd = 100;

    /// <summary>PG copies on an OSD beyond which no pool gets more, whatever it would want.</summary>
    public const int MostGroupsPerOsd = 250;

    /// <summary>Advises on all pools.</summary>
    /// <param name="demands">The pools.</param>
    /// <param name="groupsPerOsd">PG copies wanted on each OSD.</param>
    /// <returns>One advice per pool, in the same order.</returns>
    public static IReadOnlyList<PoolAdvice> Advise(IReadOnlyList<PoolDemand> demands, int groupsPerOsd = DefaultGroupsPerOsd)
    {
        ArgumentNullException.ThrowIfNull(demands);
        double ratios = demands.Sum(demand => demand.TargetRatio);
        double taken = demands.Where(demand => demand.TargetRatio <= 0).Sum(Used);
        int osds = demands.Count == 0 ? 0 : demands.Max(demand => demand.Osds);
        long copies = demands.Sum(demand => (long)demand.Groups * demand.Size);
        var advices = new List<PoolAdvice>(demands.Count);
        foreach (PoolDemand demand in demands)
        {
            // Whoever expects a share gets it of what pools without an expectation leave, and never less than it fills already.
            double used = Used(demand);
            double share = demand.TargetRatio > 0 ? Math.Max(used, demand.TargetRatio / ratios * Math.Max(0, 1 - taken)) : used;
            int wanted = NearestPowerOfTwo(share * demand.Osds * groupsPerOsd / demand.Size);
            int next = demand.Groups;
            string note = "";
            if (wanted >= 2L * demand.Groups)
            {
                next = Math.Min(wanted, 1 << Math.ILogB(demand.Groups) << 1);
                long after = copies + ((long)(next - demand.Groups) * demand.Size);
                if (after > (long)osds * MostGroupsPerOsd)
                {
                    note = $"{next} would make more than {MostGroupsPerOsd} copies per OSD: add OSDs";
                    next = demand.Groups;
                }
                else
                {
                    copies = after;
                }
            }
            else if (wanted * 4L <= demand.Groups)
            {
                note = $"{wanted} would do, but PGs are split, never merged";
            }

            advices.Add(new PoolAdvice(demand, share, wanted, next, note));
        }

        return advices;
    }

    /// <summary>The power of two nearest to a number, at least 1.</summary>
    /// <param name="number">The number.</param>
    /// <returns>The lower one of two that are equally near.</returns>
    public static int NearestPowerOfTwo(double number)
    {
        if (!(number > 1))
        {
            return 1;
        }

        int low = 1 << Math.Min(24, Math.ILogB(number));
        return low < 1 << 24 && number - low > (2.0 * low) - number ? low * 2 : low;
    }

    /// <summary>What the pools hold and where.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="statistics">What OSDs reported.</param>
    /// <param name="views">Every PG.</param>
    /// <returns>The pools in the map's order; null while a PG or an OSD that is up has not reported.</returns>
    public static IReadOnlyList<PoolDemand>? Demands(ClusterMap map, ClusterStatistics statistics, IReadOnlyCollection<PgView> views)
    {
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(statistics);
        ArgumentNullException.ThrowIfNull(views);
        if (views.Any(view => view.Report is null))
        {
            return null;
        }

        Dictionary<long, PoolUsage> usage = PoolUsage.Of(views);
        var demands = new List<PoolDemand>();
        foreach (PoolInfo pool in map.Pools)
        {
            int osds = 0;
            long capacity = 0;
            foreach (OsdId id in UpmapBalancer.DevicesOf(map, pool))
            {
                if (map.FindOsd(id) is not { IsIn: true } osd)
                {
                    continue;
                }

                if (statistics.Of(id) is { } report)
                {
                    capacity += report.TotalBytes;
                }
                else if (osd.IsUp)
                {
                    return null;
                }

                osds++;
            }

            demands.Add(new PoolDemand(pool.Id, pool.Size, pool.PgCount, usage.GetValueOrDefault(pool.Id).Bytes, pool.TargetRatio, osds, capacity));
        }

        return demands;
    }

    private static double Used(PoolDemand demand) => demand.CapacityBytes <= 0 ? 0 : (double)demand.StoredBytes * demand.Size / demand.CapacityBytes;
}
