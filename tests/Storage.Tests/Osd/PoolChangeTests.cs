using System.Text;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>size and min_size change while the pool is in use.</summary>
public sealed class PoolChangeTests
{
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Fact]
    public void MoreCopiesAreMadeAndSurplusOnesRemoved()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        Write(cluster, 20, "one");
        Assert.Equal(2, Holders(cluster));
        cluster.EditPool(pool => pool with { Size = 3, MinSize = 2 });
        Write(cluster, 10, "two");
        cluster.WaitClean();
        Assert.Equal(3, Holders(cluster));
        cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 20).Select(i => $"object{i}"));
        cluster.EditPool(pool => pool with { Size = 2 });
        Write(cluster, 5, "three");
        cluster.WaitClean();
        cluster.RunUntil(() => Holders(cluster) == 2, "the third copy is removed");
        Assert.Equal("three4", Encoding.UTF8.GetString(cluster.Read("object4")!));
        Assert.Equal("two9", Encoding.UTF8.GetString(cluster.Read("object9")!));
        Assert.Equal("one19", Encoding.UTF8.GetString(cluster.Read("object19")!));
    }

    [Fact]
    public void RaisingMinSizeMakesAGroupWaitAndLoweringItLetsItGoOn()
    {
        var cluster = new OsdCluster(3, size: 3, minSize: 1);
        cluster.WaitClean();
        Write(cluster, 3, "one");
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[1].Value);
        cluster.Crash(acting[2].Value);
        Write(cluster, 3, "two"); // one copy is enough
        cluster.EditPool(pool => pool with { MinSize = 2 });
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("peered", StringComparison.Ordinal), "peered");
        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "object1"));
        cluster.RunFor(5);
        Assert.False(read.IsCompleted); // reads wait too
        Assert.Contains(
            "1 are there and min_size is 2; reads and writes wait", cluster.Daemon(acting[0].Value).QueryJson(cluster.Group)!, StringComparison.Ordinal);
        cluster.EditPool(pool => pool with { MinSize = 1 });
        cluster.RunUntil(() => read.IsCompleted, "the read");
        Assert.Equal("two1", Encoding.UTF8.GetString(cluster.Loop.Run(() => read, TimeSpan.FromSeconds(1))!));
        cluster.Start(acting[1].Value);
        cluster.Start(acting[2].Value);
        cluster.WaitClean();
    }

    [Fact]
    public void AnIntervalThatUpThruNeverReachedIsNotWaitedFor()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        Write(cluster, 3, "one");
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;

        // The first dies; the second is alone in an interval of its own for which it never gets up_thru, and dies too.
        cluster.Monitor.ChangeNow(increment => increment.Osds.Add(cluster.Monitor.Map.FindOsd(acting[0])! with { IsUp = false, DownAt = increment.Epoch }));
        cluster.Crash(acting[0].Value);
        cluster.Crash(acting[1].Value);
        cluster.RunFor(5);
        cluster.Start(acting[0].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "active without the other");
        Assert.Equal("one1", Encoding.UTF8.GetString(cluster.Read("object1")!));
        Assert.True(cluster.Reached(acting[0].Value, RarePath.IntervalSkippedByUpThru) > 0);
        cluster.Start(acting[1].Value);
        cluster.WaitClean();
    }

    [Fact]
    public void AnOsdThatIsDeclaredLostIsNotWaitedFor()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        Write(cluster, 3, "one");
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[0].Value);
        Write(cluster, 1, "two");
        cluster.Crash(acting[1].Value);
        cluster.RunFor(5);
        cluster.Start(acting[0].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("down", StringComparison.Ordinal), "down");
        cluster.Monitor.Edit(acting[1], info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "active");
        Assert.Equal("one0", Encoding.UTF8.GetString(cluster.Read("object0")!)); // what only the lost one had is given up
    }

    private static int Holders(OsdCluster cluster) => Enumerable.Range(0, 3).Count(osd => cluster.Daemon(osd).Groups.Contains(cluster.Group));

    private static void Write(OsdCluster cluster, int count, string text)
    {
        for (int i = 0; i < count; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", Bytes(text + i)));
        }
    }
}
