namespace Storage.Monitor.Core;

/// <summary>The settings that somebody reads from the map, and whom they may be set for. A name that nobody reads would be written and never be in
/// effect.</summary>
public static class KnownSettings
{
    /// <summary>Names that begin so are an operator's own notes: kept, handed out, read by no daemon.</summary>
    public const string NotePrefix = "x_";

    private static readonly string[] s_monitor =
    [
        "mon_balancer", "mon_clock_drift_allowed", "mon_osd_backfillfull_ratio", "mon_osd_down_out_interval", "mon_osd_full_ratio", "mon_osd_min_down_reporters",
        "mon_osd_min_in_ratio", "mon_osd_min_up_ratio", "mon_osd_nearfull_ratio", "mon_osd_report_timeout", "mon_target_pg_per_osd", "target_max_misplaced_ratio",
    ];

    private static readonly string[] s_osd = ["osd_max_backfills", "osd_mclock_profile", "osd_memory_target"];

    /// <summary>All names, in order.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. s_monitor.Concat(s_osd).Order(StringComparer.Ordinal)];

    /// <summary>Whether a setting may be set for somebody.</summary>
    /// <param name="section">Whom: global, mon, osd, osd.3.</param>
    /// <param name="key">The setting.</param>
    /// <returns>What is wrong, with the nearest name there is; null if it may.</returns>
    public static string? Judge(string section, string key)
    {
        ArgumentNullException.ThrowIfNull(section);
        ArgumentNullException.ThrowIfNull(key);
        if (key.StartsWith(NotePrefix, StringComparison.Ordinal))
        {
            return null;
        }

        bool isMonitors = s_monitor.Contains(key, StringComparer.Ordinal);
        if (!isMonitors && !s_osd.Contains(key, StringComparer.Ordinal))
        {
            string nearest = Names.MinBy(name => Distance(name, key))!;
            return Distance(nearest, key) <= Math.Max(3, key.Length / 3)
                ? $"there is no setting '{key}'; did you mean '{nearest}'?"
                : $"there is no setting '{key}'; there are {string.Join(", ", Names)}";
        }

        bool fits = section == "global" || (isMonitors ? section == "mon" : section == "osd" || IsOneOsd(section));
        return fits ? null : $"'{key}' is set for {(isMonitors ? "global or mon" : "global, osd, or one OSD as osd.3")}, not for '{section}': nobody would read it there";
    }

    private static bool IsOneOsd(string section) =>
        section.StartsWith("osd.", StringComparison.Ordinal)
        && int.TryParse(section.AsSpan(4), System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out _);

    // Letters to put in, take out or replace (Levenshtein).
    private static int Distance(string a, string b)
    {
        int[] row = [.. Enumerable.Range(0, b.Length + 1)];
        for (int i = 1; i <= a.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= b.Length; j++)
            {
                int above = row[j];
                row[j] = Math.Min(Math.Min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
                diagonal = above;
            }
        }

        return row[^1];
    }
}
