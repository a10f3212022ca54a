using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

// Which OSD an operation goes to, when it is sent, and what the OSD's answer means.
public sealed partial class ObjectClient
{
    private static readonly TimeSpan s_disagreementPause = TimeSpan.FromMilliseconds(100);

    internal bool IsWanted(OsdSession session)
    {
        foreach (GroupLane lane in _lanes.Values)
        {
            if (ReferenceEquals(lane.Session, session))
            {
                return true;
            }
        }

        return false;
    }

    internal void Forget(OsdSession session)
    {
        if (_sessions.TryGetValue(session.Osd, out OsdSession? known) && ReferenceEquals(known, session))
        {
            _sessions.Remove(session.Osd);
        }

        session.Retire();
    }

    /// <summary>Sends whatever can be sent, in the order of issue.</summary>
    internal void SendWaiting()
    {
        if (_unsent == 0)
        {
            return;
        }

        for (PendingOperation? operation = _issued.First; operation is { Admitted: true }; operation = operation.Next)
        {
            if (operation.SentOn is null && operation.Lane is not null)
            {
                TrySend(operation);
            }
        }
    }

    internal void OnReply(OsdSession session, in OperationReply reply, BufferSegment data)
    {
        // An answer to an earlier sending is ignored: the later one will be answered too. A success is remembered there and gives the
        // same answer; a refusal is not, so the later copy may still take effect, and the operation must not end before it.
        if (!_operations.TryGetValue(reply.Sequence, out PendingOperation? operation) || !ReferenceEquals(operation.SentOn, session) || (reply.Attempt != operation.Attempt && !Mutations.Active(Mutation.ClientTakesOldAnswers)))
        {
            return;
        }

        if (reply.Result == ResultCode.WrongPrimary)
        {
            OnWrongPrimary(operation, reply.MapEpoch);
            return;
        }

        OperationResult result = OperationResult.Create(reply.Result, reply.Version, reply.StepCount, reply.Steps, data);
        Remove(operation);
        if (reply.Result == ResultCode.Blocklisted && operation.Context.LockOwner == 0)
        {
            Fence();
        }
        else
        {
            Admit();
        }

        operation.Complete(result);
        CompleteRefused();
    }

    internal void OnSessionLost(OsdSession session)
    {
        for (PendingOperation? operation = _issued.First; operation is { Admitted: true }; operation = operation.Next)
        {
            if (ReferenceEquals(operation.SentOn, session))
            {
                MarkUnsent(operation);
            }
        }

        if (_unsent > 0)
        {
            ArmWatchdog();
        }
    }

    private void OnWrongPrimary(PendingOperation operation, Epoch osdEpoch)
    {
        GroupLane lane = operation.Lane!;
        bool sentByOlderMap = operation.SentEpoch < _map!.Epoch;

        // All operations of the PG go again, from the first one on: their order must not change.
        for (PendingOperation? other = _issued.First; other is { Admitted: true }; other = other.Next)
        {
            if (ReferenceEquals(other.Lane, lane) && other.SentOn is not null)
            {
                MarkUnsent(other);
            }
        }

        if (osdEpoch > _map.Epoch)
        {
            lane.WaitFor = osdEpoch;
        }
        else if (!sentByOlderMap && !lane.Held)
        {
            // By the same map we disagree, or the OSD is behind: no hurry.
            lane.Held = true;
            Loop.Schedule(s_disagreementPause, static s => ((ObjectClient)s!).ReleaseHeld(), this);
        }

        ArmWatchdog();
        SendWaiting();
    }

    private void ReleaseHeld()
    {
        if (_disposed)
        {
            return;
        }

        foreach (GroupLane lane in _lanes.Values)
        {
            lane.Held = false;
        }

        SendWaiting();
    }

    /// <summary>Finds the PG of an operation.</summary>
    /// <returns>False if there is no map yet, or none with the pool: then it is refused once a map is known to be the newest.</returns>
    private bool Place(PendingOperation operation)
    {
        if (_map is null)
        {
            return false;
        }

        if (_map.FindPool(operation.Pool) is not { } pool)
        {
            if (operation.Question == 0)
            {
                operation.Question = AskNewest();
            }
            else if (operation.Question <= _answeredQuestion && _map.Epoch >= _newestEpoch)
            {
                _refused.Enqueue((operation, operation.Sequence, ResultCode.NoSuchPool));
            }

            return false;
        }

        PgId group = ClusterMap.GroupOf(pool, operation.Hash);
        if (!_lanes.TryGetValue(group, out GroupLane? lane))
        {
            lane = _freeLanes.TryPop(out GroupLane? pooled) ? pooled : new GroupLane();
            lane.Reset(group);
            lane.Follow(_map);
            lane.Session = SessionFor(lane.Primary);
            _lanes.Add(group, lane);
        }

        operation.Lane = lane;
        lane.Operations++;
        lane.Unsent++;
        return true;
    }

    private void LeaveLane(PendingOperation operation)
    {
        if (operation.Lane is not { } lane)
        {
            return;
        }

        operation.Lane = null;
        lane.Operations--;
        if (operation.SentOn is null)
        {
            lane.Unsent--;
        }

        Invariant.Holds(lane.Unsent >= 0 && lane.Unsent <= lane.Operations);
        if (lane.Operations == 0)
        {
            if (_lanes.TryGetValue(lane.Group, out GroupLane? known) && ReferenceEquals(known, lane))
            {
                _lanes.Remove(lane.Group);
            }

            _freeLanes.Push(lane);
        }
    }

    private void MarkUnsent(PendingOperation operation)
    {
        Invariant.Holds(operation.SentOn is not null);
        operation.SentOn = null;
        operation.Lane!.Unsent++;
        _unsent++;
        if (Mutations.Active(Mutation.ClientRenumbersRetries))
        {
            _operations.Remove(operation.Sequence);
            operation.Sequence = ++_lastSequence;
            _operations.Add(operation.Sequence, operation);
        }
    }

    private OsdSession? SessionFor(OsdId id)
    {
        if (!id.IsSome || _map!.FindOsd(id) is not { IsUp: true } osd)
        {
            return null;
        }

        if (!_sessions.TryGetValue(id, out OsdSession? session))
        {
            session = new OsdSession(this, osd);
            _sessions.Add(id, session);
            session.Dial();
        }

        return session;
    }

    private void TrySend(PendingOperation operation)
    {
        GroupLane lane = operation.Lane!;
        if (_map is null
            || lane.Held
            || lane.WaitFor > _map.Epoch
            || lane.Session is not { CanSend: true } session
            || (_map.Flags & ClusterFlags.Pause) != 0)
        {
            return;
        }

        ObjectOperation steps = operation.Operation!;
        OperationContext context = operation.Context;
        OperationFlags flags = (steps.IsWrite ? OperationFlags.Write : OperationFlags.None)
            | (context.EvenIfFull ? OperationFlags.FullTry : OperationFlags.None)
            | (context.Snapshots is not null ? OperationFlags.Snapshots : OperationFlags.None)
            | (context.LockOwner != 0 ? OperationFlags.LockOwner : OperationFlags.None);
        _body.Clear();
        new OperationRequest
        {
            Id = new OperationId(_options.ClientId, operation.Sequence),
            Attempt = ++operation.Attempt,
            MapEpoch = _map.Epoch,
            Pool = operation.Pool,
            Hash = operation.Hash,
            Flags = flags,
            ReadSnapshot = context.ReadSnapshot ?? ObjectId.NoSnapshot,
            SnapshotBarrier = context.Snapshots?.Barrier ?? 0,
            Snapshots = context.Snapshots is null ? default : context.Snapshots.Packed,
            LockOwner = context.LockOwner,
            Name = operation.NameBuffer.AsSpan(0, operation.NameLength),
            StepCount = steps.Count,
            Steps = steps.EncodedSteps,
        }.Encode(_body);
        operation.SentOn = session;
        operation.SentEpoch = _map.Epoch;
        lane.Unsent--;
        _unsent--;
        session.Send(_body.WrittenSpan, steps.Data);
    }
}
