using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Monitor.Core;

// When an OSD is marked down, out, and what else time brings.
public sealed partial class MapLeader
{
    // A leader that was stopped itself (SIGSTOP, a stalled machine) must not take its own absence for everybody's silence.
    private static readonly TimeSpan LongestTickGap = TimeSpan.FromSeconds(3);

    private readonly Dictionary<int, TargetReports> _reports = [];
    private readonly Dictionary<object, TimeSpan> _logged = [];

    // Who was marked down for silence and has not come back since; and who came back so soon that it should have been waited for.
    private readonly Dictionary<int, (ulong Instance, TimeSpan At)> _silenced = [];
    private readonly Dictionary<int, (TimeSpan Extra, TimeSpan At)> _hasty = [];
    private FailureDomains? _domains;
    private Storage.Crush.CrushMap? _domainsOf;
    private TimeSpan _lastTick;

    /// <summary>Where each OSD stands.</summary>
    public FailureDomains Domains
    {
        get
        {
            if (_domains is null || !ReferenceEquals(_domainsOf, _state.Map!.Crush))
            {
                _domainsOf = _state.Map!.Crush;
                _domains = new FailureDomains(_domainsOf);
            }

            return _domains;
        }
    }

    /// <summary>A failure report, or its withdrawal.</summary>
    /// <param name="reporter">The OSD that reports; none for a monitor that found the port closed.</param>
    /// <param name="report">The message.</param>
    /// <param name="now">Time on the loop.</param>
    public void HandleFailure(OsdId reporter, OsdFailure report, TimeSpan now)
    {
        if (!IsLeading || _state.Map is not { } map || reporter == report.Target)
        {
            return;
        }

        if (reporter.IsSome)
        {
            if (!map.IsUp(reporter))
            {
                return;
            }

            _lastSeen[reporter.Value] = now;
        }

        if (map.FindOsd(report.Target) is not { IsUp: true } target || target.UpFrom != report.TargetUpFrom)
        {
            return; // of an earlier life
        }

        if (report.Withdrawn)
        {
            if (_reports.TryGetValue(report.Target.Value, out TargetReports? known))
            {
                known.ByReporter.Remove(reporter.Value);
            }

            return;
        }

        if (!_reports.TryGetValue(report.Target.Value, out TargetReports? reports) || reports.UpFrom != target.UpFrom)
        {
            _reports[report.Target.Value] = reports = new TargetReports(target.UpFrom);
        }

        TimeSpan since = reports.ByReporter.TryGetValue(reporter.Value, out Report earlier) ? earlier.Since : now;
        reports.ByReporter[reporter.Value] = new Report(since, now, report.Refused);
        JudgeReports(map, target, reports, now);
    }

    /// <summary>Time passed. Call it several times a second.</summary>
    /// <param name="now">Time on the loop.</param>
    /// <param name="unixMilliseconds">The wall clock.</param>
    public void Tick(TimeSpan now, long unixMilliseconds)
    {
        TimeSpan gap = now - _lastTick;
        _lastTick = now;
        if (!IsLeading || _state.Map is not { } map)
        {
            return;
        }

        if (gap > LongestTickGap)
        {
            foreach (int osd in _lastSeen.Keys.ToArray())
            {
                _lastSeen[osd] += gap;
            }

            LeadingSince += gap;
        }

        ExpireReports(map, now);
        MarkSilentDown(map, now);
        MarkDownOut(map, unixMilliseconds);
        ExpireBlocklist(map, unixMilliseconds);
        ExpireMutes(map, unixMilliseconds);
        JudgeFull(map, now);
        PurgeSnapshots(map, now);
        SpreadSplitPools(map, now);
        Statistics.Expire(map);
        JudgeQuotas(map, now);
        Progress.Update(map, Statistics.Views(map, now, Policy.StaleAfter), now);
        Balance(map, now);
        Autoscale(map, now);
    }

    private TimeSpan LastSeen(OsdId osd) => _lastSeen.TryGetValue(osd.Value, out TimeSpan seen) && seen > LeadingSince ? seen : LeadingSince;

    private void JudgeReports(ClusterMap map, OsdInfo target, TargetReports reports, TimeSpan now)
    {
        if ((map.Flags & ClusterFlags.NoDown) != 0)
        {
            return;
        }

        if (reports.ByReporter.Any(report => report.Value.Refused))
        {
            string by = string.Join(", ", reports.ByReporter.Where(report => report.Value.Refused).Select(report => NameOf(report.Key)));
            RequestDown(target, $"its port refuses connections (seen by {by})", evenBelowRatio: true);
            return;
        }

        TimeSpan patience = ExtraGrace(target.Id, now);
        int[] reporters = [.. reports.ByReporter.Where(report => report.Key >= 0 && now - report.Value.Since >= patience && IsBelieved(map, report.Key, reports, now)).Select(report => report.Key)];
        if (reporters.Length > 0 && HaveEnough(map, target, reporters, now))
        {
            _silenced[target.Id.Value] = (target.Instance, now);
            RequestDown(target, $"reported silent by {string.Join(", ", reporters.Select(NameOf))}", evenBelowRatio: false);
        }
    }

    // One that is cut off from many reports them all as silent. It is not believed while enough others report it, and more than report the
    // target. Whoever is reported by most is thus judged by all of his reporters, so that two halves never keep each other up.
    private bool IsBelieved(ClusterMap map, int reporter, TargetReports reports, TimeSpan now)
    {
        if (!_reports.TryGetValue(reporter, out TargetReports? against) || map.FindOsd(new OsdId(reporter)) is not { IsUp: true } osd || osd.UpFrom != against.UpFrom)
        {
            return true;
        }

        int[] accusers = [.. against.ByReporter.Keys.Where(other => other >= 0)];
        return accusers.Length <= reports.ByReporter.Keys.Count(other => other >= 0) || !HaveEnough(map, osd, accusers, now);
    }

    private TimeSpan ExtraGrace(OsdId osd, TimeSpan now) =>
        _hasty.TryGetValue(osd.Value, out (TimeSpan Extra, TimeSpan At) hasty) && now - hasty.At < Policy.ExtraGraceLifetime ? hasty.Extra : TimeSpan.Zero;

    // The process that was marked down for silence speaks again, and soon: a little more patience would have spared every PG two peerings.
    // A longer absence (a machine that hung, a network that was down) is no reason for patience.
    private void NoteReturn(OsdId osd, ulong instance, TimeSpan now)
    {
        if (_state.Map!.FindOsd(osd) is not { IsUp: false } || !_silenced.Remove(osd.Value, out (ulong Instance, TimeSpan At) silenced)
            || silenced.Instance != instance || now - silenced.At > Policy.HastyReturn)
        {
            return;
        }

        TimeSpan needed = ExtraGrace(osd, now) + (now - silenced.At) + TimeSpan.FromSeconds(1);
        TimeSpan extra = needed < Policy.MostExtraGrace ? needed : Policy.MostExtraGrace;
        _hasty[osd.Value] = (extra, now);
        LogOnce(EventLevel.Info, ("hasty", osd), $"{osd} was back {(now - silenced.At).TotalSeconds:0.0} s after it was marked down for silence: it is waited for {extra.TotalSeconds:0.0} s longer");
    }

    private bool HaveEnough(ClusterMap map, OsdInfo target, int[] reporters, TimeSpan now)
    {
        // Who could report: OSDs that are up and were heard of lately, for those that hang together with the target never will.
        int wanted = Policy.MinDownReporters;
        var candidates = new List<int>();
        var candidateDomains = new HashSet<int>();
        foreach (OsdInfo osd in map.Osds)
        {
            if (osd.IsUp && osd.Id != target.Id && now - LastSeen(osd.Id) <= Policy.ReporterFreshness)
            {
                candidates.Add(osd.Id.Value);
                candidateDomains.Add(Domains.DomainOf(osd.Id));
            }
        }

        if (candidateDomains.Count >= 2)
        {
            return reporters.Select(osd => Domains.DomainOf(new OsdId(osd))).Distinct().Count() >= Math.Min(wanted, candidateDomains.Count);
        }

        return reporters.Length >= Math.Min(wanted, Math.Max(1, candidates.Count));
    }

    private void RequestDown(OsdInfo target, string why, bool evenBelowRatio)
    {
        Request(
            new MapChange((draft, _) =>
            {
                if (draft.FindOsd(target.Id) is not { IsUp: true } osd || osd.UpFrom != target.UpFrom || (draft.Flags & ClusterFlags.NoDown) != 0)
                {
                    return Verdict.NoChange;
                }

                if (draft.HasTurned(target.Id))
                {
                    return Verdict.Again;
                }

                int total = 0, up = 0;
                foreach (OsdInfo other in draft.Osds)
                {
                    total++;
                    up += other.IsUp ? 1 : 0;
                }

                if (!evenBelowRatio && up - 1 < total * Policy.MinUpRatio)
                {
                    LogOnce(EventLevel.Warn, ("ratio", target.Id), $"{target.Id} is not marked down ({why}): only {up} of {total} OSDs are up");
                    return Verdict.NoChange;
                }

                draft.MarkDown(osd);
                draft.Log(EventLevel.Warn, _name, $"{target.Id} is marked down: {why}");
                return Verdict.Drafted;
            }),
            ("down", target.Id, target.UpFrom));
    }

    private void ExpireReports(ClusterMap map, TimeSpan now)
    {
        foreach ((int id, TargetReports reports) in _reports.ToArray())
        {
            OsdInfo? target = map.FindOsd(new OsdId(id));
            foreach ((int reporter, Report report) in reports.ByReporter.ToArray())
            {
                if (now - report.At > Policy.ReportLifetime || (reporter >= 0 && !map.IsUp(new OsdId(reporter))))
                {
                    reports.ByReporter.Remove(reporter);
                }
            }

            if (target is not { IsUp: true } || target.UpFrom != reports.UpFrom || reports.ByReporter.Count == 0)
            {
                _reports.Remove(id);
            }
            else
            {
                JudgeReports(map, target, reports, now); // who counts as able to report has changed with time
            }
        }
    }

    private void MarkSilentDown(ClusterMap map, TimeSpan now)
    {
        if ((map.Flags & ClusterFlags.NoDown) != 0 || !map.Osds.Any(osd => osd.IsUp && now - LastSeen(osd.Id) <= Policy.ReporterFreshness))
        {
            return; // a monitor that hears nobody has lost its own network, not everybody
        }

        foreach (OsdInfo osd in map.Osds)
        {
            TimeSpan silent = now - LastSeen(osd.Id);
            if (osd.IsUp && silent > Policy.ReportTimeout)
            {
                RequestDown(osd, $"nothing came from it for {silent.TotalSeconds:0} s", evenBelowRatio: false);
            }
        }
    }

    private void MarkDownOut(ClusterMap map, long unixMilliseconds)
    {
        if ((map.Flags & ClusterFlags.NoOut) != 0 || Policy.DownOutInterval <= TimeSpan.Zero)
        {
            return;
        }

        foreach (OsdInfo osd in map.Osds)
        {
            if (!osd.IsUp && osd.IsIn && _state.DownSince(osd.Id) is { } since && unixMilliseconds - since >= Policy.DownOutInterval.TotalMilliseconds)
            {
                OsdId id = osd.Id;
                double seconds = (unixMilliseconds - since) / 1000.0;
                Request(new MapChange((draft, _) => DraftOut(draft, id, seconds)), ("out", id));
            }
        }
    }

    private Verdict DraftOut(MapDraft draft, OsdId id, double seconds)
    {
        if (draft.FindOsd(id) is not { IsUp: false, IsIn: true } osd || (draft.Flags & ClusterFlags.NoOut) != 0)
        {
            return Verdict.NoChange;
        }

        int total = 0, inside = 0;
        foreach (OsdInfo other in draft.Osds)
        {
            total++;
            inside += other.IsIn ? 1 : 0;
        }

        if (inside <= 1 || (double)inside / total < Policy.MinInRatio)
        {
            LogOnce(EventLevel.Warn, ("in", id), $"{id} is down for {seconds:0} s and not marked out: only {inside} of {total} OSDs are in");
            return Verdict.NoChange;
        }

        if (WouldEmpty(draft, id) is { } bucket)
        {
            LogOnce(EventLevel.Warn, ("in", id), $"{id} is down for {seconds:0} s and not marked out: too few OSDs would be in below {bucket}");
            return Verdict.NoChange;
        }

        draft.Set(osd with { Weight = 0, AutoOut = true });
        draft.Log(EventLevel.Warn, _name, $"{id} is marked out: down for {seconds:0} s");
        return Verdict.Drafted;
    }

    // When a rack or a room fails as a whole, the rest has no room for its data: whoever repairs the rack decides. Hosts may go.
    private string? WouldEmpty(MapDraft draft, OsdId id)
    {
        foreach ((string type, string name) in Domains.LocationOf(id).SkipWhile(above => above.Type == "host"))
        {
            int total = 0, inside = 0;
            foreach (OsdInfo osd in draft.Osds)
            {
                if (Domains.LocationOf(osd.Id).Contains((type, name)))
                {
                    total++;
                    inside += osd.IsIn && osd.Id != id ? 1 : 0;
                }
            }

            if (total > 2 && (double)inside / total < Policy.MinInRatio)
            {
                return $"{type} {name}";
            }
        }

        return null;
    }

    private void ExpireBlocklist(ClusterMap map, long unixMilliseconds)
    {
        foreach ((ulong client, long until) in map.Blocklist)
        {
            if (until != 0 && until <= unixMilliseconds)
            {
                Request(
                    new MapChange((draft, _) =>
                    {
                        if (draft.BlockedUntil(client) is not { } end || end == 0 || end > draft.UnixMilliseconds)
                        {
                            return Verdict.NoChange;
                        }

                        draft.SetBlocked(client, null);
                        return Verdict.Drafted;
                    }),
                    ("unblock", client));
            }
        }
    }

    private void JudgeQuotas(ClusterMap map, TimeSpan now)
    {
        if (map.Pools.All(pool => pool is { QuotaBytes: 0, QuotaObjects: 0, IsFull: false }))
        {
            return;
        }

        Dictionary<long, Status.PoolUsage> usage = Status.PoolUsage.Of(Statistics.Views(map, now, Policy.StaleAfter));
        foreach (PoolInfo pool in map.Pools)
        {
            // A new leader has not heard of every PG yet: what it does not know must not end a pool's fullness.
            bool full = usage.GetValueOrDefault(pool.Id).IsAtQuota(pool, 1);
            bool known = now - LeadingSince >= TimeSpan.FromSeconds(5) || pool is { QuotaBytes: 0, QuotaObjects: 0 };
            if (full == pool.IsFull || (!full && !known))
            {
                continue;
            }

            long id = pool.Id;
            Request(
                new MapChange((draft, _) =>
                {
                    if (draft.Pools.FirstOrDefault(other => other.Id == id) is not { } present || present.IsFull == full)
                    {
                        return Verdict.NoChange;
                    }

                    draft.Set(present with { IsFull = full });
                    draft.Log(full ? EventLevel.Warn : EventLevel.Info, _name, full ? $"pool '{present.Name}' is at its quota: its writes fail" : $"pool '{present.Name}' is below its quota again");
                    return Verdict.Drafted;
                }),
                ("quota", id));
        }
    }

    private void ExpireMutes(ClusterMap map, long unixMilliseconds)
    {
        foreach ((string key, string value) in Status.HealthMutes.Expired(map, unixMilliseconds))
        {
            Request(
                new MapChange((draft, _) =>
                {
                    if (draft.GetConfiguration(key) != value)
                    {
                        return Verdict.NoChange; // ended, or prolonged
                    }

                    draft.SetConfiguration(key, null);
                    return Verdict.Drafted;
                }),
                ("unmute", key));
        }
    }

    private void JudgeFull(ClusterMap map, TimeSpan now)
    {
        bool isFull = (map.Flags & ClusterFlags.Full) != 0;
        OsdInfo[] full = [.. map.Osds.Where(osd => osd.IsUp && osd.IsIn && Statistics.UsedRatio(osd.Id) >= Policy.FullRatio)];
        bool heardAll = map.Osds.All(osd => !osd.IsUp || Statistics.UsedRatio(osd.Id) is not null);
        if (full.Length > 0 == isFull || (isFull && (!heardAll || now - LeadingSince < TimeSpan.FromSeconds(5))))
        {
            return;
        }

        bool shall = full.Length > 0;
        Request(
            new MapChange((draft, _) =>
            {
                if (((draft.Flags & ClusterFlags.Full) != 0) == shall)
                {
                    return Verdict.NoChange;
                }

                draft.SetFlags(shall ? draft.Flags | ClusterFlags.Full : draft.Flags & ~ClusterFlags.Full);
                draft.Log(
                    shall ? EventLevel.Error : EventLevel.Info,
                    _name,
                    shall ? $"cluster is full, client writes fail: {string.Join(", ", full.Select(osd => osd.Id))} above {Policy.FullRatio:P0}" : "cluster is no longer full");
                return Verdict.Drafted;
            }),
            ("full", shall));
    }

    private static string NameOf(int reporter) => reporter < 0 ? "a monitor" : new OsdId(reporter).ToString();

    private sealed class TargetReports(Epoch upFrom)
    {
        public Epoch UpFrom { get; } = upFrom;

        public Dictionary<int, Report> ByReporter { get; } = [];
    }

    // Since when and until when a reporter says so, without a break.
    private readonly record struct Report(TimeSpan Since, TimeSpan At, bool Refused);
}
