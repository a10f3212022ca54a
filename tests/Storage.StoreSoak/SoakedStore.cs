using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Offline;
using Storage.Reactor;

namespace Storage.StoreSoak;

/// <summary>
/// The process that is killed: mounts the store, says what it holds, and goes on with the transactions. Tells its progress line by line on standard output:
/// <code>
/// mounted N SECONDS          the text of the store is in disk.txt; it holds transactions up to N
/// acked N                    transactions up to N are durable
/// check N SUM                the text is in disk.txt, after transaction N and reads that come to SUM since the mount
/// memory BYTES CACHE         resident, and of that data that was read
/// fsck CLEAN BLOCKS COMPRESSED
/// closed N
/// </code>
/// Goes on with a check when it reads a line; the line "stop" makes it close the store.
/// </summary>
internal sealed class SoakedStore(string folder, int seed, long memory, PoolCompression compression, WriteBackPlace place, bool check) : IStoreCompletion, IReadCompletion
{
    private const int Depth = 24;
    private const int Filling = 128 << 10; // bytes: the longest read that is cached
    private const ulong RacingRead = ulong.MaxValue;
    private readonly Workload _workload = new(seed);
    private readonly Lock _commandLock = new();
    private TaskCompletionSource? _room;
    private string? _command;
    private long _submitted;
    private long _acknowledged;
    private int _reads;
    private long _sum;
    private long _told;
    private int _comparedReads;
    private readonly Random _racing = new(Environment.ProcessId);

    /// <summary>Runs until it is told to stop.</summary>
    public void Run()
    {
        using var loop = new ReactorLoop();
        new Thread(ReadCommands) { IsBackground = true }.Start();
        loop.Run(() => SoakAsync(loop));
    }

    public void OnCommitted(ulong token)
    {
        _acknowledged = (long)token;
        WakeUp();
    }

    public void OnRead(ulong token, ReadStatus status, BufferSegment data)
    {
        // A read may tell of transactions that came after it: only those before whose end none comes are compared.
        if (token == RacingRead)
        {
            _reads--;
            if (status is not (ReadStatus.Ok or ReadStatus.NotFound))
            {
                throw new InvalidOperationException($"a read ended with {status}");
            }
        }
        else
        {
            _comparedReads--;
            _sum += Workload.Outcome((long)token, status, data.Span);
        }

        data.Buffer?.Release();
        WakeUp();
    }

    private async Task SoakAsync(ReactorLoop loop)
    {
        long began = Environment.TickCount64;
        DiskObjectStore store = await DiskObjectStore.OpenAsync(
            loop,
            BlockDevices.Open(loop, Path.Combine(folder, DiskObjectStore.BlockFileName)),
            Path.Combine(folder, DiskObjectStore.DatabaseName),
            new DiskStoreOptions { MemoryTargetBytes = memory, WriteBackPlace = place });
        store.Failed += error => throw new IOException("the store failed", error);
        foreach (CollectionId collection in Workload.Collections)
        {
            store.SetCompression(collection.Group.Pool, new CompressionSettings(compression));
        }

        if (Workload.Progress(store) < 0)
        {
            await store.CommitAsync(Workload.Setup());
        }

        _submitted = _acknowledged = _told = Workload.Progress(store);
        double seconds = (Environment.TickCount64 - began) / 1000.0;
        if (check)
        {
            await CheckAsync(store);
        }

        await StoreText.WriteAsync(store, Path.Combine(folder, "disk.txt"));
        Tell($"mounted {_submitted} {seconds.ToString("F1", CultureInfo.InvariantCulture)}");
        long nextMemory = Environment.TickCount64;
        while (true)
        {
            while (_submitted - _acknowledged >= Depth || _reads >= Depth)
            {
                await RoomAsync();
            }

            Step(store);
            while (_comparedReads > 0)
            {
                await RoomAsync();
            }

            if (_acknowledged >= _told + 200)
            {
                _told = _acknowledged;
                Tell($"acked {_told}");
                await Task.Yield();
            }

            if (Environment.TickCount64 >= nextMemory)
            {
                nextMemory = Environment.TickCount64 + 1000;
                Tell($"memory {Environment.WorkingSet} {store.DataCacheBytes}");
            }

            if (TakeCommand() is { } command)
            {
                while (_submitted > _acknowledged || _reads > 0)
                {
                    await RoomAsync();
                }

                await StoreText.WriteAsync(store, Path.Combine(folder, "disk.txt"));
                Tell($"check {_submitted} {_sum}");
                if (command == "stop")
                {
                    await store.CloseAsync();
                    Tell($"closed {_submitted}");
                    return;
                }
            }
        }
    }

    private void Step(DiskObjectStore store)
    {
        long n = ++_submitted;
        Transaction t = _workload.Next(n, store);
        store.Submit(t, this, (ulong)n);
        t.Clear();
        foreach ((CollectionId collection, ObjectId id, long offset, int length) in _workload.Reads(n))
        {
            _comparedReads++;
            store.Read(collection, id, offset, length, this, (ulong)n);
        }

        if (_racing.Next(3) == 0)
        {
            foreach ((CollectionId collection, ObjectId id, long offset, int length) in _workload.Reads(_racing.NextInt64(n + 1)))
            {
                _reads++;
                store.Read(collection, id, offset, length, this, RacingRead);
            }
        }

        Fill(store);
        if (n % 1009 == 0)
        {
            store.RequestCheckpoint();
        }
    }

    // Reads as many clients would: the caches fill the memory target, and go on being replaced there.
    private void Fill(DiskObjectStore store)
    {
        const int Reads = 6;
        for (int i = 0; i < Reads; i++)
        {
            (CollectionId collection, ObjectId id, long offset) = _workload.Anywhere(_racing);
            _reads++;
            store.Read(collection, id, offset, Filling, this, RacingRead);
        }
    }

    private static async Task CheckAsync(DiskObjectStore store)
    {
        StoreCheckReport report = await store.CheckAsync(true, false, problem => Tell("problem " + problem));
        Tell($"fsck {report.IsClean} {report.Blocks} {report.CompressedBlocks}");
    }

    private Task RoomAsync() => (_room ??= new TaskCompletionSource()).Task;

    private void WakeUp()
    {
        TaskCompletionSource? room = _room;
        _room = null;
        room?.SetResult();
    }

    private string? TakeCommand()
    {
        lock (_commandLock)
        {
            string? command = _command;
            _command = null;
            return command;
        }
    }

    // Without its supervisor nobody looks at the store: it ends as it may at any time.
    private void ReadCommands()
    {
        while (Console.In.ReadLine() is { } line)
        {
            lock (_commandLock)
            {
                _command = line;
            }
        }

        Environment.Exit(3);
    }

    private static void Tell(string line)
    {
        Console.Out.WriteLine(line);
        Console.Out.Flush();
    }
}
