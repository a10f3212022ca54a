using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Reactor;
using Storage.Reactor.Virtual;

namespace Storage.StoreSoak;

/// <summary>The memory store that is given the same transactions.</summary>
internal sealed class Model : IReadCompletion
{
    private readonly VirtualLoop _loop = new();
    private readonly Workload _workload;
    private readonly MemoryObjectStore _store;
    private int _reads;

    public Model(int seed)
    {
        _workload = new Workload(seed);
        _store = new MemoryObjectStore(_loop, new Random(1), new MemoryDisk());
        _store.Submit(Workload.Setup(), null, 0);
        _loop.RunFor(TimeSpan.FromSeconds(1));
    }

    /// <summary>Transactions that it holds.</summary>
    public long Progress { get; private set; }

    /// <summary>Of the reads since <see cref="Progress"/> was asked to begin anew.</summary>
    public long Sum { get; set; }

    /// <summary>Operations so far: steps of transactions, and reads.</summary>
    public long Operations { get; private set; }

    public void AdvanceTo(long n)
    {
        while (Progress < n)
        {
            Progress++;
            Transaction t = _workload.Next(Progress, _store);
            Operations += t.Count;
            _store.Submit(t, null, 0);
            t.Clear();
            foreach ((CollectionId collection, ObjectId id, long offset, int length) in _workload.Reads(Progress))
            {
                _reads++;
                Operations++;
                _store.Read(collection, id, offset, length, this, (ulong)Progress);
            }

            _loop.RunFor(TimeSpan.FromMilliseconds(50));
            if (_reads > 0 && !_loop.RunUntil(() => _reads == 0, TimeSpan.FromMinutes(1)))
            {
                throw new InvalidOperationException("the model does not answer");
            }
        }
    }

    public void WriteText(string path) => _loop.Run(() => StoreText.WriteAsync(_store, path), TimeSpan.FromDays(1));

    public void OnRead(ulong token, ReadStatus status, BufferSegment data)
    {
        _reads--;
        Sum += Workload.Outcome((long)token, status, data.Span);
        data.Buffer?.Release();
    }
}
