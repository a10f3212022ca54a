using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

internal sealed partial class PlacementGroup
{
    private readonly Queue<InFlightWrite> _inFlight = new();
    private readonly Stack<InFlightWrite> _writePool = new();
    private readonly Dictionary<ObjectId, ObjectWrites> _writing = [];
    private readonly List<DeferredReply> _deferred = [];
    private readonly List<BufferSegment> _pieces = [];
    // Every version up to here is durable on all members, and nothing after it is known to be.
    private PgVersion _committedTo;
    private PgVersion _localDurable;

    private struct ObjectWrites
    {
        public int Count;
        public PgVersion Last;
    }

    // An answer that shows the effect of a write which is not durable everywhere yet.
    private readonly record struct DeferredReply(PgVersion After, ClientOperation Operation, ResultCode Result, PgVersion Version, int StepCount, byte[] Steps, BufferSegment[] Data);

    private void RunWrite(ClientOperation operation)
    {
        if (!Mutations.Active(Mutation.NoDuplicateDetection) && _log.TryFindOperation(operation.Id, out PgVersion known))
        {
            AnswerRetry(operation, known);
            return;
        }

        if (!TryJudgeSnapshots(operation, out ulong newest, out ResultCode refusal))
        {
            Refuse(operation, refusal);
            return;
        }

        SnapHead head = PeekSnapshots(operation.Object);
        if (newest > head.Sequence && IsBeingCopied(operation.Object.WithSnapshot(newest)))
        {
            WaitFor(operation, operation.Object.WithSnapshot(newest)); // what is there is being removed from a copy that is filled
            return;
        }

        InFlightWrite write = _writePool.TryPop(out InFlightWrite? pooled) ? pooled : new InFlightWrite();
        var evaluation = new WriteEvaluation(_host.Store, _collection, _host.Options.LargestObjectBytes, LocalVersion(operation.Object), head, _pool, operation, write.Transaction, _steps);
        ResultCode result = evaluation.Run();
        if (result == ResultCode.Ok && evaluation.Grows && (operation.Flags & OperationFlags.FullTry) == 0 && (_pool.IsFull || !HasRoom(operation.Data.Length)))
        {
            _host.Reached(RarePath.NoSpace);
            result = ResultCode.NoSpace;
        }

        if (result != ResultCode.Ok || write.Transaction.Count == 0)
        {
            int answered = evaluation.Answered;
            if (Mutations.Active(Mutation.RefusalCountsAsDone))
            {
                _log.AddDuplicate(new DuplicateEntry(operation.Id, _committedTo, operation.Object.Hash));
            }

            Recycle(write);
            CompleteAfterWrites(operation, result, LocalVersion(operation.Object), answered, _steps.WrittenSpan, default);
            return;
        }

        if (evaluation.RollbackSource is { } source && !IsWritable(source))
        {
            Recycle(write);
            WaitFor(operation, source);
            return;
        }

        if (evaluation.RollbackSource is not null)
        {
            _host.Reached(RarePath.RolledBackToSnapshot);
        }

        Commit(operation, write, in evaluation, in head, newest);
    }

    // A write that would not fit on some member goes to none.
    private bool HasRoom(int bytes)
    {
        bytes += bytes > 0 ? Storage.ObjectStore.StoreLimits.BlockSize * 2 : 0; // its ends take whole blocks
        if ((_map.Flags & ClusterFlags.Full) != 0 || _host.FreeBytes(_host.Self) < bytes)
        {
            return false;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && _host.FreeBytes(peer.Osd) < bytes)
            {
                return false;
            }
        }

        return true;
    }

    private void Commit(ClientOperation operation, InFlightWrite write, in WriteEvaluation evaluation, in SnapHead head, ulong newest)
    {
        ObjectId id = operation.Object;
        var version = new PgVersion(Interval, _info.LastUpdate.Number + 1);
        bool stands = head.Packed.IsEmpty && newest == 0 ? evaluation.Exists : KeepForSnapshots(operation, write, in evaluation, in head, newest, version);
        if (stands)
        {
            SetVersion(write.Transaction, id, version);
        }

        byte[] reply = evaluation.HasInline ? _steps.ToArray() : [];
        write.Operation = operation;
        write.Entry = new PgLogEntry(version, evaluation.Prior, id, stands ? LogEntryKind.Modify : LogEntryKind.Delete, operation.Id, reply, write.Effects);
        long objects = (evaluation.Exists ? 1 : 0) - (evaluation.Existed ? 1 : 0) + write.Effects.Length;
        if (!CommitEntry(write, objects, evaluation.SizeAfter - evaluation.SizeBefore + write.CloneBytes, evaluation.RollbackSource))
        {
            _host.Reached(RarePath.NoSpace);
            Recycle(write);
            Refuse(operation, ResultCode.NoSpace);
            return;
        }

        _host.Counters.Writes++;
        _host.Counters.WriteBytes += operation.Data.Length;
    }

    // Applies a write here and sends it to the members. Its data may rest on another object than the entry's, the source.
    // False if there is no room: then nothing was applied and nobody was told, as if it had never been.
    private bool CommitEntry(InFlightWrite write, long objectsAdded, long bytesAdded, ObjectId? source)
    {
        // Invariant 1: all members are at hand, and there are enough of them.
        Invariant.Holds(CanServe && HasUpThru(), "a write begins in a PG that is not active with min_size members, or has no up_thru");
        ObjectId id = write.Entry.Object;
        PgVersion version = write.Entry.Version;
        Invariant.Holds(version > _info.LastUpdate, "a new write is not newer than the last one");
        if (!write.Entry.IsLost)
        {
            write.Entry = write.Entry with { Touched = TouchedRange.Of(write.Transaction, _collection, id) };
        }

        PgVersion before = _info.LastUpdate;
        long objects = _info.Objects, bytes = _info.Bytes;
        bool estimated = _info.CountsEstimated;
        _info.Objects += objectsAdded;
        _info.Bytes += bytesAdded;
        _info.LastUpdate = version;
        if (write.Entry.IsLost)
        {
            DoubtCounts(_transaction);
        }

        write.Counts = new PgVersionAndCounts(ChooseTrim(), _info.Objects, _info.Bytes);

        _transaction.Append(write.Transaction);
        SnapshotIndex.Follow(_host.Store, _transaction, _collection, id, write.Transaction);
        AppendWrite(_transaction, in write.Entry, write.Counts.TrimTo > _info.LogTail ? write.Counts.TrimTo : _info.LogTail);
        if (!TrySubmit(_transaction, CommitKind.LocalWrite, version: version))
        {
            _info.LastUpdate = before;
            _info.Objects = objects;
            _info.Bytes = bytes;
            _info.CountsEstimated = estimated;
            return false;
        }

        _forgetBefore = 0;
        _scrub?.OnWrite(id, _info.Objects - objects, _info.Bytes - bytes);
        _log.Add(in write.Entry);
        NoteRecounted(id, _info.Objects - objects, _info.Bytes - bytes);
        TrimLog(write.Counts.TrimTo);
        _inFlight.Enqueue(write);
        ref ObjectWrites writes = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_writing, id, out _);
        writes.Count++;
        writes.Last = version;
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated)
            {
                if (!Mutations.Active(Mutation.BackfillWritesAhead) && peer.Backfill is { } backfill)
                {
                    NoteWrite(peer, backfill, write, source);
                }

                SendWrite(peer, write);
            }
        }

        return true;
    }

    // What a member that is being filled gets of a write.
    private void NoteWrite(PeerState peer, Backfill backfill, InFlightWrite write, ObjectId? source)
    {
        ObjectId id = write.Entry.Object;
        bool withData = peer.Info.Covers(id) || backfill.NoteWrite(id);
        if (withData && source is not null && !peer.Info.Covers(source) && !backfill.IsDone(source))
        {
            backfill.NoteStale(id); // it lacks what the write copies from
            withData = false;
        }

        if (!withData)
        {
            _host.Reached(RarePath.BackfillEntryOnly);
            write.EntryOnly.Add(peer.Osd);
        }

        if (write.Entry.Clones.Length > 0)
        {
            NoteClones(peer, backfill, write, withData);
        }
    }

    private void SendWrite(PeerState peer, InFlightWrite write)
    {
        bool withData = !write.EntryOnly.Contains(peer.Osd);
        WireWriter body = Begin();
        body.WriteBoolean(withData);
        body.WriteVersion(write.Counts.TrimTo);
        body.WriteInt64(write.Counts.Objects);
        body.WriteInt64(write.Counts.Bytes);
        write.Entry.Encode(body);
        int countAt = body.Length, count = 0;
        body.WriteInt32(0);
        foreach ((OsdId osd, ulong snapshot) in write.Behind)
        {
            if (!withData && osd == peer.Osd)
            {
                body.WriteUInt64(snapshot);
                count++;
            }
        }

        body.PatchInt32(countAt, count);

        _pieces.Clear();
        if (withData)
        {
            _host.Spend(peer.Osd, write.Transaction.DataLength);
            write.Transaction.Encode(body);
            foreach (ref readonly TransactionStep step in write.Transaction.Steps)
            {
                if (step.Code == TransactionCode.Write && !step.Data.IsEmpty)
                {
                    _pieces.Add(step.Data);
                }
            }
        }

        _host.Send(peer.Osd, OsdMessageType.ReplicaWrite, body, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_pieces));
    }

    private void ResendWrites(OsdId osd)
    {
        if (_phase == GroupPhase.Active && _peers.TryGetValue(osd, out PeerState? peer) && peer.IsActivated)
        {
            foreach (InFlightWrite write in _inFlight)
            {
                if (write.Entry.Version > peer.Durable && !Mutations.Active(Mutation.ReplicaSkipsGaps))
                {
                    _host.Reached(RarePath.WriteResent);
                    SendWrite(peer, write);
                }
            }

            _leaseSentAt = s_never;
            RenewLease();
        }
    }

    private void OnLocalWriteDurable(PgVersion version)
    {
        _localDurable = version;
        AdvanceCommitted();
    }

    private void HandleReplicaWriteReply(OsdId from, ref WireReader reader)
    {
        PgVersion version = reader.ReadPgVersion();
        if (_phase == GroupPhase.Active && _peers.TryGetValue(from, out PeerState? peer) && peer.IsActivated && version > peer.Durable)
        {
            Invariant.Holds(version <= _info.LastUpdate, "a member has a write durable that its primary never made");
            peer.Durable = version;
            AdvanceCommitted();
        }
    }

    private void AdvanceCommitted()
    {
        if (_phase != GroupPhase.Active)
        {
            return;
        }

        // Members make entries durable in order, so the lowest of their positions is durable everywhere.
        PgVersion all = Mutations.Active(Mutation.AckBeforeOwnDisk) ? _info.LastUpdate : _localDurable;
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && peer.Durable < all && !Mutations.Active(Mutation.AckBeforeReplicas))
            {
                all = peer.Durable;
            }
        }

        bool any = false;
        while (_inFlight.TryPeek(out InFlightWrite? write) && write.Entry.Version <= all)
        {
            _inFlight.Dequeue();
            _committedTo = write.Entry.Version;
            any = true;
            Acknowledge(write);
        }

        if (any)
        {
            ReleaseDeferred();
            ContinueDraining();
        }
    }

    private void Acknowledge(InFlightWrite write)
    {
        Invariant.Holds(_acting.Length >= _pool.MinSize, "a write is acknowledged with fewer members than min_size");
        Invariant.Holds(Mutations.Active(Mutation.AckBeforeOwnDisk) || write.Entry.Version <= _localDurable, "a write is acknowledged that the primary's disk does not have");
        ref ObjectWrites writes = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrNullRef(_writing, write.Entry.Object);
        if (--writes.Count == 0)
        {
            _writing.Remove(write.Entry.Object);
        }

        if (write.IsTrim)
        {
            OnTrimmed(write.Entry.Object);
        }

        if (write.Operation is { } operation)
        {
            AnswerWritten(operation, write.Entry);
        }

        foreach (ClientOperation retry in write.Retries)
        {
            AnswerWritten(retry, write.Entry);
        }

        Recycle(write);
    }

    private void AnswerWritten(ClientOperation operation, PgLogEntry? entry, PgVersion version = default)
    {
        ReadOnlySpan<byte> steps = entry is { } known ? known.Reply : default;
        if (steps.IsEmpty)
        {
            _steps.Clear();
            for (int i = 0; i < operation.StepCount; i++)
            {
                OperationReply.EncodeStep(_steps, ResultCode.Ok, 0, default);
            }

            steps = _steps.WrittenSpan;
        }

        _host.Complete(operation, ResultCode.Ok, entry?.Version ?? version, operation.StepCount, steps);
    }

    // The operation was done before. Its first outcome stands; while that is not durable everywhere, the retry waits for it.
    private void AnswerRetry(ClientOperation operation, PgVersion version)
    {
        if (version <= _committedTo || Mutations.Active(Mutation.RetryAnsweredEarly))
        {
            PgLogEntry? entry = _log.Find(version);
            _host.Reached(entry is null ? RarePath.DuplicateBeyondLog : RarePath.DuplicateAnswered);
            if (version.Epoch < Interval)
            {
                _host.Reached(RarePath.DuplicateAfterFailover);
            }

            AnswerWritten(operation, entry, version);
            return;
        }

        foreach (InFlightWrite write in _inFlight)
        {
            if (write.Entry.Version == version)
            {
                _host.Reached(RarePath.DuplicateInFlight);
                write.Retries.Add(operation);
                return;
            }
        }

        Invariant.Fail($"pg {Id}: operation {operation.Id} at {version} is neither committed nor in flight");
    }

    // Answers once every write to the object that the answer may show is durable everywhere. Takes the data's references over.
    private void CompleteAfterWrites(ClientOperation operation, ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, ReadOnlySpan<BufferSegment> data, PgVersion? shows = null)
    {
        PgVersion after = shows ?? (_writing.TryGetValue(operation.Object, out ObjectWrites writes) ? writes.Last : PgVersion.Zero);

        if (after > _committedTo && !Mutations.Active(Mutation.ShowsUncommitted))
        {
            _host.Reached(RarePath.ReplyDeferred);
            _deferred.Add(new DeferredReply(after, operation, result, version, stepCount, steps.ToArray(), data.ToArray()));
            return;
        }

        _host.Complete(operation, result, version, stepCount, steps, data);
        ReleaseData(data);
    }

    private void ReleaseDeferred()
    {
        for (int i = 0; i < _deferred.Count; i++)
        {
            DeferredReply reply = _deferred[i];
            if (reply.After <= _committedTo)
            {
                _deferred.RemoveAt(i--);
                _host.Complete(reply.Operation, reply.Result, reply.Version, reply.StepCount, reply.Steps, reply.Data);
                ReleaseData(reply.Data);
            }
        }
    }

    private static void ReleaseData(ReadOnlySpan<BufferSegment> data)
    {
        foreach (BufferSegment segment in data)
        {
            segment.Buffer?.Release();
        }
    }

    private void Recycle(InFlightWrite write)
    {
        write.Reset();
        if (_writePool.Count < 64)
        {
            _writePool.Push(write);
        }
    }

    // The interval is over: whether a write in flight took effect, the next interval's log decides. Clients send again.
    private void AbandonWrites()
    {
        while (_inFlight.TryDequeue(out InFlightWrite? write))
        {
            if (write.Operation is { } operation)
            {
                _host.Reached(RarePath.WriteRequeued);
                if (Mutations.Active(Mutation.AcksAbandonedWrites))
                {
                    AnswerWritten(operation, write.Entry);
                }
                else
                {
                    Requeue(operation);
                }
            }

            write.Retries.ForEach(Requeue);
            Recycle(write);
        }

        foreach (DeferredReply reply in _deferred)
        {
            ReleaseData(reply.Data);
            Requeue(reply.Operation);
        }

        _deferred.Clear();
        _writing.Clear();
        _committedTo = PgVersion.Zero;
        _localDurable = PgVersion.Zero;
        while (_stalled.TryDequeue(out StalledWrite stalled))
        {
            stalled.Transaction.Clear();
        }

        void Requeue(ClientOperation operation) => _waitingForActive.Enqueue(operation);
    }

    private PgVersion ChooseTrim()
    {
        if (_log.Count < _host.Options.LogEntries * 5 / 4 || _missing.Count > 0)
        {
            return PgVersion.Zero;
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && peer.Missing.Count > 0)
            {
                return PgVersion.Zero; // what is missing must stay in the log
            }
        }

        PgVersion to = _log.Entries.VersionAt(_log.Count - _host.Options.LogEntries);
        return Mutations.Active(Mutation.TrimsTooFar) ? _info.LastUpdate : to <= _committedTo ? to : PgVersion.Zero;
    }
}
