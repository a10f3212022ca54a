using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Block;

// Snapshots of volumes. Taking one: an id from the monitors, into the header, then the pool's barrier moves on, so that every OSD refuses
// writers who have not read the header since, and when all PGs of the volume are seen to know the barrier the snapshot counts.
public sealed partial class VolumeStore
{
    private const int GroupsUnderWay = 64;

    private IVolumeAuthority Authority => _authority ?? throw new InvalidOperationException("this store was made without the monitors' snapshot authority");

    /// <summary>Takes a snapshot: what was acknowledged before this call began is in it, what is written after it returned is not. Writers go on
    /// meanwhile. May be called again after it was interrupted.</summary>
    /// <param name="name">The volume with the new snapshot's name.</param>
    /// <param name="cancellation">Gives up; the snapshot may then stay in the state of being taken.</param>
    /// <returns>The volume at the snapshot.</returns>
    /// <exception cref="VolumeException">No such volume, or the name is taken.</exception>
    public async ValueTask<VolumeInfo> CreateSnapshotAsync(VolumeName name, CancellationToken cancellation = default)
    {
        string wanted = NeedSnapshot(name);
        VolumeName volume = name with { Snapshot = null };
        ulong id = 0;
        while (true)
        {
            VolumeInfo info = await GetWholeAsync(volume, cancellation);
            if (info.Snapshots.Find(wanted) is { } known)
            {
                if (known.State != SnapshotState.Creating)
                {
                    throw known.State == SnapshotState.Ready
                        ? new VolumeException(VolumeProblem.Exists, $"snapshot {name} exists")
                        : new VolumeException(VolumeProblem.Removing, $"snapshot {name} is being removed");
                }

                id = known.Id;
                break;
            }

            // Ids of other volumes' snapshots lie between; but within a volume a later entry has a larger id.
            if (id <= info.Snapshots.Newest)
            {
                id = await Authority.CreateAsync(info.PoolId, (ulong)_random.NextInt64(1, long.MaxValue), cancellation);
                continue;
            }

            var snapshot = new VolumeSnapshot(id, wanted, info.Size, _time.GetUtcNow().ToUnixTimeMilliseconds(), SnapshotState.Creating);
            if (await TryReplaceHeaderAsync(info, info with { Snapshots = info.Snapshots.Add(snapshot) }, cancellation))
            {
                break;
            }
        }

        return await PublishAsync(volume, id, cancellation);
    }

    /// <summary>Lists a volume's snapshots.</summary>
    /// <param name="name">The volume.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The snapshots, oldest first.</returns>
    /// <exception cref="VolumeException">No such volume.</exception>
    public async ValueTask<IReadOnlyList<VolumeSnapshot>> ListSnapshotsAsync(VolumeName name, CancellationToken cancellation = default) =>
        (await GetAsync(name with { Snapshot = null }, cancellation)).Snapshots.All;

    /// <summary>Removes a snapshot; its space comes back in the background. May be called again after it was interrupted.</summary>
    /// <param name="name">The volume with the snapshot.</param>
    /// <param name="cancellation">Gives up; the snapshot may then stay in the state of being removed.</param>
    /// <returns>When the cluster has forgotten it.</returns>
    /// <exception cref="VolumeException">No such volume or snapshot.</exception>
    public async ValueTask RemoveSnapshotAsync(VolumeName name, CancellationToken cancellation = default)
    {
        string wanted = NeedSnapshot(name);
        VolumeName volume = name with { Snapshot = null };
        VolumeInfo before = await GetAsync(volume, cancellation);
        VolumeSnapshot snapshot = before.Snapshots.Find(wanted) ?? throw NoSnapshot(volume, wanted);

        // Writers stop naming it before the OSDs trim it.
        await ChangeHeaderAsync(volume, info => info with { Snapshots = info.Snapshots.With(snapshot with { State = SnapshotState.Removing }) }, cancellation);
        await Authority.RemoveAsync(before.PoolId, snapshot.Id, cancellation);
        await ChangeHeaderAsync(volume, info => info with { Snapshots = info.Snapshots.Without(snapshot.Id) }, cancellation);
    }

    /// <summary>Makes a volume what it was at a snapshot, its size included. Takes the exclusive lock for it. Newer snapshots stay as they are. May be called again after it was interrupted.</summary>
    /// <param name="name">The volume with the snapshot.</param>
    /// <param name="progress">Told the share done, 0 to 1; may be null.</param>
    /// <param name="cancellation">Stops; the volume is then partly rolled back.</param>
    /// <returns>The volume.</returns>
    /// <exception cref="VolumeException">No such volume or snapshot.</exception>
    public async ValueTask<VolumeInfo> RollBackAsync(VolumeName name, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        string wanted = NeedSnapshot(name);
        VolumeName whole = name with { Snapshot = null };
        Volume volume = await OpenAsync(whole, null, cancellation);
        VolumeSnapshot snapshot = AtSnapshot(volume.Info, wanted).Snapshot!;
        long objects = Math.Max(volume.Info.ObjectCount, (volume.Info with { Size = snapshot.Size }).ObjectCount);
        VolumeInfo after = volume.Info;
        await RunLockedAsync(
            volume,
            async () =>
            {
                await ForEachObjectAsync(
                    volume, 0, objects, () => new ObjectOperation().Add(OperationCode.Rollback, (long)snapshot.Id), "roll back", progress, cancellation);
                after = await ChangeHeaderAsync(whole, info => info with { Size = snapshot.Size }, cancellation);
            },
            cancellation);
        return after;
    }

    /// <summary>Reads the header again because an OSD refused what an open volume knows of its snapshots.</summary>
    /// <param name="volume">The volume.</param>
    /// <param name="refused">The barrier that it named.</param>
    internal async ValueTask LearnSnapshotsAsync(Volume volume, ulong refused)
    {
        // The refusal came from a newer map than ours, perhaps.
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None);
        while (map.FindPool(volume.Info.PoolId) is { } pool && pool.SnapshotBarrier <= refused)
        {
            map = await _client.WaitForMapAsync(map.Epoch.Next);
        }

        await RefreshAsync(volume);
    }

    private static VolumeInfo AtSnapshot(VolumeInfo info, string wanted)
    {
        VolumeSnapshot snapshot = info.Snapshots.Find(wanted) ?? throw NoSnapshot(info.Name with { Snapshot = null }, wanted);
        return snapshot.State switch
        {
            SnapshotState.Ready => info with { Snapshot = snapshot, Size = snapshot.Size },
            SnapshotState.Creating => throw new VolumeException(VolumeProblem.NotFound, $"snapshot {info.Name with { Snapshot = wanted }} was not finished: create it again, or remove it"),
            _ => throw new VolumeException(VolumeProblem.Removing, $"snapshot {info.Name with { Snapshot = wanted }} is being removed"),
        };
    }

    private static VolumeException NoSnapshot(VolumeName volume, string wanted) =>
        new(VolumeProblem.NotFound, $"no snapshot {wanted} of volume {volume}");

    private static string NeedSnapshot(VolumeName name) => name.Snapshot
        ?? throw new VolumeException(VolumeProblem.Invalid, $"{name} names no snapshot: write VOLUME@SNAPSHOT");

    // From here on OSDs refuse writers who do not know the snapshot; those that were accepted before are in it.
    private async ValueTask<VolumeInfo> PublishAsync(VolumeName volume, ulong id, CancellationToken cancellation)
    {
        VolumeInfo info = await GetWholeAsync(volume, cancellation);
        Epoch epoch = await Authority.PublishAsync(info.PoolId, cancellation);
        ClusterMap map = await _client.WaitForMapAsync(epoch, cancellation);
        await ReachGroupsAsync(info, map, cancellation);
        info = await ChangeHeaderAsync(
            volume,
            header => header.Snapshots.All.FirstOrDefault(snapshot => snapshot.Id == id) is { State: SnapshotState.Creating } mine
                ? header with { Snapshots = header.Snapshots.With(mine with { State = SnapshotState.Ready }) }
                : header,
            cancellation);
        VolumeSnapshot taken = info.Snapshots.All.FirstOrDefault(snapshot => snapshot.Id == id)
            ?? throw new VolumeException(VolumeProblem.Conflict, $"the snapshot of volume {volume} was removed while it was being taken");
        return AtSnapshot(info, taken.Name);
    }

    // An operation makes its PG's primary take the client's map first: afterwards every PG that holds objects of the volume has the barrier.
    private async ValueTask ReachGroupsAsync(VolumeInfo info, ClusterMap map, CancellationToken cancellation)
    {
        PoolInfo pool = map.FindPool(info.PoolId) ?? throw new VolumeException(VolumeProblem.NotFound, $"the pool of volume {info.Name} is gone");
        var seeds = new HashSet<uint>();
        for (long index = 0; index < info.ObjectCount && seeds.Count < pool.PgCount; index++)
        {
            seeds.Add(ClusterMap.GroupOf(pool, Placement.HashName(info.DataObject(index))).Seed);
        }

        var underWay = new Queue<Task>();
        foreach (uint seed in seeds)
        {
            if (underWay.Count >= GroupsUnderWay)
            {
                await underWay.Dequeue();
            }

            underWay.Enqueue(_client.ListObjectsAsync(pool.Id, seed, null, 1, cancellation).AsTask());
        }

        while (underWay.TryDequeue(out Task? last))
        {
            await last;
        }
    }

    private async ValueTask<VolumeInfo> GetWholeAsync(VolumeName volume, CancellationToken cancellation)
    {
        VolumeInfo info = await GetAsync(volume, cancellation);
        return info.IsRemoving ? throw new VolumeException(VolumeProblem.Removing, $"volume {volume} is being removed") : info;
    }

    private async ValueTask<VolumeInfo> ChangeHeaderAsync(VolumeName volume, Func<VolumeInfo, VolumeInfo> change, CancellationToken cancellation)
    {
        while (true)
        {
            VolumeInfo before = await GetAsync(volume, cancellation);
            VolumeInfo after = change(before);
            if (await TryReplaceHeaderAsync(before, after, cancellation))
            {
                return after;
            }
        }
    }

    private async ValueTask<bool> TryReplaceHeaderAsync(VolumeInfo before, VolumeInfo after, CancellationToken cancellation)
    {
        try
        {
            await ReplaceHeaderAsync(before, after, cancellation);
            return true;
        }
        catch (VolumeException exception) when (exception.Problem == VolumeProblem.Conflict)
        {
            return false; // somebody else changed it: look again
        }
    }

    // What operations say of the snapshots, once the client's map knows their ids.
    private async ValueTask<SnapshotContext> MakeContextAsync(VolumeInfo info, ulong barrier, CancellationToken cancellation)
    {
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None, cancellation);
        while (map.FindPool(info.PoolId) is { } pool && pool.SnapshotSequence < info.Snapshots.Newest)
        {
            map = await _client.WaitForMapAsync(map.Epoch.Next, cancellation);
        }

        return new SnapshotContext(barrier, info.Snapshots.Named());
    }

    private async ValueTask<ResultCode> ChangeDataAsync(Volume volume, long index, ObjectOperation operation, CancellationToken cancellation)
    {
        while (true)
        {
            SnapshotContext? used = volume.Snapshots;
            using OperationResult result = await _client.ExecuteAsync(
                volume.Info.PoolId, volume.Info.DataObject(index), operation, new OperationContext(used, EvenIfFull: true, LockOwner: volume.Maintenance?.Owner ?? 0), cancellation);
            if (result.Result != ResultCode.StaleSnapshots)
            {
                return result.Result;
            }

            if (ReferenceEquals(used, volume.Snapshots))
            {
                await LearnSnapshotsAsync(volume, used?.Barrier ?? 0);
            }
        }
    }
}
