using System.Globalization;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Core;

namespace Storage.Monitor.Status;

/// <summary>Finds what is wrong with the cluster, from the map and from what OSDs report.</summary>
public static class HealthReport
{
    private const int MostDetails = 50;
    private const long ManyRepairs = 10;

    /// <summary>Codes of all checks that there are, in order.</summary>
    public static IReadOnlyList<string> Codes { get; } =
    [
        "MON_CLOCK_SKEW", "MON_DOWN", "OBJECT_UNFOUND", "OSDMAP_FLAGS", "OSD_BACKFILLFULL", "OSD_DOWN", "OSD_FULL", "OSD_NEARFULL", "OSD_OUT", "OSD_READ_ERRORS",
        "OSD_SCRUB_ERRORS", "OSD_TOO_MANY_REPAIRS", "PG_AVAILABILITY", "PG_BACKFILL_FULL", "PG_DAMAGED", "PG_DEGRADED", "PG_RECOVERY_FULL", "POOL_FULL", "POOL_NEARFULL",
        "POOL_NO_REDUNDANCY", "POOL_TOO_FEW_PGS", "SLOW_OPS", "TOO_FEW_OSDS",
    ];

    /// <summary>All checks.</summary>
    /// <param name="state">The replicated state.</param>
    /// <param name="statistics">What OSDs reported.</param>
    /// <param name="quorum">The quorum.</param>
    /// <param name="policy">The rules in effect.</param>
    /// <param name="now">Time on the loop.</param>
    /// <returns>The findings: muted ones last, the worst first, then by code.</returns>
    public static IReadOnlyList<HealthFinding> Make(MapState state, ClusterStatistics statistics, QuorumView quorum, MonitorPolicy policy, TimeSpan now)
    {
        if (state.Map is not { } map)
        {
            return [];
        }

        var findings = new List<HealthFinding>();
        JudgeMonitors(findings, quorum, policy);
        JudgeOsds(findings, map);
        JudgeFlags(findings, map);
        JudgeSpace(findings, map, statistics, policy);
        JudgeReadErrors(findings, map, statistics);
        JudgeSlowOperations(findings, map, statistics);
        PgView[] views = [.. statistics.Views(map, now, policy.StaleAfter)];
        JudgeGroups(findings, views);
        JudgePools(findings, map, views);
        JudgeGroupCounts(findings, map, statistics, views, policy);
        return [.. findings.Select(finding => finding with { IsMuted = HealthMutes.IsMuted(map, finding.Code) })
            .OrderBy(finding => finding.IsMuted).ThenByDescending(finding => finding.Level).ThenBy(finding => finding.Code, StringComparer.Ordinal)];
    }

    /// <summary>The worst level of a list, muted findings apart.</summary>
    /// <param name="findings">The list.</param>
    /// <returns>OK for an empty one.</returns>
    public static HealthLevel Worst(IReadOnlyList<HealthFinding> findings) =>
        findings.Where(finding => !finding.IsMuted).Select(finding => finding.Level).DefaultIfEmpty(HealthLevel.Ok).Max();

    private static void JudgeMonitors(List<HealthFinding> findings, QuorumView quorum, MonitorPolicy policy)
    {
        KeyValuePair<string, TimeSpan>[] skewed = [.. quorum.Skews.Where(entry => entry.Value.Duration() > policy.ClockDriftAllowed).OrderBy(entry => entry.Key, StringComparer.Ordinal)];
        Add(findings, "MON_CLOCK_SKEW", HealthLevel.Warn, $"clock skew on {string.Join(", ", skewed.Select(entry => "mon." + entry.Key))}",
            [.. skewed.Select(entry => string.Create(CultureInfo.InvariantCulture, $"mon.{entry.Key}'s clock is {entry.Value.Duration().TotalSeconds:0.000} s {(entry.Value > TimeSpan.Zero ? "ahead of" : "behind")} mon.{quorum.Leader}'s"))],
            "let the nodes' clocks follow the same time servers (chrony, ntpd)");
        string[] down = [.. quorum.Monitors.Except(quorum.InQuorum, StringComparer.Ordinal)];
        Add(findings, "MON_DOWN", HealthLevel.Warn, $"{down.Length}/{quorum.Monitors.Count} mons down, quorum {string.Join(',', quorum.InQuorum)}",
            [.. down.Select(name => $"mon.{name} is not in quorum")],
            "start the monitor again, or replace it if its disk is lost");
    }

    private static void JudgeOsds(List<HealthFinding> findings, ClusterMap map)
    {
        OsdInfo[] all = [.. map.Osds];
        OsdInfo[] down = [.. all.Where(osd => !osd.IsUp && osd.IsIn)];
        Add(findings, "OSD_DOWN", HealthLevel.Warn, $"{Plural(down.Length, "osd")} down",
            [.. down.Select(osd => $"{osd.Id} is down since epoch {osd.DownAt}")],
            "look at the daemon and its node; if the disk is dead let it be marked out, then purge and replace it");
        OsdInfo[] autoOut = [.. all.Where(osd => osd.AutoOut && !osd.IsIn && osd.UpFrom > Epoch.None)];
        Add(findings, "OSD_OUT", HealthLevel.Warn, $"{Plural(autoOut.Length, "osd")} marked out after having been down",
            [.. autoOut.Select(osd => $"{osd.Id} was marked out by the monitors; down since epoch {osd.DownAt}")],
            "its data moves to other OSDs; repair or replace it, or purge it");
        int usable = all.Count(osd => osd.IsIn);
        PoolInfo[] wanting = [.. map.Pools.Where(pool => pool.Size > usable)];
        Add(findings, "TOO_FEW_OSDS", HealthLevel.Warn, $"{Plural(usable, "osd")} in, fewer than pools want copies",
            [.. wanting.Select(pool => $"pool '{pool.Name}' has size {pool.Size}")],
            "add OSDs, mark OSDs in, or lower the pool's size");
    }

    private static void JudgeFlags(List<HealthFinding> findings, ClusterMap map)
    {
        string[] names = [.. FlagNames.Of(map.Flags & ~ClusterFlags.Full)];
        Add(findings, "OSDMAP_FLAGS", HealthLevel.Warn, $"{string.Join(',', names)} flag(s) set",
            [.. names.Select(name => $"flag {name} is set")],
            "unset it when maintenance is over");
    }

    private static void JudgeSpace(List<HealthFinding> findings, ClusterMap map, ClusterStatistics statistics, MonitorPolicy policy)
    {
        (OsdInfo Osd, double Used)[] used = [.. map.Osds.Where(osd => osd.IsUp).Select(osd => (osd, statistics.UsedRatio(osd.Id) ?? 0))];
        Judge("OSD_FULL", HealthLevel.Error, "full", policy.FullRatio, 2, "client writes fail: delete data or add OSDs");
        Judge("OSD_BACKFILLFULL", HealthLevel.Warn, "too full for backfill", policy.BackfillFullRatio, policy.FullRatio, "add OSDs or move data by reweight");
        Judge("OSD_NEARFULL", HealthLevel.Warn, "nearly full", policy.NearFullRatio, policy.BackfillFullRatio, "add OSDs or delete data before writes fail");

        void Judge(string code, HealthLevel level, string word, double from, double below, string remedy)
        {
            (OsdInfo Osd, double Used)[] hit = [.. used.Where(entry => entry.Used >= from && entry.Used < below)];
            Add(findings, code, level, $"{Plural(hit.Length, "osd")} {word}",
                [.. hit.Select(entry => string.Create(CultureInfo.InvariantCulture, $"{entry.Osd.Id} is {entry.Used * 100:0.0}% full, the limit is {from * 100:0}%"))],
                remedy);
        }
    }

    private static void JudgeReadErrors(List<HealthFinding> findings, ClusterMap map, ClusterStatistics statistics)
    {
        OsdStatistics[] reports = [.. map.Osds.Select(osd => statistics.Of(osd.Id)).OfType<OsdStatistics>()];
        OsdStatistics[] open = [.. reports.Where(report => report.ReadErrors > report.RepairedErrors)];
        Add(findings, "OSD_READ_ERRORS", HealthLevel.Warn, $"{open.Sum(report => report.ReadErrors - report.RepairedErrors)} read errors on {Plural(open.Length, "osd")} not repaired",
            [.. open.Select(report => $"{report.Osd} met {report.ReadErrors} checksum or disk errors, {report.RepairedErrors} repaired from other copies")],
            "repair follows by itself while another copy is good; pg list-inconsistent tells of which objects none is");
        OsdStatistics[] many = [.. reports.Where(report => report.RepairedErrors >= ManyRepairs)];
        Add(findings, "OSD_TOO_MANY_REPAIRS", HealthLevel.Warn, $"{Plural(many.Length, "osd")} with {ManyRepairs} or more repaired read errors",
            [.. many.Select(report => $"{report.Osd}: {report.RepairedErrors} objects were repaired from other copies since it started")],
            "the disk is probably dying: mark its OSD out and replace it; or, once the cause is removed, osd clear-errors");
    }

    private static void JudgeSlowOperations(List<HealthFinding> findings, ClusterMap map, ClusterStatistics statistics)
    {
        OsdStatistics[] slow = [.. map.Osds.Where(osd => osd.IsUp).Select(osd => statistics.Of(osd.Id)).OfType<OsdStatistics>().Where(report => report.SlowOperations > 0)];
        Add(findings, "SLOW_OPS", HealthLevel.Warn, $"{slow.Sum(report => report.SlowOperations)} client operations wait for long on {Plural(slow.Length, "osd")}",
            [.. slow.Select(report => $"{report.Osd}: {report.SlowOperations} slow, the oldest a {report.SlowestOperation}")],
            "see what the oldest one waits for: a group that is not active, a copy that is missing, or a slow disk");
    }

    private static void JudgeGroups(List<HealthFinding> findings, PgView[] views)
    {
        PgView[] unavailable = [.. views.Where(view => !view.Is("active") || view.Is("stale"))];
        bool unknownOnly = unavailable.All(view => view.State == "unknown");
        Add(findings, "PG_AVAILABILITY", HealthLevel.Warn,
            $"Reduced data availability: {Plural(unavailable.Length, "pg")} {(unknownOnly ? "unknown" : "inactive")}",
            [.. unavailable.Select(Describe)],
            unknownOnly ? "their primaries have not reported to this leader yet" : "pg query tells which OSDs they wait for");
        PgView[] degraded = [.. views.Where(view => view.Is("degraded") || view.Is("undersized"))];
        Add(findings, "PG_DEGRADED", HealthLevel.Warn,
            $"Degraded data redundancy: {degraded.Sum(view => view.Report?.MissingCopies ?? 0)} object copies missing, {Plural(degraded.Length, "pg")} degraded",
            [.. degraded.Select(Describe)],
            "recovery mends this by itself where enough OSDs are up and in");
        PgView[] damaged = [.. views.Where(view => view.Is("inconsistent") || view.Report is { ScrubErrors: > 0 })];
        Add(findings, "OSD_SCRUB_ERRORS", HealthLevel.Error, $"{damaged.Sum(view => view.Report?.ScrubErrors ?? 0)} scrub errors",
            [.. damaged.Select(Describe)], "see PG_DAMAGED");
        Add(findings, "PG_DAMAGED", HealthLevel.Error, $"Possible data damage: {Plural(damaged.Length, "pg")} inconsistent",
            [.. damaged.Select(Describe)], "pg list-inconsistent PG tells which objects and copies; pg repair PG replaces what is certainly bad; where no copy is certain, choose one with --trust");
        PgView[] tooFull = [.. views.Where(view => view.Is("backfill_toofull"))];
        Add(findings, "PG_BACKFILL_FULL", HealthLevel.Warn, $"{Plural(tooFull.Length, "pg")} cannot be filled: an osd is too full",
            [.. tooFull.Select(Describe)], "see OSD_BACKFILLFULL: add OSDs, or move data by reweight");
        PgView[] recoveryFull = [.. views.Where(view => view.Is("recovery_toofull"))];
        Add(findings, "PG_RECOVERY_FULL", HealthLevel.Error, $"{Plural(recoveryFull.Length, "pg")} cannot recover: an osd is full",
            [.. recoveryFull.Select(Describe)], "see OSD_FULL: delete data or add OSDs");
        PgView[] unfound = [.. views.Where(view => view.Report is { UnfoundObjects: > 0 })];
        Add(findings, "OBJECT_UNFOUND", HealthLevel.Error, $"{unfound.Sum(view => view.Report!.UnfoundObjects)} objects have no known copy",
            [.. unfound.Select(view => $"pg {view.Group}: {view.Report!.UnfoundObjects} unfound")],
            "pg query tells which OSDs may have them: start those; only when they are gone for good, osd lost and then pg mark-unfound-lost");

        static string Describe(PgView view) => $"pg {view.Group} is {view.State}, acting [{string.Join(',', view.Mapping.Acting.Select(osd => osd.Value))}]";
    }

    private static void JudgePools(List<HealthFinding> findings, ClusterMap map, PgView[] views)
    {
        Dictionary<long, PoolUsage> usage = PoolUsage.Of(views);
        PoolInfo[] full = [.. map.Pools.Where(pool => usage.GetValueOrDefault(pool.Id).IsAtQuota(pool, 1))];
        Add(findings, "POOL_FULL", HealthLevel.Warn, $"{Plural(full.Length, "pool")} at quota, their writes fail",
            [.. full.Select(Describe)], "raise the quota (pool set) or delete data");
        PoolInfo[] near = [.. map.Pools.Where(pool => usage.GetValueOrDefault(pool.Id).IsAtQuota(pool, 0.9) && !full.Contains(pool))];
        Add(findings, "POOL_NEARFULL", HealthLevel.Warn, $"{Plural(near.Length, "pool")} near quota",
            [.. near.Select(Describe)], "raise the quota (pool set) or delete data");
        string Describe(PoolInfo pool) => $"pool '{pool.Name}' holds {usage.GetValueOrDefault(pool.Id).Bytes} bytes{(pool.QuotaBytes > 0 ? $" of {pool.QuotaBytes}" : "")} "
            + $"in {usage.GetValueOrDefault(pool.Id).Objects} objects{(pool.QuotaObjects > 0 ? $" of {pool.QuotaObjects}" : "")}";

        PoolInfo[] single = [.. map.Pools.Where(pool => pool.Size < 2)];
        Add(findings, "POOL_NO_REDUNDANCY", HealthLevel.Warn, $"{Plural(single.Length, "pool")} without redundancy",
            [.. single.Select(pool => $"pool '{pool.Name}' has size {pool.Size}")],
            "set the size to 2 or more, unless the data may be lost");
    }

    private static void JudgeGroupCounts(List<HealthFinding> findings, ClusterMap map, ClusterStatistics statistics, PgView[] views, MonitorPolicy policy)
    {
        if (!map.Pools.Any(pool => pool.Autoscale == PgAutoscale.Warn) || PgAutoscaler.Demands(map, statistics, views) is not { } demands)
        {
            return;
        }

        PoolAdvice[] few = [.. PgAutoscaler.Advise(demands, policy.GroupsPerOsd).Where(advice => advice.Wanted >= 2L * advice.Demand.Groups && map.FindPool(advice.Demand.Pool) is { Autoscale: PgAutoscale.Warn })];
        Add(findings, "POOL_TOO_FEW_PGS", HealthLevel.Warn, $"{Plural(few.Length, "pool")} with too few placement groups",
            [.. few.Select(advice => $"pool '{map.FindPool(advice.Demand.Pool)!.Name}' has {advice.Demand.Groups} pgs and should have {advice.Wanted}{(advice.Note.Length > 0 ? $" ({advice.Note})" : "")}")],
            "raise pg_num (pool set), or let the monitors do it (pool set POOL pg_autoscale_mode on)");
    }

    private static string Plural(int count, string word) => $"{count} {word}{(count == 1 ? "" : "s")}";

    private static void Add(List<HealthFinding> findings, string code, HealthLevel level, string summary, string[] affected, string remedy)
    {
        if (affected.Length == 0)
        {
            return;
        }

        Invariant.Holds(Codes.Contains(code, StringComparer.Ordinal), "a check that can be muted");
        string[] more = affected.Length > MostDetails ? [$"and {affected.Length - MostDetails} more"] : [];
        findings.Add(new HealthFinding(code, level, summary, affected.Length, [.. affected.Take(MostDetails), .. more, "what to do: " + remedy]));
    }
}
