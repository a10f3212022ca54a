using System.Text;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>pg_num grows while objects are written.</summary>
public sealed class SplitTests
{
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Fact]
    public void ObjectsBelongToOneChildEachWhateverTheSteps()
    {
        for (int from = 1; from < 20; from++)
        {
            for (int to = from; to < 40; to++)
            {
                var pool = new PoolInfo { Id = 1, Name = "p", PgCount = to };
                var before = pool with { PgCount = from };
                for (uint seed = 0; seed < from; seed++)
                {
                    foreach (uint child in PgSplit.ChildrenOf(seed, from, to))
                    {
                        Assert.Equal(seed, PgSplit.AncestorOf(child, from));
                    }
                }

                for (uint hash = 0; hash < 256; hash++)
                {
                    uint old = ClusterMap.GroupOf(before, hash * 0x9E3779B1u).Seed, now = ClusterMap.GroupOf(pool, hash * 0x9E3779B1u).Seed;
                    Assert.Equal(old, PgSplit.AncestorOf(now, from));
                    Assert.True(old == now || PgSplit.ChildrenOf(old, from, to).Contains(now));
                    for (uint seed = 0; seed < to; seed++)
                    {
                        Assert.Equal(seed == now, PgSplit.Holds(hash * 0x9E3779B1u, seed, PgSplit.BitsOf(seed, to)));
                    }
                }
            }
        }
    }

    [Theory]
    [InlineData(2, 3)]
    [InlineData(2, 8)]
    [InlineData(3, 13)]
    public void EveryObjectIsFoundInItsNewGroup(int from, int to)
    {
        var cluster = new OsdCluster(5, pgCount: from);
        cluster.WaitClean();
        WriteAll(cluster, 60, "one");
        cluster.Split(to);
        WriteAll(cluster, 20, "two");
        cluster.WaitClean();
        AssertAll(cluster, 20, "two", 0);
        AssertAll(cluster, 60, "one", 20);
        cluster.Spread();
        WriteAll(cluster, 70, "three");
        cluster.WaitClean();
        AssertAll(cluster, 70, "three", 0);
        cluster.RunFor(10);
        AssertCounts(cluster, 70, "three");
        foreach (int osd in Enumerable.Range(0, 5))
        {
            // Copies that moved away are gone.
            Assert.All(cluster.Daemon(osd).Groups, group => Assert.Contains(new OsdId(osd), cluster.Monitor.Map.Locate(group).Up));
        }
    }

    [Fact]
    public void AnOsdThatWasAwaySplitsItsCopiesOnReturn()
    {
        var cluster = new OsdCluster(3, pgCount: 2);
        cluster.WaitClean();
        WriteAll(cluster, 40, "one");
        cluster.Crash(1);
        cluster.RunFor(1);
        WriteAll(cluster, 10, "two");
        cluster.Split(4);
        WriteAll(cluster, 20, "three");
        cluster.Split(9);
        WriteAll(cluster, 30, "four");
        cluster.Start(1);
        cluster.WaitClean();
        Assert.True(cluster.Reached(1, RarePath.SplitOnReturningOsd) > 0);
        AssertAll(cluster, 30, "four", 0);
        AssertAll(cluster, 40, "one", 30);
        AssertCopies(cluster, 40);
    }

    [Fact]
    public void ACopyThatIsBeingFilledGoesOnInParentAndChildren()
    {
        var cluster = new OsdCluster(3, pgCount: 1, configure: options => options with { LogEntries = 8, RecoveryObjectsPerGroup = 1 });
        cluster.WaitClean();
        WriteAll(cluster, 400, "one");
        WriteAll(cluster, 1, "one"); // trims the log
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunFor(1);
        cluster.Monitor.Edit(new OsdId(replica), info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.ReplaceDisk(replica);
        cluster.Start(replica);
        Assert.True(cluster.Loop.RunUntil(() => cluster.StateOf(cluster.Group).Contains("backfilling", StringComparison.Ordinal), TimeSpan.FromSeconds(60)));
        cluster.Loop.RunFor(TimeSpan.FromMilliseconds(30));
        cluster.Split(4);
        WriteAll(cluster, 50, "two");
        cluster.WaitClean();
        Assert.True(Enumerable.Range(0, 3).Sum(osd => cluster.Reached(osd, RarePath.SplitWhileBackfilling)) > 0);
        AssertAll(cluster, 50, "two", 0);
        AssertAll(cluster, 400, "one", 50);
        AssertCopies(cluster, 400);
    }

    [Fact]
    public void AGroupThatIsPeeringIsSplit()
    {
        var cluster = new OsdCluster(4, pgCount: 2);
        cluster.WaitClean();
        WriteAll(cluster, 40, "one");
        cluster.Crash(cluster.Primary(cluster.Group));
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("peering", StringComparison.Ordinal), "peering");
        cluster.Split(6);
        WriteAll(cluster, 40, "two");
        Assert.True(Enumerable.Range(0, 4).Where(cluster.IsAlive).Sum(osd => cluster.Reached(osd, RarePath.SplitWhilePeering)) > 0);
        AssertAll(cluster, 40, "two", 0);
    }

    [Fact]
    public void WritesThatWaitGoToTheChild()
    {
        var cluster = new OsdCluster(3, pgCount: 1);
        cluster.WaitClean();
        WriteAll(cluster, 10, "one");
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[1].Value);
        cluster.Crash(acting[2].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("peered", StringComparison.Ordinal), "peered");
        Task<ResultCode>[] writes = [.. Enumerable.Range(0, 10).Select(i => cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, $"object{i}", Bytes("two"))))];
        cluster.RunFor(1);
        cluster.Split(4);
        cluster.RunFor(1);
        Assert.True(cluster.Reached(acting[0].Value, RarePath.OperationRerouted) > 0);
        cluster.Start(acting[1].Value);
        cluster.RunUntil(() => writes.All(write => write.IsCompleted), "the writes");
        cluster.Start(acting[2].Value);
        cluster.WaitClean();
        AssertAll(cluster, 10, "two", 0);
        AssertCopies(cluster, 10);
    }

    [Fact]
    public void AProcessThatDiesInTheMiddleOfASplitFinishesIt()
    {
        for (int transactions = 0; transactions < 8; transactions++)
        {
            var cluster = new OsdCluster(3, pgCount: 1, seed: transactions + 1);
            cluster.WaitClean();
            WriteAll(cluster, 40, "one");
            cluster.Split(4);

            // The map is on its way; power fails when a part of what each OSD submits is durable.
            cluster.Loop.RunFor(TimeSpan.FromMilliseconds(0.2 * transactions));
            for (int osd = 0; osd < 3; osd++)
            {
                cluster.Crash(osd);
            }

            cluster.RunFor(0.5);
            for (int osd = 0; osd < 3; osd++)
            {
                cluster.Start(osd);
            }

            cluster.WaitClean();
            AssertAll(cluster, 40, "one", 0);
            AssertCopies(cluster, 40);
        }
    }

    private static void WriteAll(OsdCluster cluster, int count, string text)
    {
        Task<ResultCode>[] writes = [.. Enumerable.Range(0, count).Select(i => cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, $"object{i}", Bytes(text + i))))];
        cluster.RunUntil(() => writes.All(write => write.IsCompleted), "writes");
        Assert.All(writes, write => Assert.Equal(ResultCode.Ok, write.GetAwaiter().GetResult()));
    }

    private static void AssertAll(OsdCluster cluster, int count, string text, int from)
    {
        for (int i = from; i < count; i++)
        {
            string read = Encoding.UTF8.GetString(cluster.Read($"object{i}")!);
            Assert.StartsWith(text + i, read, StringComparison.Ordinal);
        }
    }

    private static void AssertCopies(OsdCluster cluster, int count)
    {
        foreach (IGrouping<PgId, string> group in Enumerable.Range(0, count).Select(i => $"object{i}").GroupBy(cluster.GroupOf))
        {
            cluster.AssertCopiesEqual(group.Key, group);
        }
    }

    private static void AssertCounts(OsdCluster cluster, int count, string text)
    {
        var groups = cluster.Monitor.Statistics.Values
            .SelectMany(statistics => statistics.Groups.Where(group => cluster.Primary(group.Group) == statistics.Osd.Value))
            .ToDictionary(group => group.Group);
        foreach (IGrouping<PgId, int> group in Enumerable.Range(0, count).GroupBy(i => cluster.GroupOf($"object{i}")))
        {
            Assert.Equal(group.Count(), groups[group.Key].Objects);
            Assert.Equal(group.Sum(i => Bytes(text + i).Length), groups[group.Key].Bytes);
        }
    }
}
