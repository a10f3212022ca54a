using System.Diagnostics;
using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.Reactor;

namespace Storage.ObjectStore.Bench;

/// <summary>The loads, one after the other, on one store.</summary>
internal static class StoreBench
{
    public static readonly CollectionId Collection = new(new PgId(1, 0));
    public static readonly ObjectId Log = new("pglog", 1);
    public static readonly ObjectId Index = new("index", 2);

    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(2);

    // As deep as a peer's own bench of its store goes (bench/store-peer); run only where named.
    private static readonly (string Part, int Size, int Depth)[] s_deep = [("deep4k", 4 << 10, 256), ("deep64k", 64 << 10, 64), ("deep4m", 4 << 20, 16)];

    public static ObjectId SmallObject(long number) => new("small." + number.ToString(CultureInfo.InvariantCulture), (uint)(number * 2654435761));

    public static void Run(BenchSettings settings)
    {
        Directory.CreateDirectory(settings.Folder);
        string file = Path.Combine(settings.Folder, DiskObjectStore.BlockFileName);
        Prepare(settings, file);
        Meter.PrintHead();
        if (settings.Fio && settings.Wants("fio"))
        {
            FioRun.Run(settings, file);
        }

        Wipe(file);
        DiskObjectStore.Format(settings.Folder, settings.Size, Guid.NewGuid());
        using var loop = new ReactorLoop();
        loop.Run(() => RunLoadsAsync(loop, settings));
    }

    // Every block written once: a file system converts an allocated block at its first write, which is not what is measured here.
    private static void Prepare(BenchSettings settings, string path)
    {
        using BlockFile file = BlockFile.Open(path, create: true);
        if (file.Length < settings.Size)
        {
            file.Allocate(settings.Size);
            PageBuffer buffer = BufferPool.Shared.Rent(4 << 20);
            buffer.Span.Clear();
            for (long at = 0; at < settings.Size; at += 4 << 20)
            {
                int length = (int)Math.Min(4 << 20, settings.Size - at);
                if (file.Write(at, buffer.Slice(0, length), durable: false) != length)
                {
                    throw new IOException($"cannot fill {path}");
                }
            }

            buffer.Release();
            _ = file.Flush();
        }
    }

    private static void Wipe(string path)
    {
        using BlockFile file = BlockFile.Open(path);
        PageBuffer buffer = BufferPool.Shared.Rent(8192);
        buffer.Span.Clear();
        _ = file.Write(0, buffer.Slice(0, 8192), durable: true);
        buffer.Release();
    }

    private static Task<DiskObjectStore> OpenAsync(ReactorLoop loop, BenchSettings settings) => DiskObjectStore.OpenAsync(
        loop,
        new ReactorBlockDevice(loop, Path.Combine(settings.Folder, DiskObjectStore.BlockFileName)),
        Path.Combine(settings.Folder, DiskObjectStore.DatabaseName),
        new DiskStoreOptions { WriteBackPlace = settings.Place, MemoryTargetBytes = settings.Memory });

    private static async Task RunLoadsAsync(ReactorLoop loop, BenchSettings settings)
    {
        TimeSpan duration = settings.Duration;
        LoopProbe.Start(loop);
        DiskObjectStore store = await OpenAsync(loop, settings);
        store.Failed += error => throw new IOException("the store failed", error);
        store.SetCompression(Collection.Group.Pool, new CompressionSettings(settings.Compression));
        var create = new Transaction();
        create.CreateCollection(Collection);
        store.Submit(create, null, 0);
        var objects = new ObjectId[settings.WorkingSet >> 22];
        for (int i = 0; i < objects.Length; i++)
        {
            objects[i] = new ObjectId("data." + i.ToString(CultureInfo.InvariantCulture), (uint)(i * 2654435761));
        }

        await new WriteLoad(store, objects, 4 << 20, 4, random: false, log: false, settings.Compression != PoolCompression.None) { Operations = objects.Length }.RunAsync("4 MiB first write QD4", TimeSpan.FromHours(1), 4 << 20);
        // What follows is not to be measured while it is being compiled.
        await new WriteLoad(store, objects, 4096, 32, random: true, log: true).RunAsync("warm-up", s_warmUp, 4096);
        await store.CheckpointAsync();
        if (settings.Wants("overwrite1"))
        {
            await new WriteLoad(store, objects, 4096, 1, random: true, log: false).RunAsync("4 KiB random overwrite QD1", duration, 4096);
        }

        if (settings.Wants("overwrite32"))
        {
            await new WriteLoad(store, objects, 4096, 32, random: true, log: false).RunAsync("4 KiB random overwrite QD32", duration, 4096);
        }

        if (settings.Wants("log32"))
        {
            await new WriteLoad(store, objects, 4096, 32, random: true, log: true).RunAsync("4 KiB overwrite + log entry QD32", duration, 4096);
        }

        if (settings.Wants("overwrite32"))
        {
            await store.CheckpointAsync();
            Console.WriteLine($"  runs of the data objects: {store.CountRuns(Collection, objects)} for {objects.Length} objects");
        }

        if (settings.Wants("write4m"))
        {
            await new WriteLoad(store, objects, 4 << 20, 4, random: false, log: false, settings.Compression != PoolCompression.None).RunAsync("4 MiB overwrite QD4", duration, 4 << 20);
        }

        if (settings.Wants("read4m"))
        {
            await new ReadLoad(store, objects, 4 << 20, 4, random: false).RunAsync("4 MiB read QD4", duration, 4 << 20);
        }

        if (settings.Wants("readcold"))
        {
            await new ReadLoad(store, objects, 4096, 32, random: true).RunAsync("4 KiB random read QD32", duration, 4096);
        }

        if (settings.Wants("readhot"))
        {
            ObjectId[] few = objects[..Math.Min(8, objects.Length)];
            await new ReadLoad(store, few, 4096, 32, random: true).RunAsync("4 KiB random read QD32, 32 MiB set", duration, 4096);
        }

        if (settings.Wants("omap"))
        {
            await new OmapLoad(store, 32).RunAsync("omap set QD32", duration, 124);
            await store.CheckpointAsync();
            Iterate(store);
        }

        if (settings.Wants("remove"))
        {
            await new WriteLoad(store, objects, 4096, 32, random: true, log: false) { RemoveAt = 2000 }.RunAsync("4 KiB overwrite QD32 beside removals", duration, 4096);
        }

        foreach ((string part, int size, int depth) in s_deep)
        {
            if (settings.Only.Contains(part))
            {
                await new WriteLoad(store, objects, size, depth, random: true, log: false).RunAsync($"{part}: overwrite QD{depth}", duration, size);
            }
        }

        if (settings.Wants("mixed"))
        {
            var memory = new MemoryProbe(loop, settings.Memory);
            await new MixedLoad(store, objects, 32).RunAsync("mixed QD32", settings.MixedDuration, 0);
            memory.Print(store);
        }

        if (settings.Wants("small"))
        {
            await new SmallObjectLoad(store, 32, settings.SmallObjects).RunAsync("small objects with attributes QD32", TimeSpan.FromHours(1), 4096);
            store.Abandon();
            await Task.Delay(TimeSpan.FromMilliseconds(500), loop.TimeProvider); // what is in flight still holds the file, and its lock
            long before = Stopwatch.GetTimestamp();
            store = await OpenAsync(loop, settings);
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  mount as after a crash: {Stopwatch.GetElapsedTime(before).TotalSeconds:F2} s"));
        }

        await store.CloseAsync();
    }

    private static void Iterate(DiskObjectStore store)
    {
        var meter = new Meter();
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        ReadOnlyMemory<byte> from = default;
        bool more = true;
        while (more)
        {
            entries.Clear();
            long started = Stopwatch.GetTimestamp();
            more = store.ListOmap(Collection, Index, from.Span, 1000, entries);
            meter.Add(started);
            from = entries.Count > 0 ? Next(entries[^1].Key) : default;
        }

        meter.Print("omap list, 1000 entries a call", 124_000);
    }

    private static byte[] Next(ReadOnlyMemory<byte> key) => [.. key.Span, 0];
}
