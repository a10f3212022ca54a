using Storage.Cluster;

namespace Storage.Monitor.Status;

/// <summary>An answer to "may I?" about OSDs.</summary>
/// <param name="Safe">Yes.</param>
/// <param name="Summary">One line.</param>
/// <param name="Reasons">What speaks against it, one line each.</param>
/// <param name="Groups">The PGs concerned, those that speak against it first.</param>
public sealed record OsdVerdict(bool Safe, string Summary, IReadOnlyList<string> Reasons, IReadOnlyList<PgId> Groups);

/// <summary>What it would do to PGs if OSDs stopped, or were gone for good. Judged from the map and the newest reports; what is not
/// known counts against it.</summary>
public static class OsdSafety
{
    private const int MostReasons = 20;

    /// <summary>Whether every PG goes on serving while these OSDs are stopped.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="views">Every PG.</param>
    /// <param name="osds">The OSDs, all at once.</param>
    /// <returns>The verdict.</returns>
    public static OsdVerdict JudgeStop(ClusterMap map, IEnumerable<PgView> views, IReadOnlyCollection<OsdId> osds)
    {
        var against = new List<(PgId Group, string Why)>();
        var degraded = new List<PgId>();
        foreach (PgView view in views)
        {
            if (!view.Mapping.Acting.Any(osds.Contains))
            {
                continue;
            }

            int left = view.Mapping.Acting.Count(osd => !osds.Contains(osd));
            PoolInfo pool = map.FindPool(view.Group.Pool)!;
            if (view.Report is not { } report || view.Is("stale") || view.Is("unknown"))
            {
                against.Add((view.Group, $"pg {view.Group} is {view.State}: its state is not known"));
            }
            else if (!view.Is("active"))
            {
                against.Add((view.Group, $"pg {view.Group} is {view.State}: it does not serve even now"));
            }
            else if (left < pool.MinSize)
            {
                against.Add((view.Group, $"pg {view.Group} would have {left} of the {pool.MinSize} copies it needs to serve"));
            }
            else if (report.MissingCopies > 0 && left - 1 < pool.MinSize)
            {
                // One of those that stay may be the one that lacks objects.
                against.Add((view.Group, $"pg {view.Group} lacks {report.MissingCopies} object copies: wait for its recovery"));
            }
            else
            {
                degraded.Add(view.Group);
            }
        }

        string names = Names(osds);
        return against.Count == 0
            ? new OsdVerdict(true, $"{names} may stop: {degraded.Count} pgs run on with fewer copies", [], degraded)
            : Refuse($"{names} must not stop now: I/O would wait in {against.Count} pgs", against, degraded);
    }

    /// <summary>Whether no PG needs anything that is on these OSDs' disks.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="views">Every PG.</param>
    /// <param name="osds">The OSDs, all at once.</param>
    /// <returns>The verdict.</returns>
    public static OsdVerdict JudgeDestroy(ClusterMap map, IEnumerable<PgView> views, IReadOnlyCollection<OsdId> osds)
    {
        var against = new List<(PgId Group, string Why)>();
        foreach (PgView view in views)
        {
            if (view.Mapping.Acting.Any(osds.Contains) || view.Mapping.Up.Any(osds.Contains))
            {
                against.Add((view.Group, $"pg {view.Group} lives on it: mark it out and wait until its data has moved"));
            }
            else if (view.Report is null || view.Is("stale") || !view.Is("active"))
            {
                against.Add((view.Group, $"pg {view.Group} is {view.State}: it may wait for what is on it"));
            }
            else if (!view.Is("clean"))
            {
                against.Add((view.Group, $"pg {view.Group} is {view.State}: wait until it is clean"));
            }
        }

        string names = Names(osds);
        return against.Count == 0
            ? new OsdVerdict(true, $"{names} may be destroyed: no pg needs its data", [], [])
            : Refuse($"{names} must not be destroyed: {against.Count} pgs live on it or may need its data", against, []);
    }

    private static OsdVerdict Refuse(string summary, List<(PgId Group, string Why)> against, List<PgId> others)
    {
        string[] more = against.Count > MostReasons ? [$"and {against.Count - MostReasons} more"] : [];
        return new OsdVerdict(false, summary, [.. against.Take(MostReasons).Select(entry => entry.Why), .. more], [.. against.Select(entry => entry.Group), .. others]);
    }

    private static string Names(IEnumerable<OsdId> osds) => string.Join(", ", osds);
}
