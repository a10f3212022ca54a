using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Rpc.Admin;
using Xunit;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Tests.Monitor;

public class PgAutoscalerTests
{
    private const long Tebi = 1L << 40;

    [Theory]
    [InlineData(0, 1)]
    [InlineData(double.NaN, 1)]
    [InlineData(1.5, 1)]
    [InlineData(1.6, 2)]
    [InlineData(32, 32)]
    [InlineData(48, 32)]
    [InlineData(48.1, 64)]
    [InlineData(100, 128)]
    [InlineData(1e12, 1 << 24)]
    public void RoundsToTheNearestPowerOfTwo(double number, int expected) => Assert.Equal(expected, PgAutoscaler.NearestPowerOfTwo(number));

    [Theory]
    [InlineData(0, 32, 1, 32)]        // empty: never fewer than there are
    [InlineData(0.1, 32, 32, 32)]     // 10 OSDs x 100 / 3 x 0.1 = 33
    [InlineData(0.19, 32, 64, 64)]    // 63
    [InlineData(0.19, 48, 64, 48)]    // not yet twice as many
    [InlineData(0.6, 32, 256, 64)]    // 200: a doubling at a time
    [InlineData(0.6, 64, 256, 128)]
    [InlineData(0.6, 40, 256, 64)]    // to a power of two first
    [InlineData(0.6, 256, 256, 256)]
    public void FollowsWhatThePoolHolds(double used, int groups, int wanted, int next)
    {
        PoolAdvice advice = PgAutoscaler.Advise([new PoolDemand(1, 3, groups, (long)(used * 10 * Tebi / 3), 0, 10, 10 * Tebi)])[0];
        Assert.Equal(wanted, advice.Wanted);
        Assert.Equal(next, advice.Next);
    }

    [Fact]
    public void ExpectedRatiosShareWhatOtherPoolsLeave()
    {
        // A pool without an expectation fills a fifth; the others divide four fifths as 3 to 1.
        IReadOnlyList<PoolAdvice> advices = PgAutoscaler.Advise(
        [
            new PoolDemand(1, 2, 32, Tebi, 0, 10, 10 * Tebi),
            new PoolDemand(2, 3, 32, 0, 3, 10, 10 * Tebi),
            new PoolDemand(3, 3, 32, 0, 1, 10, 10 * Tebi),
        ]);
        Assert.Equal([0.2, 0.6, 0.2], advices.Select(advice => Math.Round(advice.Share, 6)));
        Assert.Equal([128, 256, 64], advices.Select(advice => advice.Wanted));
    }

    [Fact]
    public void WhatIsFilledCountsWhereItIsMoreThanExpected()
    {
        PoolAdvice advice = PgAutoscaler.Advise([new PoolDemand(1, 1, 8, 5 * Tebi, 1, 10, 10 * Tebi), new PoolDemand(2, 1, 8, 0, 9, 10, 10 * Tebi)])[0];
        Assert.Equal(0.5, advice.Share, 6);
    }

    [Fact]
    public void SaysWhereFewerWouldDo()
    {
        PoolAdvice advice = PgAutoscaler.Advise([new PoolDemand(1, 3, 1024, Tebi / 10, 0, 10, 10 * Tebi)])[0];
        Assert.Equal(1024, advice.Next);
        Assert.Contains("never merged", advice.Note, StringComparison.Ordinal);
    }

    [Fact]
    public void AnOsdGetsNoMoreThanItCanBear()
    {
        // 8 other pools have 240 copies on each OSD already.
        List<PoolDemand> demands = [.. Enumerable.Range(2, 8).Select(id => new PoolDemand(id, 3, 100, 0, 0, 10, 10 * Tebi))];
        PoolAdvice advice = PgAutoscaler.Advise([new PoolDemand(1, 3, 64, 3 * Tebi, 0, 10, 10 * Tebi), .. demands])[0];
        Assert.Equal(256, advice.Wanted);
        Assert.Equal(64, advice.Next);
        Assert.Contains("add OSDs", advice.Note, StringComparison.Ordinal);
    }

    [Fact]
    public void NothingIsWantedWithoutOsds() => Assert.Equal(8, PgAutoscaler.Advise([new PoolDemand(1, 3, 8, 100, 0, 0, 0)])[0].Next);

    [Fact]
    public void APoolThatFillsIsSplitStepByStepAndOnlyWhileItIsClean()
    {
        var core = new CoreHarness(osds: 3);
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "auto" });
        core.Admin("PoolCreate", new PoolCreateRequest { Name = "given", PgNum = 8 });
        Assert.Equal(PgAutoscale.On, core.Map.FindPool("auto")!.Autoscale);
        Assert.Equal(PgAutoscale.Off, core.Map.FindPool("given")!.Autoscale);

        Report("active+recovering", 15);
        Assert.Equal(32, core.Map.FindPool("auto")!.PgCount);
        Report("active+clean", 15);
        Assert.Equal(64, core.Map.FindPool("auto")!.PgCount); // 60 % of 3 OSDs at 100 each and 3 copies: 60 pgs
        Report("active+clean", 300);
        PoolInfo grown = core.Map.FindPool("auto")!;
        Assert.Equal((64, 0), (grown.PgCount, grown.PlacedPgCount));
        Assert.Equal(8, core.Map.FindPool("given")!.PgCount);

        void Report(string state, double seconds)
        {
            for (double at = 0; at < seconds; at += 0.5)
            {
                foreach (int osd in new[] { 0, 1, 2 })
                {
                    core.Leader.HandleStatistics(
                        new OsdStatistics(new OsdId(osd), core.Map.Epoch, 1000, 600, 0, 0, 0, 0, 0, 0, 0, [.. Groups(osd, state)]), core.Now);
                }

                core.Pass(0.5);
            }
        }

        IEnumerable<PgStatistics> Groups(int primary, string state)
        {
            foreach (PoolInfo pool in core.Map.Pools)
            {
                for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
                {
                    var group = new PgId(pool.Id, seed);
                    PgMapping mapping = core.Map.Locate(group);
                    if (mapping.Primary.Value == primary)
                    {
                        long bytes = pool.Name == "auto" ? 600 / pool.PgCount : 0;
                        yield return new PgStatistics(group, state, mapping.Up, mapping.Acting, PgVersion.Zero, 1, bytes, 0, 0, 0, 0);
                    }
                }
            }
        }
    }
}
