using Storage.Cluster;
using Storage.ObjectStore;

namespace Storage.Osd;

// Compression is each disk's own matter: the map says per pool what the store is to do with large writes.
public sealed partial class OsdDaemon
{
    private readonly Dictionary<long, CompressionSettings> _compressions = []; // as the store was told

    private void ApplyCompression()
    {
        if (_store is not ICompressingStore store)
        {
            return;
        }

        foreach (PoolInfo pool in Map!.Pools)
        {
            CompressionSettings settings = CompressionSettings.Of(pool);
            if (_compressions.GetValueOrDefault(pool.Id, CompressionSettings.None) != settings)
            {
                _compressions[pool.Id] = settings;
                if (!store.SetCompression(pool.Id, settings))
                {
                    Log.CompressionMissing(_logger, pool.Name, pool.Compression);
                }
            }
        }
    }

    private (long Pool, long OriginalBytes, long StoredBytes)[] CompressionFigures() => _store is ICompressingStore { Compression: { Count: > 0 } figures }
        ? [.. figures.Select(pool => (pool.Key, pool.Value.OriginalBytes, pool.Value.StoredBytes))]
        : [];
}
