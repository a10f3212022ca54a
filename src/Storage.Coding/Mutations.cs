#if !MUTATIONS
using System.Runtime.CompilerServices;
#endif

namespace Storage.Coding;

/// <summary>
/// A bug put into the program on purpose, which the simulator has to find (docs/mutations.md). Each stands at the one place in the source
/// that asks <see cref="Mutations.Active"/> for it.
/// </summary>
public enum Mutation
{
    /// <summary>The program as it should be.</summary>
    None,

    /// <summary>A primary acknowledges a write before the other members of the acting set have it on disk.</summary>
    AckBeforeReplicas,

    /// <summary>A primary acknowledges a write before its own disk has it.</summary>
    AckBeforeOwnDisk,

    /// <summary>A replica confirms a write before its disk has it.</summary>
    ReplicaAcksOnReceipt,

    /// <summary>A primary takes writes with fewer members than min_size.</summary>
    ServesBelowMinSize,

    /// <summary>A primary goes active before the map has its up_thru.</summary>
    IgnoresUpThru,

    /// <summary>No interval counts as one that may have accepted writes.</summary>
    ForgetsPastIntervals,

    /// <summary>Peering asks the present members only, not those of earlier intervals.</summary>
    AsksPresentMembersOnly,

    /// <summary>Peering goes on though an interval that may have accepted writes has no survivor.</summary>
    GoesOnWithoutSurvivors,

    /// <summary>The authoritative log is chosen by last_update alone.</summary>
    AuthorityByLastUpdate,

    /// <summary>A primary whose own copy is complete takes its own log for the authoritative one.</summary>
    AuthorityIsOwn,

    /// <summary>Divergent log entries go, what they did to objects stays.</summary>
    KeepsDivergentObjects,

    /// <summary>Objects that a merged log changes are not noted as missing.</summary>
    MissingNotNoted,

    /// <summary>The missing set is kept in memory only.</summary>
    MissingNotPersisted,

    /// <summary>A delete that a merged log brings does not remove the object.</summary>
    DeleteNotRecovered,

    /// <summary>A retried write is carried out again.</summary>
    NoDuplicateDetection,

    /// <summary>Operations are forgotten as their log entries are trimmed.</summary>
    DuplicatesEndAtLogTail,

    /// <summary>Operations beyond the log are forgotten by a restart.</summary>
    DuplicatesLostAtRestart,

    /// <summary>A copy that is filled anew does not get the operations beyond the log.</summary>
    DuplicatesLostAtBackfill,

    /// <summary>A retry of a write in flight is answered at once.</summary>
    RetryAnsweredEarly,

    /// <summary>A write that was refused counts as done when it is retried.</summary>
    RefusalCountsAsDone,

    /// <summary>A primary answers without a read lease.</summary>
    ReadsWithoutLease,

    /// <summary>A new primary does not wait for the old one's lease to end.</summary>
    LeaseNotWaitedOut,

    /// <summary>A primary takes its lease for longer than members promised.</summary>
    LeaseLongerThanPromised,

    /// <summary>A primary counts its lease from the answer instead of from its request.</summary>
    LeaseCountedFromAnswer,

    /// <summary>A member forgets its lease promise when the interval ends.</summary>
    PromiseForgotten,

    /// <summary>A member that started anew ignores what it may have promised before.</summary>
    PromiseForgottenAtRestart,

    /// <summary>An OSD that is merely silent counts as proven dead.</summary>
    SilentCountsAsDead,

    /// <summary>Answers show writes that are not durable everywhere.</summary>
    ShowsUncommitted,

    /// <summary>A replica starts an interval without writing that down.</summary>
    LastEpochStartedNotPersisted,

    /// <summary>A primary goes active before its members have started the interval.</summary>
    PrimaryActiveBeforeMembers,

    /// <summary>Peers are told of log entries that this disk does not have yet.</summary>
    PeersBeforeDurable,

    /// <summary>The log is trimmed up to its head.</summary>
    TrimsTooFar,

    /// <summary>The backfill cursor passes objects whose copies are still under way.</summary>
    BackfillCursorAhead,

    /// <summary>A write to an object that backfill has in hand is not copied again.</summary>
    BackfillMissesWrites,

    /// <summary>A write goes with its data to a backfill target that lacks the object.</summary>
    BackfillWritesAhead,

    /// <summary>Backfill leaves objects that the primary no longer has.</summary>
    BackfillSkipsRemoved,

    /// <summary>A recovering primary takes whatever version its source has.</summary>
    PullTakesAnyVersion,

    /// <summary>What a broken connection lost is not sent again, and replicas skip the gap.</summary>
    ReplicaSkipsGaps,

    /// <summary>Messages of other intervals are taken for the present one's.</summary>
    AcceptsOtherIntervals,

    /// <summary>A commit that was submitted in an earlier interval counts in the present one.</summary>
    CommitsOfOtherIntervals,

    /// <summary>A stray copy is removed once the PG is active, clean or not.</summary>
    StrayRemovedEarly,

    /// <summary>A PG counts as clean while copies are missing.</summary>
    CleanTooEarly,

    /// <summary>A write goes to members that miss the object.</summary>
    WritesToMissing,

    /// <summary>A primary answers reads from an object that it misses.</summary>
    ReadsMissing,

    /// <summary>Writes in flight are acknowledged when the interval ends.</summary>
    AcksAbandonedWrites,

    /// <summary>Raft's promises leave before they are on disk.</summary>
    RaftPromisesBeforePersist,

    /// <summary>A vote without log entries is not written down.</summary>
    RaftVoteNotPersisted,

    /// <summary>A leader commits an earlier term's entry because a majority has it.</summary>
    RaftCommitsOlderTerms,

    /// <summary>A leader commits what one follower less than a majority has.</summary>
    RaftCommitsWithoutMajority,

    /// <summary>A leader answers reads without asking whether it still leads.</summary>
    RaftReadsWithoutQuorum,

    /// <summary>A new leader answers reads before an entry of its own term is committed.</summary>
    RaftReadsBeforeOwnEntry,

    /// <summary>A vote is given whatever log the candidate has.</summary>
    RaftVotesForShorterLogs,

    /// <summary>Two votes are given in one term.</summary>
    RaftVotesTwice,

    /// <summary>An append cuts off what follows its last entry.</summary>
    RaftTruncatesOnStaleAppend,

    /// <summary>A leader that hears nobody goes on leading.</summary>
    RaftNoCheckQuorum,

    /// <summary>Candidates raise the term without asking first.</summary>
    RaftNoPreVote,

    /// <summary>A monitor takes a snapshot's place in the log, but not its content.</summary>
    MonitorIgnoresSnapshots,

    /// <summary>A leader confirms a change though another entry took its place.</summary>
    MonitorConfirmsLostChanges,

    /// <summary>A monitor answers reads from what it has, leader or not.</summary>
    MonitorReadsLocally,

    /// <summary>The monitors do not record up_thru.</summary>
    UpThruNotRecorded,

    /// <summary>The monitors ignore pg_temp requests.</summary>
    PgTempIgnored,

    /// <summary>A process that started anew before it was marked down keeps its up_from.</summary>
    RestartNotSeen,

    /// <summary>The disk reports transactions durable that are not.</summary>
    StoreAcksEarly,

    /// <summary>A crash leaves half of a transaction.</summary>
    StoreTornTransaction,

    /// <summary>Damaged blocks are read as data.</summary>
    StoreIgnoresChecksums,

    /// <summary>The first write after a snapshot does not keep what was there.</summary>
    CloneForgotten,

    /// <summary>Trimming takes an object's oldest clone along, though a snapshot still shows it.</summary>
    TrimsLiveClone,

    /// <summary>Replicas do not get an object's list of clones with the write that makes one.</summary>
    SnapSetNotReplicated,

    /// <summary>Replicas do not keep the index of clones by snapshot.</summary>
    SnapshotIndexNotReplicated,

    /// <summary>A split leaves the children's objects in the parent.</summary>
    SplitLeavesObjects,

    /// <summary>The parent of a split keeps the log of its children's objects.</summary>
    SplitKeepsForeignLog,

    /// <summary>The children of a split start with none of the operations that the parent would recognise.</summary>
    SplitForgetsDuplicates,

    /// <summary>Scrub takes the copy that fewest agree with for the right one.</summary>
    ScrubTrustsMinority,

    /// <summary>Scrub reports nothing, whatever the copies are.</summary>
    ScrubFindsNothing,

    /// <summary>Slots for recovery and backfill are not given back.</summary>
    SlotNotReleased,

    /// <summary>The scheduler never hands out trimming.</summary>
    SchedulerStarvesTrim,

    /// <summary>What another OSD waits for stands behind work that waits for other OSDs.</summary>
    TurnsWaitForEachOther,

    /// <summary>A copy that is replaced keeps what its new version does not overwrite.</summary>
    PushKeepsOldContent,

    /// <summary>Pieces of a copied object, and confirmations of them, are taken for those of a later sending.</summary>
    PiecesNotNumbered,

    /// <summary>A message by which an OSD said that it is up counts after it was marked down.</summary>
    OldBootsCount,

    /// <summary>A write is taken though its sender does not know the newest snapshots.</summary>
    StaleSnapshotsAccepted,

    /// <summary>Where clones outlive an object, it stays as an empty one.</summary>
    TombstoneForgotten,

    /// <summary>Earlier intervals are forgotten once the PG is active, clean or not.</summary>
    PastForgottenWhenActive,

    /// <summary>The up_thru of an earlier interval is enough to go active.</summary>
    UpThruOfEarlierInterval,

    /// <summary>An empty disk counts as the survivor of an interval that the disk before it was in.</summary>
    NewDiskCountsAsOld,

    /// <summary>Scrub reads a range before the writes to it have ended.</summary>
    ScrubReadsDuringWrites,

    /// <summary>An object is written while it is being sent to another member.</summary>
    WritesWhileCopied,

    /// <summary>An object that is missing already goes on being missing in the older version.</summary>
    MissingKeepsOldNeed,

    /// <summary>That divergent entries are gone is kept in memory only.</summary>
    LogCutNotPersisted,

    /// <summary>A replica confirms a write that comes again before its disk has it.</summary>
    RepeatedWriteConfirmedEarly,

    /// <summary>The children of a split miss nothing.</summary>
    SplitForgetsMissing,

    /// <summary>The children of a split are not bound by the lease promise that their parent gave.</summary>
    SplitForgetsPromise,

    /// <summary>A clone is trimmed though members miss it or it is being copied.</summary>
    TrimsMissingClones,

    /// <summary>An OSD carries out operations of clients whose map is newer than its own.</summary>
    NewerMapsIgnored,

    /// <summary>Members that an entry named still count after the entry was cut off.</summary>
    RaftKeepsConfigurations,

    /// <summary>OSDs do not look for a write's lock owner on the blocklist.</summary>
    LockOwnerNotFenced,

    /// <summary>A volume's lock is taken over without fencing its owner.</summary>
    LockTakenWithoutFence,

    /// <summary>A client gives a retry a new operation id.</summary>
    ClientRenumbersRetries,

    /// <summary>A client takes the answer to an earlier sending.</summary>
    ClientTakesOldAnswers,

    /// <summary>A client goes on sending to the primary of the interval before.</summary>
    ClientKeepsOldPrimary,
}

/// <summary>Asks for deliberate bugs. Only builds with <c>-p:Mutations=true</c> contain any; elsewhere the question folds to false.</summary>
public static class Mutations
{
#if MUTATIONS
    /// <summary>The bug that this process runs with; set before the first core is created.</summary>
    public static Mutation Selected { get; set; }

    /// <summary>Whether to misbehave in one way.</summary>
    /// <param name="mutation">The bug.</param>
    /// <returns>True if it is the selected one.</returns>
    public static bool Active(Mutation mutation) => mutation == Selected;

    /// <summary>The change made by <c>tests/mutants</c> that this process runs with; 0 for none. Set before the first core is created.</summary>
    public static int Mutant { get; set; }

    /// <summary>Set: which of those changes' places were reached is noted here, by number. Longer than the greatest number.</summary>
    public static bool[]? Reached { get; set; }

    /// <summary>Whether to behave as changed at one place; only the sources that <c>tests/mutants</c> writes ask.</summary>
    /// <param name="number">The change.</param>
    /// <returns>True if it is the selected one.</returns>
    public static bool Is(int number)
    {
        if (Reached is { } reached)
        {
            reached[number] = true;
        }

        return number == Mutant;
    }
#else
    /// <summary>Whether to misbehave in one way; never, in this build.</summary>
    /// <param name="mutation">The bug.</param>
    /// <returns>False.</returns>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool Active(Mutation mutation) => false;
#endif
}
