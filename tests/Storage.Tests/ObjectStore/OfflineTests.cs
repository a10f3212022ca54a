using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Metadata;
using Storage.ObjectStore.Offline;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class OfflineTests
{
    private static readonly CollectionId C = TransactionGenerator.Collections[0];

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void StoreIsCleanAfterRandomTransactions(int seed)
    {
        using var kit = new StoreKit(discard: true);
        DiskObjectStore store = Fill(kit, seed, 150);
        var problems = new List<string>();
        StoreCheckReport report = kit.Loop.Run(() => store.CheckAsync(true, false, problems.Add), TimeSpan.FromMinutes(1));
        Assert.True(report.IsClean, string.Join('\n', problems));
        Assert.True(report.Objects > 3 && report.BlocksVerified == report.Blocks && report.Blocks > 20 && report.Collections == 2);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void CheckNamesDamagedBlocksAndRemovesOrphans()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Fill(kit, 3, 40);
        var id = new ObjectId("marked", 1);
        byte[] content = new byte[20_000];
        new Random(1).NextBytes(content);
        var t = new Transaction();
        BufferSegment data = kit.Data(content);
        t.Write(C, id, 0, data);
        data.Buffer!.Release();
        store.Submit(t, null, 0);
        t.Clear();
        kit.Close(store);
        kit.Image[kit.Image.AsSpan().IndexOf(content.AsSpan(4096, 64))] ^= 1;
        using (var database = new MetadataDatabase(Path.Combine(kit.Directory, "db"), create: false, 1 << 20))
        {
            using var batch = new MetadataBatch();
            var key = new WireWriter();
            MetadataKeys.WriteOmap(key, 999_999, "lost"u8);
            batch.Put(key.WrittenSpan, "value"u8);
            database.WriteAndFlush(batch);
        }

        store = kit.Open();
        var problems = new List<string>();
        StoreCheckReport report = kit.Loop.Run(() => store.CheckAsync(true, true, problems.Add), TimeSpan.FromMinutes(1));
        Assert.Equal(1, report.BlocksDamaged);
        Assert.Equal(1, report.OrphansRemoved);
        Assert.Contains(problems, problem => problem.Contains("marked", StringComparison.Ordinal) && problem.Contains("bytes 4096 to 8192", StringComparison.Ordinal));
        report = kit.Loop.Run(() => store.CheckAsync(false, false, problems.Add), TimeSpan.FromMinutes(1));
        Assert.True(report.IsClean);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void ExportedGroupIsTheSameAfterImportAndDamageIsRefused()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = Fill(kit, 4, 120);
        var file = new MemoryStream();
        (long objects, long bytes) = kit.Loop.Run(() => CollectionArchive.ExportAsync(store, C, file), TimeSpan.FromMinutes(1));
        Assert.True(objects > 1 && bytes > 10_000);
        string before = WithoutIndexes(StoreCompare.Describe(kit, store));
        file.Position = 0;
        Assert.Throws<InvalidOperationException>(() => kit.Loop.Run(() => CollectionArchive.ImportAsync(store, file), TimeSpan.FromMinutes(1)));
        var t = new Transaction();
        t.RemoveCollection(C);
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
        byte[] good = file.ToArray();
        for (int i = 0; i < 40; i++)
        {
            byte[] bad = good.ToArray();
            int at = good.Length * i / 40;
            bad[at] ^= 8;
            Assert.Throws<MalformedDataException>(() => CollectionArchive.Check(new MemoryStream(bad)));
            Assert.Throws<MalformedDataException>(() => CollectionArchive.Check(new MemoryStream(good, 0, at)));
        }

        file.Position = 0;
        (CollectionId collection, _, _) = kit.Loop.Run(() => CollectionArchive.ImportAsync(store, file), TimeSpan.FromMinutes(1));
        Assert.Equal(C, collection);
        Assert.Equal(before, WithoutIndexes(StoreCompare.Describe(kit, store)));
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    // The log of an imported collection begins with its first record; the other collection's stays as it was.
    private static string WithoutIndexes(string text) => System.Text.RegularExpressions.Regex.Replace(text, @" log \d+\.\.\d+ ", " log ");

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void GrownStoreKeepsItsContentAndATornSuperblockIsReadFromItsCopy(bool threads)
    {
        using var kit = new StoreKit();
        string folder = Path.Combine(kit.Directory, "grow");
        DiskStoreOptions options = kit.Options with { JournalBytes = 4 << 20, InlineCheckpoints = false, Discard = true };
        DiskObjectStore.Format(folder, 32 << 20, Guid.NewGuid(), options);
        Assert.Throws<ArgumentException>(() => DiskObjectStore.Grow(folder, 0));
        var id = new ObjectId("kept", 1);
        long total = 0;
        RunOnLoop(async loop =>
        {
            DiskObjectStore store = await OpenFileAsync(loop, folder, options, threads);
            total = store.Usage.TotalBytes;
            var t = new Transaction();
            t.CreateCollection(C);
            t.SetAttribute(C, id, "a", new byte[] { 7 });
            await store.CommitAsync(t);
            store.Abandon(); // with a journal to replay
        });
        (long before, long after) = DiskObjectStore.Grow(folder, 64 << 20);
        Assert.Equal(total, before);
        Assert.Equal(before + (32 << 20), after);
        using (var file = new FileStream(Path.Combine(folder, "block"), FileMode.Open))
        {
            file.Position = 100;
            file.WriteByte(0xFF);
        }

        RunOnLoop(async loop =>
        {
            DiskObjectStore store = await OpenFileAsync(loop, folder, options, threads);
            Assert.Equal(after, store.Usage.TotalBytes);
            Assert.True(store.TryGetAttribute(C, id, "a", out _));
            BufferSegment large = kit.Data(new byte[8 << 20]);
            var t = new Transaction();
            for (int i = 0; i < 6; i++)
            {
                t.Clear();
                t.Write(C, id, i * (8L << 20), large);
                await store.CommitAsync(t);
            }

            large.Buffer!.Release();
            (ReadStatus status, BufferSegment data) = await store.ReadAsync(C, id, 40 << 20, 4 << 20);
            Assert.Equal(ReadStatus.Ok, status);
            data.Buffer!.Release();
            t.Clear();
            t.Remove(C, id);
            await store.CommitAsync(t);
            await store.CheckpointAsync();
            await store.CheckpointAsync();
            Assert.Equal(0, store.Usage.UsedBytes);
            await store.CloseAsync();
            Assert.Equal(48 << 20, store.DiscardedBytes);
        });
        kit.AssertNoLeaks();
    }

    internal static void RunOnLoop(Func<ReactorLoop, Task> test)
    {
        using var loop = new ReactorLoop();
        Exception? failure = null;
        loop.Failed += error => failure = error;
        loop.Post(
            async void (_) =>
            {
                try
                {
                    await test(loop);
                }
#pragma warning disable CA1031 // told below
                catch (Exception error)
#pragma warning restore CA1031
                {
                    failure = error;
                }

                loop.Stop();
            },
            null);
        loop.Run();
        Assert.Null(failure);
    }

    private static Task<DiskObjectStore> OpenFileAsync(ReactorLoop loop, string folder, DiskStoreOptions options, bool threads)
    {
        string path = Path.Combine(folder, "block");
        return DiskObjectStore.OpenAsync(loop, threads ? new ThreadBlockDevice(loop, path) : BlockDevices.Open(loop, path), Path.Combine(folder, "db"), options);
    }

    private static DiskObjectStore Fill(StoreKit kit, int seed, int transactions)
    {
        var random = new Random(seed);
        DiskObjectStore store = kit.Open();
        var generator = new TransactionGenerator(random, kit.Pool) { Overwrites = 20 };
        var t = new Transaction();
        t.CreateCollection(TransactionGenerator.Collections[0]);
        t.CreateCollection(TransactionGenerator.Collections[1]);
        store.Submit(t, null, 0);
        for (int i = 0; i < transactions; i++)
        {
            Transaction next = generator.Next(store);
            store.Submit(next, null, 0);
            next.Clear();
            if (i % 20 == 0)
            {
                kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
            }
        }

        kit.Settle();
        return store;
    }
}
