using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Metadata;
using Storage.ObjectStore.Offline;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class CompressionTests
{
    private const int Size = 256 << 10;
    private static readonly CollectionId C = new(new PgId(1, 0));
    private static readonly ObjectId O = new("object", 42);
    private static readonly ObjectId Copy = new("copy", 42);

    [Theory]
    [InlineData(PoolCompression.Lz4)]
    [InlineData(PoolCompression.Zstd)]
    public void LargeWritesTakeLessRoomAndComeBackAfterAMount(PoolCompression algorithm)
    {
        using var kit = new StoreKit { Compression = algorithm };
        DiskObjectStore store = Create(kit, out byte[] content);
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        CompressionFigures figures = store.Compression[1];
        Assert.Equal(Size, figures.OriginalBytes);
        Assert.InRange(figures.StoredBytes, 4 * 4096, Size * 3 / 4);
        Assert.Equal(figures.StoredBytes, store.Usage.UsedBytes);
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        Assert.Equal(content.AsSpan(70_001, 5000).ToArray(), kit.Read(store, C, O, 70_001, 5000).Data);
        store.Abandon();
        kit.Settle();
        store = kit.Open();
        Assert.Equal(figures, store.Compression[1]);
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        AssertClean(kit, store, Size / 4096);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void WhatDoesNotSaveAnEighthIsStoredAsItIs()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        DiskObjectStore store = kit.Open();
        byte[] noise = new byte[Size];
        new Random(1).NextBytes(noise);
        noise.AsSpan(0, 7000).Clear(); // a unit of 16 is saved, an eighth is not
        Write(kit, store, 0, noise);
        Assert.Empty(store.Compression);
        byte[] small = new byte[8192]; // below the size of large writes
        Write(kit, store, 0, small);
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        Assert.Empty(store.Compression);
        Assert.Equal(Size, store.Usage.UsedBytes);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Theory]
    [InlineData("nothing", true)]
    [InlineData("overwrite", false)]
    [InlineData("patch", false)]
    [InlineData("clone", false)]
    [InlineData("clone and remove", true)]
    [InlineData("move", true)]
    [InlineData("remove", false)]
    [InlineData("truncate", false)]
    [InlineData("checkpoint", false)]
    public void WhatHappensWhileAWriteIsCompressedDecidesWhatBecomesOfIt(string what, bool compressed)
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        DiskObjectStore store = kit.Open();
        byte[] content = Compressible();
        var t = new Transaction();
        t.CreateCollection(C);
        Add(kit, t, 0, content);
        var log = new CommitLog();
        store.Submit(t, log, 1);
        t.Clear();
        Assert.Empty(store.Compression); // it is applied, and plain
        ObjectId name = O;
        switch (what)
        {
            case "overwrite":
                byte[] blocks = new byte[8192];
                Add(kit, t, 40 * 4096, blocks);
                blocks.CopyTo(content, 40 * 4096);
                break;
            case "patch":
                Add(kit, t, 70_000, [1, 2, 3]);
                new byte[] { 1, 2, 3 }.CopyTo(content, 70_000);
                break;
            case "clone":
                t.Clone(C, O, Copy);
                break;
            case "clone and remove":
                t.Clone(C, O, Copy);
                t.Remove(C, Copy);
                break;
            case "move":
                t.Move(C, O, C, Copy);
                name = Copy;
                break;
            case "remove":
                t.Remove(C, O);
                content = [];
                break;
            case "truncate":
                t.Truncate(C, O, 100_000);
                content = content[..100_000];
                break;
            case "checkpoint":
                store.RequestCheckpoint();
                break;
            default:
                break;
        }

        t.SetAttribute(C, Copy, "after", new byte[] { 1 });
        store.Submit(t, log, 2);
        t.Clear();
        if (what == "checkpoint")
        {
            kit.Loop.Step(); // its snapshot is taken before any part is done
        }

        Assert.Equal(content, kit.Read(store, C, name, 0, Size).Data); // waits for the data to be somewhere
        kit.Settle();
        Assert.Equal([1ul, 2ul], log.Committed);
        Assert.Equal(compressed, store.Compression.Count > 0);
        AssertClean(kit, store, null);
        store.Abandon(); // from the journal
        kit.Settle();
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, name, 0, Size).Data);
        Assert.Equal(compressed, store.Compression.Count > 0);
        AssertClean(kit, store, null);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void DataThatChangedInMemoryIsNotCompressedIntoSoundData()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        DiskObjectStore store = kit.Open();
        BufferSegment data = kit.Data(Compressible());
        data.Buffer!.Checksums.Keep(3, 0xBAD); // as it came with the message
        var t = new Transaction();
        t.CreateCollection(C);
        t.Write(C, O, 0, data);
        data.Buffer.Release();
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
        Assert.Equal(Size - Blob.MostBlocks * 4096, store.Compression[1].OriginalBytes);
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 3 * 4096, 4096).Status);
        Assert.Equal(ReadStatus.Ok, kit.Read(store, C, O, 4 * 4096, 4096).Status);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void ThreadsCompressAndDecompressBesideTheLoop()
    {
        using var kit = new StoreKit(threads: true) { Compression = PoolCompression.Zstd };
        DiskObjectStore store = kit.Open();
        byte[] content = Compressible();
        var t = new Transaction();
        t.CreateCollection(C);
        var log = new CommitLog();
        for (ulong n = 1; n <= 40; n++)
        {
            Add(kit, t, (long)(n % 4) * Size, content);
            store.Submit(t, log, n);
            t.Clear();
            t.SetAttribute(C, Copy, "n", new[] { (byte)n });
            store.Submit(t, log, 100 + n);
            t.Clear();
            Assert.True(kit.RunUntil(() => log.Committed.Count == 2 * (int)n));
        }

        Assert.Equal(Enumerable.Range(1, 40).SelectMany(n => new ulong[] { (ulong)n, 100 + (ulong)n }), log.Committed);
        Assert.InRange(store.Compression[1].OriginalBytes, Size, 4 * Size); // what a checkpoint came upon stays plain
        for (int i = 0; i < 4; i++)
        {
            Assert.Equal(content, kit.Read(store, C, O, i * Size, Size).Data);
        }

        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void PoolsSayHowMuchHasToBeSavedAndHowHardToTry()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Zstd };
        DiskObjectStore store = kit.Open();
        long Stored(CompressionSettings settings)
        {
            Assert.True(store.SetCompression(1, settings));
            Write(kit, store, 0, Text());
            return store.Compression.TryGetValue(1, out CompressionFigures figures) ? figures.StoredBytes : Size;
        }

        long fast = Stored(new CompressionSettings(PoolCompression.Zstd));
        Assert.InRange(Stored(new CompressionSettings(PoolCompression.Zstd, Level: 19)), 4096, fast - 4096);
        Assert.Equal(Size, Stored(new CompressionSettings(PoolCompression.Zstd, RequiredRatio: 0.1)));
        Assert.Throws<ArgumentOutOfRangeException>(() => store.SetCompression(1, new CompressionSettings(PoolCompression.Lz4, RequiredRatio: 0)));
        Assert.Throws<ArgumentOutOfRangeException>(() => store.SetCompression(1, new CompressionSettings(PoolCompression.Zstd, Level: 20)));
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void OverwrittenPartsLeaveTheBlobAndALittleRestDissolvesIt()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Zstd };
        DiskObjectStore store = Create(kit, out byte[] content);
        var random = new Random(9);
        for (int i = 0; i < 150; i++)
        {
            byte[] data = new byte[random.Next(3) == 0 ? random.Next(1, 9000) : 4096];
            random.NextBytes(data);
            int at = data.Length == 4096 ? random.Next(Size / 4096) * 4096 : random.Next(Size - data.Length);
            data.CopyTo(content, at);
            Write(kit, store, at, data);
            if (i % 10 == 0)
            {
                kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
                Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
            }
        }

        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        Assert.True(store.Usage.UsedBytes <= Size, $"{store.Usage.UsedBytes} bytes for {Size}");
        AssertClean(kit, store, Size / 4096);
        kit.Close(store);
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void ClonesShareBlobsWholeAndShifted()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        DiskObjectStore store = Create(kit, out byte[] content);
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        long used = store.Usage.UsedBytes;
        var shifted = new ObjectId("shifted", 42);
        var t = new Transaction();
        t.Clone(C, O, Copy);
        t.CloneRange(C, O, shifted, 5 * 4096, 100 * 1024, 62 * 4096); // over the end of a block map
        store.Submit(t, null, 0);
        t.Clear();
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        Assert.Equal(used, store.Usage.UsedBytes);
        byte[] patch = new byte[4096];
        Array.Fill(patch, (byte)7);
        Write(kit, store, 8192, patch);
        store.Abandon();
        kit.Settle();
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, Copy, 0, Size).Data);
        Assert.Equal(content.AsSpan(5 * 4096, 100 * 1024).ToArray(), kit.Read(store, C, shifted, 62 * 4096, 100 * 1024).Data);
        patch.CopyTo(content, 8192);
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        var file = new MemoryStream();
        kit.Loop.Run(() => CollectionArchive.ExportAsync(store, C, file), TimeSpan.FromMinutes(1));
        t.Remove(C, O);
        t.Remove(C, Copy);
        t.Remove(C, shifted);
        store.Submit(t, null, 0);
        t.Clear();
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
        Assert.Empty(store.Compression);
        Assert.Equal(0, store.Usage.UsedBytes);
        t.RemoveCollection(C);
        store.Submit(t, null, 0);
        t.Clear();
        file.Position = 0;
        kit.Loop.Run(() => CollectionArchive.ImportAsync(store, file), TimeSpan.FromMinutes(1));
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        Assert.NotEmpty(store.Compression); // compressed anew
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void DamagedBlobIsNeverReturnedAsData()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        DiskObjectStore store = Create(kit, out byte[] content);
        long data = kit.Image.Length - store.Usage.TotalBytes;
        kit.Close(store);
        byte[] sound = kit.Image.ToArray();
        string database = Path.Combine(kit.Directory, "db");
        string saved = Path.Combine(kit.Directory, "saved");
        CrashTests.CopyFolder(database, saved);
        var random = new Random(3);
        int damaged = 0;
        for (int i = 0; i < 60; i++)
        {
            sound.CopyTo(kit.Image, 0);
            int at = (int)data + random.Next(40_000); // what the first blobs take, and what follows
            kit.Image[at] ^= (byte)(1 << random.Next(8));
            System.IO.Directory.Delete(database, recursive: true);
            CrashTests.CopyFolder(saved, database);
            store = kit.Open();
            int wrong = 0;
            for (int part = 0; part < Size; part += 16 << 10)
            {
                (ReadStatus status, byte[] found) = kit.Read(store, C, O, part, 16 << 10);
                wrong += status == ReadStatus.ChecksumMismatch ? 1 : 0;
                Assert.True(status == ReadStatus.ChecksumMismatch || found.AsSpan().SequenceEqual(content.AsSpan(part, 16 << 10)));
            }

            // All of the blob is lost and nothing beside it.
            Assert.True(wrong is 0 or 4, $"{wrong} parts");
            damaged += wrong / 4;
            var problems = new List<string>();
            StoreCheckReport report = kit.Loop.Run(() => store.CheckAsync(true, false, problems.Add), TimeSpan.FromMinutes(1));
            Assert.Equal(wrong * 4, report.BlocksDamaged);
            if (wrong > 0)
            {
                // A partial write over the damage must not launder it.
                int first = Enumerable.Range(0, 16).First(n => kit.Read(store, C, O, n * (16 << 10), 4096).Status != ReadStatus.Ok) * (16 << 10);
                Write(kit, store, first + 10, [1, 2, 3]);
                kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
                Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, first, 4096).Status);
            }

            store.Abandon();
            kit.Settle();
        }

        Assert.True(damaged > 30);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void OlderStoresAreOpenedAndOlderBuildsRefuseTheNewOnes()
    {
        using var kit = new StoreKit { Compression = PoolCompression.Lz4 };
        string path = Path.Combine(kit.Directory, "db");
        byte Version(bool set)
        {
            using var database = new MetadataDatabase(path, create: false, 1 << 20);
            byte[] state = database.Get(MetadataKeys.State)!;
            if (set)
            {
                state[0] = 2;
                using var batch = new MetadataBatch();
                batch.Put(MetadataKeys.State, state);
                database.WriteAndFlush(batch);
            }

            return state[0];
        }

        Assert.Equal(2, Version(set: true));
        DiskObjectStore store = Create(kit, out byte[] content);
        store.Abandon(); // compressed data in the journal only
        kit.Settle();
        Assert.Equal(4, Version(set: false));
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, O, 0, Size).Data);
        kit.Close(store);
    }

    private static DiskObjectStore Create(StoreKit kit, out byte[] content)
    {
        DiskObjectStore store = kit.Open();
        content = Compressible();
        Write(kit, store, 0, content);
        return store;
    }

    private static byte[] Compressible()
    {
        byte[] content = new byte[Size];
        new Random(5).NextBytes(content);
        for (int i = 0; i < Size; i++)
        {
            content[i] = i % 16 < 5 ? content[i] : (byte)(i / 5000);
        }

        return content;
    }

    // Words in no order: what a higher level finds more in.
    private static byte[] Text()
    {
        var random = new Random(6);
        string[] words = [.. Enumerable.Range(0, 900).Select(_ => string.Concat(Enumerable.Range(0, random.Next(2, 9)).Select(_ => (char)('a' + random.Next(26)))))];
        var text = new System.Text.StringBuilder();
        while (text.Length < Size)
        {
            text.Append(words[random.Next(words.Length)]).Append(' ');
        }

        return System.Text.Encoding.ASCII.GetBytes(text.ToString(0, Size));
    }

    private static void Add(StoreKit kit, Transaction t, long at, byte[] bytes)
    {
        BufferSegment data = kit.Data(bytes);
        t.Write(C, O, at, data);
        data.Buffer!.Release();
    }

    private static void Write(StoreKit kit, DiskObjectStore store, long at, byte[] bytes)
    {
        var t = new Transaction();
        t.CreateCollection(C);
        Add(kit, t, at, bytes);
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
    }

    private static void AssertClean(StoreKit kit, DiskObjectStore store, long? blocks)
    {
        var problems = new List<string>();
        StoreCheckReport report = kit.Loop.Run(() => store.CheckAsync(true, false, problems.Add), TimeSpan.FromMinutes(1));
        Assert.True(report.IsClean, string.Join('\n', problems));
        Assert.Equal(blocks ?? report.Blocks, report.Blocks);
        Assert.Equal(report.Blocks, report.BlocksVerified);
    }
}
