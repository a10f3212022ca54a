using Storage.Cluster;
using Storage.Messaging;
using Storage.Simulation.Histories;
using Storage.Simulation.Running;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Clusters;

/// <summary>What must hold for snapshots beyond single objects: no write slipped into a snapshot that was taken before it, and nothing is left of removed ones.</summary>
internal static class SnapshotCheck
{
    /// <summary>Checks a run that has ended; the cluster is clean.</summary>
    /// <exception cref="SimulationFailedException">Something does not hold.</exception>
    public static void Check(SimulatedCluster cluster, History history)
    {
        if (cluster.Snapshots is not { } snapshots)
        {
            return;
        }

        foreach (HistoryEntry entry in history.Entries)
        {
            if (entry.Outcome is not { Result: ResultCode.Ok } || entry.Call.Snapshots is not { } named || !entry.Call.IsWrite)
            {
                continue;
            }

            foreach (TakenSnapshot taken in snapshots.All)
            {
                if (taken.AnnouncedOrder > 0 && taken.AnnouncedOrder < entry.InvokedOrder
                    && (taken.RemovalOrder == 0 || taken.RemovalOrder > entry.CompletedOrder) && !named.Contains(taken.Id))
                {
                    throw new SimulationFailedException($"a write was accepted that does not know snapshot {taken.Id}, which was taken before it: {entry.ObjectName} {entry}");
                }
            }
        }

        ClusterMap map = cluster.NewestMap!;
        cluster.Await(
            () => cluster.NewestMap?.FindPool(cluster.Pool) is { RemovedSnapshots.IsEmpty: true },
            TimeSpan.FromSeconds(30),
            $"removed snapshots {map.FindPool(cluster.Pool)!.RemovedSnapshots} do not leave the map");
        SnapshotIntervals live = SnapshotIntervals.Of(snapshots.Named());
        for (uint seed = 0; seed < map.FindPool(cluster.Pool)!.PgCount; seed++)
        {
            var group = new PgId(cluster.Pool, seed);
            foreach (OsdId osd in map.Locate(group).Acting)
            {
                if (cluster.Osds[osd.Value].FindSnapshotFault(group, live) is { } fault)
                {
                    throw new SimulationFailedException($"pg {group} on {osd}: {fault}");
                }
            }
        }
    }
}
