using System.Collections.Concurrent;
using Storage.Reactor.Timers;

namespace Storage.Reactor.Virtual;

/// <summary>
/// A loop on virtual time for the simulator and tests: one thread, no waiting, and the same order of events in every run. Timers
/// fire by time, then in the order they were scheduled; time stands still while anything is left to do at the present moment.
/// </summary>
/// <remarks>
/// Start <c>async</c> code with <see cref="Run{T}(Func{Task{T}}, TimeSpan)"/> or from a callback: only there is the loop's
/// synchronization context current, which keeps continuations on the loop. Exceptions of callbacks come out of the method that ran them.
/// </remarks>
public sealed class VirtualLoop : IEventLoop
{
    private readonly TimerQueue _timers = new();
    private readonly ConcurrentQueue<Work> _foreign = new();
    private readonly Queue<Work> _deferred = new();
    private readonly LoopSynchronizationContext _context;
    private Queue<Work> _current = new();
    private Queue<Work> _next = new();
    private int _owner = Environment.CurrentManagedThreadId;

    /// <summary>Creates a loop whose time starts at zero.</summary>
    /// <param name="start">What the wall clock shows at time zero; null for 2030-01-01 UTC.</param>
    public VirtualLoop(DateTimeOffset? start = null)
    {
        _context = new LoopSynchronizationContext(this);
        TimeProvider = new Clock(this, start ?? new DateTimeOffset(2030, 1, 1, 0, 0, 0, TimeSpan.Zero));
    }

    /// <inheritdoc/>
    public TimeSpan Now { get; private set; }

    /// <inheritdoc/>
    public TimeProvider TimeProvider { get; }

    /// <inheritdoc/>
    public bool IsCurrent => Environment.CurrentManagedThreadId == _owner;

    /// <summary>Callbacks run so far; with the seed it names a moment of a run.</summary>
    public long Steps { get; private set; }

    /// <summary>True if nothing is queued and no timer is pending.</summary>
    public bool IsIdle => _current.Count == 0 && _next.Count == 0 && _deferred.Count == 0 && _foreign.IsEmpty && _timers.Count == 0;

    /// <summary>Keeps <c>async</c> code on this loop; current while a callback runs.</summary>
    public SynchronizationContext SynchronizationContext => _context;

    /// <inheritdoc/>
    public void Post(Action<object?> callback, object? state)
    {
        if (IsCurrent)
        {
            _next.Enqueue(new Work(callback, state));
        }
        else
        {
            _foreign.Enqueue(new Work(callback, state));
        }
    }

    /// <inheritdoc/>
    public void Defer(Action<object?> callback, object? state) => _deferred.Enqueue(new Work(callback, state));

    /// <inheritdoc/>
    public ILoopTimer Schedule(TimeSpan delay, Action<object?> callback, object? state)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(delay, TimeSpan.Zero);
        return _timers.Add(Now + delay, callback, state);
    }

    /// <summary>Runs the next callback, moving time forward if nothing is left to do now.</summary>
    /// <returns>False if there is nothing to run, now or ever.</returns>
    public bool Step() => StepUntil(TimeSpan.MaxValue);

    /// <summary>Runs until a condition holds.</summary>
    /// <param name="condition">Looked at before every callback.</param>
    /// <param name="maxVirtual">Longest virtual time to go on for.</param>
    /// <returns>Whether the condition holds; false when time is up or nothing is left to run.</returns>
    public bool RunUntil(Func<bool> condition, TimeSpan maxVirtual)
    {
        ArgumentNullException.ThrowIfNull(condition);
        TimeSpan limit = Now + maxVirtual;
        while (!condition())
        {
            if (!StepUntil(limit))
            {
                return condition();
            }
        }

        return true;
    }

    /// <summary>Runs everything that is due within a span, and leaves <see cref="Now"/> at its end.</summary>
    /// <param name="span">Virtual time.</param>
    public void RunFor(TimeSpan span)
    {
        TimeSpan limit = Now + span;
        while (StepUntil(limit))
        {
        }

        Now = limit;
    }

    /// <summary>Starts <c>async</c> code on the loop and runs the loop until it is done.</summary>
    /// <typeparam name="T">Type of the result.</typeparam>
    /// <param name="start">Starts the work; called on the loop.</param>
    /// <param name="maxVirtual">Longest virtual time it may take.</param>
    /// <returns>The result.</returns>
    /// <exception cref="TimeoutException">Time is up, or nothing is left that could complete the task.</exception>
    public T Run<T>(Func<Task<T>> start, TimeSpan maxVirtual)
    {
        Task<T> task = Invoke(start);
        Complete(task, maxVirtual);
        return task.GetAwaiter().GetResult();
    }

    /// <summary>Starts <c>async</c> code on the loop and runs the loop until it is done.</summary>
    /// <param name="start">Starts the work; called on the loop.</param>
    /// <param name="maxVirtual">Longest virtual time it may take.</param>
    /// <exception cref="TimeoutException">Time is up, or nothing is left that could complete the task.</exception>
    public void Run(Func<Task> start, TimeSpan maxVirtual)
    {
        Task task = Invoke(start);
        Complete(task, maxVirtual);
        task.GetAwaiter().GetResult();
    }

    /// <summary>Calls a function now, with the loop's synchronization context current, for code that starts tasks.</summary>
    /// <typeparam name="T">Type of the result.</typeparam>
    /// <param name="function">The function.</param>
    /// <returns>Its result.</returns>
    public T Invoke<T>(Func<T> function)
    {
        ArgumentNullException.ThrowIfNull(function);
        _owner = Environment.CurrentManagedThreadId;
        SynchronizationContext? before = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(_context);
        try
        {
            return function();
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    private void Complete(Task task, TimeSpan maxVirtual)
    {
        if (!RunUntil(() => task.IsCompleted, maxVirtual))
        {
            throw new TimeoutException(IsIdle
                ? $"at {Now} nothing is left to run and the task is not complete"
                : $"the task is not complete after {maxVirtual} of virtual time");
        }
    }

    private bool StepUntil(TimeSpan limit)
    {
        // A pass as on the real loop: what is ready, then what was deferred to the end of the pass, then what was posted meanwhile.
        if (_current.Count == 0)
        {
            if (_deferred.TryDequeue(out Work deferred))
            {
                Execute(deferred);
                return true;
            }

            while (_foreign.TryDequeue(out Work foreign))
            {
                _next.Enqueue(foreign);
            }

            (_current, _next) = (_next, _current);
        }

        if (_current.TryDequeue(out Work work))
        {
            Execute(work);
            return true;
        }

        if (_timers.Next is { } due && due <= limit)
        {
            Now = due > Now ? due : Now;
            _timers.TryTakeDue(Now, out LoopTimer timer);
            Execute(new Work(static t => ((LoopTimer)t!).Run(), timer));
            return true;
        }

        return false;
    }

    private void Execute(Work work)
    {
        Steps++;
        _owner = Environment.CurrentManagedThreadId;
        SynchronizationContext? before = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(_context);
        try
        {
            work.Callback(work.State);
        }
        finally
        {
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    private readonly record struct Work(Action<object?> Callback, object? State);

    private sealed class Clock(VirtualLoop loop, DateTimeOffset start) : LoopTimeProvider(loop)
    {
        private readonly VirtualLoop _loop = loop;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override DateTimeOffset GetUtcNow() => start + _loop.Now;

        public override long GetTimestamp() => _loop.Now.Ticks;
    }
}
