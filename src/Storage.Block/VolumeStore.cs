using System.Globalization;
using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Block;

/// <summary>
/// The volumes of the cluster's pools: makes, finds, resizes, renames and removes them. A pool's directory is the omap of its object
/// <c>volume_directory</c>: name → version u8, id (text). Every change is guarded, so administrators may work at the same time.
/// </summary>
public sealed partial class VolumeStore
{
    private const string Directory = "volume_directory";
    private const byte EntryVersion = 1;
    private const int PageSize = 1000;
    private const int RemovalsUnderWay = 64;
    private readonly IObjectClient _client;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly IVolumeAuthority? _authority;

    /// <summary>Creates the store.</summary>
    /// <param name="client">The client.</param>
    /// <param name="time">For times of creation.</param>
    /// <param name="random">For volume ids.</param>
    /// <param name="authority">The monitors; null where no snapshots are taken or removed and no locks are used.</param>
    public VolumeStore(IObjectClient client, TimeProvider time, Random random, IVolumeAuthority? authority = null)
    {
        _authority = authority;
        _client = client;
        _time = time;
        _random = random;
    }

    /// <summary>The pace of exclusive locks.</summary>
    public VolumeLockTimes LockTimes { get; init; } = new();

    /// <summary>Creates an empty volume; takes no space until it is written to.</summary>
    /// <param name="name">Its name, without a snapshot.</param>
    /// <param name="size">Bytes, 0 to <see cref="VolumeInfo.LargestSize"/>.</param>
    /// <param name="objectOrder">Its data objects have two to this power bytes.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The volume.</returns>
    /// <exception cref="VolumeException">The name is taken, or the pool missing, or a parameter out of range.</exception>
    public async ValueTask<VolumeInfo> CreateAsync(VolumeName name, long size, int objectOrder = VolumeInfo.DefaultObjectOrder, CancellationToken cancellation = default)
    {
        CheckSize(size);
        RefuseSnapshot(name);
        if (objectOrder is < VolumeInfo.SmallestObjectOrder or > VolumeInfo.LargestObjectOrder)
        {
            throw new VolumeException(VolumeProblem.Invalid, $"object order {objectOrder} is outside {VolumeInfo.SmallestObjectOrder} to {VolumeInfo.LargestObjectOrder}");
        }

        PoolInfo pool = await FindPoolAsync(name, cancellation);
        string id = _random.NextInt64().ToString("x16", CultureInfo.InvariantCulture);
        var info = new VolumeInfo(name, id, pool.Id, size, objectOrder, _time.GetUtcNow().ToUnixTimeMilliseconds(), false);

        // The header first: a crash in between leaves a small object that nothing points to, not a name without a volume.
        var header = new ObjectOperation()
            .Add(OperationCode.AssertMissing)
            .AddAttribute(OperationCode.SetAttribute, VolumeInfo.HeaderAttribute, info.EncodeHeader())
            .AddAttribute(OperationCode.SetAttribute, VolumeSnapshots.Attribute, info.Snapshots.Encode());
        await RunAsync(pool.Id, info.HeaderObject, header, $"create the header of volume {name}", cancellation);
        byte[] key = Encoding.UTF8.GetBytes(name.Name);
        var entry = new ObjectOperation()
            .Add(OperationCode.CompareOmap, key: key)
            .Add(OperationCode.SetOmap, key: key, value: EncodeEntry(id));
        ResultCode result = await TryRunAsync(pool.Id, Directory, entry, cancellation);
        if (result != ResultCode.Ok)
        {
            await TryRunAsync(pool.Id, info.HeaderObject, new ObjectOperation().Add(OperationCode.Remove), cancellation, evenIfFull: true);
            throw result == ResultCode.GuardFailed
                ? new VolumeException(VolumeProblem.Exists, $"volume {name} exists")
                : new ObjectOperationException(result, $"cannot enter volume {name} into the directory: {result}");
        }

        return info;
    }

    /// <summary>Finds a volume.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>What its header says.</returns>
    /// <exception cref="VolumeException">There is no such pool, volume or snapshot.</exception>
    public async ValueTask<VolumeInfo> GetAsync(VolumeName name, CancellationToken cancellation = default)
    {
        PoolInfo pool = await FindPoolAsync(name, cancellation);
        string id = await FindIdAsync(pool, name, cancellation);
        VolumeInfo info = await ReadHeaderAsync(pool, name, id, cancellation)
            ?? throw new VolumeException(VolumeProblem.Removing, $"volume {name} has lost its header: its removal was interrupted; remove it again");
        return name.Snapshot is null ? info : AtSnapshot(info, name.Snapshot);
    }

    /// <summary>Opens a volume.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="holder">Who writes, as others are to see it, and the same at each start: writes then rest on the exclusive lock, which is to be
    /// given up at the end (<see cref="VolumeLock.ReleaseAsync"/>). Null writes without a lock.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The volume, to be used on the client's loop.</returns>
    /// <exception cref="VolumeException">There is no such volume, or it is being removed.</exception>
    public async ValueTask<Volume> OpenAsync(VolumeName name, string? holder = null, CancellationToken cancellation = default)
    {
        // The barrier before the list: nothing that was published up to it is left out.
        PoolInfo pool = await FindPoolAsync(name, cancellation);
        VolumeInfo info = await GetAsync(name, cancellation);
        if (info.IsRemoving)
        {
            throw new VolumeException(VolumeProblem.Removing, $"volume {name} is being removed");
        }

        VolumeLock? exclusive = holder is null || name.Snapshot is not null ? null : new VolumeLock(_client, info, Authority, _time, NewLockOwner(), holder, LockTimes);
        return new Volume(_client, info, await MakeContextAsync(info, pool.SnapshotBarrier, cancellation), this, exclusive);
    }

    /// <summary>Lists the volumes of a pool.</summary>
    /// <param name="pool">The pool's name.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>Their names, in bytewise order.</returns>
    /// <exception cref="VolumeException">There is no such pool.</exception>
    public async ValueTask<IReadOnlyList<VolumeName>> ListAsync(string pool, CancellationToken cancellation = default)
    {
        PoolInfo info = await FindPoolAsync(new VolumeName(pool, ""), cancellation);
        var names = new List<VolumeName>();
        byte[] from = [];
        while (true)
        {
            var operation = new ObjectOperation().Add(OperationCode.ListOmap, length: PageSize, key: from);
            using OperationResult result = await _client.ExecuteAsync(info.Id, Directory, operation, cancellation);
            if (result.Result == ResultCode.NotFound)
            {
                return names;
            }

            result.ThrowIfFailed($"list the volumes of pool {pool}");
            OmapPage page = result.OmapOf(0);
            for (int i = 0; i < page.Entries.Count; i++)
            {
                names.Add(new VolumeName(pool, page.KeyText(i)));
            }

            if (!page.More || page.Entries.Count == 0)
            {
                return names;
            }

            from = page.NextKey();
        }
    }

    /// <summary>Removes a volume with all its data. May be called again after it was interrupted.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="progress">Told the share done, 0 to 1; may be null. Called on the loop.</param>
    /// <param name="cancellation">Stops; the volume then stays in the state of being removed.</param>
    /// <returns>When nothing is left of it.</returns>
    /// <exception cref="VolumeException">There is no such volume.</exception>
    public async ValueTask RemoveAsync(VolumeName name, Action<double>? progress = null, CancellationToken cancellation = default)
    {
        RefuseSnapshot(name);
        PoolInfo pool = await FindPoolAsync(name, cancellation);
        string id = await FindIdAsync(pool, name, cancellation);
        if (await ReadHeaderAsync(pool, name, id, cancellation) is { } info)
        {
            if (info.Snapshots.All.Count > 0)
            {
                throw new VolumeException(
                    VolumeProblem.HasSnapshots,
                    $"volume {name} has {info.Snapshots.All.Count} snapshots ({string.Join(", ", info.Snapshots.All.Take(5).Select(snapshot => snapshot.Name))}{(info.Snapshots.All.Count > 5 ? ", ..." : "")}): remove them first");
            }

            var volume = new Volume(_client, info);
            await RunLockedAsync(
                volume,
                async () =>
                {
                    if (!info.IsRemoving)
                    {
                        // Nobody opens it from here on, so nobody sees it with half of its data.
                        await ReplaceHeaderAsync(info, info with { IsRemoving = true }, cancellation);
                    }

                    await RemoveObjectsAsync(volume, 0, progress, cancellation);
                    ResultCode removed = await TryRunAsync(pool.Id, info.HeaderObject, new ObjectOperation().Add(OperationCode.Remove), cancellation, evenIfFull: true);
                    ThrowUnless(removed is ResultCode.Ok or ResultCode.NotFound, removed, $"remove the header of volume {name}");
                },
                cancellation);
        }

        // The name goes last: as long as it stands, an interrupted removal can be taken up again.
        byte[] key = Encoding.UTF8.GetBytes(name.Name);
        var entry = new ObjectOperation()
            .Add(OperationCode.CompareOmap, key: key, value: EncodeEntry(id))
            .Add(OperationCode.RemoveOmap, key: key);
        ResultCode result = await TryRunAsync(pool.Id, Directory, entry, cancellation, evenIfFull: true);
        ThrowUnless(result is ResultCode.Ok or ResultCode.GuardFailed, result, $"remove volume {name} from the directory");
        progress?.Invoke(1);
    }

    /// <summary>Changes a volume's size. Data beyond a smaller size is removed first.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="size">The new size in bytes.</param>
    /// <param name="allowShrink">Whether it may become smaller; without this, losing data by mistake is refused.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The volume with its new size.</returns>
    /// <exception cref="VolumeException">No such volume, size out of range, would shrink, or somebody else changed it meanwhile.</exception>
    public async ValueTask<VolumeInfo> ResizeAsync(VolumeName name, long size, bool allowShrink = false, CancellationToken cancellation = default)
    {
        CheckSize(size);
        RefuseSnapshot(name);
        VolumeInfo info = await GetAsync(name, cancellation);
        if (info.IsRemoving)
        {
            throw new VolumeException(VolumeProblem.Removing, $"volume {name} is being removed");
        }

        if (size < info.Size)
        {
            if (!allowShrink)
            {
                throw new VolumeException(VolumeProblem.Invalid, $"volume {name} has {info.Size} bytes; shrinking it to {size} loses data and must be asked for explicitly");
            }

            // Before the header changes: if it were after, a crash in between and a later growth would bring old data back.
            Volume volume = await OpenAsync(name, null, cancellation);
            await RunLockedAsync(volume, () => TrimAsync(volume, size, cancellation), cancellation);
        }

        return await ReplaceHeaderAsync(info, info with { Size = size }, cancellation);
    }

    /// <summary>Renames a volume within its pool, in one step.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="newName">The new one, in the same pool.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>When it is done.</returns>
    /// <exception cref="VolumeException">No such volume, or the new name is taken or in another pool.</exception>
    public async ValueTask RenameAsync(VolumeName name, VolumeName newName, CancellationToken cancellation = default)
    {
        RefuseSnapshot(name);
        RefuseSnapshot(newName);
        if (name.Pool != newName.Pool)
        {
            throw new VolumeException(VolumeProblem.Invalid, $"volume {name} cannot be renamed to {newName}: that is another pool");
        }

        PoolInfo pool = await FindPoolAsync(name, cancellation);
        string id = await FindIdAsync(pool, name, cancellation);
        byte[] oldKey = Encoding.UTF8.GetBytes(name.Name);
        byte[] newKey = Encoding.UTF8.GetBytes(newName.Name);
        var operation = new ObjectOperation()
            .Add(OperationCode.CompareOmap, key: oldKey, value: EncodeEntry(id))
            .Add(OperationCode.CompareOmap, key: newKey)
            .Add(OperationCode.SetOmap, key: newKey, value: EncodeEntry(id))
            .Add(OperationCode.RemoveOmap, key: oldKey);
        using OperationResult result = await _client.ExecuteAsync(pool.Id, Directory, operation, cancellation);
        if (result.Result == ResultCode.GuardFailed)
        {
            // The answers end with the guard that failed.
            throw result.StepCount == 1
                ? new VolumeException(VolumeProblem.Conflict, $"volume {name} was changed by somebody else meanwhile")
                : new VolumeException(VolumeProblem.Exists, $"volume {newName} exists");
        }

        result.ThrowIfFailed($"rename volume {name} to {newName}");
    }

    /// <summary>Reads the header again.</summary>
    /// <param name="volume">An open volume; knows its new size afterwards.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>When it is done.</returns>
    public async ValueTask RefreshAsync(Volume volume, CancellationToken cancellation = default)
    {
        VolumeInfo now = volume.Info;
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None, cancellation);
        if (map.FindPool(now.PoolId) is not { } pool)
        {
            throw new VolumeException(VolumeProblem.NotFound, $"the pool of volume {now.Name} is gone");
        }

        VolumeInfo info = await ReadHeaderAsync(pool, now.Name, now.Id, cancellation)
            ?? throw new VolumeException(VolumeProblem.NotFound, $"volume {now.Name} is gone");
        if (now.Snapshot is { } snapshot)
        {
            VolumeSnapshot? same = info.Snapshots.All.FirstOrDefault(other => other.Id == snapshot.Id && other.State == SnapshotState.Ready);
            info = info with
            {
                Snapshot = same ?? throw new VolumeException(VolumeProblem.NotFound, $"snapshot {now.Name} is gone"),
                Size = same.Size,
            };
        }

        volume.Update(info, await MakeContextAsync(info, pool.SnapshotBarrier, cancellation));
    }

    private static byte[] EncodeEntry(string id) => [EntryVersion, .. Encoding.ASCII.GetBytes(id)];

    private static void CheckSize(long size)
    {
        if (size is < 0 or > VolumeInfo.LargestSize)
        {
            throw new VolumeException(VolumeProblem.Invalid, $"a volume of {size} bytes; 0 to {VolumeInfo.LargestSize} are allowed");
        }
    }

    private static void RefuseSnapshot(VolumeName name)
    {
        if (!VolumeName.IsValidPart(name.Name))
        {
            throw new VolumeException(VolumeProblem.Invalid, $"volume name '{name.Name}' is not valid");
        }

        if (name.Snapshot is not null)
        {
            throw new VolumeException(VolumeProblem.Invalid, $"{name} names a snapshot where a volume belongs");
        }
    }

    private static void ThrowUnless(bool good, ResultCode result, string action)
    {
        if (!good)
        {
            throw new ObjectOperationException(result, $"cannot {action}: {result}");
        }
    }

    private async ValueTask<PoolInfo> FindPoolAsync(VolumeName name, CancellationToken cancellation)
    {
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None, cancellation);
        return map.FindPool(name.Pool) ?? (await _client.ConfirmMapAsync(cancellation)).FindPool(name.Pool)
            ?? throw new VolumeException(VolumeProblem.NotFound, $"no pool {name.Pool}");
    }

    private async ValueTask<string> FindIdAsync(PoolInfo pool, VolumeName name, CancellationToken cancellation)
    {
        var operation = new ObjectOperation().Add(OperationCode.GetOmap, key: Encoding.UTF8.GetBytes(name.Name));
        using OperationResult result = await _client.ExecuteAsync(pool.Id, Directory, operation, cancellation);
        if (result.Result == ResultCode.NotFound)
        {
            throw new VolumeException(VolumeProblem.NotFound, $"no volume {name with { Snapshot = null }}");
        }

        result.ThrowIfFailed($"look up volume {name}");
        return DecodeEntry(name, result.InlineOf(0));
    }

    private static string DecodeEntry(VolumeName name, ReadOnlySpan<byte> entry)
    {
        var reader = new WireReader(entry);
        reader.ReadVersion(EntryVersion, $"directory entry of volume {name}");
        return Encoding.ASCII.GetString(reader.ReadRaw(reader.Remaining));
    }

    private ValueTask<OperationResult> ReadHeaderObjectAsync(long pool, string id, CancellationToken cancellation) =>
        _client.ExecuteAsync(
            pool,
            VolumeInfo.HeaderObjectOf(id),
            new ObjectOperation().Add(OperationCode.GetAttributes),
            cancellation);

    private async ValueTask<VolumeInfo?> ReadHeaderAsync(PoolInfo pool, VolumeName name, string id, CancellationToken cancellation)
    {
        using OperationResult result = await ReadHeaderObjectAsync(pool.Id, id, cancellation);
        if (result.Result == ResultCode.NotFound)
        {
            return null;
        }

        result.ThrowIfFailed($"read the header of volume {name}");
        IReadOnlyDictionary<string, byte[]> attributes = result.AttributesOf(0);
        return VolumeInfo.DecodeHeader(name, id, pool.Id, attributes.GetValueOrDefault(VolumeInfo.HeaderAttribute)) with
        {
            Snapshots = VolumeSnapshots.Decode(name, attributes.GetValueOrDefault(VolumeSnapshots.Attribute)),
        };
    }

    private async ValueTask<VolumeInfo> ReplaceHeaderAsync(VolumeInfo before, VolumeInfo after, CancellationToken cancellation)
    {
        var operation = new ObjectOperation()
            .Add(OperationCode.AssertExists)
            .AddAttribute(OperationCode.CompareAttribute, VolumeInfo.HeaderAttribute, before.EncodeHeader())
            .AddAttribute(OperationCode.CompareAttribute, VolumeSnapshots.Attribute, before.Snapshots.Encode())
            .AddAttribute(OperationCode.SetAttribute, VolumeInfo.HeaderAttribute, after.EncodeHeader())
            .AddAttribute(OperationCode.SetAttribute, VolumeSnapshots.Attribute, after.Snapshots.Encode());
        ResultCode result = await TryRunAsync(before.PoolId, before.HeaderObject, operation, cancellation, evenIfFull: true);
        if (result is ResultCode.GuardFailed or ResultCode.NotFound)
        {
            throw new VolumeException(VolumeProblem.Conflict, $"volume {before.Name} was changed by somebody else meanwhile");
        }

        ThrowUnless(result == ResultCode.Ok, result, $"change the header of volume {before.Name}");
        return after;
    }

    private async ValueTask TrimAsync(Volume volume, long size, CancellationToken cancellation)
    {
        VolumeInfo info = volume.Info;
        long within = size & (info.ObjectSize - 1);
        if (within != 0)
        {
            var zero = new ObjectOperation().Add(OperationCode.Zero, within, info.ObjectSize - within);
            ResultCode result = await ChangeDataAsync(volume, size >> info.ObjectOrder, zero, cancellation);
            ThrowUnless(result is ResultCode.Ok or ResultCode.NotFound, result, $"trim volume {info.Name}");
        }

        await RemoveObjectsAsync(volume, (size + info.ObjectSize - 1) >> info.ObjectOrder, null, cancellation);
    }

    private async ValueTask RemoveObjectsAsync(Volume volume, long first, Action<double>? progress, CancellationToken cancellation) =>
        await ForEachObjectAsync(volume, first, volume.Info.ObjectCount, static () => new ObjectOperation().Add(OperationCode.Remove), "remove", progress, cancellation);

    private async ValueTask ForEachObjectAsync(
        Volume volume, long first, long count, Func<ObjectOperation> make, string verb, Action<double>? progress, CancellationToken cancellation)
    {
        var underWay = new Queue<Task<ResultCode>>();
        for (long next = first, done = first; done < count; done++)
        {
            while (next < count && underWay.Count < RemovalsUnderWay)
            {
                underWay.Enqueue(ChangeDataAsync(volume, next++, make(), cancellation).AsTask());
            }

            if (volume.Maintenance is { } held)
            {
                await held.KeepAsync(cancellation);
            }

            ResultCode result = await underWay.Dequeue();
            ThrowUnless(result is ResultCode.Ok or ResultCode.NotFound, result, $"{verb} {volume.Info.DataObject(done)}");
            if (((done + 1) & 0xFF) == 0)
            {
                progress?.Invoke((double)(done + 1 - first) / (count - first));
            }
        }
    }

    private async ValueTask RunAsync(long pool, string name, ObjectOperation operation, string action, CancellationToken cancellation)
    {
        ResultCode result = await TryRunAsync(pool, name, operation, cancellation);
        ThrowUnless(result == ResultCode.Ok, result, action);
    }

    private async ValueTask<ResultCode> TryRunAsync(long pool, string name, ObjectOperation operation, CancellationToken cancellation, bool evenIfFull = false)
    {
        using OperationResult result = await _client.ExecuteAsync(pool, name, operation, new OperationContext(EvenIfFull: evenIfFull), cancellation);
        return result.Result;
    }
}
