using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd.Kit;

/// <summary>Snapshots of all objects of a test cluster's pool.</summary>
public sealed class SnapshotKit(OsdCluster cluster)
{
    private readonly List<ulong> _newestFirst = [];

    public PoolInfo Pool => cluster.Monitor.Map.FindPool(OsdCluster.Pool)!;

    /// <summary>What writes say of the snapshots now.</summary>
    public SnapshotContext Context => new(Pool.SnapshotBarrier, _newestFirst.ToArray());

    public ulong Take()
    {
        ulong id = Pool.SnapshotSequence + 1;
        Change(pool => pool with { SnapshotSequence = id, SnapshotBarrier = pool.SnapshotBarrier + 1 });
        _newestFirst.Insert(0, id);
        return id;
    }

    public void Remove(params ulong[] ids)
    {
        foreach (ulong id in ids)
        {
            _newestFirst.Remove(id);
        }

        Change(pool => pool with { RemovedSnapshots = SnapshotIntervals.Of(pool.RemovedSnapshots.Ids().Concat(ids)), SnapshotBarrier = pool.SnapshotBarrier + 1 });
    }

    public void Change(Func<PoolInfo, PoolInfo> change)
    {
        cluster.Monitor.ChangeNow(increment => increment.Pools.Add(change(Pool)));
        Epoch epoch = cluster.Monitor.Map.Epoch;
        cluster.RunUntil(() => cluster.Client.Map?.Epoch >= epoch, "the client's map");
    }

    public ResultCode Run(string name, ObjectOperation operation, SnapshotContext? context = null)
    {
        context ??= Context;
        return cluster.Loop.Run(() => RunAsync(), TimeSpan.FromSeconds(60));

        async Task<ResultCode> RunAsync()
        {
            using OperationResult result = await cluster.Client.ExecuteAsync(OsdCluster.Pool, name, operation, new OperationContext(context));
            operation.Clear();
            return result.Result;
        }
    }

    public void Write(string name, string text) =>
        Assert.Equal(ResultCode.Ok, Run(name, new ObjectOperation().AddData(OperationCode.WriteFull, 0, Encoding.UTF8.GetBytes(text))));

    public string? Read(string name, ulong? snapshot = null)
    {
        return cluster.Loop.Run(() => ReadAsync(), TimeSpan.FromSeconds(60));

        async Task<string?> ReadAsync()
        {
            var operation = new ObjectOperation().Add(OperationCode.Read, 0, 1 << 20);
            using OperationResult result = await cluster.Client.ExecuteAsync(OsdCluster.Pool, name, operation, new OperationContext(ReadSnapshot: snapshot));
            Assert.True(result.Result is ResultCode.Ok or ResultCode.NotFound, result.Result.ToString());
            return result.IsOk ? Encoding.UTF8.GetString(result.DataOf(0).Span) : null;
        }
    }

    public ObjectSnapshots List(string name)
    {
        return cluster.Loop.Run(() => ListAsync(), TimeSpan.FromSeconds(60));

        async Task<ObjectSnapshots> ListAsync()
        {
            var operation = new ObjectOperation().Add(OperationCode.ListSnapshots);
            using OperationResult result = await cluster.Client.ExecuteAsync(OsdCluster.Pool, name, operation, default);
            Assert.Equal(ResultCode.Ok, result.Result);
            return result.SnapshotsOf(0);
        }
    }

    /// <summary>Objects of the PG on one OSD: clones and tombstones too, the group's own left out.</summary>
    public List<ObjectId> Objects(int osd)
    {
        var ids = new List<ObjectId>();
        cluster.Store(osd).ListObjects(new CollectionId(cluster.Group), null, int.MaxValue, ids);
        ids.RemoveAll(id => id.Name.Length == 0);
        return ids;
    }

    /// <summary>Asserts that all members hold the same objects and clones, and that each one's index says what its snapshot sets say.</summary>
    public void AssertAllEqual()
    {
        string? first = null;
        foreach (OsdId osd in cluster.Monitor.Map.Locate(cluster.Group).Acting)
        {
            MemoryObjectStore store = cluster.Store(osd.Value);
            var collection = new CollectionId(cluster.Group);
            var text = new StringBuilder();
            var index = new SortedSet<string>(StringComparer.Ordinal);
            foreach (ObjectId id in Objects(osd.Value))
            {
                text.AppendLine($"{id} {cluster.CopyOf(osd.Value, cluster.Group, id)}");
                if (store.TryGetAttribute(collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed))
                {
                    Assert.Equal(ObjectId.NoSnapshot, id.Snapshot);
                    index.UnionWith(SnapSet.Decode(packed.Span).Clones.SelectMany(clone => clone.Snapshots).Select(snapshot => Convert.ToHexString(SnapshotIndex.Key(snapshot, id))));
                }
            }

            var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
            store.ListOmap(collection, SnapshotIndex.Object, default, int.MaxValue, entries);
            Assert.Equal(index, entries.Select(entry => Convert.ToHexString(entry.Key.Span)));
            first ??= text.ToString();
            Assert.Equal(first, text.ToString());
        }
    }
}
