using Storage.Cluster;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Memory;
using Storage.ObjectStore;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class DifferentialTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void MemoryAndDiskStoreAgreeAcrossRemountsAndCrashes(int seed)
    {
        var random = new Random(seed);
        using var kit = new StoreKit(place: (WriteBackPlace)(seed % 3));
        var memory = new MemoryObjectStore(kit.Loop, new Random(1), new MemoryDisk(), new MemoryStoreOptions { Pool = kit.Pool });
        DiskObjectStore disk = kit.Open();
        var generator = new TransactionGenerator(random, kit) { Overwrites = seed % 2 * 30 };
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
        Assert.Equal(Enumerable.Range(1, (int)token).Select(i => (ulong)i), log.Committed);
        kit.Close(disk);
        kit.Settle();
        kit.AssertNoLeaks();
    }
}
