using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

public sealed class PlacementGroupTests
{
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Fact]
    public void WritesAreReadBackAndStandOnEveryMember()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("hello")));
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("J")));
        Assert.Equal("Jello", Encoding.UTF8.GetString(cluster.Read("a")!));
        Assert.Null(cluster.Read("absent"));
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    [Fact]
    public void AReplicaThatWasAwayCatchesUpByLog()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        int replica = (int)cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+undersized+degraded", "degraded");
        cluster.Write("a", Bytes("two"));
        cluster.Write("b", Bytes("new"));
        cluster.Start(replica);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["a", "b"]);
    }

    [Fact]
    public void WritesSurviveTheDeathOfThePrimaryWithoutALongStall()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        int primary = cluster.Primary(cluster.Group);
        TimeSpan killed = cluster.Loop.Now;
        cluster.Crash(primary);
        Assert.Equal("one", Encoding.UTF8.GetString(cluster.Read("a")!));
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("two")));
        Assert.True(cluster.Loop.Now - killed < TimeSpan.FromSeconds(0.5), $"stalled for {cluster.Loop.Now - killed}");
        cluster.Start(primary);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    [Fact]
    public void BelowMinSizeNothingIsServedUntilAMemberReturns()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[1].Value);
        cluster.Crash(acting[2].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("peered", StringComparison.Ordinal), "peered");
        Task<ResultCode> write = cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, "a", Bytes("two")));
        cluster.RunFor(10);
        Assert.False(write.IsCompleted);
        cluster.Start(acting[1].Value);
        cluster.RunUntil(() => write.IsCompleted, "the write");
        Assert.Equal(ResultCode.Ok, cluster.Loop.Run(() => write, TimeSpan.FromSeconds(1)));
        cluster.Start(acting[2].Value);
        cluster.WaitClean();
        Assert.Equal("two", Encoding.UTF8.GetString(cluster.Read("a")!));
    }

    [Fact]
    public void AnEmptyDiskIsBackfilledWhileOthersServe()
    {
        var cluster = new OsdCluster(3, configure: options => options with { LogEntries = 8 });
        cluster.WaitClean();
        for (int i = 0; i < 200; i++)
        {
            cluster.Write($"object{i}", Bytes($"content {i}"));
        }

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
                Assert.Equal(ResultCode.Ok, cluster.Write($"object{written++ * 7 % 220}", Bytes($"during {written}")));
                return cluster.StateOf(cluster.Group) == "active+clean";
            },
            "backfilled",
            120);
        Assert.True(written > 3);
        cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 220).Select(i => $"object{i}"));
    }

    [Fact]
    public void AGroupWithoutSurvivorsOfAnIntervalStaysDown()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[0].Value);
        cluster.Write("a", Bytes("two"));
        cluster.Crash(acting[1].Value);
        cluster.RunFor(5);
        cluster.Start(acting[0].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("down", StringComparison.Ordinal), "down");
        cluster.RunFor(10);
        Assert.StartsWith("down", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
        string why = cluster.Daemon(acting[0].Value).QueryJson(cluster.Group)!;
        Assert.Contains($"waits for {acting[1]} (down): it may have accepted writes in interval ", why, StringComparison.Ordinal);
        cluster.Start(acting[1].Value);
        Assert.Equal("two", Encoding.UTF8.GetString(cluster.Read("a")!));
        cluster.WaitClean();
    }

    [Fact]
    public void ADamagedCopyIsNeverReturnedAndIsRepaired()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("precious"));
        int primary = cluster.Primary(cluster.Group);
        Assert.True(cluster.Store(primary).FlipBit(new CollectionId(cluster.Group), Placement.ObjectOf("a"), 3));
        Assert.Equal("precious", Encoding.UTF8.GetString(cluster.Read("a")!));
        cluster.RunFor(5);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
        OsdStatistics statistics = cluster.Monitor.Statistics[new OsdId(primary)];
        Assert.Equal((1, 1), (statistics.ReadErrors, statistics.RepairedErrors));
    }

    [Fact]
    public void ARepairCountsThoughTheIntervalEndsBeforeItIsDurable()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("precious"));
        int primary = cluster.Primary(cluster.Group);
        var latency = TimeSpan.FromSeconds(2);
        cluster.StoreOptions = osd => osd == primary ? new MemoryStoreOptions { CommitLatencyMin = latency, CommitLatencyMax = latency } : new MemoryStoreOptions();
        cluster.Crash(primary);
        cluster.Start(primary);
        cluster.WaitClean();
        Assert.Equal(primary, cluster.Primary(cluster.Group));
        Assert.True(cluster.Store(primary).FlipBit(new CollectionId(cluster.Group), Placement.ObjectOf("a"), 3));
        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "a"));
        cluster.RunFor(1); // the copy is replaced, and not durable yet
        cluster.Monitor.MarkDown(cluster.Monitor.Map.Locate(cluster.Group).Acting[1]);
        cluster.RunFor(5);
        cluster.WaitClean();
        cluster.RunUntil(() => read.IsCompleted, "the read is answered");
        Assert.DoesNotContain("inconsistent", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    [Fact]
    public void WithoutAGoodCopyAReadFails()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("precious"));
        for (int osd = 0; osd < 3; osd++)
        {
            cluster.Store(osd).FlipBit(new CollectionId(cluster.Group), Placement.ObjectOf("a"), 3);
        }

        var error = Assert.Throws<InvalidOperationException>(() => cluster.Read("a"));
        Assert.Contains(nameof(ResultCode.IoError), error.Message, StringComparison.Ordinal);
        Assert.Contains("inconsistent", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
    }

    [Fact]
    public void GuardsAndStepsApplyAllOrNothing()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        Assert.Equal(ResultCode.GuardFailed, Run(new ObjectOperation()
            .AddAttribute(OperationCode.SetAttribute, "owner", Bytes("me"))
            .AddAttribute(OperationCode.CompareAttribute, "owner", Bytes("you"))));
        Assert.Equal(ResultCode.NotFound, Run(new ObjectOperation().Add(OperationCode.Stat)));
        Assert.Equal(ResultCode.Ok, Run(new ObjectOperation()
            .Add(OperationCode.AssertMissing)
            .AddAttribute(OperationCode.SetAttribute, "owner", Bytes("me"))
            .AddAttribute(OperationCode.CompareAttribute, "owner", Bytes("me"))
            .Add(OperationCode.SetOmap, key: Bytes("k"), value: Bytes("v"))));
        Assert.Equal(ResultCode.Ok, Run(new ObjectOperation().Add(OperationCode.CompareOmap, key: Bytes("k"), value: Bytes("v"))));
        Assert.Equal(ResultCode.Exists, Run(new ObjectOperation().Add(OperationCode.Create, length: 1)));
        Assert.Equal(ResultCode.Ok, Run(new ObjectOperation().Add(OperationCode.Remove)));
        Assert.Equal(ResultCode.NotFound, Run(new ObjectOperation().Add(OperationCode.AssertExists)));

        ResultCode Run(ObjectOperation operation) => cluster.Loop.Run(
            async () =>
            {
                using OperationResult result = await cluster.Client.ExecuteAsync(OsdCluster.Pool, "guarded", operation, default);
                return result.Result;
            },
            TimeSpan.FromSeconds(10));
    }

    [Fact]
    public void AFencedClientCannotWrite()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        cluster.Monitor.ChangeNow(increment => increment.Blocklisted[7] = long.MaxValue);
        cluster.RunFor(1);
        Assert.Equal(ResultCode.Blocklisted, cluster.Write("a", Bytes("two")));
    }

    [Theory]
    [InlineData(1, 6)]
    public void NoAcknowledgedWriteIsLostUnderRandomCrashesAndPoolChanges(int firstSeed, int seeds) => RunSeeds(firstSeed, seeds, changePool: true);

    [Theory]
    [InlineData(1, 6)]
    public void NoAcknowledgedWriteIsLostUnderRandomCrashes(int firstSeed, int seeds) => RunSeeds(firstSeed, seeds, changePool: false);

    private static void RunSeeds(int firstSeed, int seeds, bool changePool)
    {
        // More seeds for a longer run: OSD_SEEDS=200.
        seeds = int.TryParse(Environment.GetEnvironmentVariable("OSD_SEEDS"), out int wanted) ? wanted : seeds;
        firstSeed = int.TryParse(Environment.GetEnvironmentVariable("OSD_SEED"), out int first) ? first : firstSeed;
        for (int seed = firstSeed; seed < firstSeed + seeds; seed++)
        {
            try
            {
                RandomCrashes.Run(seed, changePool);
            }
            catch (Exception error)
            {
                throw new InvalidOperationException($"seed={seed}: {error.Message}", error);
            }
        }
    }
}
