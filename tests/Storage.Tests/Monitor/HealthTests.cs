using System.Text.RegularExpressions;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;

namespace Storage.Tests.Monitor;

/// <summary>Every health check: what brings it about, what it names, and that it says what to do.</summary>
public sealed partial class HealthTests
{
    private readonly CoreHarness _core = new(osds: 3, hosts: 3);
    private QuorumView _quorum = new(["a"], ["a"], "a", 1, TimeSpan.FromSeconds(9));

    public HealthTests()
    {
        _core.Admin("PoolCreate", new PoolCreateRequest { Name = "p", PgNum = 4 });
        Report("active+clean");
    }

    public static TheoryData<string, string> Checks => new()
    {
        { "MON_DOWN", "mon.b is not in quorum" },
        { "MON_CLOCK_SKEW", "mon.b's clock is 1.500 s ahead of mon.a's" },
        { "OSD_DOWN", "osd.2 is down since epoch" },
        { "OSD_OUT", "osd.2 was marked out by the monitors" },
        { "TOO_FEW_OSDS", "pool 'p' has size 3" },
        { "OSDMAP_FLAGS", "flag noout is set" },
        { "OSD_NEARFULL", "osd.1 is 86.0% full, the limit is 85%" },
        { "OSD_BACKFILLFULL", "osd.1 is 91.0% full, the limit is 90%" },
        { "OSD_FULL", "osd.1 is 96.0% full, the limit is 95%" },
        { "OSD_READ_ERRORS", "osd.1 met 5 checksum or disk errors, 2 repaired" },
        { "OSD_TOO_MANY_REPAIRS", "osd.1: 12 objects were repaired" },
        { "SLOW_OPS", "osd.1: 3 slow, the oldest a write of x: waits for osd.2" },
        { "PG_AVAILABILITY", "is down, acting" },
        { "PG_DEGRADED", "is active+degraded, acting" },
        { "PG_DAMAGED", "is active+clean+inconsistent, acting" },
        { "OSD_SCRUB_ERRORS", "is active+clean+inconsistent, acting" },
        { "PG_BACKFILL_FULL", "is active+backfill_toofull, acting" },
        { "PG_RECOVERY_FULL", "is active+recovery_toofull, acting" },
        { "OBJECT_UNFOUND", "pg 1.0: 2 unfound" },
        { "POOL_FULL", "pool 'p' holds 4000 bytes in 40 objects of 40" },
        { "POOL_NEARFULL", "pool 'p' holds 4000 bytes of 4200 in 40 objects" },
        { "POOL_NO_REDUNDANCY", "pool 'p' has size 1" },
        { "POOL_TOO_FEW_PGS", "pool 'p' has 4 pgs and should have" },
    };

    [Theory]
    [MemberData(nameof(Checks))]
    public void EachCheckHasASummaryNamesWhatItIsAboutAndSaysWhatToDo(string code, string detail)
    {
        Assert.Empty(Findings());
        BringAbout(code);
        HealthFinding finding = Assert.Single(Findings(), found => found.Code == code);
        Assert.NotEqual(HealthLevel.Ok, finding.Level);
        Assert.True(finding.Summary.Length > 5 && finding.Count > 0);
        Assert.Contains(finding.Detail, line => line.Contains(detail, StringComparison.Ordinal));
        Assert.Matches(@"^what to do: \S.{8,}", finding.Detail[^1]);
    }

    [Fact]
    public void EachCheckIsTestedAndStandsInTheOperatorsPage()
    {
        Assert.Equal(HealthReport.Codes, Checks.Select(row => (string)row[0]).Order(StringComparer.Ordinal));
        string folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "Storage.sln")))
        {
            folder = Path.GetDirectoryName(folder)!;
        }

        string page = File.ReadAllText(Path.Combine(folder, "docs", "operations.md"));
        string table = page[page.IndexOf("## Health codes", StringComparison.Ordinal)..page.IndexOf("## Addresses", StringComparison.Ordinal)];
        string[] told = [.. table.Split('\n').Where(line => line.StartsWith("| `", StringComparison.Ordinal)).SelectMany(line => Code().Matches(line.Split('|')[1]).Select(match => match.Value))];
        Assert.Equal(HealthReport.Codes, told.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void LongListsAreCutAndSayHowManyMore()
    {
        _core.Admin("PoolCreate", new PoolCreateRequest { Name = "many", PgNum = 100 });
        Report("active+degraded");
        HealthFinding finding = Assert.Single(Findings(), found => found.Code == "PG_DEGRADED");
        Assert.Equal((104L, 52), (finding.Count, finding.Detail.Count));
        Assert.Equal("and 54 more", finding.Detail[^2]);
    }

    [Fact]
    public void RatiosOfSpaceAscend()
    {
        foreach ((string key, string value) in new[] { ("mon_osd_full_ratio", "0.5"), ("mon_osd_nearfull_ratio", "0.93"), ("mon_osd_backfillfull_ratio", "0.99") })
        {
            RpcStatus refused = _core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = key, Value = value }).Status;
            Assert.Equal(StatusCode.FailedPrecondition, refused.Code);
            Assert.Contains("would not ascend", refused.Message, StringComparison.Ordinal);
        }

        // One after the other, and not back in the wrong order.
        foreach ((string key, string value) in new[] { ("mon_osd_nearfull_ratio", "0.3"), ("mon_osd_backfillfull_ratio", "0.4"), ("mon_osd_full_ratio", "0.5") })
        {
            Assert.Equal(StatusCode.Ok, _core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = key, Value = value }).Status.Code);
        }

        Assert.Equal(StatusCode.FailedPrecondition, _core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = "mon_osd_nearfull_ratio" }).Status.Code);
        Assert.Equal(StatusCode.Ok, _core.Admin("ConfigSet", new ConfigSetRequest { Section = "mon", Key = "mon_osd_full_ratio" }).Status.Code);
    }

    [Fact]
    public void MorePgsThanOsdsCanBearAreRefused()
    {
        RpcStatus refused = _core.Admin("PoolCreate", new PoolCreateRequest { Name = "big", PgNum = 1024 }).Status;
        Assert.Contains("each of 3 OSDs would have 1028 PG copies", refused.Message, StringComparison.Ordinal);
        _core.Admin("PoolCreate", new PoolCreateRequest { Name = "big", PgNum = 128 });
        Assert.Contains("confirm", _core.Admin("PoolSet", new PoolSetRequest { Name = "big", Key = "pg_num", Value = "512" }).Status.Message, StringComparison.Ordinal);
        Assert.Equal(StatusCode.Ok, _core.Admin("PoolSet", new PoolSetRequest { Name = "big", Key = "pg_num", Value = "512", Confirmed = true }).Status.Code);
    }

    private void BringAbout(string code)
    {
        switch (code)
        {
            case "MON_DOWN":
                _quorum = _quorum with { Monitors = ["a", "b"] };
                break;
            case "MON_CLOCK_SKEW":
                _quorum = _quorum with { Monitors = ["a", "b"], InQuorum = ["a", "b"], Skews = new Dictionary<string, TimeSpan> { ["b"] = TimeSpan.FromSeconds(1.5) } };
                break;
            case "OSD_DOWN":
                _core.Leader.HandleStopping(new OsdId(2), 100);
                _core.Settle();
                break;
            case "OSD_OUT":
                _core.Leader.HandleStopping(new OsdId(2), 100);
                _core.Settle();
                _core.Pass(700, 0, 1);
                break;
            case "TOO_FEW_OSDS":
                var ids = new OsdIdsRequest { Confirmed = true };
                ids.Osds.Add(2);
                _core.Admin("OsdOut", ids);
                break;
            case "OSDMAP_FLAGS":
                _core.Admin("OsdSetFlag", new OsdFlagRequest { Flag = "noout" });
                break;
            case "OSD_NEARFULL":
            case "OSD_BACKFILLFULL":
            case "OSD_FULL":
                _core.Statistics(1, code == "OSD_NEARFULL" ? 86 : code == "OSD_BACKFILLFULL" ? 91 : 96);
                break;
            case "OSD_READ_ERRORS":
                Disk(readErrors: 5, repaired: 2);
                break;
            case "OSD_TOO_MANY_REPAIRS":
                Disk(readErrors: 12, repaired: 12);
                break;
            case "SLOW_OPS":
                Disk(slow: 3);
                break;
            case "PG_AVAILABILITY":
                Report("down");
                break;
            case "PG_DEGRADED":
                Report("active+degraded");
                break;
            case "PG_DAMAGED":
            case "OSD_SCRUB_ERRORS":
                Report("active+clean+inconsistent", scrubErrors: 1);
                break;
            case "PG_BACKFILL_FULL":
                Report("active+backfill_toofull");
                break;
            case "PG_RECOVERY_FULL":
                Report("active+recovery_toofull");
                break;
            case "OBJECT_UNFOUND":
                Report("active+recovery_unfound", unfound: 2);
                break;
            case "POOL_FULL":
                Set("quota_objects", "40");
                break;
            case "POOL_NEARFULL":
                Set("quota_bytes", "4200");
                break;
            case "POOL_NO_REDUNDANCY":
                Set("size", "1");
                break;
            case "POOL_TOO_FEW_PGS":
                Set("pg_autoscale_mode", "warn");
                Set("target_size_ratio", "1");
                break;
            default:
                throw new ArgumentException($"nothing brings {code} about");
        }
    }

    private void Set(string key, string value) => _core.Admin("PoolSet", new PoolSetRequest { Name = "p", Key = key, Value = value, Confirmed = true });

    private void Disk(long readErrors = 0, long repaired = 0, int slow = 0) => _core.Leader.HandleStatistics(
        new OsdStatistics(new OsdId(1), _core.Map.Epoch, 100, 10, 0, 0, 0, 0, 0, readErrors, repaired, [], slow, slow > 0 ? "write of x: waits for osd.2" : ""), _core.Now);

    private void Report(string state, long unfound = 0, long scrubErrors = 0)
    {
        foreach (Storage.Cluster.OsdInfo osd in _core.Map.Osds.Where(osd => osd.IsUp))
        {
            PgStatistics[] groups = [.. _core.Map.Pools
                .SelectMany(pool => Enumerable.Range(0, pool.PgCount).Select(seed => new PgId(pool.Id, (uint)seed)))
                .Where(group => _core.Map.Locate(group).Primary == osd.Id)
                .Select(group => new PgStatistics(group, state, _core.Map.Locate(group).Up, _core.Map.Locate(group).Acting, PgVersion.Zero, 10, 1000, 0, 0, unfound, scrubErrors))];
            _core.Statistics(osd.Id.Value, 10, groups);
        }
    }

    private IReadOnlyList<HealthFinding> Findings() => HealthReport.Make(_core.State, _core.Leader.Statistics, _quorum, _core.Leader.Policy, _core.Now);

    [GeneratedRegex("[A-Z]+(_[A-Z]+)+")]
    private static partial Regex Code();
}
