using Storage.Cluster;
using Storage.ObjectStore;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;

namespace Storage.Simulation.Clusters;

/// <summary>Compares all copies of all objects on the disks themselves, past the daemons.</summary>
internal static class CopyComparison
{
    /// <summary>Compares the members' copies of each PG, which must be clean.</summary>
    /// <exception cref="SimulationFailedException">Two copies differ, a copy is missing, or one fails its checksum.</exception>
    public static void Compare(SimulatedCluster cluster)
    {
        ClusterMap map = cluster.NewestMap!;
        PoolInfo pool = map.FindPool(cluster.Pool)!;
        for (uint seed = 0; seed < pool.PgCount; seed++)
        {
            var group = new PgId(pool.Id, seed);
            PgMapping mapping = map.Locate(group);
            OsdNode first = cluster.Osds[mapping.Primary.Value];
            List<ObjectId> expected = List(first, group);
            cluster.Coverage.Count("check.objects", expected.Count);
            foreach (OsdId id in mapping.Acting.AsSpan(1))
            {
                OsdNode other = cluster.Osds[id.Value];
                List<ObjectId> found = List(other, group);
                if (!expected.SequenceEqual(found))
                {
                    throw new SimulationFailedException(
                        $"pg {group}: {first.Name} has [{string.Join(' ', expected)}], {other.Name} has [{string.Join(' ', found)}]");
                }

                foreach (ObjectId name in expected)
                {
                    CompareObject(cluster, group, name, first, other);
                }
            }

            // What is left on others is no harm, but space.
            cluster.Coverage.Count("check.strays", cluster.Osds.Count(o => Array.IndexOf(mapping.Acting, o.Id) < 0 && List(o, group).Count > 0));
        }
    }

    private static List<ObjectId> List(OsdNode osd, PgId group)
    {
        var objects = new List<ObjectId>();
        if (osd.Store!.ListCollections().Contains(new CollectionId(group)))
        {
            osd.Store.ListObjects(new CollectionId(group), null, int.MaxValue, objects);
        }

        objects.RemoveAll(id => id.Name.Length == 0); // the PG's own record
        return objects;
    }

    private static void CompareObject(SimulatedCluster cluster, PgId group, ObjectId id, OsdNode first, OsdNode other)
    {
        var collection = new CollectionId(group);
        NodeStore left = first.Store!;
        NodeStore right = other.Store!;
        left.TryStat(collection, id, out long leftSize);
        right.TryStat(collection, id, out long rightSize);
        if (leftSize != rightSize)
        {
            throw Differs($"{leftSize} and {rightSize} bytes");
        }

        IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> leftAttributes = left.GetAttributes(collection, id);
        IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> rightAttributes = right.GetAttributes(collection, id);
        if (!leftAttributes.Select(Text).SequenceEqual(rightAttributes.Select(Text)))
        {
            throw Differs($"attributes [{string.Join(' ', leftAttributes.Select(Text))}] and [{string.Join(' ', rightAttributes.Select(Text))}]");
        }

        if (!Omap(left).SequenceEqual(Omap(right)))
        {
            throw Differs($"omap [{string.Join(' ', Omap(left))}] and [{string.Join(' ', Omap(right))}]");
        }

        byte[] leftData = Read(cluster, first, collection, id, (int)leftSize);
        byte[] rightData = Read(cluster, other, collection, id, (int)rightSize);
        if (!leftData.AsSpan().SequenceEqual(rightData))
        {
            throw Differs($"data, first at byte {leftData.AsSpan().CommonPrefixLength(rightData)} of {leftSize}");
        }

        SimulationFailedException Differs(string how) => new($"pg {group}, {id}: {first.Name} and {other.Name} differ: {how}");

        IEnumerable<string> Omap(NodeStore store)
        {
            var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
            store.ListOmap(collection, id, default, int.MaxValue, entries);
            return entries.Select(e => $"{Convert.ToHexString(e.Key.Span)}={Convert.ToHexString(e.Value.Span)}");
        }

        static string Text(KeyValuePair<string, ReadOnlyMemory<byte>> attribute) => $"{attribute.Key}={Convert.ToHexString(attribute.Value.Span)}";
    }

    private static byte[] Read(SimulatedCluster cluster, OsdNode osd, CollectionId collection, ObjectId id, int length)
    {
        var read = new PendingRead();
        osd.Store!.Read(collection, id, 0, length, read, 0);
        cluster.Await(() => read.Status is not null, TimeSpan.FromSeconds(5), $"{osd.Name} does not answer a read");
        return read.Status == ReadStatus.Ok ? read.Data : throw new SimulationFailedException($"{osd.Name}, pg {collection}, {id}: {read.Status}");
    }

    private sealed class PendingRead : IReadCompletion
    {
        public ReadStatus? Status { get; private set; }

        public byte[] Data { get; private set; } = [];

        public void OnRead(ulong token, ReadStatus status, Reactor.BufferSegment data)
        {
            Data = data.Span.ToArray();
            data.Buffer?.Release();
            Status = status;
        }
    }
}
