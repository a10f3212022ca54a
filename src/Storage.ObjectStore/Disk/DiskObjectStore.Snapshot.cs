using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// The snapshot of a checkpoint: everything that changed, as of one moment, written down in short slices between which
// the loop serves others. What is about to change before its turn has come is written down first (Freeze), so that all of it is of
// that moment.
public sealed partial class DiskObjectStore
{
    private const int SliceWork = 64; // objects and omap entries, and half as many block maps; a fraction of a millisecond, one on a crowded machine
    private const int ChunkWork = 2;
    private const int KeptBatches = 4096; // some 100 bytes each; as many as one checkpoint comes upon
    private readonly List<(ulong Number, OmapOverlay Overlay)> _layers = [];
    private List<(ulong Number, int Chunks, ulong Omap)> _burying = [];
    private List<Onode> _flushing = [];
    private MetadataChanges? _changes;
    private StoreState _checkpointState;
    private OmapLayer.Position _layerAt;
    private int _nextLayer;
    private int _nextFlushing;
    private int _nextBurying;
    private int _nextSettling;

    /// <summary>Fixes the moment, and begins.</summary>
    private void TakeSnapshot()
    {
        if (_open.Transactions > 0)
        {
            CloseOpenBatch();
        }

        FixPacking();
        _changes = new MetadataChanges(_pool);
        (long tail, ulong tailSequence) = FindTail();
        _checkpointState = new StoreState(_super.Store, _lastTransaction, _lastNumber, _epoch, _epochStart, tail, tailSequence);
        (_freeing, _freed) = (_freed, _unitLists.TryPop(out List<uint>? list) ? list : []);
        (_burying, _graveyard) = (_graveyard, _burying);
        (_flushing, _dirty) = (_dirty, _flushing);
        foreach (DiskCollection collection in _dirtyCollections)
        {
            MetadataKeys.WriteCollection(_key, collection.Id);
            if (collection.Exists)
            {
                CollectionFormat.Write(_value, collection.Log);
                _changes.Put(_key.WrittenSpan, _value.WrittenSpan);
            }
            else
            {
                _changes.Delete(_key.WrittenSpan);
            }

            CaptureLog(collection);
        }

        _dirtyCollections.Clear();
        DeleteTrimmedSegments();
        _generation++;
        _nextLayer = _nextFlushing = _nextBurying = _nextCaptured = 0;
        _layerAt = default;
        _stage = CheckpointStage.Snapshot;
        ContinueSnapshot();
    }

    /// <summary>Writes an object down before a change, if the snapshot under way has not come to it yet.</summary>
    private void Freeze(Onode onode)
    {
        if (_stage == CheckpointStage.Snapshot && onode.DirtyGeneration != 0 && onode.DirtyGeneration < _generation)
        {
            WriteOnode(onode);
        }
    }

    private void ContinueSnapshot()
    {
        if (_stage != CheckpointStage.Snapshot || _failure is not null || _closed)
        {
            return;
        }

        int work = SliceWork;
        while (work > 0 && _nextBurying < _burying.Count)
        {
            work -= WriteBurial(_burying[_nextBurying++]);
        }

        while (work > 0 && _nextCaptured < _captured.Count)
        {
            work -= WriteSegment(_captured[_nextCaptured++]);
        }

        while (work > 0 && _nextFlushing < _flushing.Count)
        {
            Onode onode = _flushing[_nextFlushing++];
            if (onode.DirtyGeneration != 0 && onode.DirtyGeneration < _generation)
            {
                work -= WriteOnode(onode);
            }
        }

        while (work > 0 && _nextFlushing == _flushing.Count && _nextLayer < _layers.Count)
        {
            work -= WriteLayer(work);
        }

        if (work <= 0)
        {
            _loop.Post(static state => ((DiskObjectStore)state!).ContinueSnapshot(), this);
            return;
        }

        _burying.Clear();
        _checkpointState.Write(_value);
        _changes!.Put(MetadataKeys.State, _value.WrittenSpan);
        _stage = CheckpointStage.WaitForJournal;
        SchedulePump();
        AdvanceCheckpoint();
    }

    private int WriteBurial((ulong Number, int Chunks, ulong Omap) dead)
    {
        for (int i = 0; i < dead.Chunks; i++)
        {
            MetadataKeys.WriteChunk(_key, dead.Number, i);
            _changes!.Delete(_key.WrittenSpan);
        }

        if (dead.Omap != 0)
        {
            MetadataKeys.WriteOmap(_key, dead.Omap, default);
            byte[] from = _key.ToArray();
            MetadataKeys.WriteOmap(_key, dead.Omap + 1, default);
            _changes!.DeleteRange(from, _key.WrittenSpan);
        }

        return 1 + dead.Chunks;
    }

    /// <summary>Writes an object down and sets its omap changes aside for their turn; returns what work it was.</summary>
    private int WriteOnode(Onode onode)
    {
        onode.DirtyGeneration = 0;
        onode.Flushing++;
        if (!onode.Exists)
        {
            MetadataKeys.WriteObject(_key, onode.Collection.Id, onode.Id);
            _changes!.Delete(_key.WrittenSpan);
            return 1;
        }

        if (onode.Omap is { Active.Count: > 0 } omap)
        {
            omap.BeginFlush();
            onode.OmapPersisted = true;
            _layers.Add((onode.OmapNumber, omap));
        }

        int work = 2;
        for (int i = 0; i < onode.Chunks.Length; i++)
        {
            if (onode.Chunks[i] is not { Dirty: true } chunk)
            {
                continue;
            }

            work += ChunkWork;
            chunk.Dirty = false;
            bool any = ChunkFormat.Write(_value, chunk);
            MetadataKeys.WriteChunk(_key, onode.Number, i);
            if (any)
            {
                _changes!.Put(_key.WrittenSpan, _value.WrittenSpan);
                onode.PersistedChunks = Math.Max(onode.PersistedChunks, i + 1);
            }
            else if (i < onode.PersistedChunks)
            {
                _changes!.Delete(_key.WrittenSpan);
            }
        }

        OnodeFormat.Write(_value, onode);
        MetadataKeys.WriteObject(_key, onode.Collection.Id, onode.Id);
        _changes!.Put(_key.WrittenSpan, _value.WrittenSpan);
        return work;
    }

    private int WriteLayer(int limit)
    {
        (ulong number, OmapOverlay overlay) = _layers[_nextLayer];
        OmapLayer layer = overlay.Flushing!;
        int written = 0;
        while (written < limit && !layer.IsEnd(_layerAt))
        {
            ref readonly OmapEntry entry = ref layer[_layerAt];
            MetadataKeys.WriteOmap(_key, number, entry.Key.Span);
            if (entry.Removed)
            {
                _changes!.Delete(_key.WrittenSpan);
            }
            else
            {
                _changes!.Put(_key.WrittenSpan, entry.Value.Span);
            }

            _layerAt = layer.Next(_layerAt);
            written++;
        }

        if (layer.IsEnd(_layerAt))
        {
            _nextLayer++;
            _layerAt = default;
        }

        return Math.Max(1, written);
    }

    /// <summary>Where a mount has to start reading: at the oldest batch that something still needs.</summary>
    private (long Position, ulong Sequence) FindTail()
    {
        while (_live.TryPeek(out JournalBatch? batch))
        {
            if (batch.References > 0)
            {
                return (batch.Position, batch.Sequence);
            }

            _live.Dequeue();
            if (_batchPool.Count < KeptBatches)
            {
                _batchPool.Push(batch); // not sooner: as long as it is in the queue its place tells where a mount begins
            }
        }

        return (_head, _nextSequence);
    }

    /// <summary>Once the database has it all: forgets, in slices, what was kept for its sake.</summary>
    private void ContinueSettle()
    {
        if (_stage != CheckpointStage.Settle || _failure is not null || _closed)
        {
            return;
        }

        for (int work = SliceWork; _nextSettling < _flushing.Count; work--)
        {
            if (work == 0)
            {
                _loop.Post(static state => ((DiskObjectStore)state!).ContinueSettle(), this);
                return;
            }

            Onode onode = _flushing[_nextSettling++];
            onode.Flushing--;
            if (onode.UnsettledGeneration != 0 && onode.UnsettledGeneration < _generation)
            {
                onode.UnsettledGeneration = 0;
                onode.Collection.Unsettled.Remove(onode.Id);
            }
        }

        _flushing.Clear();
        EndCheckpoint();
    }
}
