using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Disk;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>Checksums that come with the data and go with it.</summary>
public sealed class ChecksumTests
{
    private static readonly CollectionId s_collection = new(new PgId(1, 0));
    private static readonly ObjectId s_object = new("o", 7);

    [Fact]
    public void DataThatChangedInMemoryAfterItArrivedIsNeverReadAsData()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = kit.Open();
        BufferSegment data = kit.Data(new byte[256 << 10]);
        Random.Shared.NextBytes(data.Span);
        byte[] sent = data.Span.ToArray();
        data.ComputeChecksum();
        data.Span[100_000] ^= 1;
        var transaction = new Transaction();
        transaction.CreateCollection(s_collection);
        transaction.Write(s_collection, s_object, 0, data);
        var log = new CommitLog();
        store.Submit(transaction, log, 1);
        transaction.Clear();
        data.Buffer!.Release();
        Assert.True(kit.Loop.RunUntil(() => log.Committed.Count == 1, TimeSpan.FromSeconds(10)));
        store.RequestCheckpoint();
        kit.Settle();
        Assert.Equal(ReadStatus.ChecksumMismatch, kit.Read(store, s_collection, s_object, 98_304, 4096).Status);
        Assert.Equal(sent[..98_304], kit.Read(store, s_collection, s_object, 0, 98_304).Data);
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    [Fact]
    public void WhatIsReadTakesItsChecksumsAlong()
    {
        using var kit = new StoreKit();
        DiskObjectStore store = kit.Open();
        BufferSegment data = kit.Data(new byte[128 << 10]);
        Random.Shared.NextBytes(data.Span);
        uint expected = data.Checksum();
        var transaction = new Transaction();
        transaction.CreateCollection(s_collection);
        transaction.Write(s_collection, s_object, 0, data);
        store.Submit(transaction, new CommitLog(), 1);
        transaction.Clear();
        data.Buffer!.Release();
        kit.Settle();
        var read = new KeptRead();
        store.Read(s_collection, s_object, 0, 128 << 10, read, 7);
        Assert.True(kit.Loop.RunUntil(() => read.Data.Buffer is not null, TimeSpan.FromSeconds(10)));
        Assert.Equal(expected, read.Data.Checksum());
        read.Data.Span.Clear();
        Assert.Equal(expected, read.Data.Checksum()); // it is the disk's, not that of what is in memory now
        read.Data.Buffer!.Release();
        kit.Close(store);
        kit.AssertNoLeaks();
    }

    private sealed class KeptRead : IReadCompletion
    {
        public BufferSegment Data { get; private set; }

        public void OnRead(ulong token, ReadStatus status, BufferSegment data)
        {
            Assert.Equal(ReadStatus.Ok, status);
            Data = data;
        }
    }
}
