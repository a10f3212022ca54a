using Storage.Reactor;
using Storage.Reactor.Timers;
using Storage.Reactor.Virtual;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>
/// One process's view of the run's loop. Ends with the process: what it had scheduled is forgotten. Can be paused, as by SIGSTOP
/// or a long garbage collection; and can die in the middle of a callback, after a number of effects on the outside.
/// </summary>
internal sealed class NodeLoop : IEventLoop
{
    private readonly VirtualLoop _inner;
    private readonly EventTrace _trace;
    private readonly MachineClock _clock;
    private readonly Queue<(Action<object?> Callback, object? State)> _held = new();
    private readonly Context _context;
    private readonly Stack<SynchronizationContext?> _outer = new();
    private Action? _onDeath;
    private int _effectsLeft = -1;

    public NodeLoop(VirtualLoop inner, EventTrace trace, string name, MachineClock clock)
    {
        _inner = inner;
        _clock = clock;
        _trace = trace;
        Name = name;
        _context = new Context(this);
        TimeProvider = new Clock(this, clock);
    }

    public string Name { get; }

    /// <summary>False once the process has ended: nothing runs, nothing leaves.</summary>
    public bool IsAlive { get; private set; } = true;

    public bool IsPaused { get; private set; }

    public EventTrace Trace => _trace;

    /// <inheritdoc/>
    public TimeSpan Now => _clock.Now;

    /// <summary>The true time, which the process does not know.</summary>
    public TimeSpan TrueNow => _inner.Now;

    public TimeProvider TimeProvider { get; }

    public bool IsCurrent => _inner.IsCurrent;

    /// <summary>Told of all that the process does; null for nobody.</summary>
    public ILookout? Lookout { get; set; }

    /// <summary>Told when a pause begins (true) and ends (false).</summary>
    public event Action<bool>? Paused;

    public void Post(Action<object?> callback, object? state) => _inner.Post(RunWork, new Work(this, callback, state));

    public void Defer(Action<object?> callback, object? state) => _inner.Defer(RunWork, new Work(this, callback, state));

    public ILoopTimer Schedule(TimeSpan delay, Action<object?> callback, object? state)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(delay, TimeSpan.Zero);
        return new NodeTimer(this, delay, callback, state);
    }

    /// <summary>Runs something as the process: not at all if it is dead, later if it is paused.</summary>
    public void Run(Action<object?> callback, object? state)
    {
        if (!IsAlive)
        {
            return;
        }

        if (IsPaused)
        {
            _held.Enqueue((callback, state));
            return;
        }

        _trace.Tick(TraceKind.Callback, Name, TrueNow);
        Enter();
        try
        {
            callback(state);
        }
        finally
        {
            Leave();
        }

        Lookout?.OnEvent();
    }

    /// <summary>Makes this process's context current, for code that is called as the process; <see cref="Leave"/> follows.</summary>
    public void Enter()
    {
        _outer.Push(SynchronizationContext.Current);
        SynchronizationContext.SetSynchronizationContext(_context);
    }

    /// <summary>Ends <see cref="Enter()"/>.</summary>
    public void Leave() => SynchronizationContext.SetSynchronizationContext(_outer.Pop());

    /// <summary>Asks leave for an effect on the outside: a message, a transaction, a write to the log.</summary>
    /// <returns>False if the process is dead, or dies just here; the effect must not happen.</returns>
    public bool TryAct()
    {
        if (!IsAlive)
        {
            return false;
        }

        if (_effectsLeft < 0 || _effectsLeft-- > 0)
        {
            return true;
        }

        IsAlive = false;
        Action onDeath = _onDeath!;
        _inner.Post(_ => onDeath(), null);
        return false;
    }

    /// <summary>Lets the process die when it is about to have an effect, after some more.</summary>
    /// <param name="effects">Effects that still happen, 0 and up.</param>
    /// <param name="onDeath">Ends the process's machine side; called after the callback in which it died.</param>
    public void DieAfter(int effects, Action onDeath)
    {
        _effectsLeft = effects;
        _onDeath = onDeath;
    }

    /// <summary>Ends <see cref="DieAfter"/>.</summary>
    public void Disarm() => _effectsLeft = IsAlive ? -1 : _effectsLeft;

    public void Kill()
    {
        IsAlive = false;
        _held.Clear();
    }

    public void Pause()
    {
        if (!IsPaused)
        {
            IsPaused = true;
            Paused?.Invoke(true);
        }
    }

    public void Resume()
    {
        if (!IsPaused)
        {
            return;
        }

        IsPaused = false;
        Paused?.Invoke(false);
        int held = _held.Count;
        for (int i = 0; i < held && IsAlive && !IsPaused; i++)
        {
            (Action<object?> callback, object? state) = _held.Dequeue();
            Run(callback, state);
        }
    }

    private static void RunWork(object? state)
    {
        var work = (Work)state!;
        work.Loop.Run(work.Callback, work.State);
    }

    private sealed record Work(NodeLoop Loop, Action<object?> Callback, object? State);

    private sealed class Context(NodeLoop loop) : SynchronizationContext
    {
        public override void Post(SendOrPostCallback d, object? state) => loop.Post(s => d(s), state);

        public override void Send(SendOrPostCallback d, object? state) => d(state);

        public override SynchronizationContext CreateCopy() => this;
    }

    /// <summary>A timer by the machine's clock, whose rate may change while it runs.</summary>
    private sealed class NodeTimer : ILoopTimer
    {
        private readonly NodeLoop _loop;
        private readonly TimeSpan _due;
        private readonly Action<object?> _callback;
        private readonly object? _state;
        private ILoopTimer _inner;
        private bool _cancelled;

        public NodeTimer(NodeLoop loop, TimeSpan delay, Action<object?> callback, object? state)
        {
            _loop = loop;
            _due = loop.Now + delay;
            _callback = callback;
            _state = state;
            _inner = loop._inner.Schedule(loop._clock.ToTrue(delay), static s => ((NodeTimer)s!).Fire(), this);
        }

        public void Cancel()
        {
            _cancelled = true; // it may have fired and be held back while the process stands still
            _inner.Cancel();
        }

        private void Fire()
        {
            if (!_loop.IsAlive)
            {
                return;
            }

            TimeSpan left = _due - _loop.Now;
            if (left > TimeSpan.Zero)
            {
                _inner = _loop._inner.Schedule(_loop._clock.ToTrue(left), static s => ((NodeTimer)s!).Fire(), this);
                return;
            }

            _loop.Run(static s => ((NodeTimer)s!).Call(), this);
        }

        private void Call()
        {
            if (!_cancelled)
            {
                _callback(_state);
            }
        }
    }

    private sealed class Clock(NodeLoop loop, MachineClock clock) : LoopTimeProvider(loop)
    {
        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => clock.WallNow;

        public override long GetTimestamp() => clock.Now.Ticks;
    }
}
