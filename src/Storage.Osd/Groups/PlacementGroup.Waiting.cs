using Storage.Cluster;

namespace Storage.Osd;

// What an operation waits for, in words.
internal sealed partial class PlacementGroup
{
    /// <summary>Says where an operation of this group stands.</summary>
    /// <param name="operation">The operation, not answered yet.</param>
    /// <returns>A clause, as in <c>waits for osd.2 to make it durable</c>.</returns>
    public string DescribeWait(ClientOperation operation)
    {
        if (_waitingForActive.Contains(operation))
        {
            return _phase != GroupPhase.Active ? $"waits for the group, which is {State}"
                : _acting.Length < _pool.MinSize ? $"waits for copies: {_acting.Length} of the {_pool.MinSize} that min_size wants"
                : "waits: clients are paused (flag pause)";
        }

        if (_waitingForLease.Contains(operation))
        {
            return "waits for the read lease of its replicas";
        }

        foreach ((ObjectId id, Queue<ClientOperation> queue) in _waitingForObject)
        {
            if (queue.Contains(operation))
            {
                return $"waits for the recovery of {id}";
            }
        }

        foreach (InFlightWrite write in _inFlight)
        {
            if (ReferenceEquals(write.Operation, operation) || write.Retries.Contains(operation))
            {
                string[] late =
                [
                    .. write.Entry.Version > _localDurable ? [_host.Self.ToString()] : Array.Empty<string>(),
                    .. _peers.Values.Where(peer => peer.IsActivated && peer.Durable < write.Entry.Version).Select(peer => peer.Osd.ToString()),
                ];
                return late.Length == 0 ? "waits for the writes before it" : $"waits for {string.Join(", ", late)} to make it durable";
            }
        }

        return "waits for its disk";
    }
}
