using System.Buffers.Binary;
using Storage.Block;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Reactor;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Block;

/// <summary>Volumes on real OSDs in virtual time.</summary>
public sealed class VolumeSnapshotTests : IVolumeAuthority
{
    private const int ObjectBytes = 1 << VolumeInfo.SmallestObjectOrder;
    private static readonly VolumeName s_disk = new("pool", "disk");

    private readonly OsdCluster _cluster = new(3, pgCount: 4);
    private readonly Random _random = new(5);

    public VolumeSnapshotTests() => _cluster.WaitClean();

    private PoolInfo Pool => _cluster.Monitor.Map.FindPool(OsdCluster.Pool)!;

    [Fact]
    public void ASnapshotHasAllThatWasAcknowledgedBeforeAndNothingWrittenAfter() => Run(async store =>
    {
        await store.CreateAsync(s_disk, 2 * ObjectBytes, VolumeInfo.SmallestObjectOrder);
        Volume volume = await store.OpenAsync(s_disk);
        long sent = 0, acknowledged = 0;
        bool stop = false;
        Task<bool> writer = WriteAsync();
        VolumeStore other = new(_cluster.NewClient(99), _cluster.Loop.TimeProvider, _random, this); // another process takes the snapshots
        for (int i = 0; i < 8; i++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(_random.Next(1, 60)), _cluster.Loop.TimeProvider);
            VolumeName name = s_disk with { Snapshot = $"s{i}" };
            long before = acknowledged;
            await other.CreateSnapshotAsync(name);
            long after = sent;
            await Task.Delay(TimeSpan.FromMilliseconds(20), _cluster.Loop.TimeProvider);
            Volume snapshot = await other.OpenAsync(name);
            Assert.True(snapshot.IsReadOnly);
            (long first, long second) = (await ValueAsync(snapshot, 0), await ValueAsync(snapshot, ObjectBytes));

            // The writer writes each number to the first object, then to the second, one after the other.
            Assert.InRange(first, before, after);
            Assert.InRange(second, first - 1, first);
            Assert.Equal(ResultCode.NotPermitted, await snapshot.DiscardAsync(0, 4096));
            await Task.Delay(TimeSpan.FromMilliseconds(30), _cluster.Loop.TimeProvider);
            Assert.Equal((first, second), (await ValueAsync(snapshot, 0), await ValueAsync(snapshot, ObjectBytes)));
        }

        stop = true;
        Assert.True(await writer);
        Assert.True(sent > 50, $"{sent} writes");

        async Task<bool> WriteAsync()
        {
            while (!stop)
            {
                long number = ++sent;
                await PutAsync(volume, 0, number);
                await PutAsync(volume, ObjectBytes, number);
                acknowledged = number;
                await Task.Delay(TimeSpan.FromMilliseconds(1), _cluster.Loop.TimeProvider);
            }

            return true;
        }
    });

    [Fact]
    public void AVolumeGoesBackToASnapshotAndItsSizeWithIt() => Run(async store =>
    {
        await store.CreateAsync(s_disk, 3 * ObjectBytes, VolumeInfo.SmallestObjectOrder);
        Volume volume = await store.OpenAsync(s_disk);
        await PutAsync(volume, 0, 1);
        await PutAsync(volume, 2 * ObjectBytes, 1);
        await store.CreateSnapshotAsync(s_disk with { Snapshot = "one" });
        await PutAsync(volume, 0, 2);
        await PutAsync(volume, ObjectBytes, 2);
        await store.ResizeAsync(s_disk, ObjectBytes + 100, allowShrink: true);
        await store.CreateSnapshotAsync(s_disk with { Snapshot = "two" });
        VolumeInfo back = await store.RollBackAsync(s_disk with { Snapshot = "one" });
        Assert.Equal(3 * ObjectBytes, back.Size);
        await store.RefreshAsync(volume);
        Assert.Equal((1L, 0L, 1L), (await ValueAsync(volume, 0), await ValueAsync(volume, ObjectBytes), await ValueAsync(volume, 2 * ObjectBytes)));
        Volume two = await store.OpenAsync(s_disk with { Snapshot = "two" });
        Assert.Equal(ObjectBytes + 100, two.Size);
        Assert.Equal((2L, 2L), (await ValueAsync(two, 0), await ValueAsync(two, ObjectBytes)));
        Assert.Equal(["one", "two"], (await store.ListSnapshotsAsync(s_disk)).Select(snapshot => snapshot.Name));
    });

    [Fact]
    public void ARemovedSnapshotIsNoLongerReadAndAVolumeWithSnapshotsIsNotRemoved() => Run(async store =>
    {
        VolumeName name = s_disk with { Snapshot = "one" };
        await store.CreateAsync(s_disk, 2 * ObjectBytes, VolumeInfo.SmallestObjectOrder);
        Volume volume = await store.OpenAsync(s_disk);
        await PutAsync(volume, 0, 1);
        await store.CreateSnapshotAsync(name);
        Assert.Equal(VolumeProblem.Exists, (await Assert.ThrowsAsync<VolumeException>(async () => await store.CreateSnapshotAsync(name))).Problem);
        await PutAsync(volume, 0, 2);
        Volume snapshot = await store.OpenAsync(name);
        Assert.Equal(1, await ValueAsync(snapshot, 0));
        VolumeException refusal = await Assert.ThrowsAsync<VolumeException>(async () => await store.RemoveAsync(s_disk));
        Assert.Equal(VolumeProblem.HasSnapshots, refusal.Problem);
        Assert.Contains("one", refusal.Message, StringComparison.Ordinal);
        await store.RemoveSnapshotAsync(name);

        // Who still reads it is told; zeroes would be taken for data.
        Assert.Equal(ResultCode.IoError, await snapshot.ReadAsync(0, new byte[8]));
        Assert.Equal(2, await ValueAsync(volume, 0));
        Assert.Equal(VolumeProblem.NotFound, (await Assert.ThrowsAsync<VolumeException>(async () => await store.OpenAsync(name))).Problem);
        await store.RemoveAsync(s_disk);
    });

    [Fact]
    public void AnInterruptedSnapshotIsTakenAgainOrRemoved() => Run(async store =>
    {
        VolumeName name = s_disk with { Snapshot = "one" };
        await store.CreateAsync(s_disk, ObjectBytes, VolumeInfo.SmallestObjectOrder);
        _fails = true;
        await Assert.ThrowsAsync<IOException>(async () => await store.CreateSnapshotAsync(name));
        Assert.Equal(SnapshotState.Creating, (await store.ListSnapshotsAsync(s_disk)).Single().State);
        await Assert.ThrowsAsync<VolumeException>(async () => await store.OpenAsync(name));
        _fails = false;
        await store.CreateSnapshotAsync(name);
        Assert.Equal(SnapshotState.Ready, (await store.ListSnapshotsAsync(s_disk)).Single().State);
        _fails = true;
        await Assert.ThrowsAsync<IOException>(async () => await store.RemoveSnapshotAsync(name));
        Assert.Equal(VolumeProblem.Removing, (await Assert.ThrowsAsync<VolumeException>(async () => await store.OpenAsync(name))).Problem);
        _fails = false;
        await store.RemoveSnapshotAsync(name);
        Assert.Empty(await store.ListSnapshotsAsync(s_disk));
    });

    private bool _fails;

    public ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation)
    {
        ulong id = Pool.SnapshotSequence + 1;
        Change(known => known with { SnapshotSequence = id });
        return new ValueTask<ulong>(id);
    }

    public ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation)
    {
        if (_fails)
        {
            throw new IOException("no quorum");
        }

        Change(known => known with { SnapshotBarrier = known.SnapshotBarrier + 1 });
        return new ValueTask<Epoch>(_cluster.Monitor.Map.Epoch);
    }

    public ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation)
    {
        if (_fails)
        {
            throw new IOException("no quorum");
        }

        Change(known => known with { RemovedSnapshots = known.RemovedSnapshots.Add(snapshot), SnapshotBarrier = known.SnapshotBarrier + 1 });
        return ValueTask.CompletedTask;
    }

    public ValueTask<Epoch> FenceAsync(ulong lockOwner, CancellationToken cancellation)
    {
        _cluster.Monitor.ChangeNow(increment => increment.Blocklisted[lockOwner] = long.MaxValue);
        return new ValueTask<Epoch>(_cluster.Monitor.Map.Epoch);
    }

    private void Change(Func<PoolInfo, PoolInfo> change) => _cluster.Monitor.ChangeNow(increment => increment.Pools.Add(change(Pool)));

    private static async Task PutAsync(Volume volume, long offset, long number)
    {
        PageBuffer buffer = BufferPool.Shared.Rent(4096);
        buffer.Span.Clear();
        BinaryPrimitives.WriteInt64LittleEndian(buffer.Span, number);
        Assert.Equal(ResultCode.Ok, await volume.WriteAsync(offset, buffer.Slice(0, 100)));
        buffer.Release();
    }

    private static async Task<long> ValueAsync(Volume volume, long offset)
    {
        var data = new byte[8];
        Assert.Equal(ResultCode.Ok, await volume.ReadAsync(offset, data));
        return BinaryPrimitives.ReadInt64LittleEndian(data);
    }

    private void Run(Func<VolumeStore, Task> test)
    {
        _cluster.Loop.Run(
            async () =>
            {
                await test(new VolumeStore(_cluster.Client, _cluster.Loop.TimeProvider, _random, this));
                return true;
            },
            TimeSpan.FromSeconds(120));
        _cluster.WaitClean();
    }
}
