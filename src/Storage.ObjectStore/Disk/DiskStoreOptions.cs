using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>Settings of a <see cref="DiskObjectStore"/>.</summary>
public sealed record DiskStoreOptions
{
    /// <summary>Bytes of the journal ring; used by mkfs only. 0 chooses by the device's size: an eighth, 4 MiB to 512 MiB.</summary>
    public long JournalBytes { get; init; }

    /// <summary>Writes with at least this many bytes of whole blocks go to free space at once; smaller ones ride in the journal.</summary>
    public int DirectWriteBytes { get; init; } = 64 << 10;

    /// <summary>Journaled bytes after which small writes are brought to their place and a checkpoint is made.</summary>
    public long CheckpointBytes { get; init; } = 64 << 20;

    /// <summary>A checkpoint is made at least this often while there is anything to write; zero leaves it to the amount.</summary>
    public TimeSpan CheckpointInterval { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Share of the space from which writes of data are refused.</summary>
    public double FullRatio { get; init; } = 0.95;

    /// <summary>
    /// Resident memory of the process that the caches' sizes follow; 0 leaves them as given here. May be changed while the store is open.
    /// </summary>
    public long MemoryTargetBytes { get; init; }

    /// <summary>Memory for objects' metadata, before the first look at the target.</summary>
    public long MetadataCacheBytes { get; init; } = 48 << 20;

    /// <summary>Memory for blocks that were read, before the first look at the target; 0 keeps none.</summary>
    public long DataCacheBytes { get; init; }

    /// <summary>Memory of the metadata database's block cache, before the first look at the target.</summary>
    public long DatabaseCacheBytes { get; init; } = 64 << 20;

    /// <summary>Where small overwrites of whole blocks go when they leave the journal.</summary>
    public WriteBackPlace WriteBackPlace { get; init; } = WriteBackPlace.Adaptive;

    /// <summary>
    /// Tell the disk what was freed. For devices that use it (thin volumes, flash); a file that gives space back has to get it again
    /// from its file system, at every first write, inside of commits.
    /// </summary>
    public bool Discard { get; init; }

    /// <summary>Write checkpoints on the loop's thread instead of one of their own; for tests.</summary>
    public bool InlineCheckpoints { get; init; }

    /// <summary>Compress and decompress on the loop's thread, a part at a time, instead of on others; for tests.</summary>
    public bool InlineCompression { get; init; }

    /// <summary>Let the database compact by itself; off where a test copies its files while it is open.</summary>
    internal bool DatabaseCompaction { get; init; } = true;

    /// <summary>Where buffers come from.</summary>
    public BufferPool Pool { get; init; } = BufferPool.Shared;
}

/// <summary>Where small overwrites of whole blocks go when they leave the journal.</summary>
public enum WriteBackPlace
{
    /// <summary>
    /// Back to where the block lay while the load leaves the disk time for that, else to new space. Keeps objects in one piece
    /// under every load the disk can sustain, and commits fast under one that it cannot.
    /// </summary>
    Adaptive,

    /// <summary>Always back to where the block lay: one random write each.</summary>
    InPlace,

    /// <summary>Always to new space, many blocks to a write: fastest, and objects fall to pieces.</summary>
    NewSpace,
}
