using Storage.Block;
using Storage.Client;
using Storage.Cluster;

namespace Storage.Nbd;

/// <summary>Exports the volumes of a cluster under their names: <c>NAME</c> of the default pool, <c>POOL/NAME</c> of others, and
/// their snapshots as <c>NAME@SNAPSHOT</c>, read-only. A volume's exclusive lock is taken when a client first writes, and given up when the last one is gone.</summary>
public sealed class ClusterVolumeProvider : IVolumeProvider
{
    private const string BlockApplication = "block";
    private readonly IObjectClient _client;
    private readonly VolumeStore _store;
    private readonly string? _holder;
    private readonly Dictionary<(long Pool, string Id, ulong Snapshot), Shared> _open = [];
    private readonly Dictionary<(long Pool, string Id, ulong Snapshot), Task> _releases = [];
    private TaskCompletionSource? _idle;

    /// <summary>Creates the provider.</summary>
    /// <param name="client">The client, on the server's loop.</param>
    /// <param name="store">Its volumes.</param>
    /// <param name="holder">Who holds the locks: the gateway's name, unique and the same at each start. Null writes without locks.</param>
    public ClusterVolumeProvider(IObjectClient client, VolumeStore store, string? holder = null)
    {
        _client = client;
        _store = store;
        _holder = holder;
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

        Volume opened = await _store.OpenAsync(VolumeName.Parse(exportName), _holder, cancellation);
        (long, string, ulong) key = (opened.Info.PoolId, opened.Info.Id, opened.Info.Snapshot?.Id ?? 0);
        while (_releases.TryGetValue(key, out Task? release))
        {
            await release.WaitAsync(cancellation); // else its own lock would look like a dead owner's
        }

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
                Release(key, shared.Volume);
                NoteIdle();
            }
        });
    }

    /// <summary>Waits until no volume is open and every lock is given up.</summary>
    /// <returns>When that is so.</returns>
    public Task WhenIdleAsync() => _open.Count + _releases.Count == 0 ? Task.CompletedTask : (_idle ??= new TaskCompletionSource()).Task;

    private void Release((long Pool, string Id, ulong Snapshot) key, Volume volume)
    {
        if (volume.Lock is not { } held)
        {
            return;
        }

        Task release = ReleaseAsync();
        if (!release.IsCompleted)
        {
            _releases.Add(key, release);
        }

        async Task ReleaseAsync()
        {
            await held.ReleaseAsync();
            _releases.Remove(key);
            NoteIdle();
        }
    }

    private void NoteIdle()
    {
        if (_open.Count + _releases.Count == 0)
        {
            _idle?.TrySetResult();
            _idle = null;
        }
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
