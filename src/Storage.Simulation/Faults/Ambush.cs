using Storage.Cluster;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Osd;
using Storage.Osd.Protocol;
using Storage.Simulation.Clusters;

namespace Storage.Simulation.Faults;

/// <summary>
/// A fault that lies in wait: it looks at each daemon right after everything that this does, and strikes when its condition first holds. What happens only
/// where a fault comes within a millisecond of something rare is met by faults at drawn times once in thousands of runs.
/// </summary>
internal sealed class Ambush
{
    private static readonly MessageType[] s_messages =
    [
        OsdMessageType.InfoRequest, OsdMessageType.InfoReply, OsdMessageType.LogRequest, OsdMessageType.LogReply, OsdMessageType.Activate, OsdMessageType.ActivateReply,
        OsdMessageType.ReplicaWrite, OsdMessageType.ReplicaWriteReply, OsdMessageType.Lease, OsdMessageType.LeaseReply, OsdMessageType.Push, OsdMessageType.PushReply,
        OsdMessageType.Pull, OsdMessageType.Scan, OsdMessageType.ScanReply, OsdMessageType.BackfillProgress, OsdMessageType.BackfillProgressReply,
        OsdMessageType.Remove, OsdMessageType.Notify, OsdMessageType.HistoryUpdate, OsdMessageType.Reserve, OsdMessageType.ReserveReply,
        OsdMessageType.ReleaseReservation, OsdMessageType.ScrubReserve, OsdMessageType.ScrubMapRequest, OsdMessageType.ScrubMapReply, OsdMessageType.ScrubMark,
        OsdMessageType.DamageRequest, OsdMessageType.DamageReply, OsdMessageType.BlocksReply, OsdMessageType.Mend,
        MessageType.MapUpdate, MessageType.OsdBoot, MessageType.OsdFailure, MessageType.OsdAlive, MessageType.PgTempRequest, MessageType.Raft, MessageType.MonitorForward,
        MessageType.Operation, MessageType.OperationReply, MessageType.OperationBackoff,
    ];

    private static readonly GroupActivity[] s_activities = Enum.GetValues<GroupActivity>();

    private readonly SimulatedCluster _cluster;
    private readonly HashSet<(string Node, PgId Group, Epoch Interval)> _known = [];
    private readonly HashSet<(string Node, PgId Group)> _temporary = [];
    private readonly Dictionary<(string Node, int Life), long> _rareTurns = [];
    private readonly int _pgCount;
    private int _skip;

    /// <param name="cluster">The cluster.</param>
    /// <param name="condition">What it waits for.</param>
    /// <param name="detail">Chooses among what the condition leaves open.</param>
    /// <param name="random">What all else is drawn from.</param>
    public Ambush(SimulatedCluster cluster, AmbushCondition condition, int detail, Random random)
    {
        _cluster = cluster;
        Condition = condition;
        Detail = detail;
        Random = random;
        _pgCount = cluster.NewestMap?.FindPool(cluster.Pool)?.PgCount ?? 0;
        _skip = condition is AmbushCondition.Sent or AmbushCondition.Received ? random.Next(4) : 0;
        if (condition is AmbushCondition.JustActive or AmbushCondition.LeaseMoved or AmbushCondition.TemporaryGone or AmbushCondition.JustUp or AmbushCondition.MarkedDown or AmbushCondition.RareTurn)
        {
            foreach (OsdNode osd in cluster.Osds)
            {
                Holds(osd, out _); // what is so already is not what it waits for
            }
        }
    }

    public AmbushCondition Condition { get; }

    public int Detail { get; }

    public Random Random { get; }

    /// <summary>Chooses what it does, where <see cref="Strike"/> does not say.</summary>
    public int Pick { get; init; }

    /// <summary>What it does; null to choose.</summary>
    public AmbushStrike? Strike { get; init; }

    /// <summary>How long what it does lasts.</summary>
    public TimeSpan Length { get; init; }

    /// <summary>When it gives up.</summary>
    public TimeSpan Until { get; init; }

    /// <summary>The only daemon it looks at; null for all.</summary>
    public SimulatedNode? Only { get; init; }

    /// <summary>How many ambushes came before it in its chain.</summary>
    public int Depth { get; init; }

    /// <summary>The members of the PG for which the condition held; none if it concerned no PG.</summary>
    public IReadOnlyList<OsdNode> Members { get; private set; } = [];

    private MessageType Type => s_messages[Detail % s_messages.Length];

    /// <summary>Whether the condition holds at a daemon that has just done something.</summary>
    /// <param name="node">The daemon.</param>
    /// <param name="other">Another one that has a part in it; null for no particular one.</param>
    public bool Holds(SimulatedNode node, out SimulatedNode? other)
    {
        other = null;
        return node switch
        {
            OsdNode osd => Holds(osd, out other),
            MonitorNode monitor => Holds(monitor),
            _ => false,
        };
    }

    /// <summary>Whether the condition is that a message of this kind is sent, or was dealt with.</summary>
    public bool IsMessage(AmbushCondition condition, MessageType type) => Condition == condition && Type == type && _skip-- <= 0;

    private bool Holds(OsdNode osd, out SimulatedNode? other)
    {
        other = null;
        if (Condition >= AmbushCondition.NewLeader || Condition is AmbushCondition.Sent or AmbushCondition.Received || osd.Map?.FindPool(_cluster.Pool) is not { } pool)
        {
            return false;
        }

        if (Condition == AmbushCondition.RareTurn)
        {
            IReadOnlyList<long> counts = osd.RarePaths;
            long count = counts.Count > 0 ? counts[Detail % counts.Count] : 0;
            bool isFirst = !_rareTurns.TryGetValue((osd.Name, osd.Starts), out long before) && osd.Starts > 0 && !_known.Add((osd.Name, default, Epoch.None));
            _rareTurns[(osd.Name, osd.Starts)] = count;
            return isFirst ? count > 0 : count > before;
        }

        if (Condition is AmbushCondition.JustUp or AmbushCondition.MarkedDown)
        {
            return osd.Map.FindOsd(osd.Id) is { } record && record.IsUp == (Condition == AmbushCondition.JustUp)
                && _known.Add((osd.Name, default, record.IsUp ? record.UpFrom : record.DownAt));
        }

        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            var id = new PgId(pool.Id, seed);
            if (osd.FindGroup(id) is { } group && Holds(osd, id, group, out other))
            {
                Members = [.. group.Acting.ToArray().Select(OsdOf).OfType<OsdNode>()];
                other ??= OtherMember(osd);
                return true;
            }
        }

        return false;
    }

    private bool Holds(OsdNode osd, PgId id, PlacementGroup group, out SimulatedNode? other)
    {
        other = null;
        switch (Condition)
        {
            case AmbushCondition.OwnDiskOnly:
                return group.IsActive && HasMoreThanOthers(osd, group, copy => copy.Durable.Of(id).LastUpdate);
            case AmbushCondition.NobodyHeard:
                return group.IsActive && HasMoreThanOthers(osd, group, copy => copy.FindGroup(id)?.Info.LastUpdate ?? copy.Durable.Of(id).LastUpdate);
            case AmbushCondition.ReplicaDiskFirst:
                if (group.IsReplicaActive && OsdOf(group.Primary) is { } first && osd.Durable.Of(id).LastUpdate > first.Durable.Of(id).LastUpdate)
                {
                    other = first;
                    return true;
                }

                return false;
            case AmbushCondition.DivergentCopy:
                OsdNode? primary = _cluster.NewestMap is { } map && map.Contains(id) ? OsdOf(map.Locate(id).Primary) : null;
                other = primary;
                return primary is not null && primary != osd && primary.FindGroup(id) is { IsPrimary: true } present && present.Info.LastUpdate < group.Info.LastUpdate;
            case AmbushCondition.Asking:
                return group.Phase == GroupPhase.GetInfo;
            case AmbushCondition.FetchingLog:
                return group.Phase == GroupPhase.GetLog;
            case AmbushCondition.WaitingForActing:
                return group.Phase == GroupPhase.WaitActing;
            case AmbushCondition.WaitingToActivate:
                return group.Phase == GroupPhase.WaitActivate;
            case AmbushCondition.Activating:
                return group.Phase == GroupPhase.Activating;
            case AmbushCondition.JustActive:
                return group.IsActive && _known.Add((osd.Name, id, group.Interval));
            case AmbushCondition.LeaseMoved:
                return group.IsActive && group.IsServing && _known.Add((osd.Name, id, group.Interval));
            case AmbushCondition.TemporaryGone:
                if (!group.Acting.SequenceEqual(group.Up))
                {
                    _temporary.Add((osd.Name, id));
                    return false;
                }

                return _temporary.Remove((osd.Name, id));
            case AmbushCondition.IntervalHalfKnown:
                foreach (OsdId member in group.Acting)
                {
                    if (OsdOf(member) is { } behind && behind != osd && behind.FindGroup(id) is { } old && old.Interval < group.Interval)
                    {
                        other = behind;
                        return true;
                    }
                }

                return false;
            case AmbushCondition.JustSplit:
                return group.PgCount > _pgCount;
            case AmbushCondition.UnderWay:
                bool isUnderWay = group.IsUnderWay(s_activities[Detail % s_activities.Length], out OsdId part);
                other = OsdOf(part);
                return isUnderWay;
            default:
                return false;
        }
    }

    private bool HasMoreThanOthers(OsdNode osd, PlacementGroup group, Func<OsdNode, PgVersion> has)
    {
        PgVersion own = osd.Durable.Of(group.Id).LastUpdate;
        foreach (OsdId member in group.Acting)
        {
            if (OsdOf(member) is { } copy && copy != osd && has(copy) >= own)
            {
                return false;
            }
        }

        return group.Acting.Length > 1;
    }

    private OsdNode? OtherMember(OsdNode osd)
    {
        OsdNode[] members = [.. Members.Where(member => member != osd)];
        return members.Length > 0 ? members[Random.Next(members.Length)] : null;
    }

    private OsdNode? OsdOf(OsdId id) => id.IsSome && id.Value < _cluster.Osds.Length ? _cluster.Osds[id.Value] : null;

    private bool Holds(MonitorNode monitor)
    {
        if (monitor.Daemon is not { Raft: { } raft } daemon)
        {
            return false;
        }

        return Condition switch
        {
            AmbushCondition.NewLeader => raft.Role == RaftRole.Leader && !daemon.IsLeader,
            AmbushCondition.LeaderAhead => daemon.IsLeader && raft.LastIndex > raft.CommitIndex,
            AmbushCondition.CommittedUnknown => daemon.IsLeader
                && _cluster.Monitors.TrueForAll(peer => peer == monitor || peer.Daemon?.Raft is not { } known || known.CommitIndex < raft.CommitIndex),
            AmbushCondition.Candidate => raft.Role == RaftRole.Candidate,
            AmbushCondition.MembersChanging => !raft.IsConfigurationCommitted,
            _ => false,
        };
    }
}
