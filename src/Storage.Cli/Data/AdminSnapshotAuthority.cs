using Storage.Block;
using Storage.Cluster;
using Storage.Rpc.Admin;

namespace Storage.Cli.Data;

/// <summary>Snapshot ids from the monitors' admin API.</summary>
internal sealed class AdminSnapshotAuthority(AdminClient admin) : ISnapshotAuthority
{
    public async ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation) =>
        (await admin.PoolSnapshotCreateAsync(new PoolSnapshotCreateRequest { PoolId = pool, RequestId = request }, cancellation).ConfigureAwait(false)).Snapshot;

    public async ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation) =>
        new((await admin.PoolSnapshotPublishAsync(new PoolSnapshotPublishRequest { PoolId = pool }, cancellation).ConfigureAwait(false)).Epoch);

    public async ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation)
    {
        var request = new PoolSnapshotRemoveRequest { PoolId = pool };
        request.Snapshots.Add(snapshot);
        await admin.PoolSnapshotRemoveAsync(request, cancellation).ConfigureAwait(false);
    }
}
