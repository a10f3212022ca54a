using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Osd;

/// <summary>What a placement group needs of the OSD that hosts it. Every call returns at once; what comes of it arrives as an event.</summary>
internal interface IPlacementGroupHost
{
    OsdId Self { get; }

    OsdOptions Options { get; }

    /// <summary>Monotonic time.</summary>
    TimeSpan Now { get; }

    /// <summary>When this process began; promises from before it are forgotten.</summary>
    TimeSpan StartedAt { get; }

    /// <summary>The epoch from which on the OSD was first up with this disk: it was in no interval that began before. None if it never was.</summary>
    Epoch DiskSince { get; }

    /// <summary>The store, for metadata and reads; transactions go through <see cref="Submit"/>.</summary>
    IObjectStore Store { get; }

    OsdCounters Counters { get; }

    /// <summary>Counts that a rare path was taken.</summary>
    void Reached(RarePath path);

    /// <summary>A scratch writer, empty; good until the next call of any host method.</summary>
    WireWriter Scratch();

    /// <summary>Hands a transaction to the store; <see cref="PlacementGroup.OnCommitted"/> follows when it is durable.</summary>
    /// <returns>False if the disk is full; nothing was applied.</returns>
    bool Submit(PlacementGroup group, Transaction transaction, ulong token);

    /// <summary>Sends a request. What is lost with a connection is sent again from <see cref="PlacementGroup.OnPeerConnected"/>.</summary>
    void Send(OsdId target, MessageType type, WireWriter body, ReadOnlySpan<BufferSegment> data = default);

    /// <summary>Answers a request, on the connection that the requester made; lost if that is gone.</summary>
    void Answer(OsdId target, MessageType type, WireWriter body, ReadOnlySpan<BufferSegment> data = default);

    /// <summary>Answers a client and ends the operation.</summary>
    void Complete(ClientOperation operation, ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, ReadOnlySpan<BufferSegment> data = default);

    /// <summary>Ends an operation unanswered: a client that is still there is told to send it again, to whoever is the primary.</summary>
    void Drop(ClientOperation operation);

    /// <summary>Takes an operation over whose object is another PG's since a split: it goes to that one, or back to the client.</summary>
    void Reroute(ClientOperation operation);

    /// <summary>Calls <see cref="PlacementGroup.Tick"/> after a delay, besides the regular ticks.</summary>
    void Wake(PlacementGroup group, TimeSpan delay);

    void RequestUpThru(Epoch want);

    void RequestPgTemp(PgId group, OsdId[] acting);

    /// <summary>Whether a life of an OSD is proven to be over: its port refused a connection, or the map shows a later life.</summary>
    bool IsKnownDead(OsdId osd, Epoch upFrom);

    /// <summary>Whether clients use this OSD: background work then moves in smaller pieces.</summary>
    bool ClientsActive { get; }

    /// <summary>Queues a step of background work; <see cref="WorkItem.Run"/> is called when its turn comes, never within this call.
    /// The end of the group's interval cancels it.</summary>
    /// <param name="group">Whose work it is.</param>
    /// <param name="item">Neither queued nor running.</param>
    /// <param name="workClass">Any but <see cref="WorkClass.Client"/>: what clients wait for is done at once, after <see cref="AccountClient"/>.</param>
    /// <param name="bytes">Data that the step moves, as far as that is known; 0 for metadata only.</param>
    void Schedule(PlacementGroup group, WorkItem item, WorkClass workClass, int bytes);

    /// <summary>A step whose <see cref="WorkItem.Run"/> returned false has ended. Does nothing if it was finished or cancelled before.</summary>
    void Finish(WorkItem item);

    /// <summary>Takes one step out, whether it waits or runs.</summary>
    void Cancel(WorkItem item);

    /// <summary>Takes out all of a group's steps.</summary>
    void CancelWork(PlacementGroup group);

    /// <summary>Accounts for an operation of a client, or one that a client waits for; it is carried out at once.</summary>
    void AccountClient(int bytes);

    /// <summary>Asks for one of the few slots for recovery or backfill; <see cref="PlacementGroup.OnSlot"/> follows, never within this call.</summary>
    /// <param name="group">Who asks.</param>
    /// <param name="kind">For what.</param>
    /// <param name="remote">As a target of another OSD rather than as primary.</param>
    /// <param name="priority">Higher goes first.</param>
    void RequestSlot(PlacementGroup group, SlotKind kind, bool remote, int priority);

    bool HoldsSlot(PlacementGroup group, SlotKind kind, bool remote);

    /// <summary>Whether a group of higher priority waits for a slot as primary.</summary>
    bool IsSlotWantedAbove(SlotKind kind, int priority);

    /// <summary>Gives a slot back, or no longer waits for one.</summary>
    void ReleaseSlot(PlacementGroup group, SlotKind kind, bool remote);

    /// <summary>This OSD's disk is too full to take copies on.</summary>
    bool IsBackfillFull { get; }

    /// <summary>Bytes that writes may still add to an OSD's disk, as far as is known; negative if it is full.</summary>
    long FreeBytes(OsdId osd);

    /// <summary>Data was sent to an OSD that it has not accounted for yet.</summary>
    void Spend(OsdId osd, int bytes);

    /// <summary>The wall clock, in milliseconds since the Unix epoch; only schedules and what operators see may depend on it.</summary>
    long UnixMilliseconds { get; }

    /// <summary>Takes one of the places of scrubs that this OSD leads or takes part in.</summary>
    bool TryReserveScrub(PgId group);

    void ReleaseScrub(PgId group);

    /// <summary>The state that operators see has changed.</summary>
    void StateChanged();

    /// <summary>Whether this OSD holds a copy of a PG.</summary>
    bool Hosts(PgId id);

    /// <summary>A PG came out of another one in a split.</summary>
    void Added(PlacementGroup group);

    /// <summary>The PG's data is gone by the primary's order; forget the group.</summary>
    void Removed(PlacementGroup group);
}

/// <summary>What an OSD has done since its start.</summary>
internal sealed class OsdCounters
{
    public long ReadBytes;
    public long WriteBytes;
    public long Reads;
    public long Writes;
    public long RecoveryBytes;
    public long ReadErrors;
    public long RepairedErrors;
    public long TrimmedClones;
    public long Scrubs;
    public long ScrubbedBytes;
    public long ScrubRepairs;
    public long StatisticsErrors;
}
