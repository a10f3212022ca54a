using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>Damaged blocks get their bytes back from elsewhere.</summary>
public sealed class MendingTests
{
    private static readonly CollectionId C = new(new PgId(1, 0));
    private static readonly ObjectId O = new("object", 42);

    // 9000 bytes in three blocks, one of them with a flipped bit.
    private static byte[] Damaged(StoreKit kit, int block)
    {
        DiskObjectStore store = kit.Open();
        var content = new byte[9000];
        new Random(3).NextBytes(content);
        var t = new Transaction();
        t.CreateCollection(C);
        Write(kit, t, 0, content);
        Submit(kit, store, t);
        kit.Close(store);
        int found = 0;
        for (int at; (at = kit.Image.AsSpan(found).IndexOf(content.AsSpan(block * 4096, 64))) >= 0; found += at + 64)
        {
            kit.Image[found + at + 5] ^= 4; // what the journal still holds of it as well
        }

        Assert.True(found > 0);
        return content;
    }

    private static void Write(StoreKit kit, Transaction t, long offset, byte[] bytes)
    {
        BufferSegment data = kit.Data(bytes);
        t.Write(C, O, offset, data);
        data.Buffer!.Release();
    }

    private static void Submit(StoreKit kit, DiskObjectStore store, Transaction t)
    {
        store.Submit(t, null, 0);
        t.Clear();
        kit.Settle();
    }

    private static bool TryMend(StoreKit kit, DiskObjectStore store, int block, ReadOnlySpan<byte> content)
    {
        var whole = new byte[4096];
        content.CopyTo(whole);
        var t = new Transaction();
        BufferSegment data = kit.Data(whole);
        bool fits = store.TryMend(C, O, block * 4096, data, 0, long.MaxValue, t);
        data.Buffer!.Release();
        Assert.Equal(fits, t.Count > 0);
        Submit(kit, store, t);
        return fits;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)] // the last one, shorter than a block
    public void ABlockIsMendedByItsOwnBytesOnly(int block)
    {
        using var kit = new StoreKit();
        byte[] content = Damaged(kit, block);
        DiskObjectStore store = kit.Open();
        byte[] bytes = content.AsSpan(block * 4096, Math.Min(4096, content.Length - (block * 4096))).ToArray();
        bytes[7] ^= 1;
        Assert.False(TryMend(kit, store, block, bytes));
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 0, 9000).Status);
        bytes[7] ^= 1;
        Assert.True(TryMend(kit, store, block, bytes));
        for (int round = 0; round < 2; round++)
        {
            Assert.Equal(content, kit.Read(store, C, O, 0, 9000).Data);
            Assert.True(store.TryStat(C, O, out long size));
            Assert.Equal(9000, size);
            kit.Close(store);
            store = kit.Open();
        }

        kit.Close(store);
        kit.AssertNoLeaks();
    }

    // Bytes that were written over a damaged block are kept apart from it until it is mended, across write-back, crashes and restarts.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(3)]
    public void WhatWasWrittenIntoADamagedBlockStays(int restarts)
    {
        using var kit = new StoreKit();
        byte[] content = Damaged(kit, 1);
        DiskObjectStore store = kit.Open();
        byte[] before = content.AsSpan(4096, 4096).ToArray();
        var t = new Transaction();
        foreach (int at in new[] { 4096, 5000, 5100, 8150 })
        {
            var patch = new byte[90];
            new Random(at).NextBytes(patch);
            patch.CopyTo(content, at);
            Write(kit, t, at, patch);
        }

        Submit(kit, store, t);
        for (int i = 0; i < restarts; i++)
        {
            kit.Close(store);
            store = kit.Open();
            Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 0, 9000).Status);
        }

        Assert.True(TryMend(kit, store, 1, before));
        Assert.Equal(content, kit.Read(store, C, O, 0, 9000).Data);
        kit.Close(store);
        store = kit.Open();
        Assert.Equal(content, kit.Read(store, C, O, 0, 9000).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    // The journal goes round many times: what lies over the damaged block must not keep it.
    [Fact]
    public void TheJournalDoesNotWaitForADamagedBlock()
    {
        using var kit = new StoreKit();
        byte[] content = Damaged(kit, 1);
        DiskObjectStore store = kit.Open();
        var t = new Transaction();
        Write(kit, t, 5000, [1, 2, 3]);
        Submit(kit, store, t);
        long checkpoints = store.Checkpoints;
        var noise = new byte[60_000];
        for (int i = 0; i < 400; i++)
        {
            Write(kit, t, 100_000 + (i % 7 * 60_000) + 1, noise);
            Submit(kit, store, t);
        }

        Assert.True(store.Checkpoints > checkpoints);
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, C, O, 4096, 4096).Status);
        Assert.True(TryMend(kit, store, 1, content.AsSpan(4096, 4096)));
        new byte[] { 1, 2, 3 }.CopyTo(content, 5000);
        Assert.Equal(content, kit.Read(store, C, O, 0, 9000).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }
}
