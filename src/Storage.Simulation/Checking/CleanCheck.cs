using Storage.Cluster;
using Storage.Osd;
using Storage.Simulation.Clusters;

namespace Storage.Simulation.Checking;

/// <summary>Whether a PG that its primary calls clean is.</summary>
internal static class CleanCheck
{
    /// <summary>Looks at the members' copies themselves.</summary>
    /// <returns>What is wrong, or null.</returns>
    public static string? WhyNotClean(SimulatedCluster cluster, OsdNode first, PgId id)
    {
        if (first.FindGroup(id) is not { } primary)
        {
            return null;
        }

        return primary.IsKnownClean ? WhyNotComplete(cluster, primary) : "the PG is not clean";
    }

    /// <summary>Looks at the members' copies themselves, whatever their primary says.</summary>
    /// <returns>What is wrong, or null.</returns>
    public static string? WhyNotComplete(SimulatedCluster cluster, PlacementGroup primary)
    {
        foreach (OsdId member in primary.Acting)
        {
            OsdNode osd = cluster.Osds[member.Value];
            if (osd.FindGroup(primary.Id) is not { } group || group.Interval != primary.Interval)
            {
                continue; // gone since
            }

            if (!group.Info.IsComplete)
            {
                return $"{osd.Name} is being filled";
            }

            foreach (ObjectId missing in group.Missing.Keys)
            {
                if (!group.IsDamaged(missing))
                {
                    return $"{osd.Name} misses {missing}";
                }
            }
        }

        return null;
    }
}
