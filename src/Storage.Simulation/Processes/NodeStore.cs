using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Reactor;
using Storage.Simulation.Checking;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>A process's disk: traced, and closed to a process that is dead.</summary>
internal sealed class NodeStore : IObjectStore, IStoreCompletion
{
    private readonly NodeLoop _loop;
    private readonly MemoryObjectStore _inner;
    private readonly DurableGroups _durable;
    private readonly Queue<(IStoreCompletion? Completion, ulong Token)> _pending = new();
    private readonly Queue<List<(CollectionId Collection, DurableGroup Group)>?> _undurable = new();
    private ulong _submitted;

    public NodeStore(NodeLoop loop, MemoryObjectStore inner, DurableGroups durable)
    {
        _loop = loop;
        _inner = inner;
        _durable = durable;
        durable.Load(inner);
        inner.BecameDurable = NoteDurable;
    }

    public event Action<Exception>? Failed
    {
        add => _inner.Failed += value;
        remove => _inner.Failed -= value;
    }

    public MemoryObjectStore Inner => _inner;

    /// <summary>Asked of each write whether its block is to land elsewhere; forgotten once it said so.</summary>
    public Func<CollectionId, ObjectId, long, bool>? MisdirectNext { get; set; }

    public StoreUsage Usage => _inner.Usage;

    public IReadOnlyList<CollectionId> ListCollections() => _inner.ListCollections();

    public void Submit(Transaction transaction, IStoreCompletion? completion, ulong token)
    {
        if (_loop.TryAct())
        {
            List<(CollectionId, DurableGroup)>? groups = DurableGroups.Find(transaction);
            _inner.Submit(transaction, this, ++_submitted);
            _pending.Enqueue((completion, token)); // after Submit, which may refuse; it never completes inside the call
            _undurable.Enqueue(groups);
            if (MisdirectNext is { } misdirect)
            {
                foreach (ref readonly TransactionStep step in transaction.Steps)
                {
                    if (step.Code == TransactionCode.Write && step.Length > 0 && misdirect(step.Collection, step.Object!, step.Offset))
                    {
                        MisdirectNext = null;
                        break;
                    }
                }
            }
        }
    }

    public bool TryStat(CollectionId collection, ObjectId id, out long size) => _inner.TryStat(collection, id, out size);

    public void Read(CollectionId collection, ObjectId id, long offset, int length, IReadCompletion completion, ulong token) =>
        _inner.Read(collection, id, offset, length, completion, token);

    public bool TryMend(CollectionId collection, ObjectId id, long offset, BufferSegment content, long unknownFrom, long unknownTo, Transaction transaction) =>
        _inner.TryMend(collection, id, offset, content, unknownFrom, unknownTo, transaction);

    public void ListExtents(CollectionId collection, ObjectId id, long offset, long length, List<DataExtent> extents) =>
        _inner.ListExtents(collection, id, offset, length, extents);

    public bool TryGetAttribute(CollectionId collection, ObjectId id, string name, out ReadOnlyMemory<byte> value) =>
        _inner.TryGetAttribute(collection, id, name, out value);

    public IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> GetAttributes(CollectionId collection, ObjectId id) =>
        _inner.GetAttributes(collection, id);

    public bool TryGetOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value) =>
        _inner.TryGetOmap(collection, id, key, out value);

    public bool ListOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries) =>
        _inner.ListOmap(collection, id, from, limit, entries);

    public bool ListObjects(CollectionId collection, ObjectId? from, int limit, List<ObjectId> objects) =>
        _inner.ListObjects(collection, from, limit, objects);

    public LogRange GetLog(CollectionId collection) => _inner.GetLog(collection);

    public void ReadLog(CollectionId collection, List<ReadOnlyMemory<byte>> records) => _inner.ReadLog(collection, records);

    // What the disk says, not what the daemon is told.
    private void NoteDurable()
    {
        if (_undurable.Dequeue() is { } groups)
        {
            foreach ((CollectionId collection, DurableGroup group) in groups)
            {
                _durable.Add(collection, group);
            }
        }
    }

    void IStoreCompletion.OnCommitted(ulong token)
    {
        (IStoreCompletion? completion, ulong outerToken) = _pending.Dequeue();
        if (_loop.IsAlive)
        {
            _loop.Trace.Tick(TraceKind.Commit, _loop.Name, _loop.TrueNow);
            completion?.OnCommitted(outerToken);
        }
    }
}
