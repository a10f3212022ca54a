using Storage.Block;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Reactor;
using Storage.Reactor.Virtual;
using Storage.Tests.Kit;
using Xunit;

namespace Storage.Tests.Block;

public sealed class VolumeTests
{
    private readonly VirtualLoop _loop = new();
    private readonly MemoryObjectClient _client = new("volumes:block", "fast:block");

    private readonly Random _ids = new(1);

    private VolumeStore Store => new(_client, _loop.TimeProvider, _ids);

    [Fact]
    public void AVolumeReadsWhatWasWrittenAcrossObjects() => Run(async () =>
    {
        Volume volume = await CreateAsync("disk", (1 << 20) + 12345);
        var model = new byte[volume.Size];
        var random = new Random(7);
        for (int i = 0; i < 300; i++)
        {
            int offset = random.Next((int)volume.Size);
            int length = random.Next(1, Math.Min(200_000, (int)volume.Size - offset) + 1);
            switch (random.Next(4))
            {
                case 0:
                    await volume.ZeroAsync(offset, length, keepAllocated: random.Next(2) == 0);
                    model.AsSpan(offset, length).Clear();
                    break;
                case 1:
                    await volume.DiscardAsync(offset, length);
                    model.AsSpan(offset, length).Clear();
                    break;
                default:
                    random.NextBytes(model.AsSpan(offset, length));
                    PageBuffer buffer = BufferPool.Shared.Rent(length);
                    model.AsSpan(offset, length).CopyTo(buffer.Span);
                    Assert.Equal(ResultCode.Ok, await volume.WriteAsync(offset, buffer.Slice(0, length)));
                    Assert.Equal(1, buffer.References);
                    buffer.Release();
                    break;
            }

            int at = random.Next((int)volume.Size);
            var read = new byte[random.Next((int)volume.Size - at + 1)];
            Assert.Equal(ResultCode.Ok, await volume.ReadAsync(at, read));
            Assert.True(read.AsSpan().SequenceEqual(model.AsSpan(at, read.Length)));
        }

        var extents = new List<VolumeExtent>();
        Assert.Equal(ResultCode.Ok, await volume.ListExtentsAsync(0, volume.Size, extents));
        Assert.Equal(volume.Size, extents.Sum(extent => extent.Length));
        long next = 0;
        foreach (VolumeExtent extent in extents)
        {
            Assert.Equal(next, extent.Offset);
            next += extent.Length;
            Assert.True(extent.IsAllocated || !model.AsSpan((int)extent.Offset, (int)extent.Length).ContainsAnyExcept((byte)0));
        }
    });

    [Fact]
    public void RangesOutsideTheVolumeAreRefused() => Run(async () =>
    {
        Volume volume = await CreateAsync("disk", 1000);
        Assert.Equal(ResultCode.Invalid, await volume.ReadAsync(999, new byte[2]));
        Assert.Equal(ResultCode.Invalid, await volume.DiscardAsync(-1, 2));
        Assert.Equal(ResultCode.Invalid, await volume.ZeroAsync(0, long.MaxValue));
        Assert.Equal(ResultCode.Ok, await volume.ReadAsync(1000, Array.Empty<byte>()));
    });

    [Fact]
    public void FlushWaitsForWritesIssuedBeforeItAndNotForLaterOnes() => Run(async () =>
    {
        Volume volume = await CreateAsync("disk", 1 << 20);
        var gates = new List<TaskCompletionSource>();
        _client.Gate = (_, _, _) =>
        {
            gates.Add(new TaskCompletionSource());
            return gates[^1].Task;
        };
        PageBuffer buffer = BufferPool.Shared.Rent(4096);
        Task<ResultCode> first = volume.WriteAsync(0, buffer.Slice(0, 4096)).AsTask();
        Task<ResultCode> flush = volume.FlushAsync().AsTask();
        Task<ResultCode> second = volume.WriteAsync(8192, buffer.Slice(0, 4096)).AsTask();
        Assert.False(flush.IsCompleted);
        gates[0].SetResult();
        await first;
        Assert.Equal(ResultCode.Ok, await flush);
        Assert.False(second.IsCompleted);
        gates[1].SetResult();
        await second;
        buffer.Release();
    });

    [Fact]
    public void AFailedPartFailsTheRequest() => Run(async () =>
    {
        Volume volume = await CreateAsync("disk", 1 << 20);
        _client.Fault = (_, name, operation) => name.EndsWith('1') && operation.IsWrite ? ResultCode.NoSpace : ResultCode.Ok;
        PageBuffer buffer = BufferPool.Shared.Rent(200_000);
        Assert.Equal(ResultCode.NoSpace, await volume.WriteAsync(0, buffer.Slice(0, 200_000)));
        Assert.Equal(ResultCode.Ok, await volume.FlushAsync());
        Assert.Equal(1, buffer.References);
        buffer.Release();
    });

    [Fact]
    public void VolumesAreListedRenamedAndRemovedWithAllTheirObjects() => Run(async () =>
    {
        VolumeStore store = Store;
        Volume volume = await CreateAsync("a", 1 << 20);
        await store.CreateAsync(VolumeName.Parse("b"), 0);
        await store.CreateAsync(VolumeName.Parse("fast/c"), 1);
        Assert.Equal(VolumeProblem.Exists, (await Assert.ThrowsAsync<VolumeException>(async () => await store.CreateAsync(VolumeName.Parse("a"), 5))).Problem);
        Assert.Equal(["a", "b"], (await store.ListAsync("volumes")).Select(name => name.ToString()));
        Assert.Equal(["fast/c"], (await store.ListAsync("fast")).Select(name => name.ToString()));
        Assert.Equal(VolumeProblem.Exists, (await Assert.ThrowsAsync<VolumeException>(async () => await store.RenameAsync(VolumeName.Parse("a"), VolumeName.Parse("b")))).Problem);
        await store.RenameAsync(VolumeName.Parse("a"), VolumeName.Parse("z"));
        Assert.Equal(volume.Info.Id, (await store.GetAsync(VolumeName.Parse("z"))).Id);
        await volume.ZeroAsync(0, volume.Size, keepAllocated: true);
        await store.RemoveAsync(VolumeName.Parse("z"));
        await store.RemoveAsync(VolumeName.Parse("b"));
        Assert.Equal(["volume_directory"], _client.Names(1));
        VolumeException gone = await Assert.ThrowsAsync<VolumeException>(async () => await store.OpenAsync(VolumeName.Parse("z")));
        Assert.Equal("no volume z", gone.Message);
        VolumeException snapshot = await Assert.ThrowsAsync<VolumeException>(async () => await store.OpenAsync(VolumeName.Parse("fast/c@s1")));
        Assert.Equal("no snapshot s1 of volume fast/c", snapshot.Message);
        await Assert.ThrowsAsync<VolumeException>(async () => await store.ListAsync("nowhere"));
    });

    [Fact]
    public void ShrinkingAndGrowingBringsZeroesNotOldData() => Run(async () =>
    {
        VolumeStore store = Store;
        Volume volume = await CreateAsync("a", 300_000);
        PageBuffer buffer = BufferPool.Shared.Rent(300_000);
        buffer.Span.Fill(0xAB);
        await volume.WriteAsync(0, buffer.Slice(0, 300_000));
        buffer.Release();
        await Assert.ThrowsAsync<VolumeException>(async () => await store.ResizeAsync(volume.Info.Name, 100_001));
        await store.ResizeAsync(volume.Info.Name, 100_001, allowShrink: true);
        await store.ResizeAsync(volume.Info.Name, 300_000);
        await store.RefreshAsync(volume);
        var read = new byte[300_000];
        await volume.ReadAsync(0, read);
        Assert.False(read.AsSpan(0, 100_001).ContainsAnyExcept((byte)0xAB));
        Assert.False(read.AsSpan(100_001).ContainsAnyExcept((byte)0));
    });

    [Theory]
    [InlineData("")]
    [InlineData("/a")]
    [InlineData("a/")]
    [InlineData("a/b/c")]
    [InlineData("a@")]
    [InlineData("-a")]
    [InlineData("a b")]
    [InlineData("ä")]
    public void NamesThatAreNoneAreRefused(string text) => Assert.Throws<VolumeException>(() => VolumeName.Parse(text));

    private async Task<Volume> CreateAsync(string name, long size)
    {
        VolumeStore store = Store;
        await store.CreateAsync(VolumeName.Parse(name), size, objectOrder: 16);
        return await store.OpenAsync(VolumeName.Parse(name));
    }

    private void Run(Func<Task> test) => _loop.Run(test, TimeSpan.FromMinutes(1));
}
