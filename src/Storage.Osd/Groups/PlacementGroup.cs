using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

/// <summary>Where a PG stands on this OSD.</summary>
internal enum GroupPhase
{
    /// <summary>Not the primary: answers the primary.</summary>
    Replica,

    /// <summary>Primary: asks who has what.</summary>
    GetInfo,

    /// <summary>Primary: an interval that may have accepted writes has no survivor.</summary>
    Down,

    /// <summary>Primary: no copy that is complete and new enough is left.</summary>
    Incomplete,

    /// <summary>Primary: waits for another acting set that it asked for.</summary>
    WaitActing,

    /// <summary>Primary: fetches the authoritative log.</summary>
    GetLog,

    /// <summary>Primary: waits for the map to record its up_thru, and for older leases to run out.</summary>
    WaitActivate,

    /// <summary>Primary: members persist the start of the interval.</summary>
    Activating,

    /// <summary>Primary: everybody in the acting set has started the interval. Serves if the acting set has min_size members.</summary>
    Active,
}

/// <summary>
/// One placement group on one OSD: peering, replication, recovery, backfill (design §6). A state machine without I/O: its host
/// gives it events, it calls the host. Not thread-safe; all calls come from the loop.
/// </summary>
internal sealed partial class PlacementGroup : IStoreCompletion, IReadCompletion
{
    /// <summary>Snapshot number of live objects that are being received; never listed, never a client's.</summary>
    public const ulong ReceivingSnapshot = ulong.MaxValue;

    /// <summary>Added to the snapshot number of clones that are being received.</summary>
    public const ulong ReceivingClone = 1UL << 63;

    /// <summary>Attribute with an object's version.</summary>
    public const string VersionAttribute = "_";

    private const string InfoAttribute = "info";
    private const string HistoryAttribute = "history";
    private const string RemovingAttribute = "removing";

    /// <summary>Holds info, history and missing set; the log is the collection's. Client objects have a name, so this id is free; it sorts first.</summary>
    public static readonly ObjectId MetaObject = new("", 0, 0);

    private readonly IPlacementGroupHost _host;
    private readonly CollectionId _collection;

    // Persisted. Log entries are exactly those in (_info.LogTail, _info.LastUpdate].
    private readonly PgInfo _info;
    private readonly PgHistory _history;
    private readonly PgLog _log = new();

    // Persisted: objects of which this copy lacks the version that the log says. Never holds an object that the info does not cover.
    private readonly Dictionary<ObjectId, PgVersion> _missing = [];

    // From the map; _interval begins at _history.SameIntervalSince.
    private ClusterMap _map;
    private PoolInfo _pool;
    private OsdId[] _up = [];
    private OsdId[] _acting = [];
    private GroupPhase _phase = GroupPhase.Replica;

    // Replica side: this interval was activated here by its primary. Writes of the interval come only afterwards.
    private bool _replicaActive;

    // The latest time until which this OSD promised some primary not to help another one.
    private TimeSpan _leasePromisedUntil;

    private readonly Transaction _transaction = new();
    private readonly Queue<PendingCommit> _commits = new();
    private readonly HashSet<ulong> _refused = [];
    private ulong _lastToken;
    private bool _removed;

    // Before any time of the loop, and far enough from the end of the range to be subtracted from.
    private static readonly TimeSpan s_never = TimeSpan.FromDays(-10_000);

    private PlacementGroup(IPlacementGroupHost host, PgId id, ClusterMap map, PgInfo info, PgHistory history)
    {
        _host = host;
        Id = id;
        _collection = new CollectionId(id);
        _map = map;
        _pool = map.FindPool(id.Pool)!;
        _info = info;
        _history = history;
        Invariant.Holds(_pool is not null, "a PG of a pool that the map does not have");
        _hashBits = PgSplit.BitsOf(id.Seed, _pool.PgCount);
        _primarySince = history.SameIntervalSince;
        PgMapping mapping = map.Locate(id);
        _up = mapping.Up;
        _acting = mapping.Acting;
        // A promise given by an earlier run of this process is not remembered, but it cannot last longer than this.
        _leasePromisedUntil = Mutations.Active(Mutation.PromiseForgottenAtRestart) ? s_never : host.StartedAt + host.Options.LeaseLength;
    }

    public PgId Id { get; }

    /// <summary>This group's background work.</summary>
    public WorkOwner Work { get; } = new();

    public GroupPhase Phase => _phase;

    public bool IsPrimary => Primary == _host.Self;

    public OsdId Primary => _acting.Length > 0 ? _acting[0] : OsdId.None;

    public bool IsMember => Array.IndexOf(_acting, _host.Self) >= 0 || Array.IndexOf(_up, _host.Self) >= 0;

    public Epoch MapEpoch => _history.MapEpoch;

    public Epoch Interval => _history.SameIntervalSince;

    public ReadOnlySpan<OsdId> Up => _up;

    public ReadOnlySpan<OsdId> Acting => _acting;

    /// <summary>Makes a new, empty copy of a PG and persists it.</summary>
    public static PlacementGroup Create(IPlacementGroupHost host, PgId id, ClusterMap map, PgHistory history, bool complete)
    {
        var group = new PlacementGroup(host, id, map, new PgInfo { IsComplete = complete }, history);
        group._transaction.CreateCollection(group._collection);
        group._transaction.Touch(group._collection, MetaObject);
        group.PersistHistory(group._transaction);
        group.PersistInfo(group._transaction);
        group.SubmitMeta(group._transaction);
        return group;
    }

    /// <summary>Marks a copy as one that answers for nothing and is being removed.</summary>
    public static void MarkForRemoval(Transaction transaction, PgId id)
    {
        var collection = new CollectionId(id);
        transaction.Touch(collection, MetaObject);
        transaction.SetAttribute(collection, MetaObject, RemovingAttribute, new byte[] { 1 });
    }

    /// <summary>Whether the removal of a copy had begun.</summary>
    public static bool IsMarkedForRemoval(IObjectStore store, PgId id) => store.TryGetAttribute(new CollectionId(id), MetaObject, RemovingAttribute, out _);

    /// <summary>Loads a PG from the store, as of the map it last took account of.</summary>
    /// <returns>The group, or null if the collection holds no PG (its creation never became durable).</returns>
    public static PlacementGroup? Load(IPlacementGroupHost host, PgId id, Func<Epoch, ClusterMap?> mapAt)
    {
        var collection = new CollectionId(id);
        if (!host.Store.TryGetAttribute(collection, MetaObject, InfoAttribute, out ReadOnlyMemory<byte> infoBytes)
            || !host.Store.TryGetAttribute(collection, MetaObject, HistoryAttribute, out ReadOnlyMemory<byte> historyBytes))
        {
            return null;
        }

        var infoReader = new WireReader(infoBytes.Span);
        var historyReader = new WireReader(historyBytes.Span);
        PgInfo info = PgInfo.Decode(ref infoReader);
        PgHistory history = PgHistory.Decode(ref historyReader);
        ClusterMap? map = mapAt(history.MapEpoch);
        if (map is null || !map.Contains(id))
        {
            throw new MalformedDataException($"pg {id} was last at map {history.MapEpoch}, which the disk no longer has");
        }

        var group = new PlacementGroup(host, id, map, info, history);
        group.LoadRecords();
        return group;
    }

    /// <summary>The daemon ends: whatever still completes is ignored.</summary>
    public void Stop()
    {
        _removed = true;
        EndInterval(_history.SameIntervalSince);
        AbandonOperations(all: true);
    }

    /// <summary>A transaction is durable, and all before it.</summary>
    public void OnCommitted(ulong token)
    {
        while (_commits.TryPeek(out PendingCommit commit) && commit.Token <= token)
        {
            _commits.Dequeue();
            if (!_removed && !_refused.Remove(commit.Token))
            {
                HandleCommit(in commit);
            }
        }

        if (!_settled && token >= _settledBy && !_removed)
        {
            OnSettled();
        }
    }

    /// <summary>A message from another OSD about this PG, sent in this interval.</summary>
    public void HandleMessage(OsdId from, MessageType type, ref WireReader reader, BufferSegment data)
    {
        switch (type)
        {
            case OsdMessageType.InfoRequest:
                AnswerInfo(from);
                break;
            case OsdMessageType.InfoReply:
                HandleInfoReply(from, ref reader);
                break;
            case OsdMessageType.LogRequest:
                HandleLogRequest(from, ref reader);
                break;
            case OsdMessageType.LogReply:
                HandleLogReply(from, ref reader);
                break;
            case OsdMessageType.Activate:
                HandleActivate(from, ref reader);
                break;
            case OsdMessageType.ActivateReply:
                HandleActivateReply(from, ref reader);
                break;
            case OsdMessageType.ReplicaWrite:
                HandleReplicaWrite(from, ref reader, data);
                break;
            case OsdMessageType.ReplicaWriteReply:
                HandleReplicaWriteReply(from, ref reader);
                break;
            case OsdMessageType.Lease:
                HandleLease(from, ref reader);
                break;
            case OsdMessageType.LeaseReply:
                HandleLeaseReply(from, ref reader);
                break;
            case OsdMessageType.Push:
                HandlePush(from, ref reader, data);
                break;
            case OsdMessageType.PushReply:
                HandlePushReply(from, ref reader);
                break;
            case OsdMessageType.Pull:
                HandlePull(from, ref reader);
                break;
            case OsdMessageType.Scan:
                HandleScan(from, ref reader);
                break;
            case OsdMessageType.ScanReply:
                HandleScanReply(from, ref reader);
                break;
            case OsdMessageType.BackfillProgress:
                HandleBackfillProgress(from, ref reader);
                break;
            case OsdMessageType.BackfillProgressReply:
                HandleBackfillProgressReply(from, ref reader);
                break;
            case OsdMessageType.Reserve:
                HandleReserve(from, ref reader);
                break;
            case OsdMessageType.ReserveReply:
                HandleReserveReply(from, ref reader);
                break;
            case OsdMessageType.ReleaseReservation:
                HandleReleaseReservation(from, ref reader);
                break;
            case OsdMessageType.Urge:
                HandleUrge(from, ref reader);
                break;
            case OsdMessageType.Remove:
                HandleRemove(from);
                break;
            case OsdMessageType.Notify:
                HandleNotify(from, ref reader);
                break;
            case OsdMessageType.HistoryUpdate:
                HandleHistoryUpdate(from, ref reader);
                break;
            case OsdMessageType.DamageRequest:
                HandleDamageRequest(from, ref reader);
                break;
            case OsdMessageType.DamageReply:
                HandleDamageReply(from, ref reader);
                break;
            case OsdMessageType.BlocksRequest:
                HandleBlocksRequest(from, ref reader);
                break;
            case OsdMessageType.BlocksReply:
                HandleBlocksReply(from, ref reader, data);
                break;
            case OsdMessageType.Mend:
                HandleMend(from, ref reader, data);
                break;
            default:
                HandleScrubMessage(from, type, ref reader);
                break;
        }
    }

    private void HandleScrubMessage(OsdId from, MessageType type, ref WireReader reader)
    {
        switch (type)
        {
            case OsdMessageType.ScrubReserve:
                HandleScrubReserve(from, ref reader);
                break;
            case OsdMessageType.ScrubReserveReply:
                HandleScrubReserveReply(from, ref reader);
                break;
            case OsdMessageType.ScrubMapRequest:
                HandleScrubMapRequest(from, ref reader);
                break;
            case OsdMessageType.ScrubMapReply:
                HandleScrubMapReply(from, ref reader);
                break;
            case OsdMessageType.ScrubMark:
                HandleScrubMark(from, ref reader);
                break;
            case OsdMessageType.ScrubMarkReply:
                HandleScrubMarkReply(from, ref reader);
                break;
            case OsdMessageType.ScrubState:
                HandleScrubState(from, ref reader);
                break;
            default:
                throw new MalformedDataException($"message {(ushort)type:x} is none about a PG");
        }
    }

    /// <summary>A connection to another OSD opened: whatever it still owes us is asked again.</summary>
    public void OnPeerConnected(OsdId peer)
    {
        if (IsPrimary)
        {
            // How far a copy is filled goes before the writes that count on it.
            ResendPeering(peer);
            ResendBackfill(peer);
            ResendWrites(peer);
            ResendRecovery(peer);
            ResendScrub(peer);
            ResendReservations(peer);
        }
        else if (!IsMember && Primary == peer)
        {
            SendNotify();
        }
    }

    /// <summary>Comes several times a second.</summary>
    public void Tick()
    {
        if (IsPrimary)
        {
            TickPeering();
            TickLease();
            TickReservations();
            TickRecovery();
            TickTrim();
            TickScrub();
            TickRecount();
        }
        else
        {
            RetryStalledWrites();
            TickScrubReservation();
            TickRemoteReservations();
            if (!IsMember && Primary.IsSome)
            {
                TickStray();
            }
        }
    }

    /// <summary>Asserts what must hold between events.</summary>
    public void CheckInvariants()
    {
        Invariant.Holds(_info.LogTail <= _info.LastUpdate, "a PG's log begins after its newest entry");
        Invariant.Holds(_log.Count == 0 ? _info.LastUpdate == _info.LogTail : _log.Newest == _info.LastUpdate, "a PG's info names another newest write than its log ends with");
        Invariant.Holds(_log.Count == 0 || _log.Entries.VersionAt(0) > _info.LogTail, "a PG's log has entries from before its tail");
        Invariant.Holds(_info.LastEpochStarted <= _history.SameIntervalSince || _history.IntervalUncertain, "a copy was started in an interval that has not begun");
        Invariant.Holds(_phase == GroupPhase.Replica || IsPrimary, "an OSD that is not a PG's primary does a primary's work");
        foreach (PastInterval interval in _history.Past)
        {
            Invariant.Holds(interval.Last >= _history.LastEpochClean, "a PG remembers intervals that ended before it was last clean");
        }

        foreach ((ObjectId id, _) in _missing)
        {
            Invariant.Holds(_info.Covers(id), "an object counts as missing that backfill has not reached");
            Invariant.Holds(Holds(id.Hash), "an object counts as missing that belongs to another PG");
        }

        CheckPrimaryInvariants();
    }

    private void CheckPrimaryInvariants()
    {
        Invariant.Holds(_phase == GroupPhase.Active || _inFlight.Count == 0, "writes are in flight in a PG that is not active");
        if (_phase != GroupPhase.Active)
        {
            return;
        }

        // Invariant 2: nothing of this interval without up_thru in the map, and none of it without all members' consent.
        Invariant.Holds(_map.FindOsd(_host.Self) is { } self && self.UpThru >= Interval, "a PG is active before the map has its primary's up_thru for the interval");
        Invariant.Holds(_info.LastEpochStarted == Interval || _acting.Length < _pool.MinSize, "a PG is active and its primary has not written down that the interval started");
        Invariant.Holds(_info.IsComplete, "the primary of an active PG is still being backfilled");
        Invariant.Holds(_leaseWaitUntil <= _host.Now, "a PG is active while an older primary may still hold a read lease");
        Invariant.Holds(_blockedBy.Count == 0, "a PG is active though an earlier interval that may have accepted writes has no survivor");
        foreach (ObjectId id in _unfound)
        {
            Invariant.Holds(_missing.ContainsKey(id), "an object counts as unfound that the primary has");
        }

        foreach (OsdId osd in _acting)
        {
            Invariant.Holds(
                osd == _host.Self || (_peers.TryGetValue(osd, out PeerState? peer) && peer.IsActivated && peer.Info.IsComplete),
                "a PG is active with an acting member that has not started the interval or is still being backfilled");
        }

        PgVersion last = _committedTo;
        foreach (InFlightWrite write in _inFlight)
        {
            Invariant.Holds(write.Entry.Version > last, "writes in flight are out of order, or one of them counts as committed");
            last = write.Entry.Version;
        }

        Invariant.Holds(last <= _info.LastUpdate, "a write is committed or in flight that the primary's log does not have");
        Invariant.Holds(_inFlight.Count == 0 || _acting.Length >= _pool.MinSize, "a PG takes writes with fewer members than min_size");
    }

    private static bool Same(OsdId[] left, OsdId[] right) => left.AsSpan().SequenceEqual(right);

    private GroupHeader Header => new(Id, _map.Epoch, _history.SameIntervalSince);

    private WireWriter Begin()
    {
        WireWriter writer = _host.Scratch();
        Header.Encode(writer);
        return writer;
    }

    private enum CommitKind : byte
    {
        None,
        LocalWrite,
        ReplicaWrite,
        PrimaryActivated,
        ReplicaActivated,
        PushApplied,
        BackfillProgress,
        ScrubMarked,
        Mended,
    }
}
