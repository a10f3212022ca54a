using System.Buffers.Binary;
using FsCheck.Xunit;
using Storage.Block;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Block;

/// <summary>Exclusive locks of volumes, on real OSDs in virtual time.</summary>
public sealed class VolumeLockTests : IVolumeAuthority
{
    private static readonly VolumeName s_disk = new("pool", "disk");
    private static readonly VolumeLockTimes s_neverRenewed = new() { Renewal = TimeSpan.FromHours(1) };

    private readonly OsdCluster _cluster = new(3, pgCount: 4);
    private readonly Random _random = new(5);
    private int _clients = 100;

    public VolumeLockTests() => _cluster.WaitClean();

    [Fact]
    public void TheLockIsTakenAtTheFirstWriteAndGivenUpAtTheEnd() => Run(async store =>
    {
        Volume volume = await store.OpenAsync(s_disk, "a");
        await ReadAsync(volume);
        Assert.Null(await store.GetLockAsync(s_disk));
        Assert.Equal(ResultCode.Ok, await WriteAsync(volume, 1));
        Assert.Equal("a", (await store.GetLockAsync(s_disk))!.Holder);
        await volume.Lock!.ReleaseAsync();
        Assert.Null(await store.GetLockAsync(s_disk));
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(volume, 2));
        Assert.Equal(1, await ReadAsync(volume));
        Assert.Empty(_cluster.Monitor.Map.Blocklist);
    });

    [Fact]
    public void AnOwnerThatIsAliveHandsOverWhenAnotherWritesAndGetsTheLockBack() => Run(async store =>
    {
        Volume first = await store.OpenAsync(s_disk, "a");
        Volume second = await NewStore().OpenAsync(s_disk, "b");
        for (int i = 1; i <= 4; i++)
        {
            Assert.Equal(ResultCode.Ok, await WriteAsync(first, i));
            Assert.Equal(i, await ReadAsync(second));
            TimeSpan began = _cluster.Loop.Now;
            Assert.Equal(ResultCode.Ok, await WriteAsync(second, -i));
            Assert.InRange(_cluster.Loop.Now - began, TimeSpan.Zero, TimeSpan.FromSeconds(5));
            Assert.Equal("b", (await store.GetLockAsync(s_disk))!.Holder);
            Assert.NotEqual(VolumeLockState.Held, first.Lock!.State);
            Assert.Equal(-i, await ReadAsync(first));
        }

        Assert.Empty(_cluster.Monitor.Map.Blocklist);
    });

    [Fact]
    public void ManyWritersShareTheLockAndNoneStarves() => Run(async store =>
    {
        var written = new int[3];
        bool stop = false;
        Task<bool>[] writers = [.. Enumerable.Range(0, 3).Select(WriterAsync)];
        await Task.Delay(TimeSpan.FromSeconds(60), _cluster.Loop.TimeProvider);
        stop = true;
        foreach (Task<bool> writer in writers)
        {
            Assert.True(await writer);
        }

        Assert.All(written, count => Assert.True(count > 10, string.Join(", ", written)));
        Assert.Empty(_cluster.Monitor.Map.Blocklist);

        async Task<bool> WriterAsync(int i)
        {
            Volume volume = await NewStore().OpenAsync(s_disk, $"writer {i}");
            while (!stop)
            {
                Assert.Equal(ResultCode.Ok, await WriteAsync(volume, i));
                written[i]++;
                await Task.Delay(TimeSpan.FromMilliseconds(20), _cluster.Loop.TimeProvider);
            }

            await volume.Lock!.ReleaseAsync();
            return true;
        }
    });

    [Fact]
    public void ADeadOwnerIsFencedBeforeItsLockIsTakenOver() => Run(async store =>
    {
        Volume dead = await NewStore(s_neverRenewed).OpenAsync(s_disk, "a");
        Assert.Equal(ResultCode.Ok, await WriteAsync(dead, 1));
        Volume heir = await store.OpenAsync(s_disk, "b");
        TimeSpan began = _cluster.Loop.Now;
        Assert.Equal(ResultCode.Ok, await WriteAsync(heir, 2));
        Assert.InRange(_cluster.Loop.Now - began, TimeSpan.FromSeconds(15), TimeSpan.FromSeconds(20));
        Assert.Contains(dead.Lock!.Owner, _cluster.Monitor.Map.Blocklist.Keys);

        // It comes back from the dead, and takes itself for the owner.
        Assert.Equal(VolumeLockState.Held, dead.Lock.State);
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(dead, 3));
        Assert.Equal(VolumeLockState.Lost, dead.Lock.State);
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(dead, 4));
        Assert.Equal(2, await ReadAsync(dead)); // reads need no lock
        Assert.Equal(2, await ReadAsync(heir));
    });

    [Fact]
    public void TheFenceIsOneVolumesAlone() => Run(async store =>
    {
        await store.CreateAsync(s_disk with { Name = "other" }, 1 << 20, VolumeInfo.SmallestObjectOrder);
        VolumeStore gateway = NewStore(s_neverRenewed);
        Volume volume = await gateway.OpenAsync(s_disk, "a");
        Volume other = await gateway.OpenAsync(s_disk with { Name = "other" }, "a");
        Assert.Equal(ResultCode.Ok, await WriteAsync(volume, 1));
        Assert.Equal(ResultCode.Ok, await WriteAsync(other, 1));
        Assert.Equal("a", (await store.BreakLockAsync(s_disk))!.Holder);
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(volume, 2));
        Assert.Equal(ResultCode.Ok, await WriteAsync(other, 2));
        Assert.Null(await store.BreakLockAsync(s_disk));
    });

    [Fact]
    public void AProcessThatStartsAnewTakesOverFromItsEarlierLifeAtOnce() => Run(async store =>
    {
        Volume earlier = await NewStore(s_neverRenewed).OpenAsync(s_disk, "gateway");
        Assert.Equal(ResultCode.Ok, await WriteAsync(earlier, 1));
        Volume later = await store.OpenAsync(s_disk, "gateway");
        TimeSpan began = _cluster.Loop.Now;
        Assert.Equal(ResultCode.Ok, await WriteAsync(later, 2));
        Assert.InRange(_cluster.Loop.Now - began, TimeSpan.Zero, TimeSpan.FromSeconds(1));
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(earlier, 3));
        Assert.Equal(2, await ReadAsync(later));
    });

    [Fact]
    public void WhatChangesAVolumeAsAWholeWaitsForNoOwnerThatIsAliveAndTakesADeadOnesLock() => Run(async store =>
    {
        Volume volume = await NewStore().OpenAsync(s_disk, "guest");
        Assert.Equal(ResultCode.Ok, await WriteAsync(volume, 1));
        await store.CreateSnapshotAsync(s_disk with { Snapshot = "one" }); // needs no lock
        Assert.Equal(ResultCode.Ok, await WriteAsync(volume, 2));
        VolumeException refused = await Assert.ThrowsAsync<VolumeException>(() => store.RollBackAsync(s_disk with { Snapshot = "one" }).AsTask());
        Assert.Equal(VolumeProblem.InUse, refused.Problem);
        Assert.Contains("guest", refused.Message, StringComparison.Ordinal);
        refused = await Assert.ThrowsAsync<VolumeException>(() => store.ResizeAsync(s_disk, 4096, allowShrink: true).AsTask());
        Assert.Equal(VolumeProblem.InUse, refused.Problem);
        Assert.Equal(8 << 20, (await store.ResizeAsync(s_disk, 8 << 20)).Size); // growth hurts nobody
        await volume.Lock!.ReleaseAsync();

        Volume dead = await NewStore(s_neverRenewed).OpenAsync(s_disk, "another guest");
        Assert.Equal(ResultCode.Ok, await WriteAsync(dead, 3));
        await store.RollBackAsync(s_disk with { Snapshot = "one" });
        Assert.Equal(1, await ReadAsync(dead));
        Assert.Equal(ResultCode.Blocklisted, await WriteAsync(dead, 4));
        await store.RemoveSnapshotAsync(s_disk with { Snapshot = "one" });
        await store.RemoveAsync(s_disk);
        Assert.Equal(VolumeProblem.NotFound, (await Assert.ThrowsAsync<VolumeException>(() => store.GetLockAsync(s_disk).AsTask())).Problem);
    });

    [Fact]
    public void AWriteThatWaitsForTheLockEndsWhenTheVolumeIsClosed() => Run(async store =>
    {
        Volume owner = await store.OpenAsync(s_disk, "a");
        Assert.Equal(ResultCode.Ok, await WriteAsync(owner, 1));
        Volume waiting = await NewStore().OpenAsync(s_disk, "b");
        ValueTask<ResultCode> write = WriteAsync(waiting, 2);
        await waiting.Lock!.ReleaseAsync();
        Assert.Equal(ResultCode.Blocklisted, await write);
        Assert.Equal(1, await ReadAsync(owner));
    });

    [Property]
    public void ARecordIsReadAsItWasWritten(ulong owner, ulong renewals, long since, string? holder)
    {
        var record = new VolumeLockRecord(owner, renewals, since, string.Concat((holder ?? "").Where(c => !char.IsSurrogate(c)).Take(80)));
        Assert.Equal(record, VolumeLockRecord.Decode(s_disk, record.Encode()));
    }

    [Fact]
    public void ADamagedRecordIsRefused()
    {
        byte[] good = new VolumeLockRecord(1, 2, 3, "someone").Encode();
        Assert.Throws<MalformedDataException>(() => VolumeLockRecord.Decode(s_disk, good.AsSpan(0, good.Length - 1)));
        Assert.Throws<MalformedDataException>(() => VolumeLockRecord.Decode(s_disk, [.. good, 0]));
        Assert.Throws<MalformedDataException>(() => VolumeLockRecord.Decode(s_disk, [99, .. good.AsSpan(1)]));
        Assert.Throws<MalformedDataException>(() => VolumeLockRecord.Decode(s_disk, new VolumeLockRecord(1, 2, 3, new string('x', 257)).Encode()));
    }

    public ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation)
    {
        ulong id = _cluster.Monitor.Map.FindPool(pool)!.SnapshotSequence + 1;
        _cluster.EditPool(known => known with { SnapshotSequence = id });
        return new ValueTask<ulong>(id);
    }

    public ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation)
    {
        _cluster.EditPool(known => known with { SnapshotBarrier = known.SnapshotBarrier + 1 });
        return new ValueTask<Epoch>(_cluster.Monitor.Map.Epoch);
    }

    public ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation)
    {
        _cluster.EditPool(known => known with { RemovedSnapshots = known.RemovedSnapshots.Add(snapshot), SnapshotBarrier = known.SnapshotBarrier + 1 });
        return ValueTask.CompletedTask;
    }

    public ValueTask<Epoch> FenceAsync(ulong lockOwner, CancellationToken cancellation)
    {
        _cluster.Monitor.ChangeNow(increment => increment.Blocklisted[lockOwner] = long.MaxValue);
        return new ValueTask<Epoch>(_cluster.Monitor.Map.Epoch);
    }

    private static async ValueTask<ResultCode> WriteAsync(Volume volume, long number)
    {
        PageBuffer buffer = new BufferPool().Rent(8);
        BinaryPrimitives.WriteInt64LittleEndian(buffer.Span, number);
        ResultCode result = await volume.WriteAsync(0, buffer.Slice(0, 8));
        buffer.Release();
        return result;
    }

    private static async ValueTask<long> ReadAsync(Volume volume)
    {
        byte[] bytes = new byte[8];
        Assert.Equal(ResultCode.Ok, await volume.ReadAsync(0, bytes));
        return BinaryPrimitives.ReadInt64LittleEndian(bytes);
    }

    // Each as if in a process of its own.
    private VolumeStore NewStore(VolumeLockTimes? times = null) =>
        new(_cluster.NewClient((ulong)++_clients), _cluster.Loop.TimeProvider, _random, this) { LockTimes = times ?? new VolumeLockTimes() };

    private void Run(Func<VolumeStore, Task> test) => Assert.True(_cluster.Loop.Run(
        async () =>
        {
            VolumeStore store = NewStore();
            await store.CreateAsync(s_disk, 1 << 20, VolumeInfo.SmallestObjectOrder);
            await test(store);
            return true;
        },
        TimeSpan.FromMinutes(5)));
}
