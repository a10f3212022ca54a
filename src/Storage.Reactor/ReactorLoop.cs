using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.Reactor.Native;
using Storage.Reactor.Timers;

namespace Storage.Reactor;

/// <summary>
/// The production event loop: one thread that owns its sockets, file operations, timers and posted work, on one io_uring, or on epoll and a few
/// threads for files where the kernel has or allows none.
/// A pass takes posted work, due timers and all ready completions, runs what was deferred to its end, then submits everything
/// with one system call, which is also the one that sleeps.
/// </summary>
/// <remarks>
/// Before <see cref="Run"/> the thread that made the loop may set things up on it (sockets, files, timers); nothing runs until
/// then. Afterwards only <see cref="Post"/>, <see cref="Stop"/> and timers of <see cref="TimeProvider"/> are for other threads.
/// </remarks>
public sealed unsafe partial class ReactorLoop : IEventLoop, IDisposable
{
    private static readonly TimeSpan s_worthALook = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan s_stallPeriod = TimeSpan.FromSeconds(10);

    private readonly IoRing _ring;
    private readonly ReactorOptions _options;
    private readonly TimerQueue _timers = new();
    private readonly ConcurrentQueue<Work> _posted = new();
    private readonly LoopSynchronizationContext _context;
    private readonly WakeUp _wakeUp;
    private IdleLatency? _idleLatency;
    private Queue<Work> _local = new();
    private Queue<Work> _running = new();
    private readonly Queue<Work> _deferred = new();
    private readonly long _epoch = Stopwatch.GetTimestamp();
    private TimeSpan _collected = GC.GetTotalPauseDuration();
    private TimeSpan? _stallsReported;
    private LoopStalls _stalls;
    private int _owner = Environment.CurrentManagedThreadId;
    private int _sleeping;
    private volatile bool _stopping;
    private bool _started;
    private bool _draining;
    private bool _disposed;

    /// <summary>Creates a loop; it does nothing until <see cref="Run"/>.</summary>
    /// <param name="options">Settings; null for the defaults.</param>
    /// <exception cref="NotSupportedException">The options ask for io_uring, and the kernel has none or forbids it; the message names the setting.</exception>
    public ReactorLoop(ReactorOptions? options = null)
    {
        _options = options ?? new ReactorOptions();
        if (_options.Entries is < 8 or > 32768 || (_options.Entries & (_options.Entries - 1)) != 0)
        {
            throw new ArgumentException($"Entries is {_options.Entries}; a power of two from 8 to 32768 is needed", nameof(options));
        }

        _idleLatency = _options.IdleLatency is { } limit ? new IdleLatency(limit, _options.IdleLatencyDevice) : null;
        _ring = MakeRing();
        _wakeUp = new WakeUp(this);
        _context = new LoopSynchronizationContext(this);
        TimeProvider = new Clock(this);
        _wakeUp.Arm();
    }

    /// <summary>
    /// An exception that no callback caught: state in memory can no longer be trusted, the loop has stopped, the daemon should die.
    /// Raised on the loop's thread. Without a handler <see cref="Run"/> throws it.
    /// </summary>
    public event Action<Exception>? Failed;

    /// <summary>Passes took longer than <see cref="ReactorOptions.StallThreshold"/>; raised on the loop, at most every ten seconds.</summary>
    public event Action<LoopStalls>? Stalled;

    /// <summary>Something is not as fast as it could be, and why; raised on the loop, each only once.</summary>
    public event Action<string>? Warned;

    /// <summary>The loop that runs on this thread, or null.</summary>
    [field: ThreadStatic]
    public static ReactorLoop? Current { get; private set; }

    /// <inheritdoc/>
    public TimeSpan Now { get; private set; }

    /// <inheritdoc/>
    public TimeProvider TimeProvider { get; }

    /// <inheritdoc/>
    public bool IsCurrent => Environment.CurrentManagedThreadId == Volatile.Read(ref _owner);

    /// <summary>Keeps <c>async</c> code on this loop; current while the loop runs.</summary>
    public SynchronizationContext SynchronizationContext => _context;

    /// <summary>Figures of the loop since its start; read on the loop.</summary>
    public ReactorStatistics Statistics { get; } = new();

    /// <summary>What carries out its operations.</summary>
    public LoopEngine Engine => _ring is IoUring ? LoopEngine.IoUring : LoopEngine.Epoll;

    /// <summary>Why io_uring is not used though nobody asked for anything else; else null.</summary>
    public string? WhyNotIoUring { get; private set; }

    /// <summary>True while operations may be started; false once the loop is shutting down.</summary>
    public bool IsAccepting => !_draining;

    /// <inheritdoc/>
    public void Post(Action<object?> callback, object? state)
    {
        var work = new Work(callback, state);
        if (IsCurrent)
        {
            _local.Enqueue(work);
            return;
        }

        _posted.Enqueue(work);
        Wake();
    }

    /// <inheritdoc/>
    public void Defer(Action<object?> callback, object? state)
    {
        AssertCurrent();
        _deferred.Enqueue(new Work(callback, state));
    }

    /// <inheritdoc/>
    public ILoopTimer Schedule(TimeSpan delay, Action<object?> callback, object? state)
    {
        AssertCurrent();
        ArgumentOutOfRangeException.ThrowIfLessThan(delay, TimeSpan.Zero);

        // From the clock and not from Now: a long pass must not let a timer fire early.
        return _timers.Add(ReadClock() + delay, callback, state);
    }

    /// <summary>Starts a thread that calls <see cref="Run"/>.</summary>
    /// <param name="name">Name of the thread.</param>
    /// <returns>The thread, to be joined after <see cref="Stop"/>.</returns>
    public Thread RunOnThread(string name)
    {
        // Until the thread has taken over nobody owns the loop: work posted meanwhile must go through the shared queue.
        Volatile.Write(ref _owner, 0);
        var thread = new Thread(Run) { Name = name, IsBackground = true };
        thread.Start();
        return thread;
    }

    /// <summary>Asks the loop to end after the present pass. Thread-safe.</summary>
    public void Stop()
    {
        _stopping = true;
        Wake();
    }

    /// <summary>
    /// Runs the loop on this thread until <see cref="Stop"/>; then cancels what is in flight and waits for it, so that the
    /// kernel no longer uses any buffer. A loop runs once.
    /// </summary>
    public void Run()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Invariant.Holds(!_started);
        _started = true;
        Volatile.Write(ref _owner, Environment.CurrentManagedThreadId);
        SynchronizationContext? before = SynchronizationContext.Current;
        SynchronizationContext.SetSynchronizationContext(_context);
        Current = this;
        try
        {
            _ring.Enable();
            while (!_stopping)
            {
                Pass();
            }

            Drain(callbacks: true);
        }
        catch (Exception e)
        {
            Drain(callbacks: false);
            if (Failed is null)
            {
                throw;
            }

            Failed(e);
        }
        finally
        {
            Current = null;
            SynchronizationContext.SetSynchronizationContext(before);
        }
    }

    /// <summary>Frees the rings; the loop must not be running.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ring.Dispose();
            _idleLatency?.Dispose();
            NativeMemory.Free(_refused);
            _wakeUp.Dispose();
        }
    }

    private IoRing MakeRing()
    {
        if (_options.Engine == LoopEngine.Epoll)
        {
            return new EpollRing((uint)_options.Entries);
        }

        try
        {
            return new IoUring((uint)_options.Entries);
        }
        catch (NotSupportedException e) when (_options.Engine == LoopEngine.Automatic)
        {
            WhyNotIoUring = e.Message;
            return new EpollRing((uint)_options.Entries);
        }
    }

    internal void AssertCurrent()
    {
        if (!IsCurrent)
        {
            Invariant.Fail("called on the loop's own thread");
        }
    }

    private TimeSpan ReadClock() => Stopwatch.GetElapsedTime(_epoch);

    private void Wake()
    {
        // The fence orders the enqueue before the look at the flag; the loop sets the flag before its last look at the queue.
        Interlocked.MemoryBarrier();
        if (Volatile.Read(ref _sleeping) == 1 && Interlocked.Exchange(ref _sleeping, 0) == 1)
        {
            _wakeUp.Signal();
        }
    }

    private void Pass()
    {
        Statistics.Passes++;
        Now = ReadClock();
        RunPosted();
        while (_timers.TryTakeDue(Now, out LoopTimer timer))
        {
            timer.Run();
        }

        RunCompletions();
        while (_deferred.TryDequeue(out Work work))
        {
            work.Run();
        }

        NoteLength(ReadClock() - Now);
        if (!_stopping)
        {
            SubmitAndWait();
        }
    }

    // While a pass runs nothing else does: neither other clients' operations nor heartbeats.
    private void NoteLength(TimeSpan pass)
    {
        if (pass < s_worthALook)
        {
            return;
        }

        TimeSpan collected = GC.GetTotalPauseDuration();
        TimeSpan pause = collected - _collected;
        _collected = collected;
        if (pass < _options.StallThreshold || Now < _options.StallGrace)
        {
            return;
        }

        _stalls = new LoopStalls(_stalls.Count + 1, pass > _stalls.Longest ? pass : _stalls.Longest, pause > _stalls.Collecting ? pause : _stalls.Collecting);
        if (_stallsReported is not { } last || Now - last >= s_stallPeriod)
        {
            _stallsReported = Now;
            LoopStalls stalls = _stalls;
            _stalls = default;
            Stalled?.Invoke(stalls);
        }
    }

    private void RunPosted()
    {
        // Snapshots: what these post in turn belongs to the next pass.
        (_running, _local) = (_local, _running);
        for (int count = _posted.Count; count > 0 && _posted.TryDequeue(out Work work); count--)
        {
            work.Run();
        }

        while (_running.TryDequeue(out Work work))
        {
            work.Run();
        }
    }

    private void RunCompletions()
    {
        for (uint count = _ring.Ready; count > 0 && _ring.TryTake(out Cqe cqe); count--)
        {
            Complete(cqe, callbacks: true);
        }
    }

    private bool HasWork => _local.Count > 0 || !_posted.IsEmpty || _ring.HasCompletions || _stopping;

    private void SubmitAndWait()
    {
        if (HasWork)
        {
            if (_ring.Unsubmitted > 0 || _ring.NeedsEnter)
            {
                Enter(wait: false, null);
            }

            return;
        }

        TimeSpan? timeout = null;
        if (_timers.Next is { } due)
        {
            timeout = due - ReadClock();
            if (timeout <= TimeSpan.Zero)
            {
                Enter(wait: false, null);
                return;
            }
        }

        timeout = KeepCoresAwake(timeout);
        if (_options.Spin > TimeSpan.Zero && _ring.CanSpin && SpinFor(timeout))
        {
            return;
        }

        Volatile.Write(ref _sleeping, 1);
        Interlocked.MemoryBarrier();
        if (!_posted.IsEmpty || _stopping)
        {
            Volatile.Write(ref _sleeping, 0);
            Enter(wait: false, null);
            return;
        }

        Statistics.Sleeps++;
        Enter(wait: true, timeout);
        Volatile.Write(ref _sleeping, 0);
    }

    private TimeSpan? KeepCoresAwake(TimeSpan? timeout)
    {
        if (_idleLatency is null)
        {
            return timeout;
        }

        try
        {
            return _idleLatency.BeforeWait(Now) is { } longest && !(timeout < longest) ? longest : timeout;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            _idleLatency.Dispose();
            _idleLatency = null;
            Warned?.Invoke($"cores may sleep deeply while requests are under way, which adds tens of microseconds to each message: {_options.IdleLatencyDevice}: {e.Message} Run the daemon as a user who may write to it, or start it with STORAGE_IDLE_LATENCY_US=off if that is as you want it");
            return timeout;
        }
    }

    private bool SpinFor(TimeSpan? timeout)
    {
        Enter(wait: false, null);
        TimeSpan until = ReadClock() + (timeout < _options.Spin ? timeout.Value : _options.Spin);
        do
        {
            if (HasWork)
            {
                return true;
            }

            if (_ring.NeedsEnter)
            {
                Enter(wait: false, null);
                return true;
            }

            Thread.SpinWait(20);
        }
        while (ReadClock() < until);

        return false;
    }

    private void Enter(bool wait, TimeSpan? timeout)
    {
        Statistics.SystemCalls++;
        int error = _ring.Enter(wait, timeout);
        if (error is not (0 or IoError.TimerExpired or IoError.Interrupted or IoError.TryAgain or IoError.Busy))
        {
            throw new IoException($"the loop's wait for events failed ({Engine})", error);
        }
    }

    /// <summary>Ends everything in flight: the kernel must not write into memory that is given back.</summary>
    private void Drain(bool callbacks)
    {
        _draining = true;
        Sqe* cancel = _ring.TryNext();
        if (cancel is not null)
        {
            cancel->Opcode = IoRing.OpAsyncCancel;
            cancel->Fd = -1;
            cancel->OperationFlags = IoRing.CancelAll | IoRing.CancelAny;
            cancel->UserData = Ignored;
        }

        TimeSpan until = ReadClock() + _options.DrainTimeout;
        while (_inFlight > 0 && ReadClock() < until)
        {
            Enter(wait: true, TimeSpan.FromMilliseconds(50));
            while (_ring.TryTake(out Cqe cqe))
            {
                Complete(cqe, callbacks);
            }

            if (callbacks)
            {
                RunPosted();
                while (_deferred.TryDequeue(out Work work))
                {
                    work.Run();
                }
            }
        }

        // Closing sockets posts and defers a last time.
        for (int i = 0; callbacks && i < 16 && (_local.Count > 0 || _deferred.Count > 0); i++)
        {
            RunPosted();
            while (_deferred.TryDequeue(out Work work))
            {
                work.Run();
            }
        }
    }

    private readonly record struct Work(Action<object?> Callback, object? State)
    {
        public void Run() => Callback(State);
    }

    private sealed class Clock(ReactorLoop loop) : LoopTimeProvider(loop);
}
