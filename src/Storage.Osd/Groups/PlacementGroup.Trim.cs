using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Osd;

// Clones of removed snapshots go in the background, an object at a time, while the group is clean. The snapshot index is the list of what
// is left, so a new primary goes on where the old one was.
internal sealed partial class PlacementGroup
{
    private readonly Dictionary<ObjectId, TrimStep> _trimming = [];
    private readonly List<ObjectId> _trimmable = [];
    private readonly List<ulong> _dropped = [];

    // An object that waits for its turn, or whose trim is not durable everywhere yet.
    private sealed class TrimStep(PlacementGroup group, ObjectId id) : WorkItem
    {
        protected internal override bool Run()
        {
            if (group.CanTrim && group.TryTrim(id))
            {
                return false;
            }

            group._trimming.Remove(id); // the next tick tries again
            return true;
        }
    }

    // Removed snapshots of which no member holds a clone, found in this interval while the group was clean.
    private SnapshotIntervals _purged = SnapshotIntervals.Empty;

    // Snapshots were removed already when the interval began.
    private bool _trimInherited;

    private SnapshotIntervals SnapshotsToTrim => _pool.RemovedSnapshots.IsEmpty ? SnapshotIntervals.Empty : _pool.RemovedSnapshots.Except(_purged);

    private bool CanTrim => IsClean && CanServe && !HasMissing();

    private void TickTrim()
    {
        if (!_pool.RemovedSnapshots.IsEmpty)
        {
            ContinueTrim();
        }
    }

    private void TrimMapChanged()
    {
        _purged = _purged.IsEmpty ? _purged : _purged.Intersect(_pool.RemovedSnapshots);
        TickTrim();
    }

    private void AbandonTrim()
    {
        _trimming.Clear();
        _purged = SnapshotIntervals.Empty;
        _trimInherited = !_pool.RemovedSnapshots.IsEmpty;
    }

    private void ContinueTrim()
    {
        if (!CanTrim || _trimming.Count >= _host.Options.TrimObjectsPerGroup)
        {
            return;
        }

        foreach (ulong snapshot in SnapshotsToTrim.Ids())
        {
            _trimmable.Clear();
            SnapshotIndex.List(_host.Store, _collection, snapshot, _host.Options.TrimObjectsPerGroup + _trimming.Count, _trimmable);
            if (_trimmable.Count == 0 && _trimming.Count == 0)
            {
                // Entries leave the index when a trim is submitted; none is under way, so all that left it is gone from every member.
                _purged = _purged.Add(snapshot);
                _host.StateChanged();
                continue;
            }

            foreach (ObjectId id in _trimmable)
            {
                if (_trimming.Count >= _host.Options.TrimObjectsPerGroup)
                {
                    return;
                }

                if (!_trimming.ContainsKey(id))
                {
                    var step = new TrimStep(this, id);
                    _trimming.Add(id, step);
                    _host.Schedule(this, step, WorkClass.Trim, 0);
                }
            }
        }
    }

    // The mutation's view of what was removed: also the snapshots that the oldest clone, if it is not the only one, still shows.
    private SnapshotIntervals WithOldestClone(SnapSet set)
    {
        SnapshotIntervals removed = _pool.RemovedSnapshots;
        if (set.Clones.Length > 1)
        {
            foreach (ulong snapshot in set.Clones.MinBy(clone => clone.Id)!.Snapshots.Where(snapshot => !removed.Contains(snapshot)))
            {
                removed = removed.Add(snapshot);
            }
        }

        return removed;
    }

    private bool TryTrim(ObjectId id)
    {
        SnapHead head = PeekSnapshots(id);
        Invariant.Holds(!head.Packed.IsEmpty);
        _dropped.Clear();
        SnapSet before = head.ToSet();
        SnapSet set = before.Trim(Mutations.Active(Mutation.TrimsLiveClone) ? WithOldestClone(before) : _pool.RemovedSnapshots, _dropped);
        if (ReferenceEquals(set, before) || !IsWritable(id) || !(Mutations.Active(Mutation.TrimsMissingClones) || _dropped.TrueForAll(clone => IsWritable(id.WithSnapshot(clone)))))
        {
            return false;
        }

        if (_trimInherited)
        {
            _trimInherited = false;
            _host.Reached(RarePath.TrimResumed);
        }

        InFlightWrite write = _writePool.TryPop(out InFlightWrite? pooled) ? pooled : new InFlightWrite();
        var version = new PgVersion(Interval, _info.LastUpdate.Number + 1);
        PgVersion prior = LocalVersion(id);
        long bytes = 0;
        var effects = new CloneEffect[_dropped.Count];
        for (int i = 0; i < effects.Length; i++)
        {
            ulong dropped = _dropped[i];
            ObjectId clone = id.WithSnapshot(dropped);
            effects[i] = new CloneEffect(dropped, LogEntryKind.Delete, LocalVersion(clone));
            write.Transaction.Remove(_collection, clone);
            bytes += Array.Find(before.Clones, known => known.Id == dropped)!.Size;
        }

        LogEntryKind kind = LogEntryKind.Modify;
        if (set.IsTombstone && set.Clones.Length == 0)
        {
            kind = LogEntryKind.Delete;
            write.Transaction.Remove(_collection, id);
        }
        else
        {
            write.Transaction.SetAttribute(_collection, id, SnapSet.Attribute, set.Encode());
            SetVersion(write.Transaction, id, version);
        }

        write.IsTrim = true;
        write.Entry = new PgLogEntry(version, prior, id, kind, default, [], effects);
        if (!CommitEntry(write, -effects.Length, -bytes, null))
        {
            Recycle(write);
            return false;
        }

        _host.Reached(RarePath.CloneTrimmed);
        _host.Counters.TrimmedClones += effects.Length;
        return true;
    }

    private void OnTrimmed(ObjectId id)
    {
        if (_trimming.Remove(id, out TrimStep? step))
        {
            _host.Finish(step);
        }

        ContinueTrim();
    }
}
