namespace Storage.Osd;

/// <summary>
/// Turns of the OSD's protocols that few runs take. Each is counted where it is taken; the simulator reports the counts and
/// fails if its standard seeds never reach one. A member says what happened, in the past tense or as a state; its place in the
/// list means nothing.
/// </summary>
public enum RarePath
{
    /// <summary>A copy had log entries that the authoritative log lacks, and rolled them back.</summary>
    DivergentRolledBack,

    /// <summary>A divergent entry made an object missing, because the copy holds what never counted.</summary>
    DivergentObjectMissing,

    /// <summary>A primary took the log of another copy over.</summary>
    AuthoritativeLogFetched,

    /// <summary>A primary asked for a log whose end was not on disk yet, and was answered when it was.</summary>
    AskedUnsettled,

    /// <summary>A copy's log shares nothing with the one that counts; it is filled anew.</summary>
    LogGap,

    /// <summary>An operation that was sent again was answered from the log, with its first outcome.</summary>
    DuplicateAnswered,

    /// <summary>An operation that was sent again was done in an earlier interval.</summary>
    DuplicateAfterFailover,

    /// <summary>An operation that was sent again was known only by the ids kept beyond the log.</summary>
    DuplicateBeyondLog,

    /// <summary>An operation that was sent again found its first sending still in flight.</summary>
    DuplicateInFlight,

    /// <summary>A new primary waited until the read lease of an older one had run out.</summary>
    LeaseWaitedOut,

    /// <summary>A new primary did not wait, because the older one is proven dead.</summary>
    LeaseWaitSkipped,

    /// <summary>An operation waited because the primary's lease had run out.</summary>
    LeaseMissing,

    /// <summary>An interval ended in which nothing can have been written, because up_thru never reached it.</summary>
    IntervalSkippedByUpThru,

    /// <summary>Maps were skipped; a PG's history has a gap until peers fill it.</summary>
    MapsSkipped,

    /// <summary>An interval that may have accepted writes has no survivor.</summary>
    GroupDown,

    /// <summary>No complete copy that is new enough is at hand.</summary>
    GroupIncomplete,

    /// <summary>Another acting set than the up set was asked for.</summary>
    PgTempRequested,

    /// <summary>An acting set that differs from the up set served.</summary>
    PgTempServed,

    /// <summary>A copy outside the PG told its primary about itself.</summary>
    StrayNotified,

    /// <summary>A copy outside a clean PG was removed.</summary>
    StrayRemoved,

    /// <summary>An operation waited because fewer than min_size members were there.</summary>
    WaitedForMinSize,

    /// <summary>An operation waited because the PG was peering.</summary>
    WaitedForActive,

    /// <summary>An operation waited because its object was being recovered.</summary>
    WaitedForObject,

    /// <summary>An object was recovered before others because a client waits for it.</summary>
    RecoveredFirst,

    /// <summary>An interval ended with a write in flight; the operation runs again in the next one.</summary>
    WriteRequeued,

    /// <summary>An answer waited for a write whose effect it shows.</summary>
    ReplyDeferred,

    /// <summary>A write was sent to a replica again after their connection had broken.</summary>
    WriteResent,

    /// <summary>A replica had a write already that came again.</summary>
    ReplicaWriteRepeated,

    /// <summary>A replica's disk was too full for a write that the primary had taken.</summary>
    ReplicaWriteStalled,

    /// <summary>A write was refused because the primary's disk is full.</summary>
    NoSpace,

    /// <summary>The PG log was trimmed.</summary>
    LogTrimmed,

    /// <summary>Operation ids beyond the log were dropped.</summary>
    DuplicatesDropped,

    /// <summary>A primary fetched an object that it lacked.</summary>
    ObjectPulled,

    /// <summary>A source of an object refused, and another one was asked.</summary>
    PullRefused,

    /// <summary>An object was found nowhere.</summary>
    ObjectUnfound,

    /// <summary>Recovery's messages were sent again after a connection had broken.</summary>
    RecoveryResent,

    /// <summary>A copy is filled object by object.</summary>
    BackfillStarted,

    /// <summary>A fill went on behind its cursor.</summary>
    BackfillResumed,

    /// <summary>A fill waited for another PG's to end.</summary>
    BackfillWaited,

    /// <summary>A copy of an object that waited for its turn was made at once, because a client wanted it.</summary>
    RecoveryPreempted,

    /// <summary>A fill gave way to a PG that needs it more.</summary>
    BackfillYielded,

    /// <summary>A target refused a reservation because its disk is too full.</summary>
    ReservationRejected,

    /// <summary>A slot was freed because the interval for which it was reserved ended, as when the primary dies.</summary>
    ReservationEndedByInterval,

    /// <summary>A write went to a copy that is being filled as a log entry only: the object lies beyond the cursor.</summary>
    BackfillEntryOnly,

    /// <summary>A fill ended.</summary>
    BackfillFinished,

    /// <summary>Parts of an object that were being received when the process died or the interval ended were dropped.</summary>
    ReceivedPartsDropped,

    /// <summary>A copy failed its checksum and counts as missing.</summary>
    DamageFound,

    /// <summary>A damaged copy was replaced.</summary>
    DamageRepaired,

    /// <summary>Scrub found copies that differ or cannot be read.</summary>
    ScrubErrorFound,

    /// <summary>All bad copies that scrub found of an object were replaced or removed.</summary>
    ScrubErrorRepaired,

    /// <summary>The interval ended while a scrub was under way.</summary>
    ScrubInterrupted,

    /// <summary>A write came to the range that scrub looked at; scrub gave way.</summary>
    ScrubPreempted,

    /// <summary>A member had no place for a scrub.</summary>
    ScrubRefused,

    /// <summary>A scrub was given up because a member said nothing for too long.</summary>
    ScrubTimedOut,

    /// <summary>An operator gave an object up that was found nowhere.</summary>
    UnfoundGivenUp,

    /// <summary>The removal of a copy went on after a restart.</summary>
    RemovalResumed,

    /// <summary>A PG came back to an OSD that was still removing its copy of it.</summary>
    RemovalCutShort,

    /// <summary>A copy's fill stopped because its disk is too full.</summary>
    BackfillTooFull,

    /// <summary>Scrub counted other objects or bytes than the PG's statistics say.</summary>
    ScrubStatisticsWrong,
    /// <summary>A PG was split.</summary>
    GroupSplit,

    /// <summary>A PG was split while its primary was peering.</summary>
    SplitWhilePeering,

    /// <summary>A PG was split while a copy was being filled.</summary>
    SplitWhileBackfilling,

    /// <summary>An OSD split its copy of a PG later than the others, on its way back.</summary>
    SplitOnReturningOsd,

    /// <summary>An operation waited at a PG when its object went to another one in a split.</summary>
    OperationRerouted,

    /// <summary>The map said that this OSD is down while it runs; it came back.</summary>
    WronglyMarkedDown,

    /// <summary>The first write to an object after a snapshot cloned it.</summary>
    CloneMade,

    /// <summary>A removed object left a tombstone, because clones of it live.</summary>
    TombstoneMade,

    /// <summary>A clone was copied to a member that lacked it.</summary>
    CloneRecovered,

    /// <summary>A copy that learned of a write made the clone itself that the write had made, of what it still had.</summary>
    CloneMadeByLog,

    /// <summary>A read at a snapshot was answered from a clone.</summary>
    ReadFromClone,

    /// <summary>A clone that a divergent entry had made was removed.</summary>
    DivergentCloneRolledBack,

    /// <summary>A write made a clone that sorts behind the cursor of a copy which is being filled, but not its object.</summary>
    CloneBehindCursor,

    /// <summary>A write was refused because its sender's list of snapshots was old.</summary>
    StaleSnapshotsRefused,

    /// <summary>An object was put back to what it was at a snapshot, from a clone.</summary>
    RolledBackToSnapshot,

    /// <summary>A clone that shows no snapshot any more was removed.</summary>
    CloneTrimmed,

    /// <summary>Trimming went on in a new interval.</summary>
    TrimResumed,

    /// <summary>An OSD that was up skipped maps, and began a new life for it.</summary>
    LifeEndedAtGap,

    /// <summary>Nobody knew a PG's whole past, so every OSD was asked.</summary>
    HistoryGapCovered,

    /// <summary>A copy was to be begun for an interval that was over by then.</summary>
    ActivationOutdated,

    /// <summary>Whose log was to be fetched, or who was to stand in, has gone or has come back with a new life.</summary>
    AuthorityGone,

    /// <summary>A piece of an object came that does not continue what was received of it so far.</summary>
    StrayPiece,

    /// <summary>A block that could not be read got its bytes back from another copy, of whatever version.</summary>
    BlocksMended,

    /// <summary>An object of which no copy was whole was put together from several.</summary>
    ObjectMended,
}

/// <summary>Counts of <see cref="RarePath"/>.</summary>
internal sealed class RarePathCounts
{
    private readonly long[] _counts = new long[Enum.GetValues<RarePath>().Length];

    /// <summary>How often each was reached, by the path's number.</summary>
    public IReadOnlyList<long> Counts => _counts;

    /// <summary>Counts one.</summary>
    public void Reached(RarePath path) => _counts[(int)path]++;
}
