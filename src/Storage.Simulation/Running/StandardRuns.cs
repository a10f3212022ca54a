using Storage.Osd;
using Storage.Simulation.Faults;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Running;

/// <summary>The standard set of seeds, and the rare paths that it has to reach: a simulation that never goes there proves nothing about them.</summary>
public static class StandardRuns
{
    private static readonly Dictionary<string, string> s_unreached = new(StringComparer.Ordinal)
    {
        ["osd.maps_skipped"] = "needs an OSD that is away for more map epochs than monitors keep",
        ["osd.life_ended_at_gap"] = "needs the same of an OSD that is up; PeeringTests go there",
        ["osd.history_gap_covered"] = "needs the same of every OSD at once; PeeringTests go there",
        ["osd.activation_outdated"] = "needs an order to take part that comes later than the next interval's map; PeeringTests go there, and one run in hundreds",
        ["osd.authority_gone"] = "needs the holder of a log to lose its disk between telling of the log and sending it; PeeringTests go there, and one run in a thousand",
        ["osd.stray_piece"] = "a sender takes no confirmation of an earlier sending for one of the present, so that no piece leaves it out of turn; the check behind it is a second line",
        ["osd.log_gap"] = "a primary sees from what members tell of themselves whose log overlaps, and fills the others anew; the check behind it is a second line",
        ["osd.scrub_statistics_wrong"] = "counts that are not certain are taken anew; a scrub that finds others wrong has found a fault of ours",
        ["osd.clone_behind_cursor"] = "needs a copy filled up to between an object and a clone that the write is about to make: there was nothing there to stop at, but for a clone left over",
    };

    /// <summary>Scenarios and the seeds of each, first and last.</summary>
    public static IReadOnlyList<(string Scenario, ulong First, ulong Last)> Sets { get; } =
    [
        ("default", 1, 260),
        ("network", 1, 60),
        ("crashes", 1, 60),
        ("power", 1, 60),
        ("rebalance", 1, 100),
        ("disks", 1, 100),
        ("mending", 1, 60),
        ("clocks", 1, 60),
        ("full", 1, 60),
        ("pools", 1, 60),
        ("beyond", 1, 60),
        ("locks", 1, 60),
        ("monitors", 1, 60),
        ("raft", 1, 100),
        ("elections", 1, 100),
        ("leases", 1, 60),
        ("snapshots", 1, 60),
        ("snapshots", 101, 160),
        ("unfound", 1, 12),
        ("leaving", 1, 16),
        ("refill", 1, 30),
        ("calm", 1, 10),
    ];

    /// <summary>Paths that have to be reached: every <see cref="RarePath"/> and every kind of fault, those apart that a named reason keeps
    /// out of reach, and those of monitors, clients and volumes.</summary>
    public static IReadOnlyList<string> Required { get; } =
    [
        .. Enum.GetValues<RarePath>().Select(Coverage.NameOf)
            .Concat(Enum.GetNames<FaultKind>().Select(kind => "fault." + kind))
            .Concat(Enum.GetNames<AmbushCondition>().Select(condition => "ambush." + condition))
            .Concat(
            [
                "mon.added", "mon.added_late", "mon.removed", "mon.removal_refused", "mon.learned_of_removal", "mon.leader_change", "mon.snapshot_installed", "mon.log_compacted", "mon.log_overwritten", "mon.died_persisting", "operator.retry",
                "client.no_space", "volume.created", "volume.shrunk", "volume.grown", "volume.flushed", "volume.owner_fenced", "volume.fenced_write", "osd.died_of_write_error", "beyond.lost", "beyond.reads_unavailable", "beyond.unfound_given_up",
            ])
            .Where(path => !s_unreached.ContainsKey(path))
            .Order(StringComparer.Ordinal),
    ];

    /// <summary>Paths that a short run of a few dozen seeds has to reach: the frequent ones, so that a mix that does nothing is noticed at once.</summary>
    public static IReadOnlyList<string> RequiredOfFewSeeds { get; } =
    [
        "fault.CrashOsd", "fault.CrashAtEffect", "fault.Partition", "mon.leader_change", "osd.authoritative_log_fetched", "osd.backfill_finished", "osd.backfill_started",
        "osd.duplicate_after_failover", "osd.interval_skipped_by_up_thru", "osd.lease_wait_skipped", "osd.lease_waited_out", "osd.log_trimmed", "osd.object_pulled",
        "osd.pg_temp_served", "osd.recovered_first", "osd.stray_removed", "osd.waited_for_active", "osd.waited_for_min_size", "osd.waited_for_object", "osd.write_requeued",
    ];

    /// <summary>Lists the paths of a list that were not reached.</summary>
    /// <param name="required">The list.</param>
    /// <param name="counts">What was reached.</param>
    /// <returns>Names, in order.</returns>
    public static IReadOnlyList<string> Missing(IReadOnlyList<string> required, IReadOnlyDictionary<string, long> counts)
    {
        ArgumentNullException.ThrowIfNull(required);
        ArgumentNullException.ThrowIfNull(counts);
        return [.. required.Where(path => counts.GetValueOrDefault(path) == 0)];
    }
}
