using Storage.Cluster;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Memory;
using Storage.ObjectStore.Offline;
using Storage.ObjectStore;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class DifferentialTests
{
    [Theory]
    [InlineData(1, PoolCompression.None)]
    [InlineData(2, PoolCompression.None)]
    [InlineData(3, PoolCompression.None)]
    [InlineData(4, PoolCompression.None)]
    [InlineData(5, PoolCompression.Lz4)]
    [InlineData(6, PoolCompression.Zstd)]
    [InlineData(7, PoolCompression.Lz4)]
    [InlineData(8, PoolCompression.Zstd)]
    [InlineData(9, PoolCompression.Lz4)]
    [InlineData(10, PoolCompression.Lz4)]
    [InlineData(11, PoolCompression.Zstd)]
    public void MemoryAndDiskStoreAgreeAcrossRemountsAndCrashes(int seed, PoolCompression compression)
    {
        var random = new Random(seed);
        var options = new DiskStoreOptions { CheckpointInterval = TimeSpan.Zero, JournalBytes = 1 << 20, DirectWriteBytes = 16 << 10, CheckpointBytes = 256 << 10, DataCacheBytes = seed % 2 * (8 << 20) };
        using var kit = new StoreKit(options, place: (WriteBackPlace)(seed % 3)) { Compression = compression };
        var memory = new MemoryObjectStore(kit.Loop, new Random(1), new MemoryDisk(), new MemoryStoreOptions { Pool = kit.Pool });
        DiskObjectStore disk = kit.Open();
        var generator = new TransactionGenerator(random, kit.Pool) { Overwrites = seed % 2 * 30, Compressible = compression != PoolCompression.None };
        bool sawCompressed = false;
        var setup = new Transaction();
        setup.CreateCollection(TransactionGenerator.Collections[0]);
        setup.CreateCollection(TransactionGenerator.Collections[1]);
        memory.Submit(setup, null, 0);
        disk.Submit(setup, null, 0);
        ulong token = 0;
        var log = new CommitLog();
        for (int step = 0; step < 300; step++)
        {
            Transaction transaction = generator.Next(memory);
            memory.Submit(transaction, null, 0);
            disk.Submit(transaction, log, ++token);
            transaction.Clear();
            sawCompressed |= disk.Compression.Count > 0;
            int what = random.Next(60);
            if (what < 8)
            {
                kit.Loop.RunFor(TimeSpan.FromMilliseconds(1));
            }
            else if (what < 11)
            {
                disk.RequestCheckpoint();
            }
            else if (what == 12)
            {
                kit.Close(disk);
                disk = kit.Open();
                StoreCheckReport report = kit.Loop.Run(() => disk.CheckAsync(true, false, problem => Assert.Fail($"seed={seed} step={step}: {problem}")), TimeSpan.FromMinutes(1));
                Assert.True(report.IsClean && report.BlocksVerified == report.Blocks);
            }
            else if (what == 13)
            {
                kit.Settle();
                disk.Abandon();
                disk = kit.Open();
            }

            if (step % 30 == 29)
            {
                string expected = StoreCompare.Describe(kit, memory);
                string actual = StoreCompare.Describe(kit, disk);
                Assert.True(expected == actual, $"seed={seed} step={step}\n--- memory\n{expected}\n--- disk\n{actual}");
            }
        }

        kit.Settle();
        Assert.Null(disk.Failure);
        Assert.Equal(compression != PoolCompression.None, sawCompressed);
        Assert.Equal(Enumerable.Range(1, (int)token).Select(i => (ulong)i), log.Committed);
        kit.Close(disk);
        kit.Settle();
        kit.AssertNoLeaks();
    }
}
