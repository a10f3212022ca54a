using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;

namespace Storage.Osd;

// Snapshots: the first change to an object after one keeps what it was as a clone, in the same transaction and log entry. Clones are
// objects of the PG like others: they have versions, can be missing, are recovered, backfilled and compared.
internal sealed partial class PlacementGroup
{
    private readonly Transaction _cloning = new();

    /// <summary>The id under which an object lies while its pieces arrive; never listed, never a client's.</summary>
    private static ObjectId ReceivingOf(ObjectId id) =>
        id.WithSnapshot(id.Snapshot == ObjectId.NoSnapshot ? ReceivingSnapshot : id.Snapshot | ReceivingClone);

    private static bool IsReceiving(ObjectId id) => id.Snapshot == ReceivingSnapshot || (id.Snapshot != ObjectId.NoSnapshot && id.Snapshot >= ReceivingClone);

    // Whether an object is a client's, or a clone of one: not the group's own record, nor a half that is arriving.
    private static bool IsContent(ObjectId id) => id.Name.Length > 0 && !IsReceiving(id);

    private SnapHead PeekSnapshots(ObjectId id)
    {
        if (_pool.SnapshotSequence == 0)
        {
            return default; // nobody can have made a clone
        }

        return _host.Store.TryGetAttribute(_collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed) ? SnapSet.Peek(packed) : default;
    }

    // What a client's read is about: the live object, a clone, or an id that no object has.
    private ObjectId ResolveRead(ClientOperation operation)
    {
        ObjectId id = operation.Object;
        ulong snapshot = operation.ReadSnapshot;
        if (_pool.SnapshotSequence == 0 || id.Name.Length == 0)
        {
            return id;
        }

        SnapHead head = PeekSnapshots(id);
        if (snapshot == ObjectId.NoSnapshot)
        {
            return head.IsTombstone ? id.WithSnapshot(0) : id;
        }

        if (_pool.RemovedSnapshots.Contains(snapshot))
        {
            return id.WithSnapshot(0);
        }

        ulong shown = head.ToSet().Resolve(snapshot);
        return shown == ObjectId.NoSnapshot ? id : id.WithSnapshot(shown);
    }

    private bool TryJudgeSnapshots(ClientOperation operation, out ulong newest, out ResultCode refusal)
    {
        newest = 0;
        refusal = ResultCode.Ok;
        if ((operation.Flags & OperationFlags.Snapshots) == 0)
        {
            return true;
        }

        if (operation.SnapshotBarrier < _pool.SnapshotBarrier && !Mutations.Active(Mutation.StaleSnapshotsAccepted))
        {
            // Some snapshot was taken or removed since the sender read its list; it may be one of this object's.
            _host.Reached(RarePath.StaleSnapshotsRefused);
            refusal = ResultCode.StaleSnapshots;
            return false;
        }

        ReadOnlySpan<byte> list = operation.Snapshots;
        ulong before = ulong.MaxValue;
        for (int at = 0; at < list.Length; at += 8)
        {
            ulong snapshot = BinaryPrimitives.ReadUInt64LittleEndian(list[at..]);
            if (snapshot == 0 || snapshot >= before || snapshot > _pool.SnapshotSequence)
            {
                refusal = ResultCode.Invalid;
                return false;
            }

            before = snapshot;
            if (newest == 0 && !_pool.RemovedSnapshots.Contains(snapshot))
            {
                newest = snapshot;
            }
        }

        return true;
    }

    private ulong[] SnapshotsAbove(ClientOperation operation, ulong sequence)
    {
        var snapshots = new List<ulong>();
        ReadOnlySpan<byte> list = operation.Snapshots;
        for (int at = 0; at < list.Length; at += 8)
        {
            ulong snapshot = BinaryPrimitives.ReadUInt64LittleEndian(list[at..]);
            if (snapshot > sequence && !_pool.RemovedSnapshots.Contains(snapshot))
            {
                snapshots.Add(snapshot);
            }
        }

        return [.. snapshots];
    }

    // Adds to a write what snapshots ask for. Says whether an object stands under the head's id afterwards, live or as a tombstone.
    private bool KeepForSnapshots(ClientOperation operation, InFlightWrite write, in WriteEvaluation evaluation, in SnapHead head, ulong newest, PgVersion version)
    {
        write.CloneBytes = 0;
        bool advances = newest > head.Sequence;
        if (!advances && evaluation.Exists && !evaluation.Replaced && !head.IsTombstone)
        {
            return true;
        }

        ObjectId id = operation.Object;
        SnapSet set = head.ToSet();
        if (advances)
        {
            SnapClone? clone = null;
            if (evaluation.Existed && !Mutations.Active(Mutation.CloneForgotten))
            {
                clone = new SnapClone(newest, evaluation.SizeBefore, SnapshotsAbove(operation, head.Sequence));
                CloneFirst(write, id, id.WithSnapshot(newest), !head.Packed.IsEmpty, version);
                write.CloneBytes = evaluation.SizeBefore;
            }

            set = set.Advance(newest, clone);
        }

        if (!evaluation.Exists && set.Clones.Length == 0)
        {
            return false;
        }

        if (!evaluation.Exists)
        {
            _host.Reached(RarePath.TombstoneMade);
            write.Transaction.Touch(_collection, id);
        }

        if (set.Sequence > 0)
        {
            write.Transaction.SetAttribute(_collection, id, SnapSet.Attribute, set.WithTombstone(!evaluation.Exists && !Mutations.Active(Mutation.TombstoneForgotten)).Encode());
        }

        return true;
    }

    // The object is cloned before any other step of the transaction.
    private void CloneFirst(InFlightWrite write, ObjectId id, ObjectId clone, bool hasSet, PgVersion version)
    {
        _host.Reached(RarePath.CloneMade);
        AppendClone(_cloning, id, clone, hasSet, version);
        _cloning.Append(write.Transaction);
        write.Transaction.Clear();
        write.Transaction.Append(_cloning);
        _cloning.Clear();
        write.Effects = [new CloneEffect(clone.Snapshot, LogEntryKind.Modify, PgVersion.Zero)];
    }

    private void AppendClone(Transaction transaction, ObjectId id, ObjectId clone, bool hasSet, PgVersion version)
    {
        transaction.Clone(_collection, id, clone);
        if (hasSet)
        {
            transaction.RemoveAttribute(_collection, clone, SnapSet.Attribute);
        }

        SetVersion(transaction, clone, version);
    }

    // What becomes of an entry's clones on a member that is being filled. One that lacks the live object gets the entry alone: of the clones,
    // those behind its cursor then have to be brought to it, and those in the present batch are looked at again.
    private void NoteClones(PeerState peer, Backfill backfill, InFlightWrite write, bool withData)
    {
        foreach (CloneEffect effect in write.Entry.Clones)
        {
            ObjectId clone = write.Entry.Object.WithSnapshot(effect.Snapshot);
            bool covered = peer.Info.Covers(clone);
            if (withData && !covered)
            {
                backfill.NoteDone(clone);
            }
            else if (!withData && covered)
            {
                _host.Reached(RarePath.CloneBehindCursor);
                write.Behind.Add((peer.Osd, effect.Snapshot));
                if (effect.Kind == LogEntryKind.Modify)
                {
                    peer.Missing[clone] = write.Entry.Version;
                }
            }
            else if (!withData)
            {
                backfill.NoteStale(clone);
            }
        }
    }

    // The same on the member: the objects of the entry that its cursor covers, where it gets no data.
    private void TakeClonesBehind(StalledWrite write, List<ObjectId> missing)
    {
        foreach (ulong snapshot in write.Behind)
        {
            ObjectId clone = write.Entry.Object.WithSnapshot(snapshot);
            CloneEffect effect = Array.Find(write.Entry.Clones, effect => effect.Snapshot == snapshot);
            Invariant.Holds(effect.Snapshot == snapshot && _info.Covers(clone));
            if (effect.Kind == LogEntryKind.Delete)
            {
                RemoveObject(_transaction, clone);
            }
            else if (LocalVersion(clone) != write.Entry.Version)
            {
                _transaction.SetOmap(_collection, MetaObject, ObjectKey('M', clone), EncodeNeed(write.Entry.Version));
                missing.Add(clone);
            }
        }
    }

    private static byte[] EncodeNeed(PgVersion version)
    {
        var writer = new WireWriter(12);
        Protocol.WireExtensions.WriteVersion(writer, version);
        return writer.ToArray();
    }

    // Removes an object here, and what the index says of it.
    private void RemoveObject(Transaction transaction, ObjectId id)
    {
        if (id.Snapshot == ObjectId.NoSnapshot && _host.Store.TryGetAttribute(_collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed))
        {
            SnapshotIndex.Update(transaction, _collection, id, packed.Span, default);
        }

        transaction.Remove(_collection, id);
    }

    /// <summary>See <see cref="OsdDaemon.FindSnapshotFault"/>.</summary>
    public string? FindSnapshotFault(SnapshotIntervals live)
    {
        var ids = new List<ObjectId>();
        _host.Store.ListObjects(_collection, null, int.MaxValue, ids);
        var clones = new HashSet<ObjectId>(ids.Where(id => IsContent(id) && id.Snapshot != ObjectId.NoSnapshot));
        var expected = new SortedSet<string>(StringComparer.Ordinal);
        foreach (ObjectId id in ids)
        {
            if (!IsContent(id) || id.Snapshot != ObjectId.NoSnapshot || !_host.Store.TryGetAttribute(_collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed))
            {
                continue;
            }

            SnapSet set = SnapSet.Decode(packed.Span);
            if (set.IsTombstone && set.Clones.Length == 0)
            {
                return $"{id} is a tombstone without clones";
            }

            foreach (SnapClone clone in set.Clones)
            {
                if (!clones.Remove(id.WithSnapshot(clone.Id)) || !_host.Store.TryStat(_collection, id.WithSnapshot(clone.Id), out long size) || size != clone.Size)
                {
                    return $"{id} should have clone {clone.Id} of {clone.Size} bytes";
                }

                foreach (ulong snapshot in clone.Snapshots)
                {
                    expected.Add(Convert.ToHexString(SnapshotIndex.Key(snapshot, id)));
                    if (!live.Contains(snapshot))
                    {
                        return $"clone {clone.Id} of {id} is kept for snapshot {snapshot}, which is removed";
                    }
                }
            }
        }

        if (clones.Count > 0)
        {
            return $"clone {clones.First()} belongs to no object";
        }

        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        _host.Store.ListOmap(_collection, SnapshotIndex.Object, default, int.MaxValue, entries);
        return expected.SetEquals(entries.Select(entry => Convert.ToHexString(entry.Key.Span)))
            ? null
            : $"the index has {entries.Count} entries, the objects {expected.Count}";
    }

    private ResultCode ListSnapshots(ObjectId id, WireWriter reply)
    {
        bool exists = _host.Store.TryStat(_collection, id, out _);
        SnapHead head = PeekSnapshots(id);
        if (!exists)
        {
            return ResultCode.NotFound;
        }

        SnapSet set = head.ToSet();
        var answer = new WireWriter(64);
        answer.WriteUInt64(set.Sequence);
        answer.WriteBoolean(!set.IsTombstone);
        SnapClone[] clones = Array.FindAll(set.Clones, clone => Array.Exists(clone.Snapshots, snapshot => !_pool.RemovedSnapshots.Contains(snapshot)));
        answer.WriteInt32(clones.Length);
        foreach (SnapClone clone in clones)
        {
            ulong[] snapshots = Array.FindAll(clone.Snapshots, snapshot => !_pool.RemovedSnapshots.Contains(snapshot));
            answer.WriteUInt64(clone.Id);
            answer.WriteInt64(clone.Size);
            answer.WriteInt32(snapshots.Length);
            foreach (ulong snapshot in snapshots)
            {
                answer.WriteUInt64(snapshot);
            }
        }

        OperationReply.EncodeStep(reply, ResultCode.Ok, 0, answer.WrittenSpan);
        return ResultCode.Ok;
    }
}
