using Storage.Cluster;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore;
using Storage.Reactor.Virtual;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>A disk store over memory with its database in a temporary directory, and the calls tests make on any store.</summary>
internal sealed class StoreKit : IDisposable
{
    public const int DiskBytes = 24 << 20;

    public StoreKit(DiskStoreOptions? options = null, WriteBackPlace place = WriteBackPlace.Adaptive, bool discard = false, bool threads = false)
    {
        Pool = new BufferPool(trace: true);
        Options = (options ?? new DiskStoreOptions { CheckpointInterval = TimeSpan.Zero, JournalBytes = 1 << 20, DirectWriteBytes = 16 << 10, CheckpointBytes = 256 << 10 }) with
        {
            Pool = Pool,
            WriteBackPlace = place,
            Discard = discard,
            InlineCheckpoints = true,
            InlineCompression = !threads,
            DatabaseCompaction = false,
            DatabaseCacheBytes = 1 << 20,
        };
        Directory = Path.Combine(Path.GetTempPath(), "store-" + Guid.NewGuid().ToString("N"));
        System.IO.Directory.CreateDirectory(Directory);
        Image = new byte[DiskBytes];
        var store = new Guid("6f3d0c51-2a7e-4a5b-9a0e-1c2d3e4f5a6b");
        Superblock.Plan(store, DiskBytes, Options.JournalBytes).Write(Image.AsSpan(0, 4096));
        DiskObjectStore.WriteFirstState(Path.Combine(Directory, "db"), store, Options);
    }

    public VirtualLoop Loop { get; } = new();

    public BufferPool Pool { get; }

    public DiskStoreOptions Options { get; }

    public string Directory { get; }

    public byte[] Image { get; }

    public RecordingBlockDevice? Device { get; private set; }

    /// <summary>What the store is told about pool 1 whenever it is opened.</summary>
    public PoolCompression Compression { get; init; }

    public DiskObjectStore Open(bool record = false)
    {
        Device = new RecordingBlockDevice(Loop, Image, record);
        DiskObjectStore store = Loop.Run(() => DiskObjectStore.OpenAsync(Loop, Device, Path.Combine(Directory, "db"), Options), TimeSpan.FromMinutes(1));
        Assert.True(store.SetCompression(1, new CompressionSettings(Compression)));
        return store;
    }

    public void Close(DiskObjectStore store) => Loop.Run(store.CloseAsync, TimeSpan.FromMinutes(1));

    public void Settle() => Loop.RunFor(TimeSpan.FromSeconds(5));

    /// <summary>Runs until something holds that other threads may have a part in.</summary>
    public bool RunUntil(Func<bool> condition) =>
        SpinWait.SpinUntil(() => Loop.RunUntil(condition, TimeSpan.FromMilliseconds(Options.InlineCompression ? 60_000 : 1)), TimeSpan.FromMinutes(1));

    public BufferSegment Data(byte[] bytes)
    {
        PageBuffer buffer = Pool.Rent(bytes.Length);
        bytes.CopyTo(buffer.Span);
        return buffer.Slice(0, bytes.Length);
    }

    public (ReadStatus Status, byte[] Data) Read(IObjectStore store, CollectionId collection, ObjectId id, long offset, int length)
    {
        var result = new ReadResult();
        store.Read(collection, id, offset, length, result, 7);
        Assert.True(RunUntil(() => result.Done));
        return (result.Status, result.Data);
    }

    public void AssertNoLeaks() => Assert.True(Pool.Outstanding == 0, $"{Pool.Outstanding} buffers leaked:\n" + string.Join("\n---\n", Pool.OutstandingTraces.Take(2)));

    public void Dispose() => System.IO.Directory.Delete(Directory, recursive: true);

    private sealed class ReadResult : IReadCompletion
    {
        public bool Done { get; private set; }

        public ReadStatus Status { get; private set; }

        public byte[] Data { get; private set; } = [];

        public void OnRead(ulong token, ReadStatus status, BufferSegment data)
        {
            Assert.Equal(7ul, token);
            Assert.False(Done);
            Done = true;
            Status = status;
            Data = data.Span.ToArray();
            data.Buffer?.Release();
        }
    }
}

internal sealed class CommitLog : IStoreCompletion
{
    public List<ulong> Committed { get; } = [];

    public void OnCommitted(ulong token) => Committed.Add(token);
}
