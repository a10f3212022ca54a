using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Simulation.Clusters;

namespace Storage.Simulation.Tracing;

/// <summary>
/// Prints where one PG stands on each disk, whenever that changed: for following a seed to the cause of what went wrong. It looks only, so
/// that a run that is watched is the same as one that is not.
/// </summary>
/// <param name="cluster">The cluster.</param>
/// <param name="what">A PG, or a PG and an object's name: <c>1.3</c>, <c>1.3/name</c>.</param>
/// <param name="print">Takes a line.</param>
internal sealed class GroupFollower(SimulatedCluster cluster, string what, Action<string> print)
{
    private readonly Dictionary<OsdId, string> _last = [];
    private readonly string _group = what.Split('/', 2)[0];
    private readonly string? _object = what.Contains('/', StringComparison.Ordinal) ? what.Split('/', 2)[1] : null;

    /// <summary>Looks at all disks; prints what is not as it was.</summary>
    public void Look()
    {
        if (cluster.NewestMap?.FindPool(cluster.Pool) is not { } pool)
        {
            return;
        }

        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            var id = new PgId(pool.Id, seed);
            if (id.ToString() != _group)
            {
                continue;
            }

            foreach (OsdNode osd in cluster.Osds)
            {
                string line = Describe(osd, id);
                if (!_last.TryGetValue(osd.Id, out string? before) || before != line)
                {
                    _last[osd.Id] = line;
                    print(string.Create(CultureInfo.InvariantCulture, $"{cluster.Loop.Now.TotalSeconds,12:F6} {osd.Name,-9} --- {line}"));
                }
            }
        }
    }

    private string Describe(OsdNode osd, PgId id)
    {
        string objects = osd.Store is null ? "" : string.Join(' ', Objects(osd, new CollectionId(id)));
        if (!osd.IsRunning || osd.FindGroup(id) is not { } group)
        {
            return $"{(osd.IsRunning ? "no copy" : "does not run")} {objects}";
        }

        PgInfo info = group.Info;
        string missing = string.Join(' ', group.Missing.Select(entry => $"{entry.Key}@{entry.Value}{(group.IsDamaged(entry.Key) ? "!" : "")}").Order(StringComparer.Ordinal).Take(12));
        return $"{group.State} interval {group.Interval} acting [{string.Join<OsdId>(',', group.Acting.ToArray())}] log {info.LogTail}..{info.LastUpdate} started {info.LastEpochStarted}"
            + (info.IsComplete ? "" : $" filled to {info.BackfillCursor?.ToString() ?? "nothing"}") + (missing.Length > 0 ? $" misses {missing}" : "") + $" has {objects}";
    }

    private IEnumerable<string> Objects(OsdNode osd, CollectionId collection)
    {
        var objects = new List<ObjectId>();
        if (_object is not null && osd.Store!.ListCollections().Contains(collection))
        {
            osd.Store.ListObjects(collection, null, int.MaxValue, objects);
        }

        foreach (ObjectId id in objects)
        {
            if (id.Name == _object)
            {
                yield return $"{id}@{osd.VersionOf(collection, id)}{(osd.Disk.HasDamage(id.Name) ? "!" : "")}";
            }
        }
    }
}
