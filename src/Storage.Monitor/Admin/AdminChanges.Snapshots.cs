using Storage.Cluster;
using Storage.Monitor.Core;
using Storage.Rpc;
using Storage.Rpc.Admin;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Monitor.Admin;

// Snapshot ids of pools.
internal sealed partial class AdminChanges
{
    private const int MostRemovedAtOnce = 10_000;

    private void CreateSnapshot(PoolSnapshotCreateRequest request, AdminReplyTo reply)
    {
        if (request.RequestId == 0)
        {
            throw new RpcException(StatusCode.InvalidArgument, "the request needs a number (request_id), drawn at random");
        }

        ulong given = 0;
        leader.Request(new MapChange(
            (draft, change) =>
            {
                if (FindPool(draft, request.PoolId) is not { } pool)
                {
                    return change.Refuse(StatusCode.NotFound, $"there is no pool with id {request.PoolId}");
                }

                foreach (SnapshotAllocation known in pool.SnapshotAllocations)
                {
                    if (known.Request == request.RequestId)
                    {
                        given = known.Snapshot;
                        return Verdict.NoChange;
                    }
                }

                given = pool.SnapshotSequence + 1;
                draft.Set(pool with
                {
                    SnapshotSequence = given,
                    SnapshotAllocations = [.. pool.SnapshotAllocations.TakeLast(PoolInfo.MostAllocations - 1), new SnapshotAllocation(request.RequestId, given)],
                });
                return Verdict.Drafted;
            },
            outcome => reply(outcome.Failure, new PoolSnapshotCreateReply { Epoch = outcome.Epoch.Value, Snapshot = given, Created = outcome.Changed })));
    }

    private void PublishSnapshots(PoolSnapshotPublishRequest request, AdminReplyTo reply) => Change(
        (draft, change) =>
        {
            if (FindPool(draft, request.PoolId) is not { } pool)
            {
                return change.Refuse(StatusCode.NotFound, $"there is no pool with id {request.PoolId}");
            }

            if (FindPool(draft.Base, request.PoolId) is { } before && before.SnapshotBarrier < pool.SnapshotBarrier)
            {
                return Verdict.NoChange; // another request of this epoch moves it
            }

            draft.Set(pool with { SnapshotBarrier = pool.SnapshotBarrier + 1 });
            return Verdict.Drafted;
        },
        reply);

    private void RemoveSnapshots(PoolSnapshotRemoveRequest request, AdminReplyTo reply)
    {
        if (request.Snapshots.Count is 0 or > MostRemovedAtOnce)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"1 to {MostRemovedAtOnce} snapshots are removed at once, not {request.Snapshots.Count}");
        }

        Change(
            (draft, change) =>
            {
                if (FindPool(draft, request.PoolId) is not { } pool)
                {
                    return change.Refuse(StatusCode.NotFound, $"there is no pool with id {request.PoolId}");
                }

                SnapshotIntervals removed = pool.RemovedSnapshots;
                foreach (ulong id in request.Snapshots)
                {
                    if (id == 0 || id > pool.SnapshotSequence)
                    {
                        return change.Refuse(StatusCode.InvalidArgument, $"{id} is no snapshot id that pool '{pool.Name}' gave out");
                    }

                    removed = removed.Add(id);
                }

                if (removed.Equals(pool.RemovedSnapshots))
                {
                    return Verdict.NoChange;
                }

                draft.Set(pool with { RemovedSnapshots = removed, SnapshotBarrier = pool.SnapshotBarrier + 1 });
                return Verdict.Drafted;
            },
            reply);
    }

    private static PoolInfo? FindPool(MapDraft draft, long id) => draft.Pools.FirstOrDefault(pool => pool.Id == id);

    private static PoolInfo? FindPool(ClusterMap map, long id) => map.FindPool(id);
}
