using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// Writes on the members that are not the primary.
internal sealed partial class PlacementGroup
{
    private readonly Queue<StalledWrite> _stalled = new();

    private readonly List<ObjectId> _behindMissing = [];

    private readonly Stack<Transaction> _replicaTransactions = new();

    // A write that this full disk could not take yet; those after it wait too.
    private readonly record struct StalledWrite(OsdId Primary, Epoch Interval, PgLogEntry Entry, bool WithData, ulong[] Behind, PgVersionAndCounts Counts, Transaction Transaction);

    private void HandleReplicaWrite(OsdId from, ref WireReader reader, BufferSegment data)
    {
        if (from != Primary || !_replicaActive)
        {
            return;
        }

        bool withData = reader.ReadBoolean();
        var counts = new PgVersionAndCounts(reader.ReadPgVersion(), reader.ReadInt64(), reader.ReadInt64());
        PgLogEntry entry = PgLogEntry.Decode(ref reader);
        int count = reader.ReadCount(8);
        ulong[] behind = count == 0 ? [] : new ulong[count];
        for (int i = 0; i < count; i++)
        {
            behind[i] = reader.ReadUInt64();
        }

        _host.AccountClient(data.Length);
        if (entry.Version <= _info.LastUpdate)
        {
            // Sent again. What is applied may not be durable yet, so the answer follows an empty transaction.
            _host.Reached(RarePath.ReplicaWriteRepeated);
            if (Mutations.Active(Mutation.RepeatedWriteConfirmedEarly))
            {
                AnswerReplicaWrite(from, entry.Version);
            }

            SubmitMeta(_transaction, CommitKind.ReplicaWrite, from, entry.Version);
            return;
        }

        if (!Mutations.Active(Mutation.ReplicaSkipsGaps) && entry.Version.Number != (_stalled.Count > 0 ? _stalled.Last().Entry.Version.Number : _info.LastUpdate.Number) + 1)
        {
            foreach (StalledWrite stalled in _stalled)
            {
                if (stalled.Entry.Version == entry.Version)
                {
                    return;
                }
            }

            throw new MalformedDataException($"pg {Id}: write {entry.Version} follows {_info.LastUpdate}");
        }

        Transaction transaction = _replicaTransactions.TryPop(out Transaction? pooled) ? pooled : new Transaction();
        if (withData)
        {
            transaction.Decode(ref reader, data);
            foreach (ref readonly TransactionStep step in transaction.Steps)
            {
                if (step.Collection != _collection || !IsOf(entry.Object, step.Object) || (step.Destination is { } destination && !IsOf(entry.Object, destination)))
                {
                    transaction.Clear();
                    throw new MalformedDataException($"pg {Id}: a write of {entry.Object} that reaches outside the PG");
                }
            }
        }

        var write = new StalledWrite(from, Interval, entry, withData, behind, counts, transaction);
        if (_stalled.Count > 0 || !TryApply(in write))
        {
            _host.Reached(RarePath.ReplicaWriteStalled);
            _stalled.Enqueue(write);
        }
    }

    private static bool IsOf(ObjectId head, ObjectId? id) =>
        id is not null && id.Hash == head.Hash && id.Name.Length > 0 && string.Equals(id.Name, head.Name, StringComparison.Ordinal);

    private bool TryApply(in StalledWrite write)
    {
        if (write.Entry.IsLost)
        {
            Require(write.Entry.Object, write.Entry.VersionAfter);
            foreach (CloneEffect effect in write.Entry.Clones)
            {
                Require(write.Entry.Object.WithSnapshot(effect.Snapshot), effect.Kind == LogEntryKind.Delete ? PgVersion.Zero : write.Entry.Version);
            }
        }

        Invariant.Holds(write.Entry.IsLost || !_missing.ContainsKey(write.Entry.Object), "a write reaches a copy that misses the object");
        Invariant.Holds(write.Entry.IsLost || write.WithData || !_info.Covers(write.Entry.Object), "a write without its data reaches a copy that has the object");
        _behindMissing.Clear();
        if (write.Behind.Length > 0)
        {
            TakeClonesBehind(write, _behindMissing);
        }

        PgVersion before = _info.LastUpdate;
        PgVersion trim = write.Counts.TrimTo <= before ? write.Counts.TrimTo : PgVersion.Zero;
        _transaction.Append(write.Transaction);
        if (Mutations.Active(Mutation.SnapSetNotReplicated) && Array.Exists(write.Entry.Clones, effect => effect.Kind == LogEntryKind.Modify))
        {
            _transaction.RemoveAttribute(_collection, write.Entry.Object, SnapSet.Attribute);
        }

        if (!Mutations.Active(Mutation.SnapshotIndexNotReplicated))
        {
            SnapshotIndex.Follow(_host.Store, _transaction, _collection, write.Entry.Object, write.Transaction);
        }

        _info.LastUpdate = write.Entry.Version;
        (long objects, long bytes, bool estimated) = (_info.Objects, _info.Bytes, _info.CountsEstimated);
        _info.Objects = write.Counts.Objects;
        _info.Bytes = write.Counts.Bytes;
        if (write.Entry.IsLost)
        {
            DoubtCounts(_transaction);
        }

        AppendWrite(_transaction, write.Entry, trim > _info.LogTail ? trim : _info.LogTail);
        if (!TrySubmit(_transaction, CommitKind.ReplicaWrite, write.Primary, write.Entry.Version))
        {
            _info.LastUpdate = before;
            _info.Objects = objects;
            _info.Bytes = bytes;
            _info.CountsEstimated = estimated;
            return false;
        }

        _forgetBefore = 0;
        foreach (ObjectId clone in _behindMissing)
        {
            _missing[clone] = write.Entry.Version;
        }

        _log.Add(write.Entry);
        TrimLog(trim);
        if (Mutations.Active(Mutation.ReplicaAcksOnReceipt))
        {
            AnswerReplicaWrite(write.Primary, write.Entry.Version);
        }

        write.Transaction.Clear();
        if (_replicaTransactions.Count < 16)
        {
            _replicaTransactions.Push(write.Transaction);
        }

        return true;
    }

    private void RetryStalledWrites()
    {
        while (_stalled.TryPeek(out StalledWrite write) && TryApply(in write))
        {
            _stalled.Dequeue();
        }
    }

    private void AnswerReplicaWrite(OsdId primary, PgVersion version)
    {
        WireWriter body = Begin();
        body.WriteVersion(version);
        _host.Answer(primary, OsdMessageType.ReplicaWriteReply, body);
    }
}
