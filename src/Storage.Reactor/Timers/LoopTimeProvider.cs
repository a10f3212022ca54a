namespace Storage.Reactor.Timers;

/// <summary>
/// Timers of <c>async</c> code on a loop: <see cref="CreateTimer"/> may be called from any thread, callbacks run on the loop.
/// </summary>
/// <param name="loop">The loop.</param>
public abstract class LoopTimeProvider(IEventLoop loop) : TimeProvider
{
    /// <inheritdoc/>
    public override TimeZoneInfo LocalTimeZone => TimeZoneInfo.Utc;

    /// <inheritdoc/>
    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
    {
        ArgumentNullException.ThrowIfNull(callback);
        var timer = new ProvidedTimer(loop, callback, state);
        timer.Change(dueTime, period);
        return timer;
    }

    private sealed class ProvidedTimer(IEventLoop loop, TimerCallback callback, object? state) : ITimer
    {
        private ILoopTimer? _timer;
        private TimeSpan _period;
        private bool _disposed;

        public bool Change(TimeSpan dueTime, TimeSpan period)
        {
            if (!loop.IsCurrent)
            {
                if (Volatile.Read(ref _disposed))
                {
                    return false;
                }

                loop.Post(static s =>
                {
                    var (self, due, every) = ((ProvidedTimer, TimeSpan, TimeSpan))s!;
                    self.Change(due, every);
                }, (this, dueTime, period));
                return true;
            }

            if (_disposed)
            {
                return false;
            }

            _timer?.Cancel();
            _timer = null;
            _period = period;
            if (dueTime != Timeout.InfiniteTimeSpan)
            {
                Start(dueTime);
            }

            return true;
        }

        public void Dispose()
        {
            Volatile.Write(ref _disposed, true);
            if (loop.IsCurrent)
            {
                _timer?.Cancel();
                _timer = null;
            }
            else
            {
                loop.Post(static s => ((ProvidedTimer)s!).Dispose(), this);
            }
        }

        public ValueTask DisposeAsync()
        {
            Dispose();
            return default;
        }

        private void Start(TimeSpan due) => _timer = loop.Schedule(due, static s => ((ProvidedTimer)s!).Fire(), this);

        private void Fire()
        {
            _timer = null;
            if (Volatile.Read(ref _disposed))
            {
                return;
            }

            if (_period > TimeSpan.Zero)
            {
                Start(_period);
            }

            callback(state);
        }
    }
}
