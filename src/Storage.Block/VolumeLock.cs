using Storage.Client;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Block;

/// <summary>Where an exclusive lock stands.</summary>
public enum VolumeLockState
{
    /// <summary>Not held, and not wanted.</summary>
    Free,

    /// <summary>Waited for.</summary>
    Waiting,

    /// <summary>Held: writes go out.</summary>
    Held,

    /// <summary>Writes under way end, then it is given up.</summary>
    Releasing,

    /// <summary>Taken away, as this owner was fenced or the volume is gone, or given up for good. Final.</summary>
    Lost,
}

/// <summary>
/// The exclusive lock of an open volume: taken at the first write, shown to be alive, handed over when somebody else wants it, and given up at
/// the end. Whoever takes it from an owner that seems dead has fenced that owner first, so that of its writes none takes effect afterwards, not
/// even when it comes back. Lives on the client's loop.
/// </summary>
public sealed class VolumeLock
{
    private static readonly TimeSpan s_pauseAfterFailure = TimeSpan.FromSeconds(1);

    private readonly VolumeInfo _volume;
    private readonly VolumeLockSteps _steps;
    private readonly IVolumeAuthority _authority;
    private readonly TimeProvider _time;
    private readonly string _holder;
    private readonly VolumeLockTimes _times;
    private CancellationTokenSource? _pause;
    private Task _work = Task.CompletedTask;
    private VolumeLockRecord? _record;
    private ulong _renewals;
    private long _confirmed;
    private long _letGo;
    private bool _mustYield;
    private bool _closing;

    /// <summary>Creates the lock; nothing is asked of the cluster yet.</summary>
    /// <param name="client">The client.</param>
    /// <param name="volume">Which volume's.</param>
    /// <param name="authority">The monitors, who fence.</param>
    /// <param name="time">The loop's clock.</param>
    /// <param name="owner">A number drawn at random for this object, not 0.</param>
    /// <param name="holder">What to call the owner; at most <see cref="VolumeLockRecord.LongestHolder"/> bytes. A lock under the same name is taken
    /// to be left over from an earlier life.</param>
    /// <param name="times">The pace.</param>
    public VolumeLock(IObjectClient client, VolumeInfo volume, IVolumeAuthority authority, TimeProvider time, ulong owner, string holder, VolumeLockTimes? times = null)
    {
        ArgumentOutOfRangeException.ThrowIfZero(owner);
        _volume = volume;
        _steps = new VolumeLockSteps(client, volume);
        _authority = authority;
        _time = time;
        _holder = holder;
        _times = times ?? new VolumeLockTimes();
        Owner = owner;
    }

    /// <summary>The number that writes name.</summary>
    public ulong Owner { get; }

    /// <summary>Counts how often it was taken: while it is held and this is the same, nobody else was in between.</summary>
    public int Tenure { get; private set; }

    /// <summary>Where it stands.</summary>
    public VolumeLockState State { get; private set; }

    /// <summary>Why it is lost: Blocklisted, or IoError if the volume is gone; until then Ok.</summary>
    public ResultCode Failure { get; private set; }

    /// <summary>Whether writes may go out now.</summary>
    internal bool AllowsWrites => State == VolumeLockState.Held && _time.GetElapsedTime(_confirmed) < _times.LongestUnconfirmed;

    /// <summary>The volume's answer to a change: Ok lets waiting writes go, anything else ends them.</summary>
    internal Action<ResultCode, Exception?>? Changed { get; set; }

    /// <summary>Waits for the volume's writes under way.</summary>
    internal Func<ValueTask<ResultCode>>? Drain { get; set; }

    /// <summary>Whether writes wait for the lock.</summary>
    internal Func<bool>? IsNeeded { get; set; }

    /// <summary>A write waits for it.</summary>
    internal void Want()
    {
        if (State == VolumeLockState.Free && !_closing)
        {
            State = VolumeLockState.Waiting;
            _work = WorkAsync();
        }
    }

    /// <summary>An OSD has refused a write because its owner is fenced.</summary>
    internal void OnFenced() => Lose(ResultCode.Blocklisted, null);

    /// <summary>Lets the writes under way end and gives the lock up for good: those that wait for it, and later ones, end with Blocklisted.</summary>
    /// <returns>When somebody else may have it.</returns>
    public async ValueTask ReleaseAsync()
    {
        _closing = true;
        _pause?.Cancel();
        await _work;
        Lose(ResultCode.Blocklisted, null);
    }

    private async Task WorkAsync()
    {
        try
        {
            do
            {
                if (await TakeAsync())
                {
                    await HoldAsync();
                    await GiveUpAsync();
                }
            }
            while (!_closing && State == VolumeLockState.Waiting);
        }
        catch (VolumeException)
        {
            Lose(ResultCode.IoError, null); // the volume is gone
        }
        catch (ObjectOperationException e) when (e.Result == ResultCode.Blocklisted)
        {
            Lose(ResultCode.Blocklisted, null); // the client itself was fenced
        }
#pragma warning disable CA1031 // the callers of the writes that wait are the ones to be told
        catch (Exception e)
        {
            Lose(ResultCode.IoError, e);
        }
#pragma warning restore CA1031
    }

    // Until it is held (true), lost, or not wanted any more.
    private async ValueTask<bool> TakeAsync()
    {
        TimeSpan courtesy = _times.Courtesy - _time.GetElapsedTime(_letGo);
        if (_mustYield && courtesy > TimeSpan.Zero)
        {
            await PauseAsync(courtesy);
        }

        _steps.ForgetWatched();
        while (!_closing)
        {
            try
            {
                if (await TryTakeAsync())
                {
                    _mustYield = false;
                    _confirmed = _time.GetTimestamp();
                    State = VolumeLockState.Held;
                    Tenure++;
                    Changed?.Invoke(ResultCode.Ok, null);
                    return true;
                }
            }
            catch (ObjectOperationException e) when (e.Result != ResultCode.Blocklisted)
            {
                // The header cannot be read at the moment. Those that wait are told; a later write tries again.
                Changed?.Invoke(e.Result, null);
                await PauseAsync(s_pauseAfterFailure);
                if (IsNeeded?.Invoke() != true)
                {
                    break;
                }
            }
        }

        State = VolumeLockState.Free;
        return false;
    }

    private async ValueTask<bool> TryTakeAsync()
    {
        (VolumeLockRecord? held, bool wanted) = await _steps.ReadAsync(default);
        if (held?.Owner == Owner)
        {
            _record = held;
            return true;
        }

        if (held is not null)
        {
            if (held.Holder != _holder && !_steps.SeemsDead(held, _time, _times.Patience))
            {
                if (!wanted)
                {
                    await _steps.AskForAsync(held, default);
                }

                await PauseAsync(_times.Poll);
                return false;
            }

            await _steps.FenceAsync(_authority, held, default);
        }

        var mine = new VolumeLockRecord(Owner, ++_renewals, _time.GetUtcNow().ToUnixTimeMilliseconds(), _holder);
        if (!await _steps.TryReplaceAsync(held, mine, default))
        {
            return false; // somebody was faster, or the owner was alive
        }

        _record = mine;
        return true;
    }

    // Shows signs of life until the lock is lost, wanted by somebody else, or not needed any more.
    private async ValueTask HoldAsync()
    {
        while (State == VolumeLockState.Held && !_closing)
        {
            await PauseAsync(_times.Renewal);
            if (State != VolumeLockState.Held || _closing)
            {
                return;
            }

            try
            {
                long began = _time.GetTimestamp();
                VolumeLockRecord next = _record! with { Renewals = ++_renewals }; // of all times that it was held: else it would look like an old one
                bool renewed = await _steps.TryReplaceAsync(_record, next, default);
                (VolumeLockRecord? now, bool wanted) = await _steps.ReadAsync(default);
                if (now?.Owner != Owner)
                {
                    Lose(ResultCode.Blocklisted, null); // nobody takes it without fencing us
                    return;
                }

                _record = now;
                if (renewed && State == VolumeLockState.Held)
                {
                    _confirmed = began;
                    Changed?.Invoke(ResultCode.Ok, null);
                    if (wanted)
                    {
                        _mustYield = true;
                        return;
                    }
                }
            }
            catch (ObjectOperationException e) when (e.Result != ResultCode.Blocklisted)
            {
                await PauseAsync(s_pauseAfterFailure);
            }
        }
    }

    private async ValueTask GiveUpAsync()
    {
        if (State != VolumeLockState.Held)
        {
            return;
        }

        // From here on writes wait; those under way end first, as ours.
        State = VolumeLockState.Releasing;
        if (Drain is not null)
        {
            await Drain();
        }

        if (State == VolumeLockState.Releasing)
        {
            await _steps.TryReplaceAsync(_record, null, default);
            _letGo = _time.GetTimestamp();
            _record = null;
            State = !_closing && IsNeeded?.Invoke() == true ? VolumeLockState.Waiting : VolumeLockState.Free;
        }
    }

    private void Lose(ResultCode result, Exception? failure)
    {
        if (State != VolumeLockState.Lost)
        {
            State = VolumeLockState.Lost;
            Failure = result;
            _pause?.Cancel();
            Changed?.Invoke(result, failure);
        }
    }

    private async ValueTask PauseAsync(TimeSpan length)
    {
        using var pause = new CancellationTokenSource();
        _pause = pause;
        try
        {
            await Task.Delay(length, _time, pause.Token);
        }
        catch (OperationCanceledException)
        {
            // The lock is to be given up, or is lost.
        }
        finally
        {
            _pause = null;
        }
    }
}
