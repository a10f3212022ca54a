using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Memory;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class CrashTests
{
    private static readonly CollectionId C = new(new PgId(1, 0));
    private static readonly ObjectId O = new("object", 42);

    [Theory]
    [InlineData(11, WriteBackPlace.Adaptive, PoolCompression.None)]
    [InlineData(12, WriteBackPlace.InPlace, PoolCompression.None)]
    [InlineData(13, WriteBackPlace.InPlace, PoolCompression.None)]
    [InlineData(14, WriteBackPlace.NewSpace, PoolCompression.None)]
    [InlineData(19, WriteBackPlace.InPlace, PoolCompression.Lz4)]
    [InlineData(16, WriteBackPlace.Adaptive, PoolCompression.Zstd)]
    [InlineData(17, WriteBackPlace.Adaptive, PoolCompression.Lz4)]
    [InlineData(18, WriteBackPlace.NewSpace, PoolCompression.Lz4)]
    public void EveryCrashPointMountsToATransactionBoundaryAtOrAfterTheLastAcknowledged(int seed, WriteBackPlace place, PoolCompression compression)
    {
        var random = new Random(seed);
        using var kit = new StoreKit(place: place, discard: seed % 2 == 0) { Compression = compression };
        var memory = new MemoryObjectStore(kit.Loop, new Random(1), new MemoryDisk(), new MemoryStoreOptions { Pool = kit.Pool });
        DiskObjectStore disk = kit.Open();
        var setup = new Transaction();
        setup.CreateCollection(TransactionGenerator.Collections[0]);
        setup.CreateCollection(TransactionGenerator.Collections[1]);
        memory.Submit(setup, null, 0);
        disk.Submit(setup, null, 0);
        kit.Close(disk);

        byte[] start = kit.Image.ToArray();
        disk = kit.Open(record: true);
        string database = Path.Combine(kit.Directory, "db");
        var databases = new List<(int LogIndex, string Path)>();
        void SaveDatabase()
        {
            string copy = Path.Combine(kit.Directory, "copy" + databases.Count);
            CopyFolder(database, copy);
            databases.Add((kit.Device!.Log.Count, copy));
        }

        kit.Device!.Log.Clear(); // the mount itself writes nothing but a flush
        SaveDatabase();
        var states = new List<string> { StoreCompare.Describe(kit, memory) };
        var acknowledged = new List<(int LogIndex, int Transactions)>();
        var log = new CommitLog();
        var generator = new TransactionGenerator(random, kit.Pool) { Overwrites = compression == PoolCompression.None ? 50 : 20, Compressible = compression != PoolCompression.None };
        bool sawCompressed = false;
        long checkpoints = disk.Checkpoints;
        for (int step = 1; step <= 25; step++)
        {
            Transaction transaction = generator.Next(memory);
            memory.Submit(transaction, null, 0);
            disk.Submit(transaction, log, (ulong)step);
            transaction.Clear();
            states.Add(StoreCompare.Describe(kit, memory));
            for (int pass = random.Next(12); pass > 0; pass--)
            {
                kit.Loop.Step();
                sawCompressed |= disk.Compression.Count > 0;
                acknowledged.Add((kit.Device!.Log.Count, log.Committed.Count));
                if (disk.Checkpoints != checkpoints)
                {
                    checkpoints = disk.Checkpoints;
                    SaveDatabase();
                }
            }

            if (random.Next(6) == 0)
            {
                disk.RequestCheckpoint();
            }
        }

        Assert.True(databases.Count > 1);
        Assert.Equal(compression != PoolCompression.None, sawCompressed);
        List<DeviceOperation> writes = kit.Device!.Log.ToList();
        disk.Abandon();
        kit.Settle();
        for (int point = 0; point <= writes.Count; point++)
        {
            start.CopyTo(kit.Image, 0);
            DeviceOperation.Crash(kit.Image, writes, point, random);
            string saved = databases.Last(entry => entry.LogIndex <= point).Path;
            System.IO.Directory.Delete(database, recursive: true);
            CopyFolder(saved, database);
            DiskObjectStore mounted = kit.Open();
            string found = StoreCompare.Describe(kit, mounted);
            int least = acknowledged.Where(entry => entry.LogIndex <= point).Select(entry => entry.Transactions).DefaultIfEmpty(0).Max();
            int boundary = states.FindIndex(least, state => state == found);
            Assert.True(boundary >= least, $"seed={seed} crash point {point} of {writes.Count}: no transaction boundary from {least} on:\n{found}");
            kit.Close(mounted);
        }

        kit.Settle();
        kit.AssertNoLeaks();
    }

    internal static void CopyFolder(string from, string to)
    {
        System.IO.Directory.CreateDirectory(to);
        foreach (string file in System.IO.Directory.GetFiles(from))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }
    }

    [Fact]
    public void OverwrittenBlocksStayWhereTheyAre()
    {
        using var kit = new StoreKit(place: WriteBackPlace.InPlace);
        DiskObjectStore store = kit.Open();
        var t = new Transaction();
        t.CreateCollection(C);
        Storage.Reactor.BufferSegment large = kit.Data(new byte[256 << 10]);
        t.Write(C, O, 0, large);
        large.Buffer!.Release();
        t.Clone(C, O, new ObjectId("clone", 42)); // its blocks are shared: they must not be written over
        Submit(kit, store, t);
        Assert.Equal(1, store.CountRuns(C, [O]));
        t.Remove(C, new ObjectId("clone", 42));
        Submit(kit, store, t);
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        long used = store.Usage.UsedBytes;
        var random = new Random(3);
        byte[] expected = new byte[256 << 10];
        for (int i = 0; i < 200; i++)
        {
            byte[] block = new byte[4096];
            random.NextBytes(block);
            int at = random.Next(64) * 4096;
            block.CopyTo(expected, at);
            Storage.Reactor.BufferSegment data = kit.Data(block);
            t.Write(C, O, at, data);
            data.Buffer!.Release();
            Submit(kit, store, t);
            if (i % 10 == 0)
            {
                kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
            }
        }

        kit.Close(store);
        store = kit.Open();
        Assert.Equal(1, store.CountRuns(C, [O]));
        Assert.Equal(used, store.Usage.UsedBytes);
        Assert.Equal(expected, kit.Read(store, C, O, 0, 256 << 10).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void SharedBlocksAreNotWrittenOver()
    {
        using var kit = new StoreKit(place: WriteBackPlace.InPlace);
        DiskObjectStore store = Create(kit, out byte[] content);
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        var t = new Transaction();
        var clone = new ObjectId("clone", 42);
        t.Clone(C, O, clone);
        Storage.Reactor.BufferSegment data = kit.Data(new byte[4096]);
        t.Write(C, O, 4096, data);
        data.Buffer!.Release();
        Submit(kit, store, t);
        kit.Close(store);
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, clone, 0, 20_000).Data);
        new byte[4096].CopyTo(content, 4096);
        Assert.Equal(content, kit.Read(store, C, O, 0, 20_000).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    private static void Submit(StoreKit kit, DiskObjectStore store, Transaction t)
    {
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
    }

    [Fact]
    public void FlippedBitInDataIsReportedAndNeverReturned()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Create(kit, out byte[] content);
        kit.Close(store);
        int at = kit.Image.AsSpan().IndexOf(content.AsSpan(4096, 64));
        Assert.True(at > 0);
        kit.Image[at + 5] ^= 4;
        store = kit.Open();
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 0, 20_000).Status);
        Assert.Equal(ReadStatus.Ok, kit.Read(store, C, O, 0, 4096).Status);

        // A partial write over the damage must not launder it.
        var t = new Transaction();
        Storage.Reactor.BufferSegment patch = kit.Data([1, 2, 3]);
        t.Write(C, O, 4096 + 100, patch);
        patch.Buffer!.Release();
        store.Submit(t, null, 0);
        t.Clear();
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 4096, 4096).Status);
        kit.Close(store);
        store = kit.Open();
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 4096, 4096).Status);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(2, false)]
    [InlineData(4, true)]
    public void DamagedJournalIsRefusedUnlessItIsTheTornTail(int damaged, bool mounts)
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Create(kit, out _);
        var values = new byte[5][];
        for (int i = 0; i < values.Length; i++)
        {
            values[i] = new byte[64];
            new Random(i).NextBytes(values[i]);
            var t = new Transaction();
            t.SetAttribute(C, O, "v" + i, values[i]);
            store.Submit(t, null, 0);
            kit.Settle();
        }

        store.Abandon();
        kit.Settle();
        int at = kit.Image.AsSpan().IndexOf(values[damaged]);
        Assert.True(at > 0);
        kit.Image[at] ^= 1;
        if (mounts)
        {
            store = kit.Open();
            Assert.True(store.TryGetAttribute(C, O, "v3", out _));
            Assert.False(store.TryGetAttribute(C, O, "v4", out _));
            kit.Close(store);
        }
        else
        {
            MalformedDataException error = Assert.Throws<MalformedDataException>(() => kit.Open());
            Assert.Contains("journal batch", error.Message, StringComparison.Ordinal);
        }

        kit.AssertNoLeaks();
    }

    [Fact]
    public void ForeignAndNewerFilesAreRefusedAndLeftAlone()
    {
        using var kit = new StoreKit();
        byte[] good = kit.Image.ToArray();
        kit.Image[0] ^= 1;
        byte[] foreign = kit.Image.ToArray();
        Assert.Throws<MalformedDataException>(() => kit.Open());
        Assert.True(foreign.AsSpan().SequenceEqual(kit.Image));
        good.CopyTo(kit.Image, 0);
        kit.Image[8] = 3;
        MalformedDataException newer = Assert.Throws<MalformedDataException>(() => kit.Open());
        Assert.Contains("version 3", newer.Message, StringComparison.Ordinal);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void FullDiskRefusesWritesAndStillRemoves()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Create(kit, out _);
        var t = new Transaction();
        Storage.Reactor.BufferSegment chunk = kit.Data(new byte[1 << 20]);
        Assert.Throws<StoreFullException>(() =>
        {
            for (int i = 0; i < 100; i++)
            {
                t.Clear();
                t.Write(C, new ObjectId("fill" + i, (uint)i), 0, chunk);
                store.Submit(t, null, 0);
                kit.Settle();
            }
        });
        Assert.InRange(store.Usage.UsedBytes, store.Usage.TotalBytes * 80 / 100, store.Usage.TotalBytes);
        t.Clear();
        t.Remove(C, new ObjectId("fill0", 0));
        t.Remove(C, new ObjectId("fill1", 1));
        store.Submit(t, null, 0);
        store.RequestCheckpoint();
        kit.Settle();
        t.Clear();
        t.Write(C, new ObjectId("again", 5), 0, chunk);
        store.Submit(t, null, 0);
        t.Clear();
        chunk.Buffer!.Release();
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void WriteErrorIsFatalAndNothingIsAcknowledged()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Create(kit, out _);
        Exception? failure = null;
        store.Failed += error => failure = error;
        kit.Device!.WriteError = 5;
        var log = new CommitLog();
        var t = new Transaction();
        t.SetAttribute(C, O, "a", new byte[] { 1 });
        store.Submit(t, log, 1);
        kit.Settle();
        Assert.IsType<IOException>(failure);
        Assert.Empty(log.Committed);
        kit.Device.WriteError = 0;
        store.Submit(t, log, 2);
        kit.Settle();
        Assert.Empty(log.Committed);
        store.Abandon();
        kit.Settle();
        kit.AssertNoLeaks();
    }

    private static DiskObjectStore Create(StoreKit kit, out byte[] content)
    {
        DiskObjectStore store = kit.Open();
        var t = new Transaction();
        t.CreateCollection(C);
        content = new byte[20_000];
        new Random(5).NextBytes(content);
        Storage.Reactor.BufferSegment data = kit.Data(content);
        t.Write(C, O, 0, data);
        data.Buffer!.Release();
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
        return store;
    }
}
