using BenchmarkDotNet.Attributes;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.Reactor;

namespace Storage.Kernels.Bench;

/// <summary>From an object's name to where a block of it lies, among a thousand objects of 4 MiB.</summary>
[MemoryDiagnoser]
#pragma warning disable CA1001 // the harness calls Cleanup
public class ExtentMaps
#pragma warning restore CA1001
{
    private const int Objects = 1000;
    private static readonly CollectionId s_group = new(new PgId(1, 0));
    private readonly List<DataExtent> _extents = [];
    private readonly string _folder = Path.Combine(Path.GetTempPath(), "kernels-" + Guid.NewGuid().ToString("N"));
    private ObjectId[] _ids = [];
    private ReactorLoop _loop = null!;
    private Thread _thread = null!;
    private DiskObjectStore _store = null!;
    private uint _next;

    /// <summary>Makes the store. The loop is idle while the benchmark looks at it.</summary>
    [GlobalSetup]
    public void Setup()
    {
        DiskObjectStore.Format(_folder, 128L << 20, Guid.NewGuid());
        _loop = new ReactorLoop();
        _thread = _loop.RunOnThread("store");
        OnLoop(async () =>
        {
            IBlockDevice device = BlockDevices.Open(_loop, Path.Combine(_folder, DiskObjectStore.BlockFileName));
            _store = await DiskObjectStore.OpenAsync(_loop, device, Path.Combine(_folder, DiskObjectStore.DatabaseName), new DiskStoreOptions { CheckpointInterval = TimeSpan.Zero });
            _ids = [.. Enumerable.Range(0, Objects).Select(i => new ObjectId($"volume_data.0123456789abcdef.{i:x16}", (uint)i * 2654435761))];
            PageBuffer block = BufferPool.Shared.Rent(4096);
            block.Span.Clear();
            var transaction = new Transaction();
            transaction.CreateCollection(s_group);
            foreach (ObjectId id in _ids)
            {
                for (int i = 0; i < 16; i++)
                {
                    transaction.Write(s_group, id, i * 262144L, block.Slice(0, 4096)); // one block of each chunk of its map
                }

                _store.Submit(transaction, null, 0);
                transaction.Clear();
            }

            block.Release();
            await _store.CheckpointAsync();
        });
    }

    /// <summary>Closes the store.</summary>
    [GlobalCleanup]
    public void Cleanup()
    {
        OnLoop(_store.CloseAsync);
        _loop.Stop();
        _thread.Join();
        _loop.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>One block.</summary>
    [Benchmark]
    public int Find()
    {
        uint n = _next++ * 40503;
        _store.ListExtents(s_group, _ids[n % Objects], n / Objects % 16 * 262144L, 4096, _extents);
        return _extents.Count;
    }

    private void OnLoop(Func<Task> function)
    {
        var done = new TaskCompletionSource();
        _loop.Post(
            async void (_) =>
            {
                try
                {
                    await function();
                    done.SetResult();
                }
#pragma warning disable CA1031 // the benchmark's thread throws it
                catch (Exception e)
#pragma warning restore CA1031
                {
                    done.SetException(e);
                }
            },
            null);
        done.Task.GetAwaiter().GetResult();
    }
}
