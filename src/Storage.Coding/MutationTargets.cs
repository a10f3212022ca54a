#if MUTATIONS
namespace Storage.Coding;

/// <summary>Where a mutation has to be found.</summary>
/// <param name="Mutation">The mutation.</param>
/// <param name="Scenario">Fault mix of the simulation.</param>
/// <param name="Seeds">One of this many seeds, from the first one on, fails.</param>
/// <param name="IsOpen">Not found reliably so far: the simulator needs work (docs/mutations.md).</param>
public sealed record MutationTarget(Mutation Mutation, string Scenario, int Seeds, bool IsOpen);

/// <summary>The mutations with their budgets, for <c>tests/mutations</c>.</summary>
public static class MutationTargets
{
    private const int UsualSeeds = 400;

    private static readonly HashSet<Mutation> s_open =
    [
        Mutation.AsksPresentMembersOnly,
        Mutation.PiecesNotNumbered,
        Mutation.PullTakesAnyVersion,
        Mutation.RaftTruncatesOnStaleAppend,
        Mutation.TrimsMissingClones,
    ];

    // What the default mix does too rarely.
    private static readonly Dictionary<Mutation, string> s_scenarios = new()
    {
        [Mutation.LockOwnerNotFenced] = "locks",
        [Mutation.LockTakenWithoutFence] = "locks",
        [Mutation.RaftCommitsOlderTerms] = "elections",
        [Mutation.RaftReadsBeforeOwnEntry] = "elections",
        [Mutation.RaftReadsWithoutQuorum] = "elections",
        [Mutation.RaftTruncatesOnStaleAppend] = "elections",
        [Mutation.MonitorConfirmsLostChanges] = "elections",
        [Mutation.MonitorReadsLocally] = "elections",
        [Mutation.LeaseCountedFromAnswer] = "leases",
        [Mutation.PromiseForgottenAtRestart] = "leases",
        [Mutation.TurnsWaitForEachOther] = "refill",
        [Mutation.StaleSnapshotsAccepted] = "snapshots",
        [Mutation.TombstoneForgotten] = "snapshots",
        [Mutation.TrimsMissingClones] = "snapshots",
        [Mutation.ScrubReadsDuringWrites] = "disks",
        [Mutation.SplitForgetsMissing] = "pools",
        [Mutation.SplitForgetsPromise] = "pools",
        [Mutation.RaftKeepsConfigurations] = "raft",
        [Mutation.NewDiskCountsAsOld] = "beyond",
        [Mutation.SplitLeavesObjects] = "pools",
        [Mutation.SplitKeepsForeignLog] = "pools",
        [Mutation.SplitForgetsDuplicates] = "pools",
        [Mutation.CloneForgotten] = "snapshots",
        [Mutation.TrimsLiveClone] = "snapshots",
        [Mutation.SnapSetNotReplicated] = "snapshots",
        [Mutation.SnapshotIndexNotReplicated] = "snapshots",
        [Mutation.SchedulerStarvesTrim] = "snapshots",
        [Mutation.ScrubTrustsMinority] = "disks",
        [Mutation.ScrubFindsNothing] = "disks",
    };

    /// <summary>One for each mutation, in their order. Most run in the default mix: so do those that nobody has thought of.</summary>
    public static IReadOnlyList<MutationTarget> All { get; } =
    [
        .. Enum.GetValues<Mutation>().Where(mutation => mutation != Mutation.None)
            .Select(mutation => new MutationTarget(mutation, s_scenarios.GetValueOrDefault(mutation, "default"), UsualSeeds, s_open.Contains(mutation))),
    ];
}
#endif
