using System.Text;
using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>Damage is done to copies on the memory disks behind the daemons' backs; scrub has to find it, and repair it from the right copy.</summary>
public sealed class ScrubTests
{
    private static readonly string[] s_names = [.. Enumerable.Range(0, 60).Select(i => $"object{i}")];

    public enum Damage
    {
        FlippedBit,
        Lost,
        Extra,
        Attribute,
        Omap,
        Version,
        ChangedData,
        Shortened,
    }

    [Theory]
    [InlineData(Damage.FlippedBit, 0)]
    [InlineData(Damage.FlippedBit, 1)]
    [InlineData(Damage.Lost, 0)]
    [InlineData(Damage.Lost, 2)]
    [InlineData(Damage.Extra, 0)]
    [InlineData(Damage.Extra, 1)]
    [InlineData(Damage.Attribute, 0)]
    [InlineData(Damage.Attribute, 1)]
    [InlineData(Damage.Omap, 0)]
    [InlineData(Damage.Omap, 2)]
    [InlineData(Damage.Version, 0)]
    [InlineData(Damage.Version, 1)]
    [InlineData(Damage.ChangedData, 0)]
    [InlineData(Damage.ChangedData, 1)]
    [InlineData(Damage.Shortened, 2)]
    public void ADeepScrubFindsDamageAndRepairsItFromTheOthers(Damage damage, int member)
    {
        OsdCluster cluster = Filled();
        int osd = cluster.Monitor.Map.Locate(cluster.Group).Acting[member].Value;
        Harm(cluster, osd, "object7", damage);
        Scrub(cluster, deep: true, repair: damage == Damage.Extra);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, [.. s_names, "never"]);
        Assert.Equal("content 7", Encoding.UTF8.GetString(cluster.Read("object7")!)[..9]);
        Assert.Null(cluster.Read("never"));
        Assert.Equal(0, Status(cluster).Errors);
        Assert.True(cluster.Daemon(cluster.Primary(cluster.Group)).RarePaths[(int)RarePath.ScrubErrorRepaired] == 1);
    }

    [Theory]
    [InlineData(Damage.Lost)]
    [InlineData(Damage.Attribute)]
    [InlineData(Damage.Shortened)]
    public void AShallowScrubFindsWhatMetadataTellsAndADeepOneThatFollowsRepairsIt(Damage damage)
    {
        OsdCluster cluster = Filled();
        Harm(cluster, cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value, "object7", damage);
        Scrub(cluster, deep: false);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, s_names);
    }

    [Fact]
    public void GroupsThatAreAllToBeScrubbedDoNotKeepEachOtherFromIt()
    {
        // Started at one moment, they look for work at the same moments.
        var cluster = new OsdCluster(3, pgCount: 32);
        for (int osd = 0; osd < 3; osd++)
        {
            cluster.Crash(osd);
        }

        for (int osd = 0; osd < 3; osd++)
        {
            cluster.Start(osd);
        }

        cluster.RunFor(10);
        cluster.WaitClean();
        PgId[] groups = [.. Enumerable.Range(0, 32).Select(seed => new PgId(OsdCluster.Pool, (uint)seed))];
        foreach (PgId group in groups)
        {
            Assert.True(cluster.Daemon(cluster.Primary(group)).RequestScrub(group, deep: true));
        }

        cluster.RunUntil(() => groups.All(group => cluster.Daemon(cluster.Primary(group)).ScrubStatusOf(group) is { IsPending: false }), "all scrubbed", 20);
    }

    [Fact]
    public void ADeepScrubAloneNeverRemovesAnObject()
    {
        OsdCluster cluster = Filled();
        int osd = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        Harm(cluster, osd, "object7", Damage.Extra);
        Scrub(cluster, deep: true);
        Assert.Equal(1, Status(cluster).Errors);
        Assert.Equal("active+clean+inconsistent", cluster.StateOf(cluster.Group));
        Assert.Contains("\"extra\"", cluster.Daemon(cluster.Primary(cluster.Group)).ListInconsistentJson(cluster.Group), StringComparison.Ordinal);
        Assert.True(cluster.Store(osd).TryStat(new CollectionId(cluster.Group), Placement.ObjectOf("never"), out _));
    }

    [Fact]
    public void WithoutACertainCopyNothingIsRepairedUntilAnOperatorSaysWhichOneIsRight()
    {
        OsdCluster cluster = Filled(osds: 2, size: 2);
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        Age(cluster); // the log must not know the object any more
        Harm(cluster, acting[0].Value, "object7", Damage.ChangedData);
        Scrub(cluster, deep: true, repair: true);
        Assert.Equal(1, Status(cluster).Errors);
        Assert.Contains("\"certain\": false", cluster.Daemon(acting[0].Value).ListInconsistentJson(cluster.Group), StringComparison.Ordinal);

        // A change of the primary does not forget it.
        cluster.Crash(acting[0].Value);
        cluster.RunFor(3);
        Assert.Contains("inconsistent", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
        cluster.Start(acting[0].Value);
        cluster.RunFor(10);
        Scrub(cluster, deep: true, repair: true, trusted: acting[1]);
        cluster.WaitClean();
        Assert.Equal("content 7", Encoding.UTF8.GetString(cluster.Read("object7")!)[..9]);
        cluster.AssertCopiesEqual(cluster.Group, s_names);
    }

    [Fact]
    public void AChecksumDecidesBetweenTwoCopies()
    {
        OsdCluster cluster = Filled(osds: 2, size: 2);
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        Age(cluster);
        Harm(cluster, acting[0].Value, "object7", Damage.FlippedBit);
        Harm(cluster, acting[1].Value, "object9", Damage.FlippedBit);
        Scrub(cluster, deep: true);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, s_names);
        Assert.Equal("content 7", Encoding.UTF8.GetString(cluster.Read("object7")!)[..9]);
        Assert.Equal("content 9", Encoding.UTF8.GetString(cluster.Read("object9")!)[..9]);
    }

    [Fact]
    public void TwoDamagedCopiesAreRepairedFromTheThird()
    {
        OsdCluster cluster = Filled();
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        Harm(cluster, acting[0].Value, "object7", Damage.FlippedBit);
        Harm(cluster, acting[2].Value, "object7", Damage.FlippedBit);
        Scrub(cluster, deep: true);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, s_names);
        Assert.Equal("content 7", Encoding.UTF8.GetString(cluster.Read("object7")!)[..9]);
    }

    [Fact]
    public void WithAutoRepairOffDamageIsOnlyTold()
    {
        OsdCluster cluster = Filled(configure: options => options with { ScrubAutoRepair = false });
        Harm(cluster, cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value, "object7", Damage.FlippedBit);
        Scrub(cluster, deep: true);
        Assert.Equal("active+clean+inconsistent", cluster.StateOf(cluster.Group));
        Scrub(cluster, deep: true, repair: true);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, s_names);
    }

    [Fact]
    public void ScrubGoesOnUnderWritesAndCountsRight()
    {
        OsdCluster cluster = Filled();
        bool stop = false;
        int written = 0;
        Task<bool> writer = cluster.Loop.Invoke(async () =>
        {
            while (!stop)
            {
                string name = $"object{++written * 13 % 90}";
                Assert.Equal(ResultCode.Ok, await OsdCluster.WriteAsync(cluster.Client, name, Encoding.UTF8.GetBytes($"content {written}"), written * 31 % 9000));
            }

            return true;
        });
        for (int i = 0; i < 5; i++)
        {
            Scrub(cluster, deep: i % 2 == 0);
            cluster.RunFor(0.3);
        }

        stop = true;
        cluster.RunUntil(() => writer.IsCompleted, "the writer ends");
        Assert.True(cluster.Loop.Run(() => writer, TimeSpan.FromSeconds(1)));
        OsdDaemon primary = cluster.Daemon(cluster.Primary(cluster.Group));
        Assert.Equal(0, primary.RarePaths[(int)RarePath.ScrubErrorFound]);
        Assert.Equal(0, primary.RarePaths[(int)RarePath.ScrubStatisticsWrong]);
        Assert.True(primary.RarePaths[(int)RarePath.ScrubPreempted] > 0);
        Assert.True(written > 50);
    }

    [Fact]
    public void AScrubThatLosesAMemberBeginsAnew()
    {
        OsdCluster cluster = Filled();
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        Harm(cluster, acting[0].Value, "object7", Damage.Attribute);
        long before = Status(cluster).LastDeepScrub;
        cluster.Daemon(acting[0].Value).RequestScrub(cluster.Group, deep: true);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("scrubbing", StringComparison.Ordinal), "scrubbing");
        cluster.Crash(acting[1].Value);
        cluster.RunUntil(() => !cluster.StateOf(cluster.Group).Contains("scrubbing", StringComparison.Ordinal), "interrupted");
        cluster.Start(acting[1].Value);
        cluster.RunUntil(() => Status(cluster).LastDeepScrub > before, "scrubbed");
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, s_names);
        Assert.Equal(1, cluster.Daemon(acting[0].Value).RarePaths[(int)RarePath.ScrubInterrupted]);
    }

    [Fact]
    public void EveryGroupIsScrubbedOnceInEveryInterval()
    {
        var cluster = new OsdCluster(3, pgCount: 8, configure: options => options with { ScrubInterval = TimeSpan.FromMinutes(5), DeepScrubInterval = TimeSpan.FromMinutes(35) });
        cluster.WaitClean();
        PgId[] groups = [.. Enumerable.Range(0, 8).Select(seed => new PgId(OsdCluster.Pool, (uint)seed))];
        var stamps = groups.ToDictionary(group => group, _ => new HashSet<(long, long)>());
        var starts = new HashSet<long>();
        for (int i = 0; i < 8 * 60; i++)
        {
            cluster.Loop.RunFor(TimeSpan.FromSeconds(5));
            foreach (PgId group in groups)
            {
                ScrubStatus status = cluster.Daemon(cluster.Primary(group)).ScrubStatusOf(group)!.Value;
                stamps[group].Add((status.LastScrub, status.LastDeepScrub));
                starts.Add(status.LastScrub / 5000 % 60);
            }
        }

        foreach (PgId group in groups)
        {
            Assert.InRange(stamps[group].Select(stamp => stamp.Item1).Distinct().Count(), 8, 11);
            Assert.InRange(stamps[group].Select(stamp => stamp.Item2).Distinct().Count(), 2, 3);
        }

        Assert.True(starts.Count > 5, "the PGs' moments are spread");
    }

    [Fact]
    public void FlagsForbidTheScheduleButNotTheOperator()
    {
        var cluster = new OsdCluster(3, configure: options => options with { ScrubInterval = TimeSpan.FromMinutes(1), DeepScrubInterval = TimeSpan.FromMinutes(2) });
        cluster.WaitClean();
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.NoScrub | ClusterFlags.NoDeepScrub);
        cluster.RunFor(1);
        ScrubStatus before = Status(cluster);
        cluster.RunFor(400);
        Assert.Equal(before, Status(cluster));
        Scrub(cluster, deep: true);
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.NoDeepScrub);
        cluster.RunFor(1);
        before = Status(cluster);
        cluster.RunFor(400);
        Assert.Equal(before.LastDeepScrub, Status(cluster).LastDeepScrub);
        Assert.NotEqual(before.LastScrub, Status(cluster).LastScrub);
    }

    [Fact]
    public void ABadCopyThatLeavesThePgIsNoLongerHeldAgainstIt()
    {
        var cluster = new OsdCluster(4, configure: options => options with { ScrubAutoRepair = false });
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("object", new byte[10_000]));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        Assert.True(cluster.Store(acting[2].Value).FlipBit(new CollectionId(cluster.Group), Placement.ObjectOf("object"), 5000));
        Scrub(cluster, deep: true);
        Assert.Equal("active+clean+inconsistent", cluster.StateOf(cluster.Group));
        OsdId other = Enumerable.Range(0, 4).Select(osd => new OsdId(osd)).Single(osd => !acting.Contains(osd));
        cluster.Monitor.ChangeNow(increment => increment.UpmapItems[cluster.Group] = [(acting[2], other)]);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+clean", "clean");
        Assert.Equal(0, Status(cluster).Errors);
    }

    [Fact]
    public void DamageThatNobodyCanRepairIsKnownAfterARestart()
    {
        OsdCluster cluster = Filled();
        for (int osd = 0; osd < 3; osd++)
        {
            Harm(cluster, osd, "object7", Damage.FlippedBit);
        }

        Scrub(cluster, deep: true);
        Assert.Equal("active+clean+inconsistent", cluster.StateOf(cluster.Group));
        int primary = cluster.Primary(cluster.Group);
        Assert.Throws<InvalidOperationException>(() => cluster.Read("object7"));
        cluster.Crash(primary);
        cluster.RunFor(3);
        cluster.Start(primary);
        cluster.RunFor(10);
        Assert.Throws<InvalidOperationException>(() => cluster.Read("object7"));
        Assert.Contains("inconsistent", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
    }

    [Fact]
    public void ObjectsWithNamesOfOneLetterAreScrubbed()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        foreach (string name in new[] { "a", "b", "c" })
        {
            Assert.Equal(ResultCode.Ok, cluster.Write(name, [1]));
        }

        Scrub(cluster, deep: true);
        Assert.Equal(0, Status(cluster).Errors);
    }

    internal static OsdCluster Filled(int osds = 3, int size = 3, Func<OsdOptions, OsdOptions>? configure = null)
    {
        var cluster = new OsdCluster(osds, size, minSize: 1, configure: options =>
        {
            options = options with { LogEntries = 20, ScrubInterval = TimeSpan.Zero, DeepScrubInterval = TimeSpan.Zero };
            return configure is null ? options : configure(options);
        });
        cluster.WaitClean();
        for (int i = 0; i < s_names.Length; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write(s_names[i], [.. Encoding.UTF8.GetBytes($"content {i}"), .. new byte[i % 3 * 5000]]));
        }

        cluster.RunFor(1);
        return cluster;
    }

    internal static ScrubStatus Status(OsdCluster cluster) => cluster.Daemon(cluster.Primary(cluster.Group)).ScrubStatusOf(cluster.Group)!.Value;

    internal static void Scrub(OsdCluster cluster, bool deep, bool repair = false, OsdId? trusted = null)
    {
        long before = Status(cluster).LastScrub;
        cluster.RunFor(0.01);
        Assert.True(cluster.Daemon(cluster.Primary(cluster.Group)).RequestScrub(cluster.Group, deep, repair, trusted));
        cluster.RunUntil(() => Status(cluster).LastScrub > before && !Status(cluster).IsPending, "scrubbed");
        cluster.RunFor(1);
    }

    // Rewrites other objects until the log has forgotten the rest.
    private static void Age(OsdCluster cluster)
    {
        for (int i = 0; i < 60; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write("object0", Encoding.UTF8.GetBytes($"aged {i}")));
        }

        cluster.RunFor(1);
    }

    private static void Harm(OsdCluster cluster, int osd, string name, Damage damage)
    {
        var collection = new CollectionId(cluster.Group);
        ObjectId id = Placement.ObjectOf(name);
        var transaction = new Transaction();
        switch (damage)
        {
            case Damage.FlippedBit:
                Assert.True(cluster.Store(osd).FlipBit(collection, id, 3));
                return;
            case Damage.Lost:
                transaction.Remove(collection, id);
                break;
            case Damage.Extra:
                ObjectId never = Placement.ObjectOf("never");
                transaction.Clone(collection, id, never);
                break;
            case Damage.Attribute:
                transaction.SetAttribute(collection, id, "colour", "red"u8.ToArray());
                break;
            case Damage.Omap:
                transaction.SetOmap(collection, id, "key"u8.ToArray(), "value"u8.ToArray());
                break;
            case Damage.Version:
                transaction.SetAttribute(collection, id, "_", "garbled"u8.ToArray());
                break;
            case Damage.ChangedData:
                transaction.Zero(collection, id, 2, 5);
                break;
            case Damage.Shortened:
                transaction.Truncate(collection, id, 5);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(damage));
        }

        cluster.Store(osd).Submit(transaction, null, 0);
    }
}
