using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>Full disks, and copies that nobody needs.</summary>
public sealed class SpaceTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void AWriteThatDoesNotFitOnOneMemberGoesToNoneAndDeletesGoOn(int member)
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Disk(acting[member].Value).CapacityBytes = 4 << 20;
        cluster.RunFor(3);
        var written = new List<string>();
        ResultCode last = ResultCode.Ok;
        for (int i = 0; i < 300 && last == ResultCode.Ok; i++)
        {
            last = cluster.Write($"object{i}", new byte[60_000]);
            if (last == ResultCode.Ok)
            {
                written.Add($"object{i}");
            }
        }

        Assert.Equal(ResultCode.NoSpace, last);
        Assert.InRange(written.Count, 40, 70);
        cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 80).Select(i => $"object{i}"));
        Assert.Equal(0, cluster.Daemon(acting[member].Value).RarePaths[(int)RarePath.ReplicaWriteStalled]);

        // Reads go on, what was written can be overwritten, and deletes make room.
        Assert.NotNull(cluster.Read(written[0]));
        Assert.Equal(ResultCode.Ok, cluster.Write(written[0], Encoding.UTF8.GetBytes("changed")));
        foreach (string name in written.Take(10))
        {
            Assert.Equal(ResultCode.Ok, Remove(cluster, name));
        }

        cluster.RunFor(3);
        Assert.Equal(ResultCode.Ok, cluster.Write("again", new byte[60_000]));
        cluster.AssertCopiesEqual(cluster.Group, [.. Enumerable.Range(0, 80).Select(i => $"object{i}"), "again"]);
    }

    [Fact]
    public void AnOsdTooFullForBackfillIsNotFilledUntilThereIsRoom()
    {
        var cluster = new OsdCluster(3, configure: options => options with { LogEntries = 5 });
        cluster.WaitClean();
        for (int i = 0; i < 40; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", new byte[60_000]));
        }

        int target = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(target);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("degraded", StringComparison.Ordinal), "degraded");
        cluster.ReplaceDisk(target);
        cluster.Monitor.Edit(new OsdId(target), info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.Disk(target).CapacityBytes = 1 << 20;
        cluster.Start(target);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("backfill_toofull", StringComparison.Ordinal), "too full");
        cluster.RunFor(20);
        Assert.Contains("backfill_toofull", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
        Assert.True(cluster.Disk(target).UsedBytes < 1 << 20);
        cluster.Disk(target).CapacityBytes = 1 << 30;
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 40).Select(i => $"object{i}"));
    }

    // An object is received half when the disk is full, and by the time there is room it is so small that it comes in one piece.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhatWasHalfReceivedDoesNotStayBesideTheObject(bool removed)
    {
        var cluster = new OsdCluster(3, configure: options => options with { LogEntries = 5, RecoveryChunkBytes = 16 << 10, BusyRecoveryChunkBytes = 16 << 10 });
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("large", new byte[600_000]));
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write("other", new byte[100]));
        }

        int target = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(target);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("degraded", StringComparison.Ordinal), "degraded");
        cluster.ReplaceDisk(target);
        cluster.Monitor.Edit(new OsdId(target), info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.Disk(target).CapacityBytes = 400_000;
        cluster.Start(target);
        cluster.RunUntil(() => cluster.Reached(cluster.Primary(cluster.Group), RarePath.BackfillTooFull) > 0, "too full");
        ResultCode result = removed
            ? Remove(cluster, "large")
            : cluster.Loop.Run(async () => (await cluster.Client.ExecuteAsync(OsdCluster.Pool, "large", new ObjectOperation().AddData(OperationCode.WriteFull, 0, new byte[10]))).Result, TimeSpan.FromSeconds(30));
        Assert.Equal(ResultCode.Ok, result);
        cluster.Disk(target).CapacityBytes = 1 << 30;
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["large", "other"]);
        var objects = new List<ObjectId>();
        cluster.Store(target).ListObjects(new CollectionId(cluster.Group), null, int.MaxValue, objects);
        Assert.Equal(removed ? ["other"] : new[] { "large", "other" }, objects.Where(id => id.Name.Length > 0).Select(id => id.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void AStrayCopyIsRemovedInStepsAlsoAcrossARestart()
    {
        var cluster = new OsdCluster(4, configure: options => options with { LogEntries = 5 });
        cluster.WaitClean();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", new byte[100]));
        }

        int old = cluster.Monitor.Map.Locate(cluster.Group).Acting[2].Value;
        cluster.Monitor.Edit(new OsdId(old), info => info with { Weight = 0 });
        UntilRemoving(cluster, old);
        var collection = new CollectionId(cluster.Group);
        cluster.Loop.RunFor(TimeSpan.FromMilliseconds(1.5));
        Assert.Contains(collection, cluster.Store(old).ListCollections());
        Assert.DoesNotContain(cluster.Group, cluster.Daemon(old).Groups);
        cluster.Crash(old);
        cluster.RunFor(1);
        cluster.Start(old);
        Assert.Equal(1, cluster.Daemon(old).RarePaths[(int)RarePath.RemovalResumed]);
        cluster.RunUntil(() => !cluster.Store(old).ListCollections().Contains(collection), "removed");
        Assert.Equal(0, cluster.Daemon(old).RemovalsUnderWay);
        cluster.WaitClean();
    }

    [Fact]
    public void AGroupThatComesBackWhileItsOldCopyIsBeingRemovedBeginsEmpty()
    {
        var cluster = new OsdCluster(4, configure: options => options with { LogEntries = 5 });
        cluster.WaitClean();
        for (int i = 0; i < 1000; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", new byte[100]));
        }

        int old = cluster.Monitor.Map.Locate(cluster.Group).Acting[2].Value;
        cluster.Monitor.Edit(new OsdId(old), info => info with { Weight = 0 });
        UntilRemoving(cluster, old);
        cluster.Loop.RunFor(TimeSpan.FromMilliseconds(1.5));
        cluster.Crash(old); // keeps it from going on
        cluster.RunFor(1);
        cluster.Monitor.Edit(new OsdId(old), info => info with { Weight = OsdInfo.FullWeight });
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(ResultCode.Ok, Remove(cluster, $"object{i * 7}"));
        }

        cluster.Start(old);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 1000).Select(i => $"object{i}"));
    }

    private static void UntilRemoving(OsdCluster cluster, int osd)
    {
        for (int i = 0; cluster.Daemon(osd).RemovalsUnderWay == 0; i++)
        {
            Assert.True(i < 400_000, "the removal begins");
            cluster.Loop.RunFor(TimeSpan.FromMilliseconds(0.2));
        }
    }

    private static ResultCode Remove(OsdCluster cluster, string name) => cluster.Loop.Run(
        async () =>
        {
            using OperationResult result = await cluster.Client.ExecuteAsync(OsdCluster.Pool, name, new ObjectOperation().Add(OperationCode.Remove), default);
            return result.Result;
        },
        TimeSpan.FromSeconds(30));
}
