using System.Diagnostics;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.ObjectStore.Offline;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>A store on a raw block device: a loop device over a sparse file, as far as whoever runs the tests may make one.</summary>
public sealed class RawDeviceTests : IDisposable
{
    private static readonly CollectionId C = new(new PgId(1, 0));
    private static readonly ObjectId Kept = new("kept", 1);
    private static readonly ObjectId Gone = new("gone", 2);
    private readonly string _folder = Directory.CreateTempSubdirectory("raw-").FullName;
    private string? _device;

    [Fact]
    public void StoreOnALoopDeviceDiscardsWhatIsRemovedAndGrowsWithIt()
    {
        string file = Path.Combine(_folder, "disk");
        Resize(file, 96 << 20);
        if (Environment.UserName != "root" || Losetup("--find", "--show", file) is not { } device)
        {
            return; // no loop devices for us: the tests on files cover the rest
        }

        _device = device;
        string store = Path.Combine(_folder, "osd");
        Directory.CreateDirectory(store);
        string block = Path.Combine(store, DiskObjectStore.BlockFileName);
        File.CreateSymbolicLink(block, device);
        Assert.True(BlockDevices.IsRawDevice(block));
        DiskObjectStore.Format(store, 0, Guid.NewGuid(), new DiskStoreOptions { JournalBytes = 4 << 20 });
        Assert.Throws<IOException>(() => DiskObjectStore.Format(store, 0, Guid.NewGuid()));
        long before = 0;
        long after = 0;
        RunOnLoop(async loop =>
        {
            DiskObjectStore opened = await OpenAsync(loop, store);
            Assert.Throws<IoException>(() => BlockDevices.Open(loop, block)); // somebody has it
            var t = new Transaction();
            t.CreateCollection(C);
            BufferSegment data = Data();
            t.Write(C, Kept, 0, data);
            t.Write(C, Gone, 0, data);
            t.Write(C, Gone, 8 << 20, data);
            await opened.CommitAsync(t);
            before = Allocated(file);
            t.Clear();
            t.Remove(C, Gone);
            await opened.CommitAsync(t);
            t.Clear();
            data.Buffer!.Release();
            await opened.CheckpointAsync();
            await opened.CheckpointAsync();
            await opened.CloseAsync();
            Assert.Equal(16 << 20, opened.DiscardedBytes);
            after = Allocated(file);
        });
        Assert.True(after <= before - (15 << 20), $"{before} bytes before, {after} after");
        Resize(file, 160 << 20);
        _ = Losetup("--set-capacity", device);
        (long small, long large) = DiskObjectStore.Grow(store, 0);
        Assert.Equal(small + (64 << 20), large);
        RunOnLoop(async loop =>
        {
            DiskObjectStore opened = await OpenAsync(loop, store);
            Assert.Equal(large, opened.Usage.TotalBytes);
            (ReadStatus status, BufferSegment read) = await opened.ReadAsync(C, Kept, 0, 8 << 20);
            Assert.Equal(ReadStatus.Ok, status);
            BufferSegment expected = Data();
            Assert.True(read.Span.SequenceEqual(expected.Span));
            read.Buffer!.Release();
            expected.Buffer!.Release();
            StoreCheckReport report = await opened.CheckAsync(true, false, problem => Assert.Fail(problem));
            Assert.True(report.IsClean && report.Blocks == 2048);
            await opened.CloseAsync();
        });
    }

    public void Dispose()
    {
        if (_device is not null)
        {
            _ = Losetup("--detach", _device);
        }

        Directory.Delete(_folder, recursive: true);
    }

    private static Task<DiskObjectStore> OpenAsync(ReactorLoop loop, string store)
    {
        string block = Path.Combine(store, DiskObjectStore.BlockFileName);
        return DiskObjectStore.OpenAsync(
            loop, BlockDevices.Open(loop, block), Path.Combine(store, DiskObjectStore.DatabaseName), new DiskStoreOptions { Discard = BlockDevices.IsRawDevice(block) });
    }

    private static BufferSegment Data()
    {
        PageBuffer buffer = BufferPool.Shared.Rent(8 << 20);
        new Random(4).NextBytes(buffer.Span[..(8 << 20)]);
        return buffer.Slice(0, 8 << 20);
    }

    private static void RunOnLoop(Func<ReactorLoop, Task> test) => OfflineTests.RunOnLoop(test);

    private static void Resize(string file, long length)
    {
        using var stream = new FileStream(file, FileMode.OpenOrCreate);
        stream.SetLength(length);
    }

    private static long Allocated(string file) => long.Parse(Run("stat", "--format=%b", file)!, System.Globalization.CultureInfo.InvariantCulture) * 512;

    private static string? Losetup(params string[] arguments) => Run("losetup", arguments);

    private static string? Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true };
        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd().Trim();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : null;
    }
}
