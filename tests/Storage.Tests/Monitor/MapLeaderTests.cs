using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;
using OsdInfo = Storage.Cluster.OsdInfo;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Tests.Monitor;

public class MapLeaderTests
{
    [Fact]
    public void FirstProposalFoundsTheCluster()
    {
        var core = new CoreHarness();
        Assert.Equal(new Epoch(1), core.Map.Epoch);
        Assert.True(core.Map.Crush.FindRule("replicated_rule") >= 0);
        Assert.True(core.Map.Crush.FindRule("replicated_host") >= 0);
    }

    [Fact]
    public void BootMarksUpAndIn()
    {
        var core = new CoreHarness(osds: 1);
        Assert.True(core.Osd(0).IsUp);
        Assert.True(core.Osd(0).IsIn);
        Assert.Equal(core.Map.Epoch, core.Osd(0).UpFrom);
        Assert.Equal(100UL, core.Osd(0).Instance);
    }

    [Fact]
    public void BootFromAnotherDiskIsRefused()
    {
        var core = new CoreHarness(osds: 2);
        Epoch before = core.Map.Epoch;
        core.Leader.HandleBoot(new OsdBoot(new OsdId(0), CoreHarness.Uuid(1), 7, new NodeAddress("x", 1), Epoch.None), core.Now);
        core.Settle();
        Assert.Equal(before, core.Map.Epoch);
        Assert.Contains(core.State.Events, entry => entry.Level == EventLevel.Error && entry.Text.Contains("belongs to disk", StringComparison.Ordinal));
    }

    [Fact]
    public void RestartOfAnUpOsdTakesItDownFirstAndUpInTheNextEpoch()
    {
        var core = new CoreHarness(osds: 3);
        Epoch before = core.Map.Epoch;
        core.Boot(1, 101);
        core.Settle();
        Assert.Equal(before.Value + 2, core.Map.Epoch.Value);
        Assert.Equal(before.Next, core.Osd(1).DownAt);
        Assert.Equal(core.Map.Epoch, core.Osd(1).UpFrom);
        Assert.True(core.Osd(1).IsUp);
    }

    [Fact]
    public void AStormOfRequestsIsOneEpochPerRoundTrip()
    {
        var core = new CoreHarness(osds: 8);
        Epoch before = core.Map.Epoch;
        for (int i = 0; i < 8; i++)
        {
            core.Leader.HandleStopping(new OsdId(i), 100);
        }

        byte[] first = core.Propose()!;
        core.Boot(0, 200); // comes while the proposal is under way: waits for the next
        Assert.Null(core.Propose());
        core.State.Apply(first);
        core.Leader.Decided(committed: true);
        Assert.Equal(before.Next, core.Map.Epoch);
        Assert.DoesNotContain(core.Map.Osds, osd => osd.IsUp);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
        Assert.Equal(before.Value + 2, core.Map.Epoch.Value);
    }

    [Fact]
    public void LostProposalIsMadeAgain()
    {
        var core = new CoreHarness(osds: 1);
        core.Leader.HandleStopping(new OsdId(0), 100);
        Assert.NotNull(core.Propose());
        core.Leader.Decided(committed: false);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
    }

    [Fact]
    public void SilenceNeedsReportersFromTwoHosts()
    {
        var core = new CoreHarness(osds: 6, hosts: 3); // host0: 0,3  host1: 1,4  host2: 2,5
        core.Report(by: 1, target: 0);
        core.Report(by: 4, target: 0);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
        core.Report(by: 2, target: 0);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
    }

    [Fact]
    public void OnOneHostTwoOsdsSuffice()
    {
        var core = new CoreHarness(osds: 3, hosts: 1);
        core.Report(by: 1, target: 0);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
        core.Report(by: 2, target: 0);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
    }

    [Fact]
    public void TwoOfThreeThatHangAtOnceAreBothFound()
    {
        var core = new CoreHarness(osds: 4, hosts: 1);
        core.Pass(2, 0, 1, 2, 3);
        core.Pass(3, 0, 1);
        core.Report(by: 0, target: 2);
        core.Report(by: 0, target: 3);
        core.Report(by: 1, target: 2);
        core.Report(by: 1, target: 3);
        core.Settle();
        Assert.False(core.Osd(2).IsUp);
        Assert.False(core.Osd(3).IsUp);
    }

    [Fact]
    public void TheLastOneThatLivesIsBelievedOnceTheOtherCandidateIsSilentToo()
    {
        var core = new CoreHarness(osds: 3, hosts: 1);
        core.Report(by: 0, target: 1);
        core.Report(by: 0, target: 2);
        core.Pass(3, 0);
        Assert.True(core.Osd(1).IsUp);
        core.Pass(3, 0);
        Assert.Equal(1, core.Map.Osds.Count(osd => osd.IsUp));
    }

    [Fact]
    public void WhoIsReportedByMoreIsNotBelieved()
    {
        var core = new CoreHarness(osds: 6, hosts: 6);
        core.Admin("OsdSetFlag", new OsdFlagRequest { Flag = "nodown" });
        foreach (int cut in new[] { 0, 1 })
        {
            for (int other = 2; other < 6; other++)
            {
                core.Report(by: cut, target: other);
                core.Report(by: other, target: cut);
            }
        }

        core.Admin("OsdUnsetFlag", new OsdFlagRequest { Flag = "nodown" });
        core.Pass(1, 0, 1, 2, 3, 4, 5);
        Assert.Equal([2, 3, 4, 5], core.Map.Osds.Where(osd => osd.IsUp).Select(osd => osd.Id.Value));
    }

    [Fact]
    public void HalvesThatReportEachOtherDoNotKeepEachOtherUp()
    {
        var core = new CoreHarness(osds: 4, hosts: 4);
        foreach ((int one, int other) in new[] { (0, 2), (0, 3), (1, 2), (1, 3) })
        {
            core.Report(by: one, target: other);
            core.Report(by: other, target: one);
        }

        core.Pass(1, 0, 1, 2, 3);
        Assert.InRange(core.Map.Osds.Count(osd => osd.IsUp), 2, 3);
    }

    // A message that was long under way must not show a life that nobody lives: others would take the life before for ended.
    [Fact]
    public void AnOldWordOfBeingUpCountsNeitherAfterBeingMarkedDownNorAfterAnotherProcess()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        Epoch before = core.Map.Epoch;
        core.Pass(1, 0, 1, 2);
        core.Report(by: 1, target: 0, refused: true);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
        core.Boot(0, 100, before);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
        core.Boot(0, 100, core.Osd(0).DownAt);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);

        Epoch old = core.Map.Epoch;
        core.Boot(0, 101, old);
        core.Settle();
        Assert.Equal(101UL, core.Osd(0).Instance);
        core.Boot(0, 100, old);
        core.Settle();
        Assert.Equal(101UL, core.Osd(0).Instance);
        Assert.True(core.Osd(0).IsUp);
    }

    [Fact]
    public void WhoIsBackAtOnceAfterSilenceIsWaitedForLongerForAWhile()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        int[] all = [0, 1, 2];
        core.Pass(1, all);
        Silence();
        Assert.False(core.Osd(0).IsUp);
        core.Pass(2, 1, 2);
        core.Boot(0, 100);
        core.Settle();
        Silence();
        core.Pass(2, all);
        Assert.True(core.Osd(0).IsUp);
        core.Pass(1.5, all);
        Assert.False(core.Osd(0).IsUp);

        core.Pass(600, 1, 2); // neither the patience nor a return after so long counts
        core.Boot(0, 100);
        core.Settle();
        Silence();
        Assert.False(core.Osd(0).IsUp);
        core.Pass(1, 1, 2);
        core.Boot(0, 101); // another process
        core.Settle();
        Silence();
        Assert.False(core.Osd(0).IsUp);

        void Silence()
        {
            core.Report(by: 1, target: 0);
            core.Report(by: 2, target: 0);
            core.Settle();
        }
    }

    [Fact]
    public void RefusedConnectionCountsAtOnce()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        core.Report(by: 1, target: 0, refused: true);
        core.Settle();
        Assert.False(core.Osd(0).IsUp);
    }

    [Fact]
    public void WithdrawnAndOldReportsDoNotCount()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        core.Report(by: 1, target: 0);
        core.Report(by: 1, target: 0, withdrawn: true);
        core.Report(by: 2, target: 0);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
        core.Leader.HandleFailure(new OsdId(1), new OsdFailure(new OsdId(0), new Epoch(1), core.Map.Epoch, true, 0, false), core.Now);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
    }

    [Fact]
    public void SilenceNeverTakesTheClusterBelowTheMinimum()
    {
        var core = new CoreHarness(osds: 10, hosts: 5);
        for (int target = 2; target < 10; target++)
        {
            core.Report(by: 0, target: target);
            core.Report(by: 1, target: target);
        }

        core.Settle();
        Assert.Equal(3, core.Map.Osds.Count(osd => osd.IsUp));
    }

    [Fact]
    public void NoDownHoldsReportsBack()
    {
        var core = new CoreHarness(osds: 3, hosts: 3);
        core.Admin("OsdSetFlag", new OsdFlagRequest { Flag = "nodown" });
        core.Report(by: 1, target: 0, refused: true);
        core.Settle();
        Assert.True(core.Osd(0).IsUp);
        core.Admin("OsdUnsetFlag", new OsdFlagRequest { Flag = "nodown" });
        core.Pass(1, 0, 1, 2);
        Assert.False(core.Osd(0).IsUp);
    }

    [Fact]
    public void SilenceTowardsTheMonitorsAloneMarksDownInTheEnd()
    {
        var core = new CoreHarness(osds: 3);
        core.Pass(29, 0, 1);
        Assert.True(core.Osd(2).IsUp);
        core.Pass(4, 0, 1);
        Assert.False(core.Osd(2).IsUp);
    }

    [Fact]
    public void AMonitorThatHearsNobodyMarksNobodyDown()
    {
        var core = new CoreHarness(osds: 3);
        core.Pass(120);
        Assert.All(core.Map.Osds, osd => Assert.True(osd.IsUp));
    }

    [Fact]
    public void DownBecomesOutAndInAgainAtBoot()
    {
        var core = new CoreHarness(osds: 4, policy: new MonitorPolicy { DownOutInterval = TimeSpan.FromSeconds(20) });
        core.Leader.HandleStopping(new OsdId(3), 100);
        core.Pass(19, 0, 1, 2);
        Assert.True(core.Osd(3).IsIn);
        core.Pass(3, 0, 1, 2);
        Assert.False(core.Osd(3).IsIn);
        Assert.True(core.Osd(3).AutoOut);
        core.Boot(3, 101);
        core.Settle();
        Assert.True(core.Osd(3) is { IsUp: true, IsIn: true, AutoOut: false });
    }

    [Fact]
    public void NoOutKeepsThemIn()
    {
        var core = new CoreHarness(osds: 4, policy: new MonitorPolicy { DownOutInterval = TimeSpan.FromSeconds(5) });
        core.Admin("OsdSetFlag", new OsdFlagRequest { Flag = "noout" });
        core.Leader.HandleStopping(new OsdId(3), 100);
        core.Pass(20, 0, 1, 2);
        Assert.True(core.Osd(3).IsIn);
    }

    [Fact]
    public void UpThruIsRecordedForThePresentLifeOnly()
    {
        var core = new CoreHarness(osds: 2);
        Epoch want = core.Map.Epoch;
        core.Leader.HandleAlive(new OsdAlive(new OsdId(0), new Epoch(1), want), core.Now);
        core.Settle();
        Assert.True(core.Osd(0).UpThru < want);
        core.Leader.HandleAlive(new OsdAlive(new OsdId(0), core.Osd(0).UpFrom, want), core.Now);
        core.Leader.HandleAlive(new OsdAlive(new OsdId(1), core.Osd(1).UpFrom, want), core.Now);
        core.Settle();
        Assert.Equal(want, core.Osd(0).UpThru);
        Assert.Equal(want.Next, core.Map.Epoch);
    }

    [Fact]
    public void PgTempIsSetByThePrimaryOfTheIntervalAndEndsWhenItIsTheUpSet()
    {
        var core = new CoreHarness(osds: 4);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "vms", Size = 2, PgNum = 8 });
        PoolInfo pool = core.Map.FindPool("vms")!;
        var group = new PgId(pool.Id, 3);
        OsdId[] up = core.Map.Locate(group).Up;
        OsdId[] wanted = [up[1], up[0]];
        core.Leader.HandlePgTemp(new PgTempRequest(up[1], group, wanted, core.Map.Epoch)); // not the primary
        core.Settle();
        Assert.Empty(core.Map.PgTemp);
        core.Leader.HandlePgTemp(new PgTempRequest(up[0], group, wanted, new Epoch(core.Map.Epoch.Value - 1))); // the pool did not exist
        core.Settle();
        Assert.Empty(core.Map.PgTemp);
        core.Leader.HandlePgTemp(new PgTempRequest(up[0], group, wanted, core.Map.Epoch));
        core.Settle();
        Assert.Equal(wanted, core.Map.Locate(group).Acting);
        core.Leader.HandlePgTemp(new PgTempRequest(up[1], group, up, core.Map.Epoch));
        core.Settle();
        Assert.Empty(core.Map.PgTemp);
    }

    [Fact]
    public void PgTempEndsWithItsPool()
    {
        var core = new CoreHarness(osds: 4);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "vms", Size = 2, PgNum = 8 });
        var group = new PgId(core.Map.FindPool("vms")!.Id, 3);
        OsdId[] up = core.Map.Locate(group).Up;
        core.Leader.HandlePgTemp(new PgTempRequest(up[0], group, [up[1], up[0]], core.Map.Epoch));
        core.Settle();
        Assert.Single(core.Map.PgTemp);
        Assert.Equal(StatusCode.FailedPrecondition, core.Admin("PoolRemove", new PoolRemoveRequest { Name = "vms" }).Status.Code);
        Assert.Equal(StatusCode.Ok, core.Admin("PoolRemove", new PoolRemoveRequest { Name = "vms", Confirmed = true }).Status.Code);
        Assert.Empty(core.Map.PgTemp);
        Assert.Null(core.Map.FindPool("vms"));
    }

    [Fact]
    public void OsdCreateIsIdempotentByUuid()
    {
        var core = new CoreHarness();
        var request = new OsdCreateRequest { Uuid = CoreHarness.Uuid(7).ToString(), CrushWeight = 2 };
        var first = (OsdCreateReply)core.Admin("OsdCreate", request).Reply!;
        var second = (OsdCreateReply)core.Admin("OsdCreate", request).Reply!;
        Assert.True(first.Created);
        Assert.False(second.Created);
        Assert.Equal(first.Osd, second.Osd);
        Assert.Equal(first.Epoch, second.Epoch);
        Assert.False(core.Osd(0).IsIn);
    }

    [Fact]
    public void FullFlagFollowsTheFullestOsd()
    {
        var core = new CoreHarness(osds: 2);
        core.Statistics(0, used: 96);
        core.Pass(0.5);
        Assert.Equal(ClusterFlags.Full, core.Map.Flags);
        core.Pass(6, 0, 1);
        Assert.Equal(ClusterFlags.None, core.Map.Flags);
    }

    [Fact]
    public void BlocklistEntriesExpire()
    {
        var core = new CoreHarness();
        core.Admin("BlocklistAdd", new BlocklistAddRequest { ClientId = "client.1f", DurationSeconds = 10 });
        Assert.True(core.Map.Blocklist.ContainsKey(0x1f));
        core.Pass(12);
        Assert.Empty(core.Map.Blocklist);
    }

    [Fact]
    public void ANewLeaderDoesNotCallUnreportedGroupsHealthy()
    {
        var core = new CoreHarness(osds: 3);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "vms", PgNum = 4 });
        var quorum = new QuorumView(["a"], ["a"], "a", 1, TimeSpan.Zero);
        Assert.Contains(HealthReport.Make(core.State, core.Leader.Statistics, quorum, core.Leader.Policy, core.Now), finding => finding.Code == "PG_AVAILABILITY");
        foreach (OsdInfo osd in core.Map.Osds)
        {
            PgStatistics[] groups = [.. Enumerable.Range(0, 4).Select(seed => new PgId(1, (uint)seed))
                .Where(group => core.Map.Locate(group).Primary == osd.Id)
                .Select(group => new PgStatistics(group, "active+clean", core.Map.Locate(group).Up, core.Map.Locate(group).Acting, default, 1, 10, 0, 0, 0, 0))];
            core.Statistics(osd.Id.Value, 10, groups);
        }

        Assert.Empty(HealthReport.Make(core.State, core.Leader.Statistics, quorum, core.Leader.Policy, core.Now));
    }

    [Fact]
    public void SnapshotRestoresTheSameState()
    {
        var core = new CoreHarness(osds: 4, hosts: 2);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "vms", FailureDomain = "host", Size = 2 });
        core.Leader.HandleStopping(new OsdId(2), 100);
        core.Settle();
        byte[] packed = core.State.Encode();
        var other = new MapState();
        other.Restore(packed);
        Assert.Equal(packed, other.Encode());
        Assert.Equal(core.Map.Encode(), other.Map!.Encode());
        Assert.NotNull(other.DownSince(new OsdId(2)));
        MapUpdate update = other.ChangesSince(new Epoch(core.Map.Epoch.Value - 2))!;
        Assert.Equal(2, update.Increments.Count);
        Assert.True(update.Full.IsEmpty);
    }
}
