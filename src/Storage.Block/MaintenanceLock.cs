namespace Storage.Block;

/// <summary>The exclusive lock in the hands of a command that changes a volume as a whole. Unlike <see cref="VolumeLock"/> it has no loop of its own:
/// the command shows that it is alive between its steps. Should it be too slow, it is fenced, and its next step fails.</summary>
internal sealed class MaintenanceLock
{
    private readonly VolumeLockSteps _steps;
    private readonly TimeProvider _time;
    private readonly VolumeLockTimes _times;
    private VolumeLockRecord _record;
    private long _renewed;

    private MaintenanceLock(VolumeLockSteps steps, TimeProvider time, VolumeLockTimes times, VolumeLockRecord record)
    {
        _steps = steps;
        _time = time;
        _times = times;
        _record = record;
        _renewed = time.GetTimestamp();
    }

    /// <summary>The number that its writes name.</summary>
    public ulong Owner => _record.Owner;

    /// <summary>Takes the lock, from a dead owner if need be.</summary>
    /// <exception cref="VolumeException">Somebody who is alive holds it, or the volume is gone.</exception>
    public static async ValueTask<MaintenanceLock> TakeAsync(
        VolumeLockSteps steps, VolumeInfo volume, IVolumeAuthority authority, TimeProvider time, VolumeLockTimes times, ulong owner, string holder, CancellationToken cancellation)
    {
        VolumeLockRecord? first = null;
        while (true)
        {
            (VolumeLockRecord? held, _) = await steps.ReadAsync(cancellation);
            if (held is not null)
            {
                if (first is not null && (held.Owner != first.Owner || held.Renewals != first.Renewals))
                {
                    throw new VolumeException(VolumeProblem.InUse, $"volume {volume.Name} is written to by {held.Holder}: detach it there first");
                }

                first = held;
                if (!steps.SeemsDead(held, time, times.Patience))
                {
                    await Task.Delay(times.Poll, time, cancellation);
                    continue;
                }

                await steps.FenceAsync(authority, held, cancellation);
            }

            var mine = new VolumeLockRecord(owner, 1, time.GetUtcNow().ToUnixTimeMilliseconds(), holder);
            if (await steps.TryReplaceAsync(held, mine, cancellation))
            {
                return new MaintenanceLock(steps, time, times, mine);
            }
        }
    }

    /// <summary>Shows that the command is alive, if that is due.</summary>
    /// <exception cref="VolumeException">The lock was taken away.</exception>
    public async ValueTask KeepAsync(CancellationToken cancellation)
    {
        if (_time.GetElapsedTime(_renewed) < _times.Renewal)
        {
            return;
        }

        _renewed = _time.GetTimestamp();
        VolumeLockRecord next = _record with { Renewals = _record.Renewals + 1 };
        if (!await _steps.TryReplaceAsync(_record, next, cancellation) && (await _steps.ReadAsync(cancellation)).Record?.Owner != Owner)
        {
            throw new VolumeException(VolumeProblem.InUse, "the volume's lock was taken away from this command, which seemed dead");
        }

        _record = next;
    }

    /// <summary>Gives the lock up, if it is still there.</summary>
    public async ValueTask ReleaseAsync()
    {
        try
        {
            await _steps.TryReplaceAsync(_record, null, default);
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            // The volume was removed, and its lock with it.
        }
    }
}
