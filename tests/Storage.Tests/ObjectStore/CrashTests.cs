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
    [InlineData(11)]
    [InlineData(12)]
    public void EveryCrashPointMountsToATransactionBoundaryAtOrAfterTheLastAcknowledged(int seed)
    {
        var random = new Random(seed);
        using var kit = new StoreKit();
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
            System.IO.Directory.CreateDirectory(copy);
            foreach (string file in System.IO.Directory.GetFiles(database))
            {
                File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
            }

            databases.Add((kit.Device!.Log.Count, copy));
        }

        kit.Device!.Log.Clear(); // the mount itself writes nothing but a flush
        SaveDatabase();
        var states = new List<string> { StoreCompare.Describe(kit, memory) };
        var acknowledged = new List<(int LogIndex, int Transactions)>();
        var log = new CommitLog();
        var generator = new TransactionGenerator(random, kit);
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
                acknowledged.Add((kit.Device!.Log.Count, log.Committed.Count));
                if (disk.Checkpoints != checkpoints)
                {
                    checkpoints = disk.Checkpoints;
                    SaveDatabase();
                }
            }

            if (random.Next(12) == 0)
            {
                disk.RequestCheckpoint();
            }
        }

        Assert.True(databases.Count > 1);
        List<(long Offset, byte[]? Data, bool Durable)> writes = kit.Device!.Log.ToList();
        disk.Abandon();
        kit.Settle();
        for (int point = 0; point <= writes.Count; point++)
        {
            start.CopyTo(kit.Image, 0);
            Replay(kit.Image, writes, point, random);
            string saved = databases.Last(entry => entry.LogIndex <= point).Path;
            System.IO.Directory.Delete(database, recursive: true);
            System.IO.Directory.CreateDirectory(database);
            foreach (string file in System.IO.Directory.GetFiles(saved))
            {
                File.Copy(file, Path.Combine(database, Path.GetFileName(file)));
            }

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

    // All before the point as it was written, except what no flush covers yet: that is lost or torn at random. The write at
    // the point itself is torn.
    private static void Replay(byte[] image, List<(long Offset, byte[]? Data, bool Durable)> writes, int point, Random random)
    {
        int flushed = writes.FindLastIndex(Math.Max(0, point - 1), Math.Max(0, point), entry => entry.Data is null);
        for (int i = 0; i < Math.Min(point + 1, writes.Count); i++)
        {
            (long offset, byte[]? data, bool durable) = writes[i];
            if (data is null)
            {
                continue;
            }

            bool whole = i < point && (durable || i < flushed);
            for (int at = 0; at < data.Length; at += 4096)
            {
                if (whole || random.Next(2) == 0)
                {
                    data.AsSpan(at, 4096).CopyTo(image.AsSpan((int)offset + at));
                }
            }
        }
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
        kit.Image[8] = 2;
        MalformedDataException newer = Assert.Throws<MalformedDataException>(() => kit.Open());
        Assert.Contains("version 2", newer.Message, StringComparison.Ordinal);
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
