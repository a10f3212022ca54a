using Storage.Block;
using Storage.Cluster;
using Storage.Rpc.Admin;

namespace Storage.Simulation.Clusters;

/// <summary>The monitors' part in volumes, by an operator's commands.</summary>
internal sealed class CommandAuthority(SimulatedCluster cluster) : IVolumeAuthority
{
    public async ValueTask<ulong> CreateAsync(long pool, ulong request, CancellationToken cancellation) =>
        (await cluster.CommandAsync("PoolSnapshotCreate", new PoolSnapshotCreateRequest { PoolId = pool, RequestId = request }, PoolSnapshotCreateReply.Parser)).Snapshot;

    public async ValueTask<Epoch> PublishAsync(long pool, CancellationToken cancellation) =>
        new((await cluster.CommandAsync("PoolSnapshotPublish", new PoolSnapshotPublishRequest { PoolId = pool }, ChangeReply.Parser)).Epoch);

    public async ValueTask RemoveAsync(long pool, ulong snapshot, CancellationToken cancellation) =>
        await cluster.CommandAsync("PoolSnapshotRemove", new PoolSnapshotRemoveRequest { PoolId = pool, Snapshots = { snapshot } }, ChangeReply.Parser);

    public async ValueTask<Epoch> FenceAsync(ulong lockOwner, CancellationToken cancellation)
    {
        cluster.Coverage.Count("volume.owner_fenced");
        var request = new BlocklistAddRequest { ClientId = $"client.{lockOwner:x}", DurationSeconds = 30 * 86_400 };
        return new Epoch((await cluster.CommandAsync("BlocklistAdd", request, ChangeReply.Parser)).Epoch);
    }
}
