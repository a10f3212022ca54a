using Storage.Cluster;

namespace Storage.Monitor.Status;

/// <summary>What a pool holds, one copy, by its PGs' newest reports.</summary>
/// <param name="Objects">Objects, clones among them.</param>
/// <param name="Bytes">Their bytes.</param>
public readonly record struct PoolUsage(long Objects, long Bytes)
{
    /// <summary>Sums up PGs.</summary>
    /// <param name="views">The PGs.</param>
    /// <returns>By pool.</returns>
    public static Dictionary<long, PoolUsage> Of(IEnumerable<PgView> views)
    {
        var usage = new Dictionary<long, PoolUsage>();
        foreach (PgView view in views)
        {
            if (view.Report is { } report)
            {
                PoolUsage sum = usage.GetValueOrDefault(view.Group.Pool);
                usage[view.Group.Pool] = new PoolUsage(sum.Objects + report.Objects, sum.Bytes + report.Bytes);
            }
        }

        return usage;
    }

    /// <summary>Whether it has come to a share of one of its quotas.</summary>
    /// <param name="pool">The pool.</param>
    /// <param name="share">1 for the quota itself.</param>
    /// <returns>False where there is no quota.</returns>
    public bool IsAtQuota(PoolInfo pool, double share) =>
        (pool.QuotaBytes > 0 && Bytes >= pool.QuotaBytes * share) || (pool.QuotaObjects > 0 && Objects >= pool.QuotaObjects * share);
}
