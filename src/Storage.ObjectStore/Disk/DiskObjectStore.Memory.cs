using System.Globalization;
using System.Runtime.InteropServices;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// One budget for the daemon: once a second the caches are sized by what the process really has in memory, and by what other stores in it have.
public sealed partial class DiskObjectStore : IMemoryTarget
{
    private const int OnodeBytes = 1200; // with attributes, name and its places in tables, as measured
    private const int ChunkBytes = 800;
    private const long GrowthPerLook = 64 << 20;
    private static readonly TimeSpan s_memoryLook = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_trimPause = TimeSpan.FromSeconds(15);
    private readonly DataCache _cache = new();
    private ILoopTimer? _memoryTimer;
    private MemoryAccount.Member? _memory;
    private long _metadataBudget;
    private long _cachedChunks;
    private long _memoryTarget;
    private TimeSpan _lastTrim;

    /// <inheritdoc/>
    public long MemoryTargetBytes
    {
        get => _memoryTarget;
        set
        {
            ArgumentOutOfRangeException.ThrowIfNegative(value);
            _memoryTarget = value;
            if (value > 0 && _memoryTimer is null && !_closed)
            {
                _memory ??= MemoryAccount.Process.Join();
                ArmMemoryLook();
            }
        }
    }

    /// <summary>Bytes that data read before takes in memory.</summary>
    public long DataCacheBytes => _cache.Bytes;

    /// <summary>Blocks found in the data cache, and not found, since the store was opened.</summary>
    public (long Hits, long Misses) DataCacheLookups => (_cache.Hits, _cache.Misses);

    /// <summary>Bytes that objects' metadata takes in memory, as estimated.</summary>
    public long MetadataBytes => _recent.Count * (long)OnodeBytes + _cachedChunks * ChunkBytes;

    /// <summary>
    /// Journaled bytes after which a checkpoint is made: less where memory is short, for they stay in memory until then, and so few that a
    /// paced checkpoint is over before half of the journal is in use.
    /// </summary>
    private long CheckpointBytes => Math.Min(
        JournalLimit / 4, _memoryTarget == 0 ? _options.CheckpointBytes : Math.Clamp(_memoryTarget / 12, 4 << 20, _options.CheckpointBytes));

    /// <summary>The most that may be in the journal and not yet behind a checkpoint: commits wait there rather than take memory without end.</summary>
    private long JournalLimit => _memoryTarget == 0 ? _super.RingLength : Math.Min(_super.RingLength, Math.Max(3L * BufferPool.LargestBuffer, _memoryTarget / 4));

    private void StartMemory()
    {
        _metadataBudget = _options.MetadataCacheBytes;
        _cache.Budget = _options.DataCacheBytes;
        MemoryTargetBytes = _options.MemoryTargetBytes;
    }

    private void ArmMemoryLook() => _memoryTimer = _loop.Schedule(s_memoryLook, static state => ((DiskObjectStore)state!).LookAtMemory(), this);

    private void LookAtMemory()
    {
        _memoryTimer = null;
        if (_closed || _memoryTarget == 0)
        {
            LeaveMemory();
            return;
        }

        long resident = ResidentBytes();
        MemorySplit split = _memory!.Divide(_memoryTarget, resident, new MemorySplit(MetadataBytes, _database.CacheUsage, _cache.Bytes));
        _metadataBudget = split.Metadata;
        _database.SetCacheCapacity(split.Database);
        _cache.Budget = Math.Min(split.Data, _cache.Bytes + GrowthPerLook);
        _cache.Trim();
        long target = _memory.ProcessTarget;
        if (resident > target + target / 50 && _memory.IsFirst && _loop.Now - _lastTrim > s_trimPause)
        {
            // Memory that was freed but not given back: the heap's own, and that of native allocations.
            _lastTrim = _loop.Now;
            GC.Collect(2, GCCollectionMode.Forced, blocking: false, compacting: false);
            ThreadPool.UnsafeQueueUserWorkItem(static _ => _ = TrimHeap(0), null);
        }

        ArmMemoryLook();
    }

    private void LeaveMemory()
    {
        _memory?.Leave();
        _memory = null;
    }

    /// <summary>Resident memory of this process; 0 where the system does not say.</summary>
    private static long ResidentBytes()
    {
        string text = File.ReadAllText("/proc/self/statm");
        int from = text.IndexOf(' ', StringComparison.Ordinal) + 1;
        int to = text.IndexOf(' ', from);
        return long.Parse(text.AsSpan(from, to - from), CultureInfo.InvariantCulture) * Environment.SystemPageSize;
    }

    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int TrimHeap(nuint keep);
}
