using Storage.Block;
using Storage.Cluster;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Cli.Data;

/// <summary>Snapshots and fences by the monitors' admin API.</summary>
/// <param name="admin">Gives the client of the day.</param>
internal sealed class AdminVolumeAuthority(Func<AdminClient> admin) : IVolumeAuthority
{
    // An entry has to outlast whatever may come back from the dead.
    private static readonly TimeSpan s_fenced = TimeSpan.FromDays(30);
    private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(500);

    public async ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation) =>
        (await admin().PoolSnapshotCreateAsync(new PoolSnapshotCreateRequest { PoolId = pool, RequestId = request }, cancellation).ConfigureAwait(false)).Snapshot;

    public async ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation) =>
        new((await admin().PoolSnapshotPublishAsync(new PoolSnapshotPublishRequest { PoolId = pool }, cancellation).ConfigureAwait(false)).Epoch);

    public async ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation)
    {
        var request = new PoolSnapshotRemoveRequest { PoolId = pool };
        request.Snapshots.Add(snapshot);
        await admin().PoolSnapshotRemoveAsync(request, cancellation).ConfigureAwait(false);
    }

    public async ValueTask<Epoch> FenceAsync(ulong lockOwner, CancellationToken cancellation)
    {
        var request = new BlocklistAddRequest { ClientId = $"client.{lockOwner:x}", DurationSeconds = (uint)s_fenced.TotalSeconds };
        while (true)
        {
            try
            {
                return new Epoch((await admin().BlocklistAddAsync(request, cancellation).ConfigureAwait(false)).Epoch);
            }
            catch (RpcException e) when (e.Status.Code is StatusCode.Unavailable or StatusCode.DeadlineExceeded)
            {
                await Task.Delay(s_retry, cancellation).ConfigureAwait(false);
            }
        }
    }
}
