namespace Storage.ObjectStore.Disk;

/// <summary>
/// Divides a daemon's memory target: what the process holds beside caches is not negotiable, the rest goes to object metadata
/// first, then to the database's block cache, and what these leave to data.
/// </summary>
/// <param name="Metadata">Bytes for objects' metadata in memory.</param>
/// <param name="Database">Bytes for the database's block cache.</param>
/// <param name="Data">Bytes for blocks that were read.</param>
internal readonly record struct MemorySplit(long Metadata, long Database, long Data)
{
    private const long LeastMetadata = 16 << 20;
    private const long LeastDatabase = 8 << 20;
    private const double MetadataShare = 0.45;
    private const double DatabaseShare = 0.15;

    /// <summary>Where resident memory is steered to: the rest is for what comes and goes between two looks.</summary>
    private const double Aim = 0.94;

    /// <summary>Bytes of all caches together.</summary>
    public long Sum => Metadata + Database + Data;

    /// <summary>Divides for a process with one store.</summary>
    /// <param name="target">The target.</param>
    /// <param name="resident">What the process has at the moment.</param>
    /// <param name="used">What the caches take of that.</param>
    public static MemorySplit Divide(long target, long resident, MemorySplit used) => Divide(Flexible(target, resident, used.Sum), used);

    /// <summary>What all caches of a process may take.</summary>
    /// <param name="target">What the process should have.</param>
    /// <param name="resident">What it has at the moment.</param>
    /// <param name="caches">What the caches take of that.</param>
    public static long Flexible(long target, long resident, long caches) => Math.Max(0, (long)(target * Aim) - Math.Max(0, resident - caches));

    /// <summary>Divides what one store's caches may take.</summary>
    /// <param name="flexible">That.</param>
    /// <param name="used">What they take at the moment.</param>
    public static MemorySplit Divide(long flexible, MemorySplit used)
    {
        long metadata = Math.Max(LeastMetadata, (long)(flexible * MetadataShare));
        long database = Math.Max(LeastDatabase, (long)(flexible * DatabaseShare));
        long data = Math.Max(0, flexible - Math.Min(used.Metadata, metadata) - Math.Min(used.Database, database));
        return new MemorySplit(metadata, database, data);
    }
}
