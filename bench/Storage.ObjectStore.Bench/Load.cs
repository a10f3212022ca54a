using System.Diagnostics;
using Storage.Cluster;
using Storage.ObjectStore.Disk;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>Keeps a number of operations in flight until time or work is over. On the loop.</summary>
internal abstract class Load(DiskObjectStore store, int depth) : IStoreCompletion, IReadCompletion
{
    private readonly TaskCompletionSource _done = new();
    private readonly long[] _started = new long[depth];
    private Meter? _meter;
    private long _until;
    private int _running;
    private bool _starting;
    private readonly Stack<int> _ended = new(); // inside Start: what memory answers at once must not pile up on the stack

    protected DiskObjectStore Store => store;

    protected Transaction Transaction { get; } = new();

    /// <summary>Operations started so far; the load ends early when <see cref="Limit"/> is reached.</summary>
    protected long Started { get; private set; }

    protected virtual long Limit => long.MaxValue;

    public async Task RunAsync(string name, TimeSpan duration, long bytesPerOperation)
    {
        await LoopProbe.PassAsync();
        _meter = new Meter();
        _until = Stopwatch.GetTimestamp() + (long)(duration.TotalSeconds * Stopwatch.Frequency);
        for (int slot = 0; slot < depth && Started < Limit; slot++)
        {
            _running++;
            Begin(slot);
        }

        await _done.Task;
        _meter.Print(name, bytesPerOperation);
    }

    public void OnCommitted(ulong token) => End((int)token);

    public void OnRead(ulong token, ReadStatus status, BufferSegment data)
    {
        if (status != ReadStatus.Ok)
        {
            throw new InvalidOperationException($"a read ended with {status}");
        }

        data.Buffer?.Release();
        End((int)token);
    }

    /// <summary>Starts one operation whose completion gets the slot as its token.</summary>
    protected abstract void Start(int slot);

    private void Begin(int slot)
    {
        Started++;
        _started[slot] = Stopwatch.GetTimestamp();
        _starting = true;
        Start(slot);
        while (_ended.TryPop(out int ended))
        {
            _meter!.Add(_started[ended]);
            if (Started >= Limit || Stopwatch.GetTimestamp() >= _until)
            {
                _running--;
                continue;
            }

            Started++;
            _started[ended] = Stopwatch.GetTimestamp();
            Start(ended);
        }

        _starting = false;
        if (_running == 0)
        {
            _done.TrySetResult();
        }
    }

    private void End(int slot)
    {
        if (_starting)
        {
            _ended.Push(slot);
            return;
        }

        _meter!.Add(_started[slot]);
        if (Started < Limit && Stopwatch.GetTimestamp() < _until)
        {
            Begin(slot);
        }
        else if (--_running == 0)
        {
            _done.TrySetResult();
        }
    }
}

/// <summary>Writes blocks of a size to objects of 4 MiB, in order or at random; with a log entry beside each as a placement group keeps it.</summary>
internal sealed class WriteLoad(DiskObjectStore store, ObjectId[] objects, int size, int depth, bool random, bool log, bool compressible = false) : Load(store, depth)
{
    private readonly Random _random = new(7);
    private readonly BufferSegment _data = MakeData(size, compressible);
    private readonly byte[][] _keys = new byte[4000][];
    private long _next;

    public long Operations { get; init; } = long.MaxValue;

    /// <summary>The operation with which half of the objects are removed; 0 for none.</summary>
    public long RemoveAt { get; init; }

    protected override long Limit => Operations;

    protected override void Start(int slot)
    {
        int perObject = (4 << 20) / size;
        long block = random ? _random.NextInt64(objects.LongLength * perObject) : _next++ % (objects.LongLength * perObject);
        ObjectId id = objects[block / perObject];
        Transaction.Clear();
        if (Started == RemoveAt)
        {
            // Half of all the data at once, as a volume that goes.
            for (int i = 0; i < objects.Length / 2; i++)
            {
                Transaction.Remove(StoreBench.Collection, objects[i]);
            }
        }

        Transaction.Write(StoreBench.Collection, id, block % perObject * size, _data);
        if (log)
        {
            AddLogEntry();
        }

        Store.Submit(Transaction, this, (ulong)slot);
    }

    // A group's log: one key more, the one of 4000 operations ago less.
    private void AddLogEntry()
    {
        byte[] key = new byte[16];
        System.Buffers.Binary.BinaryPrimitives.WriteInt64BigEndian(key, Started);
        ref byte[] old = ref _keys[Started % _keys.Length];
        if (old is not null)
        {
            Transaction.RemoveOmap(StoreBench.Collection, StoreBench.Log, old);
        }

        old = key;
        Transaction.SetOmap(StoreBench.Collection, StoreBench.Log, key, new byte[120]);
        Transaction.SetAttribute(StoreBench.Collection, StoreBench.Log, "info", new byte[160]);
    }

    private static BufferSegment MakeData(int size, bool compressible)
    {
        PageBuffer buffer = BufferPool.Shared.Rent(size);
        new Random(3).NextBytes(buffer.Span[..size]);
        for (int i = 0; compressible && i < size; i++)
        {
            buffer.Span[i] = i % 16 < 7 ? buffer.Span[i] : (byte)0;
        }

        return buffer.Slice(0, size);
    }
}

/// <summary>Reads blocks of a size.</summary>
internal sealed class ReadLoad(DiskObjectStore store, ObjectId[] objects, int size, int depth, bool random) : Load(store, depth)
{
    private readonly Random _random = new(9);
    private long _next;

    protected override void Start(int slot)
    {
        int perObject = (4 << 20) / size;
        long block = random ? _random.NextInt64(objects.LongLength * perObject) : _next++ % (objects.LongLength * perObject);
        Store.Read(StoreBench.Collection, objects[block / perObject], block % perObject * size, size, this, (ulong)slot);
    }
}

/// <summary>Sets omap entries with random keys on one object.</summary>
internal sealed class OmapLoad(DiskObjectStore store, int depth) : Load(store, depth)
{
    private readonly Random _random = new(11);

    protected override void Start(int slot)
    {
        byte[] key = new byte[24];
        _random.NextBytes(key);
        Transaction.Clear();
        Transaction.SetOmap(StoreBench.Collection, StoreBench.Index, key, new byte[100]);
        Store.Submit(Transaction, this, (ulong)slot);
    }
}

/// <summary>Creates many objects of 4 KiB with two attributes.</summary>
internal sealed class SmallObjectLoad(DiskObjectStore store, int depth, int count) : Load(store, depth)
{
    private readonly BufferSegment _data = BufferPool.Shared.Rent(4096).Slice(0, 4096);

    protected override long Limit => count;

    protected override void Start(int slot)
    {
        ObjectId id = StoreBench.SmallObject(Started);
        Transaction.Clear();
        Transaction.Write(StoreBench.Collection, id, 0, _data);
        Transaction.SetAttribute(StoreBench.Collection, id, "_", new byte[200]);
        Transaction.SetAttribute(StoreBench.Collection, id, "snapset", new byte[40]);
        Store.Submit(Transaction, this, (ulong)slot);
    }
}

/// <summary>A bit of everything that takes memory: reads all over large data, small and large writes, and objects that come one by one and are looked at again.</summary>
internal sealed class MixedLoad(DiskObjectStore store, ObjectId[] objects, int depth) : Load(store, depth)
{
    private readonly Random _random = new(13);
    private readonly BufferSegment _large = BufferPool.Shared.Rent(4 << 20).Slice(0, 4 << 20);
    private long _small;

    protected override void Start(int slot)
    {
        int kind = _random.Next(100);
        ObjectId id = objects[_random.Next(objects.Length)];
        if (kind < 60)
        {
            int pages = _random.Next(1, 33); // the longest that is cached
            Store.Read(StoreBench.Collection, id, _random.Next(1025 - pages) * 4096L, pages * 4096, this, (ulong)slot);
            return;
        }

        if (kind < 70 && _small > 0)
        {
            Store.Read(StoreBench.Collection, StoreBench.SmallObject(_random.NextInt64(_small) + 1), 0, 4096, this, (ulong)slot);
            return;
        }

        Transaction.Clear();
        if (kind < 88)
        {
            ObjectId made = StoreBench.SmallObject(++_small);
            Transaction.Write(StoreBench.Collection, made, 0, _large.Slice(0, 4096));
            Transaction.SetAttribute(StoreBench.Collection, made, "_", new byte[200]);
            Transaction.SetOmap(StoreBench.Collection, made, "key"u8.ToArray(), new byte[100]);
        }
        else if (kind < 99)
        {
            Transaction.Write(StoreBench.Collection, id, _random.Next(1024) * 4096L, _large.Slice(0, 4096));
        }
        else
        {
            Transaction.Write(StoreBench.Collection, id, 0, _large);
        }

        Store.Submit(Transaction, this, (ulong)slot);
    }
}
