using System.Globalization;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
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

    private readonly record struct Arrival(long Pool, uint Hash, Epoch NewestElsewhere, OsdId Elsewhere, bool IsWrite, TimeSpan At);

    public void OnReceiving(PeerIdentity peer, in Message message)
    {
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

    private PgId? GroupOf(long pool, uint hash) => node.Map?.FindPool(pool) is { } info ? ClusterMap.GroupOf(info, hash) : null;
}
