using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Transactions;
using Storage.Reactor;

namespace Storage.ObjectStore.Memory;

/// <summary>
/// An object store in memory with the order, durability and errors of a disk, for the simulator and for tests. Draws
/// latencies and the outcome of a crash from its random source, so one seed gives one history.
/// </summary>
public sealed partial class MemoryObjectStore : IObjectStore, IStoreView
{
    private readonly IEventLoop _loop;
    private readonly Random _random;
    private readonly MemoryDisk _disk;
    private readonly MemoryStoreOptions _options;
    private readonly TransactionCheck _check;
    private readonly Queue<PendingCommit> _pending = new();
    private readonly HashSet<(CollectionId, ObjectId)> _readErrors = [];
    private TimeSpan _lastCommit;
    private PendingCommit? _applying; // whose steps are being carried out
    private ulong _submitted;
    private bool _stopped;
    private bool _failed;

    /// <summary>Opens a disk.</summary>
    /// <param name="loop">Runs the completions.</param>
    /// <param name="random">Latencies and crash outcomes.</param>
    /// <param name="disk">What to open; no other store may use it until this one has crashed or closed.</param>
    /// <param name="options">Behaviour.</param>
    public MemoryObjectStore(IEventLoop loop, Random random, MemoryDisk disk, MemoryStoreOptions? options = null)
    {
        Invariant.Holds(disk.Owner is null);
        disk.Owner = this;
        _loop = loop;
        _random = random;
        _disk = disk;
        _options = options ?? new MemoryStoreOptions();
        _check = new TransactionCheck(this);
    }

    /// <inheritdoc/>
    public event Action<Exception>? Failed;

    /// <inheritdoc/>
    public StoreUsage Usage => new(_disk.CapacityBytes, _disk.UsedBytes);

    /// <summary>Called for each transaction as it becomes durable, in order, before its completion: by the disk itself, whatever its user is told.</summary>
    public Action? BecameDurable { get; set; }

    /// <summary>Transactions submitted and not yet durable.</summary>
    public int Uncommitted => _pending.Count;

    /// <inheritdoc/>
    public void Submit(Transaction transaction, IStoreCompletion? completion, ulong token)
    {
        Invariant.Holds(!_stopped);
        _check.Validate(transaction);
        if (transaction.DataLength > 0)
        {
            RequireSpace(transaction);
        }

        var pending = new PendingCommit(completion, token, ++_submitted);
        _applying = pending;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            Apply(in step, pending.Undo);
            NoteChange(step.Collection);
            if (step.DestinationCollection != step.Collection)
            {
                NoteChange(step.DestinationCollection);
            }
        }

        _applying = null;
        _pending.Enqueue(pending);
        if (_failed)
        {
            return; // stays uncommitted for ever; a crash decides whether it reached the disk
        }

        TimeSpan due = _loop.Now + Draw(_options.CommitLatencyMin, _options.CommitLatencyMax);
        if (Mutations.Active(Mutation.StoreAcksEarly))
        {
            IStoreCompletion? early = completion;
            _ = _loop.Schedule(TimeSpan.Zero, _ => early?.OnCommitted(token), null);
            pending.IsTold = true;
        }

        _lastCommit = due > _lastCommit ? due : _lastCommit;
        _ = _loop.Schedule(_lastCommit - _loop.Now, _ => CommitUpTo(pending), null);
    }

    /// <summary>
    /// Power loss: what is durable stays, of the rest a random prefix. No completion fires any more and the store cannot
    /// be used again; open the disk with a new one.
    /// </summary>
    public void Crash()
    {
        Invariant.Holds(!_stopped);
        PendingCommit[] uncommitted = [.. _pending];
        int kept = _random.Next(uncommitted.Length + 1);
        for (int i = uncommitted.Length - 1; i >= kept; i--)
        {
            List<Action> undo = uncommitted[i].Undo;
            for (int j = undo.Count - 1; j >= (i == kept && Mutations.Active(Mutation.StoreTornTransaction) ? undo.Count / 2 : 0); j--)
            {
                undo[j]();
            }
        }

        Stop();
    }

    /// <summary>Clean stop: everything submitted is on the disk, nothing more completes.</summary>
    public void Close() => Stop();

    /// <summary>Makes the write path fail: <see cref="Failed"/> is raised and nothing commits from now on.</summary>
    /// <param name="error">What the disk is said to have reported.</param>
    public void FailWrites(Exception error)
    {
        if (!_failed)
        {
            _failed = true;
            Failed?.Invoke(error);
        }
    }

    /// <summary>Makes reads of an object fail with <see cref="ReadStatus.IoError"/>.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="failing">False to heal it.</param>
    public void SetReadError(CollectionId collection, ObjectId id, bool failing = true)
    {
        if (failing)
        {
            _readErrors.Add((collection, id));
        }
        else
        {
            _readErrors.Remove((collection, id));
        }
    }

    /// <summary>Flips a bit on the disk below an object (and below clones that share the block).</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">Byte to damage.</param>
    /// <returns>False if there is no data at that place.</returns>
    public bool FlipBit(CollectionId collection, ObjectId id, long offset) => Damage(collection, id, offset, BlockDamage.Flipped);

    /// <summary>Damages the block on the disk below an object (and below clones that share it). Writing the whole block anew heals it.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">A byte of the block.</param>
    /// <param name="damage">How.</param>
    /// <returns>False if there is no data at that place.</returns>
    public bool Damage(CollectionId collection, ObjectId id, long offset, BlockDamage damage)
    {
        if (Find(collection, id) is not { } found || !found.Blocks.TryGet(offset / StoreLimits.BlockSize, out MemoryBlock block))
        {
            return false;
        }

        block.Spoil((int)(offset % StoreLimits.BlockSize), damage);
        _disk.Damages++;
        for (int i = 0; i < _disk.Collections.Count; i++)
        {
            _disk.Collections.ValueAt(i).Changes = ++_disk.Changes; // clones elsewhere may share the block
        }

        return true;
    }

    /// <summary>Whether a block of an object is damaged.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">A byte of the block.</param>
    /// <returns>False also if there is no data at that place.</returns>
    public bool IsDamaged(CollectionId collection, ObjectId id, long offset) =>
        Find(collection, id) is { } found && found.Blocks.TryGet(offset / StoreLimits.BlockSize, out MemoryBlock block) && block.Damage != BlockDamage.None;

    bool IStoreView.CollectionExists(CollectionId collection) => _disk.Collections.TryGet(collection, out _);

    bool IStoreView.ObjectExists(CollectionId collection, ObjectId id) => Find(collection, id) is not null;

    private void Stop()
    {
        _stopped = true;
        _pending.Clear();
        _disk.Owner = null;
    }

    private void NoteChange(CollectionId collection)
    {
        if (_disk.Collections.TryGet(collection, out MemoryCollection changed))
        {
            changed.Changes = ++_disk.Changes;
        }
    }

    private void CommitUpTo(PendingCommit last)
    {
        while (!_stopped && !_failed && !last.Committed)
        {
            PendingCommit pending = _pending.Dequeue();
            pending.Committed = true;
            pending.Undo.Clear();
            foreach (MemoryBlock block in pending.Dropped)
            {
                if (block.References == 0 && block.DroppedBy == pending.Number)
                {
                    block.Recycle();
                }
            }

            pending.Dropped.Clear();
            BecameDurable?.Invoke();
            if (!pending.IsTold)
            {
                pending.Completion?.OnCommitted(pending.Token);
            }
        }
    }

    private TimeSpan Draw(TimeSpan min, TimeSpan max) =>
        (max <= min ? min : min + TimeSpan.FromTicks(_random.NextInt64((max - min).Ticks + 1))) * _disk.Slowness;

    private void RequireSpace(Transaction transaction)
    {
        long wanted = 0;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            if (step.Code == TransactionCode.Write && step.Length > 0)
            {
                long first = step.Offset / StoreLimits.BlockSize;
                long last = (step.Offset + step.Length - 1) / StoreLimits.BlockSize;
                MemoryObject? present = Find(step.Collection, step.Object!);
                for (long block = first; block <= last; block++)
                {
                    if (present is null || !present.Blocks.TryGet(block, out MemoryBlock old) || old.References > 1)
                    {
                        wanted += StoreLimits.BlockSize;
                    }
                }
            }
        }

        double limit = _disk.CapacityBytes * _options.FullRatio;
        if (wanted > 0 && _disk.UsedBytes + wanted > limit)
        {
            throw new StoreFullException($"{wanted} bytes wanted; {_disk.UsedBytes} of {_disk.CapacityBytes} are used and writes end at {_options.FullRatio:P0}");
        }
    }

    private MemoryObject? Find(CollectionId collection, ObjectId id) =>
        _disk.Collections.TryGet(collection, out MemoryCollection objects) && objects.Objects.TryGet(id, out MemoryObject found) ? found : null;

    private sealed class PendingCommit(IStoreCompletion? completion, ulong token, ulong number)
    {
        public IStoreCompletion? Completion { get; } = completion;

        public ulong Token { get; } = token;

        /// <summary>Its place in the order of transactions, from 1.</summary>
        public ulong Number { get; } = number;

        public List<Action> Undo { get; } = [];

        /// <summary>Blocks that it took off the last object that had them.</summary>
        public List<MemoryBlock> Dropped { get; } = [];

        public bool Committed { get; set; }

        /// <summary>Its completion was called before its time.</summary>
        public bool IsTold { get; set; }
    }
}
