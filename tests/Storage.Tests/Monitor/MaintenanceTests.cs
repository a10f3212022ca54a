using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;

namespace Storage.Tests.Monitor;

public class MaintenanceTests
{
    [Fact]
    public void AnOsdMayStopWhileEnoughCopiesStay()
    {
        CoreHarness core = Clean(osds: 4, groups: 16);
        Assert.True(JudgeStop(core, 0).Safe);
        OsdVerdict two = JudgeStop(core, 0, 1);
        Assert.False(two.Safe);
        Assert.Contains("1 of the 2 copies", two.Reasons[0], StringComparison.Ordinal);
    }

    [Fact]
    public void AnOsdMustNotStopWhileAGroupLacksCopiesOrIsUnknown()
    {
        CoreHarness core = Clean(osds: 3, groups: 4);
        Report(core, "active+degraded", missing: 5);
        Assert.Contains("lacks 5 object copies", JudgeStop(core, 0).Reasons[0], StringComparison.Ordinal);
        Assert.False(OsdSafety.JudgeStop(core.Map, new ClusterStatistics().Views(core.Map, core.Now, TimeSpan.FromSeconds(15)), [new OsdId(0)]).Safe);
    }

    [Fact]
    public void PurgeWantsTheOsdDownAndItsDataElsewhere()
    {
        CoreHarness core = Clean(osds: 4, groups: 16);
        Assert.Contains("is up", core.Admin("OsdPurge", new OsdPurgeRequest { Osd = 3 }).Status.Message, StringComparison.Ordinal);
        var ids = new OsdIdsRequest();
        ids.Osds.Add(3);
        core.Admin("OsdDown", ids);
        Report(core, "active+undersized");
        (RpcStatus refused, _) = core.Admin("OsdPurge", new OsdPurgeRequest { Osd = 3 });
        Assert.Equal(StatusCode.FailedPrecondition, refused.Code);
        Assert.Contains("--yes-i-really-mean-it", refused.Message, StringComparison.Ordinal);
        core.Admin("OsdOut", ids);
        Report(core, "active+clean");
        Assert.Equal(StatusCode.Ok, core.Admin("OsdPurge", new OsdPurgeRequest { Osd = 3 }).Status.Code);
        Assert.Null(core.Map.FindOsd(new OsdId(3)));
        Assert.False(core.Map.Crush.ContainsDevice(3));
    }

    [Fact]
    public void PurgeTakesThePairsOfTheOsdAlong()
    {
        CoreHarness core = Clean(osds: 5, groups: 8);
        PgId group = core.Map.Pools.Select(pool => new PgId(pool.Id, 0)).First();
        OsdId from = core.Map.Locate(group).Up[0];
        OsdId to = core.Map.Osds.First(osd => !core.Map.Locate(group).Up.Contains(osd.Id)).Id;
        core.Leader.Request(new MapChange((draft, _) =>
        {
            draft.SetUpmap(group, [(from, to)]);
            return Verdict.Drafted;
        }));
        core.Settle();
        Assert.Contains(to, core.Map.Locate(group).Up);
        var ids = new OsdIdsRequest();
        ids.Osds.Add(to.Value);
        core.Admin("OsdDown", ids);
        Assert.Equal(StatusCode.Ok, core.Admin("OsdPurge", new OsdPurgeRequest { Osd = to.Value, Confirmed = true }).Status.Code);
        Assert.Empty(core.Map.UpmapItems);
    }

    [Fact]
    public void CrushEditsBuildAHierarchyAndRefuseNonsense()
    {
        CoreHarness core = Clean(osds: 4, groups: 8, hosts: 2);
        var rack = new CrushBucketAdd { Name = "rack1", Type = "rack" };
        rack.Location.Add("root", "default");
        Assert.Equal(StatusCode.Ok, Edit(core, new CrushEditRequest { AddBucket = rack }).Code);
        var move = new CrushMove { Name = "host0" };
        move.Location.Add("root", "default");
        move.Location.Add("rack", "rack1");
        Assert.Equal(StatusCode.Ok, Edit(core, new CrushEditRequest { Move = move }).Code);
        Assert.Equal("rack1", core.Map.Crush.GetFailureDomain(0, "rack"));
        var ssd = new CrushSetClass { DeviceClass = "ssd" };
        ssd.Osds.Add([0, 1]);
        Assert.Equal(StatusCode.Ok, Edit(core, new CrushEditRequest { SetClass = ssd }).Code);
        Assert.Equal("ssd", core.Map.Crush.GetDeviceClass(1));
        Assert.Equal(StatusCode.Ok, Edit(core, new CrushEditRequest { CreateRule = new CrushRuleCreate { Name = "fast", Root = "default", FailureDomain = "osd", DeviceClass = "ssd" } }).Code);
        Assert.True(core.Map.Crush.FindRule("fast") >= 0);
        Assert.Equal(StatusCode.InvalidArgument, Edit(core, new CrushEditRequest { RemoveItem = "host0" }).Code);
        Assert.Equal(StatusCode.InvalidArgument, Edit(core, new CrushEditRequest()).Code);
        Assert.Contains("uses rule", Edit(core, new CrushEditRequest { RemoveRule = "replicated_rule" }).Message, StringComparison.Ordinal);
        Assert.Equal(StatusCode.Ok, Edit(core, new CrushEditRequest { RemoveRule = "fast" }).Code);
        ssd.Osds.Add(99);
        Assert.Equal(StatusCode.NotFound, Edit(core, new CrushEditRequest { SetClass = ssd }).Code);
    }

    [Fact]
    public void AMuteTakesACheckOutOfTheStatusUntilItsTimeIsOver()
    {
        CoreHarness core = Clean(osds: 3, groups: 4);
        var flag = new OsdFlagRequest { Flag = "norebalance" };
        core.Admin("OsdSetFlag", flag);
        Assert.Equal(HealthLevel.Warn, HealthReport.Worst(Findings(core)));
        core.Admin("HealthMute", new HealthMuteRequest { Code = "OSDMAP_FLAGS", DurationSeconds = 5 });
        Assert.Equal(HealthLevel.Ok, HealthReport.Worst(Findings(core)));
        Assert.True(Assert.Single(Findings(core)).IsMuted);
        core.Pass(6);
        Report(core, "active+clean");
        Assert.Equal(HealthLevel.Warn, HealthReport.Worst(Findings(core)));
        Assert.Equal(StatusCode.InvalidArgument, Refused(() => core.Admin("HealthMute", new HealthMuteRequest { Code = "osd down" })));
    }

    [Theory]
    [InlineData(10, 0, 256)]
    [InlineData(12, 4, 128)]
    [InlineData(7, 7, 64)]
    public void TheBalancerBringsEveryOsdWithinOneOfItsShare(int osds, int hosts, int groups)
    {
        CoreHarness core = Clean(osds, groups, hosts, hosts > 0 ? "host" : "");
        UpmapPlan before = UpmapBalancer.Plan(core.Map, 0);
        Assert.True(before.WorstBefore > 1);
        (RpcStatus status, Google.Protobuf.IMessage? reply) = core.Admin("Balance", new BalanceRequest { Execute = true });
        Assert.Equal(StatusCode.Ok, status.Code);
        var done = (BalanceReply)reply!;
        Assert.True(done.Executed);
        UpmapPlan after = UpmapBalancer.Plan(core.Map, 1000);
        Assert.True(after.WorstBefore <= 1 + 1e-9, $"an OSD is {after.WorstBefore} from its share");
        Assert.Empty(after.Moves);
        Assert.Equal(done.WorstAfter, after.WorstBefore, 6);

        // What the plan said is what the map does, and no failure domain holds two copies.
        foreach (BalanceMove move in done.Moves)
        {
            Assert.True(PgId.TryParse(move.Pgid, out PgId group));
            Assert.Equal(3, core.Map.Locate(group).Up.Distinct().Count());
            if (hosts > 0)
            {
                Assert.Equal(3, core.Map.Locate(group).Up.Select(osd => core.Map.Crush.GetFailureDomain(osd.Value, "host")).Distinct().Count());
            }
        }
    }

    [Fact]
    public void TheBalancerHonoursWeights()
    {
        CoreHarness core = Clean(osds: 6, groups: 128);
        core.Admin("OsdReweight", new OsdReweightRequest { Osd = 0, Weight = 3, CrushWeight = true });
        core.Admin("OsdReweight", new OsdReweightRequest { Osd = 1, Weight = 0.5 });
        core.Admin("Balance", new BalanceRequest { Execute = true });
        UpmapShare[] shares = [.. UpmapBalancer.Plan(core.Map, 0).Shares];
        Assert.Equal(128, shares[0].Share, 3); // one copy of each PG is all that an OSD can hold
        Assert.Equal(shares[2].Share / 2, shares[1].Share, 3);
        Assert.All(shares, share => Assert.True(Math.Abs(share.Groups - share.Share) <= 1 + 1e-9));
    }

    [Fact]
    public void TheAutomaticBalancerMovesAFewAtATimeAndOnlyWhileAllIsClean()
    {
        CoreHarness core = Clean(osds: 10, groups: 256);
        core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = "mon_balancer", Value = "on" });
        Report(core, "active+degraded", missing: 1);
        core.Pass(40);
        Assert.Empty(core.Map.UpmapItems);
        for (int i = 0; i < 40; i++)
        {
            Report(core, "active+clean");
            core.Pass(10, Enumerable.Range(0, 10).ToArray());
        }

        Assert.NotEmpty(core.Map.UpmapItems);
        Assert.True(UpmapBalancer.Plan(core.Map, 0).WorstBefore < UpmapBalancer.Plan(WithoutUpmap(core), 0).WorstBefore);
        Assert.Equal(StatusCode.InvalidArgument, Refused(() => core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = "mon_balancer", Value = "maybe" })));
    }

    [Fact]
    public void ProgressFollowsRecoveryAndEndsWithIt()
    {
        CoreHarness core = Clean(osds: 3, groups: 4);
        Report(core, "active+degraded", missing: 100);
        core.Pass(2);
        for (int left = 90; left > 0; left -= 10)
        {
            Report(core, "active+degraded", missing: left);
            core.Pass(1);
        }

        Storage.Monitor.Status.ProgressItem item = Assert.Single(core.Leader.Progress.Items(core.Now));
        Assert.Equal("recovery/p", item.Id);
        Assert.Equal(0.9, item.Fraction, 2);
        Assert.InRange(item.Remaining!.Value.TotalSeconds, 0.5, 2);
        Report(core, "active+clean");
        core.Pass(1.5);
        Assert.Equal(1, Assert.Single(core.Leader.Progress.Items(core.Now)).Fraction);
        core.Pass(10);
        Assert.Empty(core.Leader.Progress.Items(core.Now));
    }

    [Fact]
    public void APoolAtItsQuotaIsFullUntilItIsBelowAgain()
    {
        CoreHarness core = Clean(osds: 3, groups: 4); // four objects of a byte
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "quota_objects", Value = "4" });
        core.Pass(6);
        Assert.True(core.Map.Pools.Single().IsFull);
        Assert.Contains(Findings(core), finding => finding.Code == "POOL_FULL");
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "quota_objects", Value = "100" });
        core.Pass(6);
        Assert.False(core.Map.Pools.Single().IsFull);
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "quota_bytes", Value = "3" });
        core.Pass(1);
        Assert.True(core.Map.Pools.Single().IsFull);
        Assert.Equal(StatusCode.InvalidArgument, core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "quota_bytes", Value = "-1" }).Status.Code);
    }

    [Fact]
    public void ARackThatFailsAsAWholeIsNotMarkedOut()
    {
        var core = new CoreHarness(osds: 8, hosts: 4, new MonitorPolicy { DownOutInterval = TimeSpan.FromSeconds(5), MinUpRatio = 0, MinInRatio = 0.4 });
        foreach ((string host, string rack) in new[] { ("host0", "r0"), ("host1", "r0"), ("host2", "r1"), ("host3", "r1") })
        {
            var move = new CrushMove { Name = host };
            move.Location.Add("root", "default");
            move.Location.Add("rack", rack);
            Edit(core, new CrushEditRequest { Move = move });
        }

        int[] rack0 = [0, 1, 4, 5];
        var ids = new OsdIdsRequest();
        ids.Osds.Add(rack0);
        core.Admin("OsdDown", ids);
        core.Pass(30, 2, 3, 6, 7);
        Assert.InRange(rack0.Count(osd => core.Osd(osd).IsIn), 2, 4); // no more than 60% of it may go
        Assert.Contains(core.State.Events, entry => entry.Text.Contains("below rack r0", StringComparison.Ordinal));
    }

    [Fact]
    public void SlowOperationsAndSkewedClocksAreHealthChecks()
    {
        CoreHarness core = Clean(osds: 3, groups: 4);
        core.Leader.HandleStatistics(
            new OsdStatistics(new OsdId(1), core.Map.Epoch, 100, 10, 0, 0, 0, 0, 0, 0, 0, [], 3, "write of x by client.1 for 40 s in pg 1.0: waits for osd.2 to make it durable"), core.Now);
        HealthFinding slow = Assert.Single(Findings(core), finding => finding.Code == "SLOW_OPS");
        Assert.Contains("waits for osd.2", slow.Detail[0], StringComparison.Ordinal);
        var view = new QuorumView(["a", "b"], ["a", "b"], "a", 1, TimeSpan.FromSeconds(9)) { Skews = new Dictionary<string, TimeSpan> { ["b"] = TimeSpan.FromSeconds(-2) } };
        HealthFinding skew = Assert.Single(
            HealthReport.Make(core.State, core.Leader.Statistics, view, core.Leader.Policy, core.Now), finding => finding.Code == "MON_CLOCK_SKEW");
        Assert.Contains("2.000 s behind mon.a", skew.Detail[0], StringComparison.Ordinal);
    }

    private static ClusterMap WithoutUpmap(CoreHarness core)
    {
        var increment = new ClusterMapIncrement { Epoch = core.Map.Epoch.Next };
        foreach (PgId group in core.Map.UpmapItems.Keys)
        {
            increment.UpmapItems[group] = [];
        }

        return core.Map.Apply(increment);
    }

    private static StatusCode Refused(Action action) => Assert.Throws<RpcException>(action).Code;

    private static RpcStatus Edit(CoreHarness core, CrushEditRequest request) => core.Admin("CrushEdit", request).Status;

    private static CoreHarness Clean(int osds, int groups, int hosts = 0, string domain = "")
    {
        var core = new CoreHarness(osds, hosts);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "p", PgNum = (uint)groups, FailureDomain = domain });
        Report(core, "active+clean");
        return core;
    }

    private static void Report(CoreHarness core, string state, long missing = 0)
    {
        foreach (Storage.Cluster.OsdInfo osd in core.Map.Osds.Where(osd => osd.IsUp))
        {
            PgStatistics[] groups = [.. core.Map.Pools
                .SelectMany(pool => Enumerable.Range(0, pool.PgCount).Select(seed => new PgId(pool.Id, (uint)seed)))
                .Where(group => core.Map.Locate(group).Primary == osd.Id)
                .Select(group => new PgStatistics(group, state, core.Map.Locate(group).Up, core.Map.Locate(group).Acting, PgVersion.Zero, 1, 1, missing, 0, 0, 0))];
            core.Statistics(osd.Id.Value, 10, groups);
        }
    }

    private static OsdVerdict JudgeStop(CoreHarness core, params int[] osds) =>
        OsdSafety.JudgeStop(core.Map, core.Leader.Statistics.Views(core.Map, core.Now, TimeSpan.FromSeconds(15)), [.. osds.Select(osd => new OsdId(osd))]);

    private static IReadOnlyList<HealthFinding> Findings(CoreHarness core) => HealthReport.Make(
        core.State, core.Leader.Statistics, new QuorumView(["a"], ["a"], "a", 1, TimeSpan.FromSeconds(9)), core.Leader.Policy, core.Now);

    [Theory]
    [InlineData("mon", "mon_balancr", "did you mean 'mon_balancer'")]
    [InlineData("osd", "osd_max_backfill", "did you mean 'osd_max_backfills'")]
    [InlineData("global", "completely_else", "there are ")]
    [InlineData("osd", "mon_osd_full_ratio", "nobody would read it there")]
    [InlineData("osd.x", "osd_max_backfills", "nobody would read it there")]
    [InlineData("client", "osd_max_backfills", "nobody would read it there")]
    [InlineData("osd", "osd_memory_target", "at least 256MiB")]
    public void ASettingThatNobodyReadsIsRefused(string section, string key, string why)
    {
        var core = new CoreHarness(osds: 1);
        RpcException refused = Assert.Throws<RpcException>(() => core.Admin("ConfigSet", new ConfigSetRequest { Section = section, Key = key, Value = "1" }));
        Assert.Equal(StatusCode.InvalidArgument, refused.Status.Code);
        Assert.Contains(why, refused.Status.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SettingsThatSomebodyReadsAndNotesAreTaken()
    {
        var core = new CoreHarness(osds: 1);
        foreach ((string section, string key, string value) in new[] { ("osd.3", "osd_max_backfills", "1"), ("global", "mon_osd_full_ratio", "0.9"), ("client.me", "x_note", "anything"), ("osd", "osd_memory_target", "512MiB") })
        {
            core.Admin("ConfigSet", new ConfigSetRequest { Section = section, Key = key, Value = value });
            Assert.Equal(value, core.Map.Configuration[$"{section}/{key}"]);
        }
    }

    [Fact]
    public void CompressionOfPoolsHasARatioAndALevel()
    {
        var core = new CoreHarness(osds: 3);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "p", PgNum = 4 });
        Assert.Equal((0.875, 1), (core.Map.FindPool("p")!.CompressionRequiredRatio, core.Map.FindPool("p")!.CompressionLevel));
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "compression", Value = "zstd" });
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "compression_required_ratio", Value = "0.7" });
        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "compression_level", Value = "19" });
        Storage.Cluster.PoolInfo pool = ClusterMap.Decode(core.Map.Encode()).FindPool("p")!;
        Assert.Equal((PoolCompression.Zstd, 0.7, 19), (pool.Compression, pool.CompressionRequiredRatio, pool.CompressionLevel));
        foreach ((string key, string value) in new[] { ("compression_required_ratio", "0"), ("compression_required_ratio", "1.1"), ("compression_required_ratio", "much"), ("compression_level", "0"), ("compression_level", "20") })
        {
            RpcStatus refused = core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = key, Value = value }).Status;
            Assert.Equal(StatusCode.InvalidArgument, refused.Code);
            Assert.Contains(" 1", refused.Message, StringComparison.Ordinal); // the range
        }
    }

    [Fact]
    public void FewerCopiesThanTwoHaveToBeConfirmed()
    {
        var core = new CoreHarness(osds: 3);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "p", PgNum = 4 });
        foreach (string key in new[] { "min_size", "size" })
        {
            RpcStatus refused = core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = key, Value = "1" }).Status;
            Assert.Equal(StatusCode.FailedPrecondition, refused.Code);
            Assert.Contains("lost", refused.Message, StringComparison.Ordinal);
        }

        core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = "size", Value = "1", Confirmed = true });
        Assert.Equal((1, 1), (core.Map.FindPool("p")!.Size, core.Map.FindPool("p")!.MinSize));
    }

    [Fact]
    public void TypingErrorsNeitherMoveDataNorMuteAnything()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        foreach (KeyValuePair<string, string> where in new[] { KeyValuePair.Create("root", "nowhere"), KeyValuePair.Create("host", "nobody") })
        {
            var move = new CrushEditRequest { Move = new CrushMove { Name = "osd.0" } };
            move.Move.Location.Add(where.Key, where.Value);
            RpcStatus refused = core.Admin("CrushEdit", move).Status;
            Assert.Equal(StatusCode.InvalidArgument, refused.Code);
            Assert.Contains("add-bucket", refused.Message, StringComparison.Ordinal);
        }

        var bucket = new CrushEditRequest { AddBucket = new CrushBucketAdd { Name = "r", Type = "rock" } };
        Assert.DoesNotContain("Parameter", core.Admin("CrushEdit", bucket).Status.Message, StringComparison.Ordinal);
        Assert.Equal(StatusCode.InvalidArgument, Assert.Throws<RpcException>(() => core.Admin("HealthMute", new HealthMuteRequest { Code = "NONSENSE" })).Status.Code);
    }
}
