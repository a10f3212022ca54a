namespace Storage.Block;

// Exclusive locks of volumes.
public sealed partial class VolumeStore
{
    /// <summary>Says who holds a volume's exclusive lock.</summary>
    /// <param name="name">The volume.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The owner, which may be dead; null if nobody holds it.</returns>
    /// <exception cref="VolumeException">No such volume.</exception>
    public async ValueTask<VolumeLockRecord?> GetLockAsync(VolumeName name, CancellationToken cancellation = default)
    {
        VolumeInfo info = await GetAsync(name with { Snapshot = null }, cancellation);
        return (await new VolumeLockSteps(_client, info).ReadAsync(cancellation)).Record;
    }

    /// <summary>Takes a volume's lock away from its owner, who is fenced first: of what it writes from then on nothing takes effect.</summary>
    /// <param name="name">The volume.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The owner that was; null if nobody held it.</returns>
    /// <exception cref="VolumeException">No such volume.</exception>
    public async ValueTask<VolumeLockRecord?> BreakLockAsync(VolumeName name, CancellationToken cancellation = default)
    {
        VolumeInfo info = await GetAsync(name with { Snapshot = null }, cancellation);
        var steps = new VolumeLockSteps(_client, info);
        while (true)
        {
            (VolumeLockRecord? held, _) = await steps.ReadAsync(cancellation);
            if (held is null)
            {
                return null;
            }

            await steps.FenceAsync(Authority, held, cancellation);
            if (await steps.TryReplaceAsync(held, null, cancellation))
            {
                return held;
            }
        }
    }

    // What a command may do to a volume as a whole it does as the lock's owner, so that no guest writes meanwhile. Without monitors who fence
    // there are no locks.
    private async ValueTask RunLockedAsync(Volume volume, Func<ValueTask> work, CancellationToken cancellation)
    {
        if (_authority is null)
        {
            await work();
            return;
        }

        ulong owner = NewLockOwner();
        MaintenanceLock held = await MaintenanceLock.TakeAsync(
            new VolumeLockSteps(_client, volume.Info), volume.Info, _authority, _time, LockTimes, owner, $"storage command {owner:x}", cancellation);
        volume.Maintenance = held;
        try
        {
            await work();
        }
        finally
        {
            volume.Maintenance = null;
            await held.ReleaseAsync();
        }
    }

    private ulong NewLockOwner() => (ulong)_random.NextInt64(1, long.MaxValue);
}
