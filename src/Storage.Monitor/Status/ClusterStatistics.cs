using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Monitor.Status;

/// <summary>Operations and bytes per second.</summary>
/// <param name="ReadBytes">Bytes that clients read.</param>
/// <param name="WriteBytes">Bytes that clients wrote.</param>
/// <param name="Reads">Client reads.</param>
/// <param name="Writes">Client writes.</param>
/// <param name="RecoveryBytes">Bytes recovered or backfilled.</param>
public readonly record struct Rates(double ReadBytes, double WriteBytes, double Reads, double Writes, double RecoveryBytes)
{
    /// <summary>Sum of two.</summary>
    /// <param name="other">The other one.</param>
    /// <returns>The sum.</returns>
    public Rates Plus(Rates other) => new(
        ReadBytes + other.ReadBytes, WriteBytes + other.WriteBytes, Reads + other.Reads, Writes + other.Writes, RecoveryBytes + other.RecoveryBytes);
}

/// <summary>What is known of one PG now.</summary>
/// <param name="Group">The PG.</param>
/// <param name="State">State words joined by '+'. <c>unknown</c>: never reported to this leader; <c>stale</c> first: the report is too old to be
/// trusted; <c>peering</c>: another OSD has become primary and has not reported yet.</param>
/// <param name="Mapping">Where the map places it.</param>
/// <param name="Report">The newest report, or null.</param>
/// <param name="ReportEpoch">Its reporter's map.</param>
public readonly record struct PgView(PgId Group, string State, PgMapping Mapping, PgStatistics? Report, Epoch ReportEpoch)
{
    /// <summary>Whether the state has a word.</summary>
    /// <param name="word">As in <c>degraded</c>.</param>
    /// <returns>True if so.</returns>
    public bool Is(string word)
    {
        foreach (Range part in State.AsSpan().Split('+'))
        {
            if (State.AsSpan()[part].SequenceEqual(word))
            {
                return true;
            }
        }

        return false;
    }
}

/// <summary>Soft state of the leader: what OSDs report. Nothing here is agreed upon or kept.</summary>
public sealed class ClusterStatistics
{
    private static readonly TimeSpan RateLifetime = TimeSpan.FromSeconds(10);
    private readonly Dictionary<int, OsdReport> _osds = [];
    private readonly Dictionary<PgId, PgReport> _groups = [];
    private ClusterMap? _expiredFor;

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _osds.Clear();
        _groups.Clear();
        _expiredFor = null;
    }

    /// <summary>Takes a report.</summary>
    /// <param name="statistics">The report.</param>
    /// <param name="map">The newest map.</param>
    /// <param name="now">Time on the loop.</param>
    public void Record(OsdStatistics statistics, ClusterMap map, TimeSpan now)
    {
        int osd = statistics.Osd.Value;
        if (!_osds.TryGetValue(osd, out OsdReport? before))
        {
            _osds[osd] = new OsdReport(statistics, now, default, statistics, now);
        }
        else if (now - before.RatesAt < TimeSpan.FromSeconds(1))
        {
            // Reports that follow each other closely (a PG changed its state) would make the rates jump.
            _osds[osd] = before with { Statistics = statistics, At = now };
        }
        else
        {
            _osds[osd] = new OsdReport(statistics, now, Between(before.RatesOf, statistics, (now - before.RatesAt).TotalSeconds), statistics, now);
        }

        RecordGroups(statistics, map, now);
    }

    /// <summary>Drops what the map has no longer.</summary>
    /// <param name="map">The newest map.</param>
    public void Expire(ClusterMap map)
    {
        if (ReferenceEquals(map, _expiredFor))
        {
            return;
        }

        _expiredFor = map;
        foreach (int osd in _osds.Keys.Where(osd => map.FindOsd(new OsdId(osd)) is null).ToArray())
        {
            _osds.Remove(osd);
        }

        foreach (PgId group in _groups.Keys.Where(group => !map.Contains(group)).ToArray())
        {
            _groups.Remove(group);
        }
    }

    /// <summary>An OSD's newest report.</summary>
    /// <param name="osd">The OSD.</param>
    /// <returns>The report, or null.</returns>
    public OsdStatistics? Of(OsdId osd) => _osds.GetValueOrDefault(osd.Value)?.Statistics;

    /// <summary>Used share of an OSD's disk.</summary>
    /// <param name="osd">The OSD.</param>
    /// <returns>0 to 1, or null if it has not reported.</returns>
    public double? UsedRatio(OsdId osd) => _osds.TryGetValue(osd.Value, out OsdReport? report) && report.Statistics.TotalBytes > 0
        ? (double)report.Statistics.UsedBytes / report.Statistics.TotalBytes : null;

    /// <summary>Rates of the whole cluster.</summary>
    /// <param name="now">Time on the loop.</param>
    /// <returns>The sum over the OSDs that reported lately.</returns>
    public Rates TotalRates(TimeSpan now)
    {
        Rates sum = default;
        foreach (OsdReport report in _osds.Values)
        {
            sum = now - report.At <= RateLifetime ? sum.Plus(report.Rates) : sum;
        }

        return sum;
    }

    /// <summary>What is known of a PG.</summary>
    /// <param name="map">The newest map; it contains the PG.</param>
    /// <param name="group">The PG.</param>
    /// <param name="now">Time on the loop.</param>
    /// <param name="staleAfter">Age at which a report is stale.</param>
    /// <returns>The view.</returns>
    public PgView View(ClusterMap map, PgId group, TimeSpan now, TimeSpan staleAfter)
    {
        PgMapping mapping = map.Locate(group);
        if (!_groups.TryGetValue(group, out PgReport report))
        {
            return new PgView(group, "unknown", mapping, null, Epoch.None);
        }

        string state = !mapping.Primary.IsSome || now - report.At > staleAfter ? "stale+" + report.Statistics.State
            : report.Reporter != mapping.Primary ? "peering"
            : report.Statistics.State;
        return new PgView(group, state, mapping, report.Statistics, report.Epoch);
    }

    /// <summary>The removed snapshots of a pool of which no PG holds a clone any more. A report is true for ever, whoever made it: no write
    /// brings a removed snapshot back.</summary>
    /// <param name="pool">The pool, as the newest map has it.</param>
    /// <returns>Those that every PG reported.</returns>
    public SnapshotIntervals PurgedSnapshots(PoolInfo pool)
    {
        SnapshotIntervals purged = pool.RemovedSnapshots;
        for (uint seed = 0; seed < (uint)pool.PgCount && !purged.IsEmpty; seed++)
        {
            purged = _groups.TryGetValue(new PgId(pool.Id, seed), out PgReport report)
                ? purged.Intersect(report.Statistics.PurgedSnapshots)
                : SnapshotIntervals.Empty;
        }

        return purged;
    }

    /// <summary>Every PG of the map.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="now">Time on the loop.</param>
    /// <param name="staleAfter">Age at which a report is stale.</param>
    /// <returns>The views, in order of id.</returns>
    public IEnumerable<PgView> Views(ClusterMap map, TimeSpan now, TimeSpan staleAfter)
    {
        foreach (PoolInfo pool in map.Pools)
        {
            for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
            {
                yield return View(map, new PgId(pool.Id, seed), now, staleAfter);
            }
        }
    }

    private void RecordGroups(OsdStatistics statistics, ClusterMap map, TimeSpan now)
    {
        foreach (PgStatistics group in statistics.Groups)
        {
            if (!map.Contains(group.Group))
            {
                continue;
            }

            // Two may think they are primary while a map spreads; the present primary is right, else the one with the newer map.
            OsdId primary = map.Locate(group.Group).Primary;
            if (!_groups.TryGetValue(group.Group, out PgReport known)
                || known.Reporter == statistics.Osd
                || primary == statistics.Osd
                || (primary != known.Reporter && statistics.Epoch > known.Epoch))
            {
                _groups[group.Group] = new PgReport(group, statistics.Osd, statistics.Epoch, now);
            }
        }
    }

    private static Rates Between(OsdStatistics before, OsdStatistics after, double seconds)
    {
        return new Rates(
            Rate(before.ClientReadBytes, after.ClientReadBytes),
            Rate(before.ClientWriteBytes, after.ClientWriteBytes),
            Rate(before.ClientReads, after.ClientReads),
            Rate(before.ClientWrites, after.ClientWrites),
            Rate(before.RecoveryBytes, after.RecoveryBytes));

        // A counter that went back was started anew with the process.
        double Rate(long from, long to) => (to >= from ? to - from : to) / seconds;
    }

    private sealed record OsdReport(OsdStatistics Statistics, TimeSpan At, Rates Rates, OsdStatistics RatesOf, TimeSpan RatesAt);

    private readonly record struct PgReport(PgStatistics Statistics, OsdId Reporter, Epoch Epoch, TimeSpan At);
}
