using Storage.Cluster;
using Storage.Messaging;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

public sealed class SnapshotTests
{
    private static (OsdCluster Cluster, SnapshotKit Snapshots) Make(int osds = 3, int logEntries = 200)
    {
        var cluster = new OsdCluster(osds, configure: options => options with { LogEntries = logEntries, RecoveryChunkBytes = 8192 });
        cluster.WaitClean();
        return (cluster, new SnapshotKit(cluster));
    }

    [Fact]
    public void AReadAtASnapshotShowsWhatWasThen()
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make();
        snapshots.Write("a", "one");
        ulong first = snapshots.Take();
        Assert.Equal("one", snapshots.Read("a", first)); // the live object, not changed since
        snapshots.Write("a", "two");
        snapshots.Write("a", "two and more");
        snapshots.Write("b", "new");
        ulong second = snapshots.Take();
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Remove)));
        Assert.Equal("one", snapshots.Read("a", first));
        Assert.Equal("two and more", snapshots.Read("a", second));
        Assert.Null(snapshots.Read("a"));
        Assert.Null(snapshots.Read("b", first));
        Assert.Equal("new", snapshots.Read("b", second));
        ulong third = snapshots.Take();
        Assert.Equal(ResultCode.NotFound, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Remove)));
        snapshots.Write("a", "again");
        Assert.Null(snapshots.Read("a", third));
        Assert.Equal("again", snapshots.Read("a"));
        Assert.Equal("two and more", snapshots.Read("a", second));
        Storage.Client.ObjectSnapshots list = snapshots.List("a");
        Assert.True(list.Exists);
        Assert.Equal(third, list.Newest);
        Assert.Equal([first, second], list.Clones.Select(clone => clone.Id));
        Assert.Equal([3L, 12L], list.Clones.Select(clone => clone.Size));
        snapshots.AssertAllEqual();
    }

    [Fact]
    public void AttributesAndOmapBelongToASnapshotToo()
    {
        (_, SnapshotKit snapshots) = Make();
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().AddAttribute(OperationCode.SetAttribute, "x", "1"u8).Add(OperationCode.SetOmap, key: "k"u8, value: "v"u8)));
        ulong snapshot = snapshots.Take();
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Remove)));
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Create, length: 1)));
        Assert.Equal(ResultCode.GuardFailed, snapshots.Run("a", new ObjectOperation().AddAttribute(OperationCode.CompareAttribute, "x", "1"u8).Add(OperationCode.Truncate, 1)));
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation()
            .Add(OperationCode.Rollback, (long)snapshot)
            .AddAttribute(OperationCode.CompareAttribute, "x", "1"u8)
            .Add(OperationCode.CompareOmap, key: "k"u8, value: "v"u8)));
        snapshots.AssertAllEqual();
    }

    [Fact]
    public void AWriteThatDoesNotKnowANewSnapshotIsRefused()
    {
        (_, SnapshotKit snapshots) = Make();
        snapshots.Write("a", "one");
        Storage.Client.SnapshotContext before = snapshots.Context;
        ulong snapshot = snapshots.Take();
        Assert.Equal(ResultCode.StaleSnapshots, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Truncate, 0), before));
        Assert.Equal("one", snapshots.Read("a"));
        snapshots.Write("a", "two");
        Assert.Equal("one", snapshots.Read("a", snapshot));
        Assert.Equal(ResultCode.Invalid, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Truncate, 0), new Storage.Client.SnapshotContext(snapshots.Pool.SnapshotBarrier, 99)));
    }

    [Fact]
    public void RollingBackKeepsNewerSnapshots()
    {
        (_, SnapshotKit snapshots) = Make();
        snapshots.Write("a", "one");
        ulong first = snapshots.Take();
        snapshots.Write("a", "two");
        snapshots.Write("b", "young");
        ulong second = snapshots.Take();
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Rollback, (long)first)));
        Assert.Equal(ResultCode.Ok, snapshots.Run("b", new ObjectOperation().Add(OperationCode.Rollback, (long)first)));
        Assert.Equal("one", snapshots.Read("a"));
        Assert.Null(snapshots.Read("b"));
        Assert.Equal("two", snapshots.Read("a", second));
        Assert.Equal("young", snapshots.Read("b", second));
        Assert.Equal("one", snapshots.Read("a", first));
        Assert.Equal(ResultCode.Ok, snapshots.Run("b", new ObjectOperation().Add(OperationCode.Rollback, (long)second)));
        Assert.Equal("young", snapshots.Read("b"));
        snapshots.Remove(first);
        Assert.Equal(ResultCode.NotFound, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Rollback, (long)first)));
        snapshots.AssertAllEqual();
    }

    [Fact]
    public void ClonesOfRemovedSnapshotsGoAndAreReportedGone()
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make();
        ulong[] taken = new ulong[3];
        for (int round = 0; round < 3; round++)
        {
            for (int i = 0; i < 30; i++)
            {
                snapshots.Write($"object{i}", $"{i} in round {round}");
            }

            taken[round] = snapshots.Take();
        }

        for (int i = 0; i < 30; i++)
        {
            Assert.Equal(ResultCode.Ok, snapshots.Run($"object{i}", new ObjectOperation().Add(OperationCode.Remove)));
        }

        Assert.Equal(120, snapshots.Objects(0).Count); // three clones and a tombstone each
        snapshots.Remove(taken[1]);
        Assert.Null(snapshots.Read("object1", taken[1]));
        cluster.WaitClean();
        Assert.Equal(90, snapshots.Objects(0).Count);
        Assert.Equal("7 in round 0", snapshots.Read("object7", taken[0]));
        Assert.Equal("7 in round 2", snapshots.Read("object7", taken[2]));
        snapshots.AssertAllEqual();
        snapshots.Remove(taken[0], taken[2]);
        cluster.WaitClean();
        cluster.RunFor(3);
        snapshots.AssertAllEqual();
        Assert.Empty(snapshots.Objects(0));
        Assert.Equal(snapshots.Pool.RemovedSnapshots, cluster.Monitor.Statistics[new OsdId(cluster.Primary(cluster.Group))].Groups.Single().PurgedSnapshots);
    }

    [Fact]
    public void AMemberThatWasAwayGetsClonesByLog()
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make();
        string large = new('x', 50_000);
        snapshots.Write("a", large);
        snapshots.Write("b", "b");
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+undersized+degraded", "degraded");
        ulong first = snapshots.Take();
        snapshots.Write("a", large + "1");
        ulong second = snapshots.Take();
        snapshots.Write("a", large + "2");
        Assert.Equal(ResultCode.Ok, snapshots.Run("b", new ObjectOperation().Add(OperationCode.Remove)));
        cluster.Start(replica);
        cluster.WaitClean();
        snapshots.AssertAllEqual();
        Assert.Equal(large, snapshots.Read("a", first));
        Assert.Equal(large + "1", snapshots.Read("a", second));
        Assert.Equal("b", snapshots.Read("b", second));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void ACopyIsFilledWithClonesWhileSnapshotsAreTaken(int seed)
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make(logEntries: 8);
        var random = new Random(seed);
        var taken = new List<ulong>();
        var expected = new Dictionary<(string, ulong), string?>();
        var now = new Dictionary<string, string?>();
        for (int i = 0; i < 150; i++)
        {
            Step($"object{i}", $"first {i}");
        }

        Take();
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+undersized+degraded", "degraded");
        cluster.Monitor.Edit(new OsdId(replica), info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.ReplaceDisk(replica);
        cluster.Start(replica);
        int written = 0;
        cluster.RunUntil(
            () =>
            {
                Step($"object{random.Next(170)}", random.Next(4) == 0 ? null : $"during {written}", random.Next(6) == 0 ? taken[random.Next(taken.Count)] : 0);
                if (++written % 5 == 0)
                {
                    Take();
                }

                return cluster.StateOf(cluster.Group) == "active+clean";
            },
            "filled",
            120);
        cluster.WaitClean();
        snapshots.AssertAllEqual();
        foreach (((string name, ulong snapshot), string? text) in expected)
        {
            Assert.Equal(text, snapshots.Read(name, snapshot));
        }

        void Take()
        {
            ulong id = snapshots.Take();
            taken.Add(id);
            foreach ((string name, string? text) in now)
            {
                expected[(name, id)] = text;
            }
        }

        void Step(string name, string? text, ulong rollback = 0)
        {
            if (rollback != 0)
            {
                Assert.Equal(ResultCode.Ok, snapshots.Run(name, new ObjectOperation().Add(OperationCode.Rollback, (long)rollback)));
                now[name] = expected.GetValueOrDefault((name, rollback));
            }
            else if (text is null)
            {
                snapshots.Run(name, new ObjectOperation().Add(OperationCode.Remove));
                now[name] = null;
            }
            else
            {
                snapshots.Write(name, text);
                now[name] = text;
            }
        }
    }

    [Fact]
    public void TrimmingGoesOnAfterThePrimaryDied()
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make();
        for (int i = 0; i < 200; i++)
        {
            snapshots.Write($"object{i}", "one");
        }

        ulong snapshot = snapshots.Take();
        for (int i = 0; i < 200; i++)
        {
            snapshots.Write($"object{i}", "two");
        }

        int primary = cluster.Primary(cluster.Group);
        snapshots.Remove(snapshot);
        cluster.RunUntil(() => cluster.Daemon(primary).StateOf(cluster.Group) == "active+clean+snaptrim", "trimming");
        cluster.RunUntil(() => snapshots.Objects(primary).Count < 390, "some trimmed");
        cluster.Crash(primary);
        cluster.RunFor(5);
        cluster.Start(primary);
        cluster.WaitClean();
        snapshots.AssertAllEqual();
        Assert.Equal(200, snapshots.Objects(primary).Count);
        Assert.True(Enumerable.Range(0, 3).Sum(osd => cluster.Daemon(osd).RarePaths[(int)RarePath.TrimResumed]) > 0);
    }

    [Fact]
    public void ListsShowNoTombstones()
    {
        (OsdCluster cluster, SnapshotKit snapshots) = Make();
        snapshots.Write("a", "one");
        snapshots.Write("b", "one");
        snapshots.Take();
        Assert.Equal(ResultCode.Ok, snapshots.Run("a", new ObjectOperation().Add(OperationCode.Remove)));
        snapshots.Write("b", "two");
        Storage.Client.ObjectListing listing = cluster.Loop.Run(() => cluster.Client.ListObjectsAsync(OsdCluster.Pool, 0, null, 100).AsTask(), TimeSpan.FromSeconds(10));
        Assert.Equal(["b"], listing.Objects.Select(id => id.ToString()));
    }
}
