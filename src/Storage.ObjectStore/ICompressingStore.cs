using Storage.Cluster;

namespace Storage.ObjectStore;

/// <summary>A store that can keep pools' data compressed on its disk. What is read and written is the same either way.</summary>
public interface ICompressingStore
{
    /// <summary>What compression does for each pool that has compressed data.</summary>
    IReadOnlyDictionary<long, CompressionFigures> Compression { get; }

    /// <summary>Chooses how large writes to a pool are stored from now on; what is there stays as it is.</summary>
    /// <param name="pool">The pool.</param>
    /// <param name="algorithm">The algorithm, or none.</param>
    /// <returns>False if this machine lacks the algorithm's library; the pool's writes are then not compressed.</returns>
    bool SetCompression(long pool, PoolCompression algorithm);
}

/// <summary>What compression does.</summary>
/// <param name="OriginalBytes">Data that lies compressed, as it was written; what clones share counts once.</param>
/// <param name="StoredBytes">What it takes on the disk.</param>
public readonly record struct CompressionFigures(long OriginalBytes, long StoredBytes);
