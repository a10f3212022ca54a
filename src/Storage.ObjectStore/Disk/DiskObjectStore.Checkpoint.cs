using System.Collections.Concurrent;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Metadata;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Checkpoints: write-back, flush, a snapshot of everything that changed, and the database batch that makes it the new
// starting point of a mount. The loop goes on meanwhile, and nothing in it takes long at a time.
public sealed partial class DiskObjectStore
{
    private enum CheckpointStage
    {
        Idle,
        WriteBack,
        Flush,
        Snapshot,
        WaitForJournal,
        Database,
        Settle,
    }

    private readonly WireWriter _value = new(4096);
    private List<uint> _freeing = [];
    private CheckpointStage _stage;
    private bool _checkpointWanted;
    private ILoopTimer? _checkpointTimer;
    private long _generation = 1;
    private ulong _epochStart = 1;
    private BlockingCollection<MetadataChanges>? _databaseWork;
    private Thread? _databaseThread;
    private TaskCompletionSource? _idle;

    /// <summary>Checkpoints completed since the store was opened.</summary>
    public long Checkpoints { get; private set; }

    /// <summary>Starts a checkpoint, or another one after that under way, as fast as the disk allows.</summary>
    public void RequestCheckpoint()
    {
        if (_stage != CheckpointStage.Idle || _failure is not null || _closed)
        {
            _checkpointWanted = true;
            if (_isPaced)
            {
                _isPaced = false;
                _loop.Defer(static state => ((DiskObjectStore)state!).ContinueWriteBack(), this);
            }

            return;
        }

        StartCheckpoint(paced: false);
    }

    private void StartCheckpoint(bool paced)
    {
        if (_stage != CheckpointStage.Idle || _failure is not null || _closed)
        {
            return;
        }

        _checkpointWanted = false;
        _checkpointTimer?.Cancel();
        _checkpointTimer = null;
        _stage = CheckpointStage.WriteBack;
        _journaledBytes = 0;
        BeginWriteBack(paced);

        // Not from inside the caller, who may be in the middle of applying a transaction.
        _loop.Defer(static state => ((DiskObjectStore)state!).ContinueWriteBack(), this);
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
                    store.StartCheckpoint(paced: true);
                },
                this);
        }
    }

    private void EndWriteBack()
    {
        Invariant.Holds(_stage == CheckpointStage.WriteBack);
        _stage = CheckpointStage.Flush;
        EndPace();
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

    /// <summary>Hands the snapshot to the database once all it contains is durable in the journal, or needs no place there.</summary>
    private void AdvanceCheckpoint()
    {
        if (_stage != CheckpointStage.WaitForJournal || _failure is not null || _closed)
        {
            return;
        }

        foreach (JournalBatch batch in _queue)
        {
            if (batch.LastTransaction > _checkpointState.LastTransaction)
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
            IOException? error = WriteDatabase(_changes!);
            _loop.Post(static state => ((DatabaseResult)state!).Deliver(), new DatabaseResult(this, error));
            return;
        }

        if (_databaseThread is null)
        {
            _databaseWork = [];
            _databaseThread = new Thread(DatabaseLoop) { IsBackground = true, Name = "checkpoint" };
            _databaseThread.Start();
        }

        _databaseWork!.Add(_changes!);
    }

    private void DatabaseLoop()
    {
        NativeThread.YieldToLoops();
        foreach (MetadataChanges changes in _databaseWork!.GetConsumingEnumerable())
        {
            IOException? error = WriteDatabase(changes);
            _loop.Post(static state => ((DatabaseResult)state!).Deliver(), new DatabaseResult(this, error));
        }
    }

    private IOException? WriteDatabase(MetadataChanges changes)
    {
        try
        {
            using var batch = new MetadataBatch();
            changes.CopyTo(batch);
            _database.WriteAndFlush(batch);
            if (_options.Discard)
            {
                _freeing.Sort(); // nobody else touches it in this stage, and the loop should not wait for it
            }

            return null;
        }
        catch (IOException error)
        {
            return error;
        }
    }

    private void OnCheckpointed(Exception? error)
    {
        _changes?.Dispose();
        _changes = null;
        if (_closed)
        {
            return;
        }

        if (error is not null)
        {
            Fail(error);
            return;
        }

        _tail = _checkpointState.TailPosition;
        foreach ((_, OmapOverlay overlay) in _layers)
        {
            overlay.EndFlush();
        }

        _layers.Clear();
        _captured.Clear();
        ReleaseLater(_freeing);
        _freeing = [];
        Checkpoints++;
        _nextSettling = 0;
        _stage = CheckpointStage.Settle;

        // What found no room in the ring is durable by the checkpoint itself.
        while (_queue.TryPeek(out JournalBatch? batch) && batch.Position < 0 && batch.LastTransaction <= _checkpointState.LastTransaction)
        {
            _queue.Dequeue();
            Acknowledge(batch);
        }

        Pump();
        ContinueSettle();
    }

    private void EndCheckpoint()
    {
        _stage = CheckpointStage.Idle;
        if (_checkpointWanted)
        {
            RequestCheckpoint();
        }
        else if (_dirty.Count > 0 || _dirtyCollections.Count > 0)
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
