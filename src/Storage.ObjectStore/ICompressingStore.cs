using Storage.Cluster;

namespace Storage.ObjectStore;

/// <summary>A store that can keep pools' data compressed on its disk. What is read and written is the same either way.</summary>
public interface ICompressingStore
{
    /// <summary>What compression does for each pool that has compressed data.</summary>
    IReadOnlyDictionary<long, CompressionFigures> Compression { get; }

    /// <summary>Chooses how large writes to a pool are stored from now on; what is there stays as it is.</summary>
    /// <param name="pool">The pool.</param>
    /// <param name="settings">The algorithm, or none, and when it is worth it.</param>
    /// <returns>False if this machine lacks the algorithm's library; the pool's writes are then not compressed.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The ratio or the level is none.</exception>
    bool SetCompression(long pool, CompressionSettings settings);
}

/// <summary>How large writes to a pool are stored.</summary>
/// <param name="Algorithm">The algorithm.</param>
/// <param name="RequiredRatio">The most that the compressed form may take of the plain one, above 0 to 1; one unit of 4 KiB is saved in any case.</param>
/// <param name="Level">Zstandard's level, 1 (fastest) to 19; LZ4 has none.</param>
public readonly record struct CompressionSettings(
    PoolCompression Algorithm, double RequiredRatio = PoolInfo.DefaultCompressionRatio, int Level = PoolInfo.DefaultCompressionLevel)
{
    /// <summary>Plain.</summary>
    public static CompressionSettings None { get; } = new(PoolCompression.None);

    /// <summary>What a pool's settings say.</summary>
    /// <param name="pool">The pool.</param>
    public static CompressionSettings Of(PoolInfo pool) => new(pool.Compression, pool.CompressionRequiredRatio, pool.CompressionLevel);
}

/// <summary>What compression does.</summary>
/// <param name="OriginalBytes">Data that lies compressed, as it was written; what clones share counts once.</param>
/// <param name="StoredBytes">What it takes on the disk.</param>
public readonly record struct CompressionFigures(long OriginalBytes, long StoredBytes);
