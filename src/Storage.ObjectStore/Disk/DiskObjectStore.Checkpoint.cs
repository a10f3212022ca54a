using System.Collections.Concurrent;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Metadata;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Checkpoints: write-back, flush, a snapshot of everything that changed, and the database batch that makes it the new
// starting point of a mount. The loop goes on meanwhile; only the snapshot itself takes its time.
public sealed partial class DiskObjectStore
{
    private enum CheckpointStage
    {
        Idle,
        WriteBack,
        Flush,
        WaitForJournal,
        Database,
    }

    private readonly WireWriter _value = new(4096);
    private readonly List<Onode> _flushing = [];
    private List<uint> _freeing = [];
    private CheckpointStage _stage;
    private bool _checkpointWanted;
    private ILoopTimer? _checkpointTimer;
    private MetadataBatch? _batch;
    private long _generation = 1;
    private ulong _checkpointTransaction;
    private long _checkpointTail;
    private ulong _epochStart = 1;
    private BlockingCollection<MetadataBatch>? _databaseWork;
    private Thread? _databaseThread;
    private TaskCompletionSource? _idle;

    /// <summary>Checkpoints completed since the store was opened.</summary>
    public long Checkpoints { get; private set; }

    /// <summary>Starts a checkpoint, or another one after that under way.</summary>
    public void RequestCheckpoint()
    {
        if (_stage != CheckpointStage.Idle || _failure is not null || _closed)
        {
            _checkpointWanted = true;
            return;
        }

        _checkpointWanted = false;
        _checkpointTimer?.Cancel();
        _checkpointTimer = null;
        _stage = CheckpointStage.WriteBack;
        _journaledBytes = 0;
        CollectWriteBack();

        // Not from inside the caller, who may be in the middle of applying a transaction.
        _loop.Defer(
            static state =>
            {
                var store = (DiskObjectStore)state!;
                if (store._stage == CheckpointStage.WriteBack && !store._closed)
                {
                    store.ContinueWriteBack();
                }
            },
            this);
    }

    private void ScheduleCheckpoint()
    {
        if (_checkpointTimer is null && _options.CheckpointInterval > TimeSpan.Zero && !_closed)
        {
            _checkpointTimer = _loop.Schedule(
                _options.CheckpointInterval,
                static state =>
                {
                    var store = (DiskObjectStore)state!;
                    store._checkpointTimer = null;
                    store.RequestCheckpoint();
                },
                this);
        }
    }

    private void EndWriteBack()
    {
        Invariant.Holds(_stage == CheckpointStage.WriteBack);
        _stage = CheckpointStage.Flush;
        if (_writeBackWrote)
        {
            _device.Flush(new FlushCompletion(this));
        }
        else
        {
            TakeSnapshot();
        }
    }

    private void OnFlushed(int result)
    {
        if (_closed)
        {
            return;
        }

        if (result < 0)
        {
            Fail(new IOException($"a device flush returned {result}"));
            return;
        }

        TakeSnapshot();
    }

    /// <summary>Writes down everything that changed, as of this moment and up to the last submitted transaction.</summary>
    private void TakeSnapshot()
    {
        if (_open.Transactions > 0)
        {
            CloseOpenBatch();
        }

        _batch = new MetadataBatch();
        _checkpointTransaction = _lastTransaction;
        (_freeing, _freed) = (_freed, []);
        foreach (DiskCollection collection in _dirtyCollections)
        {
            MetadataKeys.WriteCollection(_key, collection.Id);
            if (collection.Exists)
            {
                _batch.Put(_key.WrittenSpan, [1]);
            }
            else
            {
                _batch.Delete(_key.WrittenSpan);
            }
        }

        _dirtyCollections.Clear();
        WriteGraveyard();
        foreach (Onode onode in _dirty)
        {
            WriteOnode(onode);
        }

        _flushing.AddRange(_dirty);
        _dirty = [];
        (_checkpointTail, ulong tailSequence) = FindTail();
        new StoreState(_super.Store, _checkpointTransaction, _lastNumber, _epoch, _epochStart, _checkpointTail, tailSequence).Write(_value);
        _batch.Put(MetadataKeys.State, _value.WrittenSpan);
        _generation++;
        _stage = CheckpointStage.WaitForJournal;
        SchedulePump();
        AdvanceCheckpoint();
    }

    private void WriteGraveyard()
    {
        foreach ((ulong number, int chunks, ulong omap) in _graveyard)
        {
            for (int i = 0; i < chunks; i++)
            {
                MetadataKeys.WriteChunk(_key, number, i);
                _batch!.Delete(_key.WrittenSpan);
            }

            if (omap != 0)
            {
                MetadataKeys.WriteOmap(_key, omap, default);
                byte[] from = _key.ToArray();
                MetadataKeys.WriteOmap(_key, omap + 1, default);
                _batch!.DeleteRange(from, _key.WrittenSpan);
            }
        }

        _graveyard.Clear();
    }

    private void WriteOnode(Onode onode)
    {
        onode.Dirty = false;
        onode.Flushing++;
        if (!onode.Exists)
        {
            MetadataKeys.WriteObject(_key, onode.Collection.Id, onode.Id);
            _batch!.Delete(_key.WrittenSpan);
            return;
        }

        if (onode.Omap is { Count: > 0 } omap)
        {
            WriteOmap(onode, omap);
        }

        for (int i = 0; i < onode.Chunks.Length; i++)
        {
            if (onode.Chunks[i] is not { Dirty: true } chunk)
            {
                continue;
            }

            chunk.Dirty = false;
            bool any = ChunkFormat.Write(_value, chunk);
            MetadataKeys.WriteChunk(_key, onode.Number, i);
            if (any)
            {
                _batch!.Put(_key.WrittenSpan, _value.WrittenSpan);
                onode.PersistedChunks = Math.Max(onode.PersistedChunks, i + 1);
            }
            else if (i < onode.PersistedChunks)
            {
                _batch!.Delete(_key.WrittenSpan);
            }
        }

        OnodeFormat.Write(_value, onode);
        MetadataKeys.WriteObject(_key, onode.Collection.Id, onode.Id);
        _batch!.Put(_key.WrittenSpan, _value.WrittenSpan);
    }

    private void WriteOmap(Onode onode, OmapOverlay omap)
    {
        byte[] last = LastPersisted(onode); // before anything of this checkpoint is in the database
        ReadOnlyMemory<byte> greatest = last;
        foreach (OmapEntry entry in omap.Entries)
        {
            MetadataKeys.WriteOmap(_key, onode.OmapNumber, entry.Key.Span);
            if (entry.Removed)
            {
                _batch!.Delete(_key.WrittenSpan);
                continue;
            }

            _batch!.Put(_key.WrittenSpan, entry.Value.Span);
            entry.MaybePersisted = true;
            onode.OmapPersisted = true;
            if (entry.Key.Span.SequenceCompareTo(greatest.Span) > 0)
            {
                greatest = entry.Key;
            }
        }

        omap.LastPersisted = greatest.ToArray();
    }

    /// <summary>Where a mount has to start reading: at the oldest batch whose data is not in its place yet.</summary>
    private (long Position, ulong Sequence) FindTail()
    {
        long position = _head;
        ulong sequence = _nextSequence;
        foreach (Chunk chunk in _overlayChunks)
        {
            for (int block = 0; chunk.Owner is not null && chunk.OverlayCount > 0 && block < Chunk.Blocks; block++)
            {
                if (chunk.Overlay![block] is not { } overlay)
                {
                    continue;
                }

                foreach (ref readonly Piece piece in overlay.Pieces)
                {
                    if (piece.Kind == PieceKind.Journal && piece.Batch!.Position >= 0 && piece.Batch.Position < position)
                    {
                        position = piece.Batch.Position;
                        sequence = piece.Batch.Sequence;
                    }
                }
            }
        }

        return (position, sequence);
    }

    /// <summary>Hands the snapshot to the database once all it contains is durable in the journal, or needs no place there.</summary>
    private void AdvanceCheckpoint()
    {
        if (_stage != CheckpointStage.WaitForJournal || _failure is not null || _closed)
        {
            return;
        }

        foreach (JournalBatch batch in _queue)
        {
            if (batch.LastTransaction > _checkpointTransaction)
            {
                break;
            }

            if (batch.Position >= 0 || batch.PendingData > 0)
            {
                return;
            }
        }

        _stage = CheckpointStage.Database;
        if (_options.InlineCheckpoints)
        {
            IOException? error = WriteDatabase(_batch!);
            _loop.Post(static state => ((DatabaseResult)state!).Deliver(), new DatabaseResult(this, error));
            return;
        }

        if (_databaseThread is null)
        {
            _databaseWork = [];
            _databaseThread = new Thread(DatabaseLoop) { IsBackground = true, Name = "checkpoint" };
            _databaseThread.Start();
        }

        _databaseWork!.Add(_batch!);
    }

    private void DatabaseLoop()
    {
        foreach (MetadataBatch batch in _databaseWork!.GetConsumingEnumerable())
        {
            IOException? error = WriteDatabase(batch);
            _loop.Post(static state => ((DatabaseResult)state!).Deliver(), new DatabaseResult(this, error));
        }
    }

    private IOException? WriteDatabase(MetadataBatch batch)
    {
        try
        {
            _database.WriteAndFlush(batch);
            return null;
        }
        catch (IOException error)
        {
            return error;
        }
    }

    private void OnCheckpointed(Exception? error)
    {
        _batch?.Dispose();
        _batch = null;
        if (_closed)
        {
            return;
        }

        if (error is not null)
        {
            Fail(error);
            return;
        }

        _tail = _checkpointTail;
        foreach (Onode onode in _flushing)
        {
            onode.Flushing--;
            if (onode.Omap is { Count: > 0 } omap)
            {
                omap.Entries.RemoveWhere(entry => entry.Generation < _generation);
            }

            if (onode.UnsettledGeneration < _generation)
            {
                onode.Collection.Unsettled.Remove(onode.Id);
            }
        }

        _flushing.Clear();
        ReleaseLater(_freeing);
        _freeing = [];
        Checkpoints++;
        _stage = CheckpointStage.Idle;

        // What found no room in the ring is durable by the checkpoint itself.
        while (_queue.TryPeek(out JournalBatch? batch) && batch.Position < 0 && batch.LastTransaction <= _checkpointTransaction)
        {
            _queue.Dequeue();
            Acknowledge(batch);
        }

        Pump();
        if (_checkpointWanted)
        {
            RequestCheckpoint();
        }
        else if (_dirty.Count > 0)
        {
            ScheduleCheckpoint();
        }

        if (_stage == CheckpointStage.Idle)
        {
            TaskCompletionSource? idle = _idle;
            _idle = null;
            idle?.SetResult();
        }
    }

    /// <summary>Makes a checkpoint; the task ends when it is durable.</summary>
    /// <returns>A task that completes on the loop.</returns>
    public Task CheckpointAsync()
    {
        _idle ??= new TaskCompletionSource();
        Task task = _idle.Task;
        RequestCheckpoint();
        return task;
    }

    private sealed class FlushCompletion(DiskObjectStore store) : BlockCompletion
    {
        public override void OnDone(int result) => store.OnFlushed(result);
    }

    private sealed class DatabaseResult(DiskObjectStore store, Exception? error)
    {
        public void Deliver() => store.OnCheckpointed(error);
    }
}
