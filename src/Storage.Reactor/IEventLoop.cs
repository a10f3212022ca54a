namespace Storage.Reactor;

/// <summary>
/// What runs every daemon, client and gateway: one thread (production) or one scheduler on virtual time (simulator)
/// that calls callbacks one after the other. Except for <see cref="Post"/>, members are called on the loop only.
/// </summary>
public interface IEventLoop
{
    /// <summary>Time since an arbitrary start; never goes back. Read once per pass of the loop.</summary>
    TimeSpan Now { get; }

    /// <summary>Wall clock and timers for <c>async</c> code on this loop; its timers fire on the loop.</summary>
    TimeProvider TimeProvider { get; }

    /// <summary>True on the loop's own thread.</summary>
    bool IsCurrent { get; }

    /// <summary>Queues a callback for the next pass; thread-safe, FIFO per posting thread.</summary>
    /// <param name="callback">Runs on the loop. An exception it throws is fatal to the daemon.</param>
    /// <param name="state">Handed to the callback.</param>
    void Post(Action<object?> callback, object? state);

    /// <summary>Queues a callback for the end of the present pass, after every completion that is ready; for batching.</summary>
    /// <param name="callback">Runs once on the loop.</param>
    /// <param name="state">Handed to the callback.</param>
    void Defer(Action<object?> callback, object? state);

    /// <summary>Runs a callback once after a delay.</summary>
    /// <param name="delay">Zero or more; resolution about 1 ms.</param>
    /// <param name="callback">Runs on the loop.</param>
    /// <param name="state">Handed to the callback.</param>
    /// <returns>A handle to cancel it.</returns>
    ILoopTimer Schedule(TimeSpan delay, Action<object?> callback, object? state);
}

/// <summary>A timer that was scheduled on a loop.</summary>
public interface ILoopTimer
{
    /// <summary>Prevents the callback if it has not run; otherwise does nothing.</summary>
    void Cancel();
}
