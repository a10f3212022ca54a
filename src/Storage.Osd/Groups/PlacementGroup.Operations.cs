using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Osd;

// Where client operations wait, and in which order they go on.
internal sealed partial class PlacementGroup
{
    private readonly Queue<ClientOperation> _waitingForActive = new();
    private readonly Dictionary<ObjectId, Queue<ClientOperation>> _waitingForObject = [];
    private readonly List<ClientOperation> _waitingForLease = [];
    private readonly WireWriter _steps = new(512);

    // While this OSD is the primary: no other one was in any map since this one.
    private Epoch _primarySince;

    private bool CanServe => _phase == GroupPhase.Active && (_acting.Length >= _pool.MinSize || Mutations.Active(Mutation.ServesBelowMinSize)) && (_map.Flags & ClusterFlags.Pause) == 0;

    /// <summary>Operations that wait here.</summary>
    public int WaitingOperations
    {
        get
        {
            int count = _waitingForActive.Count + _waitingForLease.Count;
            foreach (Queue<ClientOperation> queue in _waitingForObject.Values)
            {
                count += queue.Count;
            }

            return count;
        }
    }

    /// <summary>Takes a client's operation; this OSD is the primary in a map at least as new as the client's.</summary>
    public void Execute(ClientOperation operation)
    {
        Invariant.Holds(IsPrimary, "a client operation is carried out by an OSD that is not the primary");
        if (!Holds(operation.Object.Hash))
        {
            _host.Reached(RarePath.OperationRerouted); // it was under way when the PG was split
            _host.Reroute(operation);
        }
        else if (IsFenced(operation))
        {
            Refuse(operation, ResultCode.Blocklisted);
        }
        else if (operation.MapEpoch < _primarySince)
        {
            // Another OSD was the primary meanwhile. It may have answered a later sending, so that this one must have no effect any more.
            _host.Drop(operation);
        }
        else if (!CanServe)
        {
            _host.Reached(_phase == GroupPhase.Active && _acting.Length < _pool.MinSize ? RarePath.WaitedForMinSize : RarePath.WaitedForActive);
            _waitingForActive.Enqueue(operation);
        }
        else if (_waitingForObject.TryGetValue(operation.Object, out Queue<ClientOperation>? queue))
        {
            queue.Enqueue(operation); // behind those that came before
        }
        else
        {
            Run(operation);
        }
    }

    /// <summary>A client is gone; nobody waits for its operations any more.</summary>
    public void ForgetClient(IConnection connection)
    {
        DropFrom(_waitingForActive, connection);
        foreach (Queue<ClientOperation> queue in _waitingForObject.Values)
        {
            DropFrom(queue, connection); // an empty queue stays until its object is ready
        }

        for (int i = _waitingForLease.Count - 1; i >= 0; i--)
        {
            if (ReferenceEquals(_waitingForLease[i].Connection, connection))
            {
                ClientOperation gone = _waitingForLease[i];
                _waitingForLease.RemoveAt(i);
                _host.Drop(gone);
            }
        }
    }

    private void DropFrom(Queue<ClientOperation> queue, IConnection connection)
    {
        for (int i = queue.Count; i > 0; i--)
        {
            ClientOperation operation = queue.Dequeue();
            if (ReferenceEquals(operation.Connection, connection))
            {
                _host.Drop(operation);
            }
            else
            {
                queue.Enqueue(operation);
            }
        }
    }

    private void Run(ClientOperation operation)
    {
        if (operation.IsWrite && _scrub is not null)
        {
            PreemptScrub(operation.Object);
        }

        bool ready = operation.IsWrite ? IsWritable(operation.Object) : !_missing.ContainsKey(operation.Object) || Mutations.Active(Mutation.ReadsMissing);
        ObjectId wanted = operation.Object;
        if (ready && !operation.IsWrite)
        {
            operation.Target = wanted = ResolveRead(operation);
            ready = !_missing.ContainsKey(wanted) || Mutations.Active(Mutation.ReadsMissing);
        }

        if (!ready)
        {
            WaitFor(operation, wanted);
            return;
        }

        // Also a write's refusal tells what the object looks like, so it takes a lease as a read does.
        if (!HoldsLease() && !Mutations.Active(Mutation.ReadsWithoutLease))
        {
            _host.Reached(RarePath.LeaseMissing);
            _waitingForLease.Add(operation);
            RenewLease();
            return;
        }

        if (operation.IsWrite)
        {
            RunWrite(operation);
        }
        else if (!TryJudgeSnapshots(operation, out _, out ResultCode refusal))
        {
            Refuse(operation, refusal);
        }
        else
        {
            RunRead(operation);
        }
    }

    // Goes on when the object is at hand on all members and is not being copied.
    private void WaitFor(ClientOperation operation, ObjectId wanted)
    {
        if (!_waitingForObject.TryGetValue(wanted, out Queue<ClientOperation>? queue))
        {
            _waitingForObject.Add(wanted, queue = new Queue<ClientOperation>());
        }

        queue.Enqueue(operation);
        _host.Reached(RarePath.WaitedForObject);
        RecoverFirst(wanted);
    }

    // An object's copies may change only while all of them are at hand and none is being copied.
    private bool IsWritable(ObjectId id)
    {
        if (_missing.ContainsKey(id) || IsBeingScrubbed(id) || (IsBeingCopied(id) && !Mutations.Active(Mutation.WritesWhileCopied)))
        {
            return false;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && peer.Missing.ContainsKey(id) && !Mutations.Active(Mutation.WritesToMissing))
            {
                return false;
            }
        }

        return true;
    }

    // An object may have become ready: its waiting operations go on in their order.
    private void RetryObject(ObjectId id)
    {
        if (!_waitingForObject.Remove(id, out Queue<ClientOperation>? queue))
        {
            return;
        }

        while (queue.TryDequeue(out ClientOperation? operation))
        {
            if (!CanServe)
            {
                _waitingForActive.Enqueue(operation); // clients are paused; nobody would look at the object's queue again
            }
            else if (_waitingForObject.TryGetValue(id, out Queue<ClientOperation>? again))
            {
                again.Enqueue(operation);
            }
            else
            {
                Run(operation);
            }
        }
    }

    private bool IsFenced(ClientOperation operation) => !_map.Blocklist.IsEmpty
        && (_map.Blocklist.ContainsKey(operation.Id.Client)
            || (operation.LockOwner != 0 && _map.Blocklist.ContainsKey(operation.LockOwner) && !Mutations.Active(Mutation.LockOwnerNotFenced)));

    private void RetryWaiting()
    {
        // The blocklist may name the client of an operation that has waited.
        for (int i = _waitingForActive.Count; i > 0; i--)
        {
            ClientOperation operation = _waitingForActive.Dequeue();
            Execute(operation);
        }
    }

    private void RetryLease()
    {
        if (_waitingForLease.Count == 0)
        {
            return;
        }

        ClientOperation[] waiting = [.. _waitingForLease];
        _waitingForLease.Clear();
        foreach (ClientOperation operation in waiting)
        {
            Execute(operation);
        }
    }

    // The interval is over. An OSD that is the primary again keeps the operations; clients of others send to the new primary.
    private void AbandonOperations(bool all = false)
    {
        foreach (ClientOperation operation in _waitingForLease)
        {
            _waitingForActive.Enqueue(operation);
        }

        _waitingForLease.Clear();
        foreach (Queue<ClientOperation> queue in _waitingForObject.Values)
        {
            while (queue.TryDequeue(out ClientOperation? operation))
            {
                _waitingForActive.Enqueue(operation);
            }
        }

        _waitingForObject.Clear();
        if (!IsPrimary || all)
        {
            while (_waitingForActive.TryDequeue(out ClientOperation? operation))
            {
                _host.Drop(operation);
            }
        }
    }

    private void FailWaiting(ObjectId id, ResultCode result)
    {
        if (_waitingForObject.Remove(id, out Queue<ClientOperation>? queue))
        {
            while (queue.TryDequeue(out ClientOperation? operation))
            {
                Refuse(operation, result);
            }
        }
    }

    private void Refuse(ClientOperation operation, ResultCode result) => _host.Complete(operation, result, PgVersion.Zero, 0, default);
}
