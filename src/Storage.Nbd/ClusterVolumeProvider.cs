using Storage.Block;
using Storage.Client;
using Storage.Cluster;

namespace Storage.Nbd;

/// <summary>Exports the volumes of a cluster under their names: <c>NAME</c> of the default pool, <c>POOL/NAME</c> of others, and
/// their snapshots as <c>NAME@SNAPSHOT</c>, read-only.</summary>
public sealed class ClusterVolumeProvider : IVolumeProvider
{
    private const string BlockApplication = "block";
    private readonly IObjectClient _client;
    private readonly VolumeStore _store;
    private readonly Dictionary<(long Pool, string Id, ulong Snapshot), Shared> _open = [];

    /// <summary>Creates the provider.</summary>
    /// <param name="client">The client, on the server's loop.</param>
    /// <param name="store">Its volumes.</param>
    public ClusterVolumeProvider(IObjectClient client, VolumeStore store)
    {
        _client = client;
        _store = store;
    }

    /// <summary>Volumes that are open.</summary>
    public int OpenVolumes => _open.Count;

    /// <inheritdoc/>
    public async ValueTask<VolumeShare> OpenAsync(string exportName, CancellationToken cancellation)
    {
        if (exportName.Length == 0)
        {
            throw new VolumeException(VolumeProblem.NotFound, "there is no default export; name a volume, such as NAME, POOL/NAME or NAME@SNAPSHOT");
        }

        Volume opened = await _store.OpenAsync(VolumeName.Parse(exportName), cancellation);
        (long, string, ulong) key = (opened.Info.PoolId, opened.Info.Id, opened.Info.Snapshot?.Id ?? 0);
        if (_open.TryGetValue(key, out Shared? shared))
        {
            // A resize since then is seen by this connection and by those that come later.
            await _store.RefreshAsync(shared.Volume, cancellation);
        }

        if (!_open.TryGetValue(key, out shared))
        {
            shared = new Shared(opened);
            _open.Add(key, shared);
        }

        shared.References++;
        return new VolumeShare(shared.Volume, () =>
        {
            if (--shared.References == 0)
            {
                _open.Remove(key);
            }
        });
    }

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<string>> ListAsync(CancellationToken cancellation)
    {
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None, cancellation);
        var names = new List<string>();
        foreach (PoolInfo pool in map.Pools)
        {
            if (pool.Name == VolumeName.DefaultPool || pool.Application == BlockApplication)
            {
                foreach (VolumeName name in await _store.ListAsync(pool.Name, cancellation))
                {
                    names.Add(name.ToString());
                }
            }
        }

        return names;
    }

    private sealed class Shared(Volume volume)
    {
        public Volume Volume { get; } = volume;

        public int References { get; set; }
    }
}
