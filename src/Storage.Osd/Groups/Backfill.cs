using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>
/// How far the filling of one target has come, on the primary. Objects up to the peer's cursor are done; those in
/// (cursor, <see cref="End"/>] are compared and copied now, and count as done one by one; those after it come later.
/// </summary>
internal sealed class Backfill
{
    private readonly HashSet<ObjectId> _done = [];
    private readonly HashSet<ObjectId> _pendingSet = [];
    private readonly Queue<ObjectId> _pending = new();

    /// <summary>A batch is under way.</summary>
    public bool InBatch { get; private set; }

    /// <summary>The batch's last object; null if it reaches to the end of the PG.</summary>
    public ObjectId? End { get; private set; }

    /// <summary>Waiting for the target's list.</summary>
    public bool Scanning;

    /// <summary>Waiting for the target to make its cursor durable.</summary>
    public bool Advancing;

    /// <summary>Objects of the batch that wait.</summary>
    public int Pending => _pending.Count;

    /// <summary>Copies under way.</summary>
    public int Pushing { get; private set; }

    public bool IsBatchDone => InBatch && _pending.Count == 0 && (Pushing == 0 || Mutations.Active(Mutation.BackfillCursorAhead));

    public void BeginBatch(ObjectId? end)
    {
        InBatch = true;
        End = end;
        _done.Clear();
    }

    public void EndBatch()
    {
        InBatch = false;
        _done.Clear();
    }

    public void MarkSame(ObjectId id) => _done.Add(id);

    public void AddPending(ObjectId id)
    {
        if (_pendingSet.Add(id))
        {
            _pending.Enqueue(id);
        }
    }

    public bool TryTake(out ObjectId? id)
    {
        if (!_pending.TryDequeue(out id))
        {
            return false;
        }

        _pendingSet.Remove(id);
        return true;
    }

    public void OnPushing() => Pushing++;

    public void OnPushed(ObjectId id, bool done)
    {
        Pushing--;
        if (done)
        {
            _done.Add(id);
        }
        else
        {
            AddPending(id);
        }
    }

    /// <summary>Whether the target holds an object of the batch as it is now.</summary>
    public bool IsDone(ObjectId id) => InBatch && _done.Contains(id);

    /// <summary>The target got a clone together with its object, which is done.</summary>
    public void NoteDone(ObjectId id)
    {
        if (InBatch && (End is null || id <= End))
        {
            _done.Add(id);
        }
    }

    /// <summary>An object after the cursor changed and the target was not given the change: if the batch covers it, it is copied (again).</summary>
    public void NoteStale(ObjectId id)
    {
        if (InBatch && (End is null || id <= End))
        {
            _done.Remove(id);
            AddPending(id);
        }
    }

    /// <summary>A write to an object after the cursor: says whether the target holds the object's present version, so that the
    /// write's data applies to it. If not, and the batch covers the object, it will be copied (again).</summary>
    public bool NoteWrite(ObjectId id)
    {
        if (!InBatch || (End is not null && id > End))
        {
            return false;
        }

        if (_done.Contains(id))
        {
            return true;
        }

        if (!Mutations.Active(Mutation.BackfillMissesWrites))
        {
            AddPending(id);
        }

        return false;
    }
}
