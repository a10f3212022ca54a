using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;

namespace Storage.Osd;

// Splitting: the pool's pg_num grew, and some of this PG's objects belong to other PGs now. Every OSD splits its own copy, whatever
// state that is in, when it takes the map; what comes out depends on the copy and the two pg_nums alone. Parent and children
// start a new interval and peer as ever, each with the parent's past.
internal sealed partial class PlacementGroup
{
    private const int RecountBatch = 1024;
    private const int IndexBatch = 4096;

    // Objects of this PG have so many low bits of the hash in common with the seed.
    private int _hashBits;

    // Objects up to here are in the new count; null while none is under way.
    private ObjectId? _recountedTo;
    private long _recountedObjects;
    private long _recountedBytes;

    private bool Holds(uint hash) => PgSplit.Holds(hash, Id.Seed, _hashBits);

    // The interval has ended and the new map is taken. Each child is made by one transaction (after its part of the snapshot index), the parent
    // comes last: a process that dies in
    // between finds the parent as it was, by an older map than the children that it has already, and makes the others.
    private void Split(List<uint> seeds, int countBefore, GroupPhase phaseBefore, bool wasBackfilling)
    {
        NoteSplit(phaseBefore, wasBackfilling);
        if (_receiving.Count > 0)
        {
            DropReceived();
        }

        int bitsBefore = PgSplit.BitsOf(Id.Seed, countBefore);
        long objects = _info.Objects, bytes = _info.Bytes;
        _info.CountsEstimated |= objects > 0 || bytes != 0;
        var children = new List<PlacementGroup>(seeds.Count);
        foreach (uint seed in seeds)
        {
            // Objects spread evenly over hashes; the next primary counts.
            var id = new PgId(Id.Pool, seed);
            int halvings = Math.Min(PgSplit.BitsOf(seed, _pool.PgCount) - bitsBefore, 62);
            _info.Objects -= objects >> halvings;
            _info.Bytes -= bytes >> halvings;
            if (!_host.Hosts(id))
            {
                children.Add(MakeChild(id, objects >> halvings, bytes >> halvings));
            }
        }

        ForgetIndexEntries();
        KeepOwn();
        PersistInfo(_transaction);
        PersistHistory(_transaction);
        SubmitMeta(_transaction);
        AbandonOperations();
        RerouteForeign();
        foreach (PlacementGroup child in children)
        {
            _host.Added(child);
        }
    }

    private void NoteSplit(GroupPhase phaseBefore, bool wasBackfilling)
    {
        _host.Reached(RarePath.GroupSplit);
        if (phaseBefore is not (GroupPhase.Replica or GroupPhase.Active))
        {
            _host.Reached(RarePath.SplitWhilePeering);
        }

        if (wasBackfilling || !_info.IsComplete)
        {
            _host.Reached(RarePath.SplitWhileBackfilling);
        }

        if (!_map.IsUp(_host.Self))
        {
            _host.Reached(RarePath.SplitOnReturningOsd);
        }
    }

    private PlacementGroup MakeChild(PgId id, long objects, long bytes)
    {
        var child = new PlacementGroup(_host, id, _map, _info.Copy(), _history.Copy())
        {
            _leasePromisedUntil = Mutations.Active(Mutation.SplitForgetsPromise) ? s_never : _leasePromisedUntil, // it was given for these objects too
        };

        child._info.Objects = objects;
        child._info.Bytes = bytes;
        Transaction transaction = child._transaction;
        transaction.CreateCollection(child._collection);
        CopyIndexEntries(child);
        if (!Mutations.Active(Mutation.SplitLeavesObjects))
        {
            transaction.SplitCollection(_collection, child._hashBits, id.Seed, child._collection);
        }

        transaction.Touch(child._collection, MetaObject);
        _log.CopyTo(child._log, id.Seed, child._hashBits);
        foreach (DuplicateEntry duplicate in Mutations.Active(Mutation.SplitForgetsDuplicates) ? [] : child._log.Duplicates)
        {
            child.PersistDuplicate(transaction, duplicate);
        }

        foreach (PgLogEntry entry in child._log.Entries)
        {
            child.PersistEntry(transaction, entry);
        }

        foreach ((ObjectId missing, PgVersion need) in _missing)
        {
            if (child.Holds(missing.Hash) && !Mutations.Active(Mutation.SplitForgetsMissing))
            {
                child.SetMissing(transaction, missing, need);
            }
        }

        foreach (ObjectId damaged in _damaged)
        {
            if (child.Holds(damaged.Hash))
            {
                child._damaged.Add(damaged);
                transaction.SetOmap(child._collection, MetaObject, ObjectKey('B', damaged), ReadOnlyMemory<byte>.Empty);
            }
        }

        foreach (ScrubFinding finding in _findings.Values)
        {
            if (child.Holds(finding.Object.Hash))
            {
                child.SetFinding(finding);
            }
        }

        child.UpdateScrubErrors();

        child.PersistInfo(transaction);
        child.PersistHistory(transaction);
        child.SubmitMeta(transaction);
        return child;
    }

    // A long index takes several transactions. A collection without the PG's own record is no PG: should the process die now, it is filled again.
    private void CopyIndexEntries(PlacementGroup child)
    {
        ListIndex(keys =>
        {
            foreach (ReadOnlyMemory<byte> key in keys)
            {
                if (child.Holds(SnapshotIndex.IdOf(key.Span).Hash))
                {
                    child._transaction.SetOmap(child._collection, SnapshotIndex.Object, key, ReadOnlyMemory<byte>.Empty);
                }
            }

            if (child._transaction.Count > 1)
            {
                child.SubmitMeta(child._transaction);
            }
        });
    }

    private void ForgetIndexEntries() => ListIndex(keys =>
    {
        foreach (ReadOnlyMemory<byte> key in keys)
        {
            if (!Holds(SnapshotIndex.IdOf(key.Span).Hash))
            {
                _transaction.RemoveOmap(_collection, SnapshotIndex.Object, key);
            }
        }

        if (_transaction.Count > 0)
        {
            SubmitMeta(_transaction);
        }
    });

    private void ListIndex(Action<IEnumerable<ReadOnlyMemory<byte>>> page)
    {
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        byte[] from = [];
        bool more = true;
        while (more)
        {
            entries.Clear();
            more = _host.Store.ListOmap(_collection, SnapshotIndex.Object, from, IndexBatch, entries);
            if (entries.Count > 0)
            {
                from = [.. entries[^1].Key.Span, 0];
                page(entries.Select(entry => entry.Key));
            }
        }
    }

    // Takes what went to the children out of log, duplicates, missing set and what is known to be bad.
    private void KeepOwn()
    {
        int bits = Mutations.Active(Mutation.SplitKeepsForeignLog) ? 0 : _hashBits;
        var own = new PgLog();
        bool changed = !_log.CopyTo(own, Id.Seed, bits);
        _log.Clear();
        own.CopyTo(_log, Id.Seed, bits);
        if (changed)
        {
            RewriteLog(_transaction);
        }

        foreach (ObjectId id in _missing.Keys.Where(id => !Holds(id.Hash)).ToArray())
        {
            ClearMissing(_transaction, id);
        }

        foreach (ObjectId id in _damaged.Where(id => !Holds(id.Hash)).ToArray())
        {
            _damaged.Remove(id);
            _transaction.RemoveOmap(_collection, MetaObject, ObjectKey('B', id));
        }

        foreach (ObjectId id in _findings.Keys.Where(id => !Holds(id.Hash)).ToArray())
        {
            RemoveFinding(id);
        }

        UpdateScrubErrors();
    }

    private void RerouteForeign()
    {
        for (int i = _waitingForActive.Count; i > 0; i--)
        {
            ClientOperation operation = _waitingForActive.Dequeue();
            if (Holds(operation.Object.Hash))
            {
                _waitingForActive.Enqueue(operation);
            }
            else
            {
                _host.Reached(RarePath.OperationRerouted);
                _host.Reroute(operation);
            }
        }
    }

    // How long versions were that were given up is not known.
    private void DoubtCounts(Transaction transaction)
    {
        _info.CountsEstimated = true;
        _recountedTo = null;
        PersistInfo(transaction);
    }

    // Where counts are an estimate the primary counts its objects anew, some at each tick; writes keep the part that is counted right.
    private void TickRecount()
    {
        if (!_info.CountsEstimated || _phase != GroupPhase.Active || _missing.Count > 0 || _recovering.Count > 0)
        {
            return;
        }

        if (_recountedTo is null)
        {
            _recountedTo = MetaObject;
            _recountedObjects = _recountedBytes = 0;
        }

        // An object and its clones are counted together: a write changes both.
        var ids = new List<ObjectId>();
        bool more = true;
        int end = -1;
        for (int limit = RecountBatch; more && end < 0; limit *= 2)
        {
            ids.Clear();
            more = _host.Store.ListObjects(_collection, _recountedTo, limit, ids);
            end = more ? ids.FindLastIndex(id => id.Snapshot == ObjectId.NoSnapshot && id > _recountedTo) : ids.Count - 1;
        }

        foreach (ObjectId id in ids.Take(end + 1))
        {
            if (IsContent(id) && id > _recountedTo && !(id.Snapshot == ObjectId.NoSnapshot && PeekSnapshots(id).IsTombstone)
                && _host.Store.TryStat(_collection, id, out long size))
            {
                _recountedObjects++;
                _recountedBytes += size;
            }
        }

        if (more)
        {
            _recountedTo = ids[end];
            return;
        }

        _info.Objects = _recountedObjects;
        _info.Bytes = _recountedBytes;
        _info.CountsEstimated = false;
        _recountedTo = null;
        PersistInfo(_transaction);
        SubmitMeta(_transaction);
        _host.StateChanged();
    }

    private void NoteRecounted(ObjectId id, long objects, long bytes)
    {
        if (_recountedTo is not null && id <= _recountedTo)
        {
            _recountedObjects += objects;
            _recountedBytes += bytes;
        }
    }
}
