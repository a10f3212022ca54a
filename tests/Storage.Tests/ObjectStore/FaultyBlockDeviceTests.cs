using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>What tests of failures on real processes do to a disk, and what the store makes of it.</summary>
public sealed class FaultyBlockDeviceTests
{
    private static readonly CollectionId s_collection = new(new PgId(1, 0));
    private static readonly ObjectId s_object = new("o", 7);

    [Fact]
    public void ASlowDiskAnswersLateAndRight()
    {
        using var kit = new StoreKit();
        (DiskObjectStore store, FaultyBlockDevice device) = Open(kit);
        device.Delay = TimeSpan.FromMilliseconds(50);
        var log = new CommitLog();
        TimeSpan start = kit.Loop.Now;
        byte[] content = Write(kit, store, log);
        Assert.True(kit.Loop.RunUntil(() => log.Committed.Count == 1, TimeSpan.FromSeconds(10)));
        Assert.InRange((kit.Loop.Now - start).TotalMilliseconds, 50, 500);
        Assert.Equal(content, kit.Read(store, s_collection, s_object, 0, content.Length).Data);
        device.Delay = TimeSpan.Zero;
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Theory]
    [InlineData(BlockOperations.Writes)]
    [InlineData(BlockOperations.Syncs)]
    public void AFailedWriteOrSyncIsFatalAndNothingIsAcknowledged(BlockOperations failing)
    {
        using var kit = new StoreKit();
        (DiskObjectStore store, FaultyBlockDevice device) = Open(kit);
        device.Failing = failing;
        var log = new CommitLog();
        Write(kit, store, log);
        kit.Settle();
        device.Failing = BlockOperations.None;
        kit.Settle();
        Assert.NotNull(store.Failure);
        Assert.Empty(log.Committed);
        store.Dispose();
    }

    [Fact]
    public void AFailedReadIsAReadErrorAndNoMore()
    {
        using var kit = new StoreKit();
        (DiskObjectStore store, FaultyBlockDevice device) = Open(kit);
        byte[] content = Write(kit, store, null);
        store.RequestCheckpoint();
        kit.Settle();
        device.Failing = BlockOperations.Reads;
        Assert.NotEqual(ReadStatus.Ok, kit.Read(store, s_collection, s_object, 0, content.Length).Status);
        device.Failing = BlockOperations.None;
        Assert.Equal(content, kit.Read(store, s_collection, s_object, 0, content.Length).Data);
        Assert.Null(store.Failure);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void AStoreWhoseSpaceIsWithheldIsFullUntilItIsGivenBack()
    {
        using var kit = new StoreKit();
        (DiskObjectStore store, _) = Open(kit);
        store.WithholdSpace(long.MaxValue);
        Assert.Equal(store.Usage.TotalBytes, store.Usage.UsedBytes);
        Assert.Throws<StoreFullException>(() => Write(kit, store, null));
        store.WithholdSpace(0);
        Assert.Equal(0, store.Usage.UsedBytes);
        Write(kit, store, null);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void PickedBlocksAreInUseAndAFlipInOneIsFound()
    {
        using var kit = new StoreKit();
        (DiskObjectStore store, _) = Open(kit);
        Assert.Empty(store.PickUsedBlocks(10, new Random(1)));
        byte[] content = Write(kit, store, null);
        store.RequestCheckpoint();
        kit.Settle();
        IReadOnlyList<long> all = store.PickUsedBlocks(1000, new Random(1));
        Assert.Equal(content.Length / 4096, all.Count);
        Assert.Equal(2, store.PickUsedBlocks(2, new Random(1)).Distinct().Count());
        kit.Image[store.PickUsedBlocks(1, new Random(1))[0] + 100] ^= 4;
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, s_collection, s_object, 0, content.Length).Status);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    private static (DiskObjectStore Store, FaultyBlockDevice Device) Open(StoreKit kit)
    {
        var device = new FaultyBlockDevice(kit.Loop, new RecordingBlockDevice(kit.Loop, kit.Image));
        DiskObjectStore store = kit.Loop.Run(() => DiskObjectStore.OpenAsync(kit.Loop, device, Path.Combine(kit.Directory, "db"), kit.Options), TimeSpan.FromMinutes(1));
        var t = new Transaction();
        t.CreateCollection(s_collection);
        store.Submit(t, null, 0);
        kit.Settle();
        return (store, device);
    }

    private static byte[] Write(StoreKit kit, DiskObjectStore store, IStoreCompletion? completion)
    {
        byte[] content = new byte[10 * 4096];
        new Random(5).NextBytes(content);
        BufferSegment data = kit.Data(content);
        var t = new Transaction();
        t.Write(s_collection, s_object, 0, data);
        data.Buffer!.Release();
        try
        {
            store.Submit(t, completion, 1);
        }
        finally
        {
            t.Clear();
        }

        return content;
    }
}
