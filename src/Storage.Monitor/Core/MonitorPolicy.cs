using System.Globalization;
using Storage.Cluster;

namespace Storage.Monitor.Core;

/// <summary>Rules by which the leader changes the map by itself. Settings in the map of the same meaning take precedence.</summary>
public sealed record MonitorPolicy
{
    /// <summary>Time after which a down OSD is marked out; zero means never. Setting <c>mon_osd_down_out_interval</c>, in seconds.</summary>
    public TimeSpan DownOutInterval { get; init; } = TimeSpan.FromSeconds(600);

    /// <summary>Time after which an OSD that sends nothing to the monitors is marked down though nobody reported it. Setting
    /// <c>mon_osd_report_timeout</c>, in seconds.</summary>
    public TimeSpan ReportTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Reporters, each in a failure domain of its own, that silence needs. Setting <c>mon_osd_min_down_reporters</c>.</summary>
    public int MinDownReporters { get; init; } = 2;

    /// <summary>Share of all OSDs that stays up whatever is reported, refused connections apart. Setting <c>mon_osd_min_up_ratio</c>.</summary>
    public double MinUpRatio { get; init; } = 0.3;

    /// <summary>Share of all OSDs, and of those below each rack, room and so on, below which none is marked out by itself. Setting
    /// <c>mon_osd_min_in_ratio</c>.</summary>
    public double MinInRatio { get; init; } = 0.5;

    /// <summary>Use above which an OSD is nearly full. Setting <c>mon_osd_nearfull_ratio</c>.</summary>
    public double NearFullRatio { get; init; } = 0.85;

    /// <summary>Use above which an OSD takes no backfill. Setting <c>mon_osd_backfillfull_ratio</c>.</summary>
    public double BackfillFullRatio { get; init; } = 0.90;

    /// <summary>Use above which the cluster is full. Setting <c>mon_osd_full_ratio</c>.</summary>
    public double FullRatio { get; init; } = 0.95;

    /// <summary>Difference of monitors' wall clocks above which health warns. Setting <c>mon_clock_drift_allowed</c>, in seconds.</summary>
    public TimeSpan ClockDriftAllowed { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Whether the leader evens out PGs over OSDs by itself. Setting <c>mon_balancer</c>, <c>on</c> or <c>off</c>.</summary>
    public bool Balances { get; init; }

    /// <summary>Time between moves of the automatic balancer.</summary>
    public TimeSpan BalanceInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>PGs that the automatic balancer moves at once.</summary>
    public int BalanceMoves { get; init; } = 8;

    /// <summary>An OSD from which nothing came for so long does not count among those that could report another one.</summary>
    public TimeSpan ReporterFreshness { get; init; } = TimeSpan.FromSeconds(4);

    /// <summary>A failure report that is not repeated counts no longer after this.</summary>
    public TimeSpan ReportLifetime { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>The same process back within this time after it was marked down for silence was merely slow: it is waited for longer next time.</summary>
    public TimeSpan HastyReturn { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>The longest that one who is often slow is waited for on top of the reporters' grace.</summary>
    public TimeSpan MostExtraGrace { get; init; } = TimeSpan.FromSeconds(4);

    /// <summary>How long that lasts.</summary>
    public TimeSpan ExtraGraceLifetime { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>A PG whose primary has not reported it for so long is stale.</summary>
    public TimeSpan StaleAfter { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Share of a pool's PGs that may move at once when pgp_num follows pg_num. Setting <c>target_max_misplaced_ratio</c>.</summary>
    public double TargetMaxMisplacedRatio { get; init; } = 0.05;

    /// <summary>PG copies on each OSD that the autoscaler aims at when the OSDs are full. Setting <c>mon_target_pg_per_osd</c>.</summary>
    public int GroupsPerOsd { get; init; } = PgAutoscaler.DefaultGroupsPerOsd;

    /// <summary>Time between looks of the autoscaler.</summary>
    public TimeSpan AutoscaleInterval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Default of blocklist entries.</summary>
    public TimeSpan BlocklistDuration { get; init; } = TimeSpan.FromHours(1);

    /// <summary>The policy with the settings that the map holds, section <c>global</c> or <c>mon</c>.</summary>
    /// <param name="map">The map, or null.</param>
    /// <returns>What is in effect.</returns>
    public MonitorPolicy WithSettings(ClusterMap? map)
    {
        if (map is null || map.Configuration.Count == 0)
        {
            return this;
        }

        return this with
        {
            DownOutInterval = Seconds(map, "mon_osd_down_out_interval", DownOutInterval),
            ReportTimeout = Seconds(map, "mon_osd_report_timeout", ReportTimeout),
            MinDownReporters = (int)Number(map, "mon_osd_min_down_reporters", MinDownReporters),
            MinUpRatio = Number(map, "mon_osd_min_up_ratio", MinUpRatio),
            MinInRatio = Number(map, "mon_osd_min_in_ratio", MinInRatio),
            NearFullRatio = Number(map, "mon_osd_nearfull_ratio", NearFullRatio),
            BackfillFullRatio = Number(map, "mon_osd_backfillfull_ratio", BackfillFullRatio),
            FullRatio = Number(map, "mon_osd_full_ratio", FullRatio),
            ClockDriftAllowed = Seconds(map, "mon_clock_drift_allowed", ClockDriftAllowed),
            Balances = (Text(map, "mon_balancer") ?? (Balances ? "on" : "off")) == "on",
            GroupsPerOsd = (int)Number(map, "mon_target_pg_per_osd", GroupsPerOsd),
            TargetMaxMisplacedRatio = Number(map, "target_max_misplaced_ratio", TargetMaxMisplacedRatio),
        };
    }

    /// <summary>Checks one of the monitor's own settings before it gets into the map.</summary>
    /// <param name="key">The setting.</param>
    /// <param name="value">Its value.</param>
    /// <returns>What is wrong, or null; settings of others are not judged.</returns>
    public static string? Judge(string key, string value)
    {
        if (key == "mon_balancer")
        {
            return value is "on" or "off" ? null : $"{key} is on or off, not '{value}'";
        }

        if (key == "osd_mclock_profile")
        {
            return value is "client" or "balanced" or "recovery" ? null : $"{key} must be client, balanced or recovery, not '{value}'";
        }

        if (key == "osd_memory_target")
        {
            return JudgeMemory(key, value);
        }

        (double Low, double High)? range = key switch
        {
            "osd_max_backfills" => (1, 1000),
            "mon_target_pg_per_osd" => (1, PgAutoscaler.MostGroupsPerOsd),
            "mon_osd_down_out_interval" => (0, 31_536_000),
            "mon_osd_report_timeout" => (5, 86_400),
            "mon_clock_drift_allowed" => (0.001, 3600),
            "mon_osd_min_down_reporters" => (1, 1000),
            "mon_osd_min_up_ratio" or "mon_osd_min_in_ratio" => (0, 1),
            "target_max_misplaced_ratio" => (0, 1),
            "mon_osd_nearfull_ratio" or "mon_osd_backfillfull_ratio" or "mon_osd_full_ratio" => (0.01, 1),
            _ => null,
        };
        return range is not { } limits
            || (double.TryParse(value, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) && number >= limits.Low && number <= limits.High)
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"{key} must be a number from {limits.Low} to {limits.High}, not '{value}'");
    }

    private static string? JudgeMemory(string key, string value)
    {
        int shift = value.EndsWith("MiB", StringComparison.Ordinal) ? 20 : value.EndsWith("GiB", StringComparison.Ordinal) ? 30 : 0;
        return long.TryParse(shift == 0 ? value : value[..^3], NumberStyles.None, CultureInfo.InvariantCulture, out long number)
            && number <= long.MaxValue >> shift && number << shift >= 256L << 20
            ? null
            : $"{key} is a number of bytes, also as 512MiB or 2GiB, and at least 256MiB, not '{value}'";
    }

    /// <summary>Whether a setting says how full OSDs may become.</summary>
    /// <param name="key">The setting.</param>
    /// <returns>True for the three ratios, which have to ascend.</returns>
    public static bool IsFullness(string key) => key is "mon_osd_nearfull_ratio" or "mon_osd_backfillfull_ratio" or "mon_osd_full_ratio";

    /// <summary>Checks that the ratios of space ascend.</summary>
    /// <param name="configuration">The value of an entry such as <c>mon/mon_osd_full_ratio</c>, or null.</param>
    /// <returns>What is wrong, or null.</returns>
    public string? JudgeFullness(Func<string, string?> configuration)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        double near = Ratio("mon_osd_nearfull_ratio", NearFullRatio);
        double backfill = Ratio("mon_osd_backfillfull_ratio", BackfillFullRatio);
        double full = Ratio("mon_osd_full_ratio", FullRatio);
        return near <= backfill && backfill <= full
            ? null
            : string.Create(
                CultureInfo.InvariantCulture,
                $"nearfull ({near}), backfillfull ({backfill}) and full ({full}) would not ascend: to lower them begin with mon_osd_nearfull_ratio, to raise them with mon_osd_full_ratio");

        double Ratio(string key, double otherwise) =>
            (configuration("mon/" + key) ?? configuration("global/" + key)) is { } text && Judge(key, text) is null
            && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : otherwise;
    }

    internal void Validate()
    {
        if (NearFullRatio <= 0 || NearFullRatio > BackfillFullRatio || BackfillFullRatio > FullRatio || FullRatio > 1 || MinDownReporters < 1)
        {
            throw new ArgumentException("ratios must ascend: 0 < nearfull <= backfillfull <= full <= 1, and at least one reporter is needed");
        }
    }

    private static TimeSpan Seconds(ClusterMap map, string key, TimeSpan otherwise) => TimeSpan.FromSeconds(Number(map, key, otherwise.TotalSeconds));

    private static double Number(ClusterMap map, string key, double otherwise)
    {
        string? text = Text(map, key);
        return text is not null && Judge(key, text) is null
            && double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) ? number : otherwise;
    }

    private static string? Text(ClusterMap map, string key) =>
        map.Configuration.GetValueOrDefault("mon/" + key) ?? map.Configuration.GetValueOrDefault("global/" + key);
}
