using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class CacheTests
{
    private static readonly CollectionId C = new(new PgId(1, 0));
    private static readonly ObjectId O = new("object", 42);

    [Fact]
    public void DataCacheKeepsWhatIsAskedForAgainAndItsBudget()
    {
        using var cache = new DataCache { Budget = 8 << 20 };
        byte[] block = new byte[4096];
        for (uint unit = 1; unit <= 10_000; unit++)
        {
            BitConverter.TryWriteBytes(block, unit);
            cache.Add(unit, unit * 3, block);
            Assert.True(unit < 7 || cache.TryCopy(7, 21, block) && BitConverter.ToUInt32(block) == 7);
        }

        Assert.Equal(8 << 20, cache.Bytes);
        Assert.Equal(2048, cache.Count);
        cache.Remove(7);
        Assert.False(cache.TryCopy(7, 21, block));
        cache.Budget = 4 << 20;
        cache.Trim();
        Assert.Equal(4 << 20, cache.Bytes);
        int found = 0;
        for (uint unit = 1; unit <= 10_000; unit++)
        {
            if (cache.TryCopy(unit, unit * 3, block))
            {
                found++;
                Assert.Equal(unit, BitConverter.ToUInt32(block));
            }
        }

        Assert.Equal(cache.Count, found);
        cache.Budget = 0;
        cache.Trim();
        Assert.Equal(0, cache.Bytes);
        cache.Add(1, 3, block);
        Assert.Equal(0, cache.Count);
    }

    [Theory]
    [InlineData(1024, 200, 0)]
    [InlineData(1024, 400, 300)]
    [InlineData(512, 300, 100)]
    [InlineData(512, 700, 200)]
    public void SplitStaysBelowTheTarget(long target, long resident, long cached)
    {
        const long MiB = 1 << 20;
        var used = new MemorySplit(cached * MiB / 4, cached * MiB / 4, cached * MiB / 2);
        MemorySplit split = MemorySplit.Divide(target * MiB, resident * MiB, used);
        long others = (resident - cached) * MiB;
        Assert.True(split.Data + Math.Min(split.Metadata, used.Metadata) + Math.Min(split.Database, used.Database) + others <= target * MiB || split.Data == 0);
        Assert.True(split.Metadata > 0 && split.Database > 0);
    }

    [Fact]
    public void StoresOfOneProcessShareItsMemoryByTheirTargets()
    {
        const long MiB = 1 << 20;
        var account = new MemoryAccount();
        MemoryAccount.Member[] members = [account.Join(), account.Join(), account.Join()];
        long[] targets = [1024 * MiB, 1024 * MiB, 512 * MiB];
        var splits = new MemorySplit[3];
        const long Others = 500 * MiB;
        long highest = 0;
        for (int look = 0; look < 100; look++)
        {
            // Caches that grow to what they may be, beside what the process needs anyhow.
            for (int i = 0; i < 3; i++)
            {
                MemorySplit used = splits[i];
                MemorySplit may = members[i].Divide(targets[i], Others + splits.Sum(split => split.Sum), used);
                splits[i] = new MemorySplit(
                    Math.Min(may.Metadata, used.Metadata + (64 * MiB)), Math.Min(may.Database, used.Database + (64 * MiB)), Math.Min(may.Data, used.Data + (64 * MiB)));
            }

            highest = Math.Max(highest, Others + splits.Sum(split => split.Sum));
        }

        Assert.Equal(2560 * MiB, members[0].ProcessTarget);
        Assert.InRange(highest, 2560 * MiB * 90 / 100, 2560 * MiB);
        Assert.InRange(Others + splits.Sum(split => split.Sum), 2560 * MiB * 90 / 100, 2560 * MiB);
        Assert.InRange((double)splits[0].Sum / splits[1].Sum, 0.8, 1.25);
        Assert.InRange((splits[0].Sum + splits[1].Sum) / 4.0 / splits[2].Sum, 0.8, 1.25);
        Assert.True(members[0].IsFirst && !members[1].IsFirst);
        members[0].Leave();
        Assert.True(members[1].IsFirst);
        Assert.Equal(1536 * MiB, members[1].ProcessTarget);
    }

    [Theory]
    [InlineData(WriteBackPlace.InPlace)]
    [InlineData(WriteBackPlace.NewSpace)]
    public void CachedBlocksNeverOutliveTheirContent(WriteBackPlace place)
    {
        using var kit = new StoreKit(new DiskStoreOptions { CheckpointInterval = TimeSpan.Zero, JournalBytes = 1 << 20, DirectWriteBytes = 16 << 10, CheckpointBytes = 256 << 10, DataCacheBytes = 4 << 20 }, place);
        DiskObjectStore store = kit.Open();
        var t = new Transaction();
        t.CreateCollection(C);
        var random = new Random(5);
        byte[] expected = new byte[128 << 10];
        for (int i = 0; i < 400; i++)
        {
            byte[] data = new byte[4096 * (random.Next(8) == 0 ? 8 : 1)];
            random.NextBytes(data);
            int at = random.Next(24) * 4096;
            data.CopyTo(expected, at);
            BufferSegment segment = kit.Data(data);
            t.Write(C, O, at, segment);
            segment.Buffer!.Release();
            if (random.Next(20) == 0)
            {
                t.Zero(C, O, 8192, 4096);
                expected.AsSpan(8192, 4096).Clear();
            }

            store.Submit(t, null, 0);
            t.Clear();
            if (random.Next(4) == 0)
            {
                kit.Settle();
            }

            if (random.Next(8) == 0)
            {
                kit.Loop.Run(store.CheckpointAsync, TimeSpan.FromMinutes(1));
            }

            int from = random.Next(100_000);
            (ReadStatus status, byte[] found) = kit.Read(store, C, O, from, 9000);
            Assert.Equal(ReadStatus.Ok, status);
            Assert.True(store.TryStat(C, O, out long size));
            int length = (int)Math.Clamp(size - from, 0, 9000);
            Assert.Equal(expected.AsSpan(from, length).ToArray(), found);
        }

        Assert.True(store.DataCacheLookups.Hits > 100);
        kit.Close(store);
        kit.AssertNoLeaks();
    }
}
