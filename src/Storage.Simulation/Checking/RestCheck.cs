using Storage.Client;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Simulation.Clusters;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// What has to hold when everything is clean, scrubbed and answered: no OSD has anything left on its books, which would be a slot, an
/// operation or a copy that nobody gives back, and a listing shows what is there.
/// </summary>
internal static class RestCheck
{
    // A listing's pages, so that most PGs take more than one.
    private const int Page = 3;

    // Recounts, removals and slots that expire end within this.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(40);

    /// <summary>Looks at all OSDs, until everything that was there at first has been gone for once, or it takes too long.</summary>
    /// <exception cref="SimulationFailedException">Something stays.</exception>
    public static void Check(SimulatedCluster cluster)
    {
        TimeSpan deadline = cluster.Loop.Now + s_patience;
        HashSet<string> left = [.. ListLeftovers(cluster)];
        while (left.Count > 0)
        {
            if (cluster.Loop.Now >= deadline)
            {
                throw new SimulationFailedException($"everything has ended, and for {s_patience.TotalSeconds} s {string.Join("; ", left.Order(StringComparer.Ordinal).Take(5))}");
            }

            // Scrubs come and go, and what they do: short steps meet the times between.
            cluster.Loop.RunFor(TimeSpan.FromMilliseconds(70));
            cluster.CheckInvariants();
            left.IntersectWith(ListLeftovers(cluster));
        }
    }

    /// <summary>Lists the pool as a client and compares with the primaries' disks; nobody writes.</summary>
    /// <param name="cluster">The cluster, which is clean.</param>
    /// <param name="reader">Who asks.</param>
    /// <exception cref="SimulationFailedException">The listing is wrong.</exception>
    public static async Task CheckListingAsync(SimulatedCluster cluster, IObjectClient reader)
    {
        ClusterMap map = cluster.NewestMap!;
        for (uint seed = 0; seed < map.FindPool(cluster.Pool)!.PgCount; seed++)
        {
            var shown = new List<ObjectId>();
            ObjectListing listing;
            do
            {
                listing = await reader.ListObjectsAsync(cluster.Pool, seed, shown.Count == 0 ? null : shown[^1], Page, CancellationToken.None);
                shown.AddRange(listing.Objects);
                if (listing.Objects.Count > Page || (listing.More && listing.Objects.Count == 0) || shown.Count > 10_000)
                {
                    throw new SimulationFailedException($"a page of {listing.Objects.Count} objects of PG {seed}, more: {listing.More}, where {Page} were asked for");
                }
            }
            while (listing.More);

            var group = new PgId(cluster.Pool, seed);
            List<ObjectId> there = Heads(cluster.Osds[map.Locate(group).Primary.Value].Store!, new CollectionId(group));
            if (!shown.SequenceEqual(there))
            {
                throw new SimulationFailedException($"a listing of pg {group} shows [{string.Join(' ', shown)}]; there is [{string.Join(' ', there)}]");
            }
        }
    }

    private static List<string> ListLeftovers(SimulatedCluster cluster)
    {
        var left = new List<string>();
        foreach (OsdNode osd in cluster.Osds)
        {
            int before = left.Count;
            osd.ListLeftovers(left);
            for (int i = before; i < left.Count; i++)
            {
                left[i] = $"{osd.Name}: {left[i]}";
            }
        }

        return left;
    }

    private static List<ObjectId> Heads(NodeStore store, CollectionId collection)
    {
        var objects = new List<ObjectId>();
        store.ListObjects(collection, null, int.MaxValue, objects);
        objects.RemoveAll(id => id.Name.Length == 0 || id.Snapshot != ObjectId.NoSnapshot
            || (store.TryGetAttribute(collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed) && SnapSet.Peek(packed).IsTombstone));
        return objects;
    }
}
