using System.Globalization;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Osd.Protocol;
using Storage.Simulation.Clusters;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// Follows clients' operations through one OSD. What a client is told must be durable on all members, and nobody may answer an
/// operation that reached him after another primary had taken over.
/// </summary>
internal sealed class OsdMessageWatch(SimulatedCluster cluster, OsdNode node) : IMessageWatch
{
    private readonly Dictionary<(ulong Client, ulong Sequence, ushort Attempt), Arrival> _arrivals = [];

    private (PgId Group, Epoch Sent, CopyState Was)? _outdated; // a message under way in the process, and what the copy was before it

    private readonly record struct Arrival(long Pool, uint Hash, Epoch NewestElsewhere, OsdId Elsewhere, bool IsWrite, TimeSpan At);

    private readonly record struct CopyState(
        Epoch Interval, PgVersion LastUpdate, PgVersion LogTail, PgVersion CommittedTo, Epoch Started, bool IsActive, TimeSpan LeaseUntil, TimeSpan PromisedUntil, int Missing, long Changes, long Heard);

    public void OnReceiving(PeerIdentity peer, in Message message)
    {
        _outdated = null;
        if (message.Type > OsdMessageType.InfoRequest && message.Type < OsdMessageType.Remove)
        {
            var reader = new WireReader(message.Body);
            GroupHeader header = GroupHeader.Decode(ref reader);
            if (node.FindGroup(header.Group) is { } copy && header.Interval < copy.Interval)
            {
                _outdated = (header.Group, header.Interval, StateOf(copy));
            }

            return;
        }

        if (message.Type != MessageType.Operation || peer.Kind != EntityKind.Client)
        {
            return;
        }

        OperationRequest request = OperationRequest.Decode(message.Body);
        PgId? id = GroupOf(request.Pool, request.Hash);
        Epoch newest = Epoch.None;
        OsdId elsewhere = OsdId.None;
        foreach (OsdNode other in cluster.Osds)
        {
            if (other != node && id is { } known && other.FindGroup(known) is { IsActive: true } group
                && group.Acting.Length >= group.MinSize && group.Interval > newest)
            {
                newest = group.Interval;
                elsewhere = other.Id;
            }
        }

        _arrivals[(peer.Id, request.Id.Sequence, request.Attempt)] =
            new Arrival(request.Pool, request.Hash, newest, elsewhere, (request.Flags & OperationFlags.Write) != 0, node.Loop!.Now);
    }

    // What a message of an interval that is over brings has to be forgotten: whoever sent it did not know what came since.
    public void OnReceived(PeerIdentity peer, MessageType type)
    {
        if (_outdated is not { } outdated || node.FindGroup(outdated.Group) is not { } copy)
        {
            return;
        }

        cluster.Coverage.Count("check.outdated_message");
        CopyState now = StateOf(copy);
        if (now.Interval == outdated.Was.Interval && now != outdated.Was)
        {
            throw new SimulationFailedException(
                $"{node.Name}, in interval {now.Interval} of pg {outdated.Group}, does what {Tracing.MessageNames.Of(type)} of interval {outdated.Sent} from {peer} says: it was {outdated.Was} and is {now}");
        }
    }

    private CopyState StateOf(PlacementGroup copy) => new(
        copy.Interval, copy.Info.LastUpdate, copy.Info.LogTail, copy.CommittedTo, copy.Info.LastEpochStarted, copy.IsActive || copy.IsReplicaActive, copy.LeaseUntil,
        copy.LeasePromisedUntil, copy.Missing.Count, node.Store!.Inner.ChangesOf(new CollectionId(copy.Id)), copy.Heard);

    public void OnSending(PeerIdentity peer, MessageType type, ReadOnlySpan<byte> body)
    {
        if (type == OsdMessageType.Remove)
        {
            var reader = new WireReader(body);
            PgId removed = GroupHeader.Decode(ref reader).Group;
            if (CleanCheck.WhyNotClean(cluster, node, removed) is { } why)
            {
                throw new SimulationFailedException($"{node.Name} has {peer} remove its copy of pg {removed}, and {why}");
            }
        }

        if (type == OsdMessageType.InfoReply || type == OsdMessageType.Notify)
        {
            CheckTold(peer, type, body);
        }

        if (type != MessageType.OperationReply)
        {
            return;
        }

        OperationReply reply = OperationReply.Decode(body);
        if (!_arrivals.Remove((peer.Id, reply.Sequence, reply.Attempt), out Arrival arrival)
            || reply.Result is not (ResultCode.Ok or ResultCode.NotFound or ResultCode.Exists or ResultCode.GuardFailed)
            || GroupOf(arrival.Pool, arrival.Hash) is not { } id || node.FindGroup(id) is not { } group)
        {
            return;
        }

        if (arrival.NewestElsewhere > group.Interval)
        {
            throw new SimulationFailedException(
                $"{node.Name} answers {reply.Result} for pg {id} in interval {group.Interval}, and {arrival.Elsewhere} was active in {arrival.NewestElsewhere} before the operation came");
        }

        if (reply.Result == ResultCode.Ok && arrival.IsWrite && group.Acting.Length < group.MinSize)
        {
            throw new SimulationFailedException($"{node.Name} acknowledges a write to pg {id} with {group.Acting.Length} members; min_size is {group.MinSize}");
        }

        if (group.Acting.Length > 1 && group.LeaseUntil < arrival.At)
        {
            throw new SimulationFailedException(string.Create(
                CultureInfo.InvariantCulture,
                $"{node.Name} answers {reply.Result} for pg {id}, and its lease had ended {(arrival.At - group.LeaseUntil).TotalSeconds:F3} s before the operation came"));
        }

        foreach (OsdId member in group.Acting)
        {
            OsdNode other = cluster.Osds[member.Value];
            DurableGroup durable = other.Durable.Of(id);
            if ((durable.LastUpdate < reply.Version || durable.LastEpochStarted < group.Interval) && !(other.WasReplaced && durable.LastEpochStarted < group.Interval))
            {
                throw new SimulationFailedException(
                    $"{node.Name} tells {peer} of version {reply.Version} in pg {id}, and {other.Name} has durable only {durable.LastUpdate}, started {durable.LastEpochStarted} of interval {group.Interval}");
            }
        }
    }

    // What others choose a log by must not vanish with this process.
    private void CheckTold(PeerIdentity peer, MessageType type, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        GroupHeader header = GroupHeader.Decode(ref reader);
        if (type == OsdMessageType.InfoReply && !reader.ReadBoolean())
        {
            return;
        }

        PgVersion told = PgInfo.Decode(ref reader).LastUpdate;
        if (told.Epoch < header.Interval && told > node.Durable.Of(header.Group).LastUpdate)
        {
            throw new SimulationFailedException(
                $"{node.Name} tells {peer} of its log of pg {header.Group} up to {told}, and has durable only {node.Durable.Of(header.Group).LastUpdate}");
        }
    }

    private PgId? GroupOf(long pool, uint hash) => node.Map?.FindPool(pool) is { } info ? ClusterMap.GroupOf(info, hash) : null;
}
