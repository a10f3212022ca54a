namespace Storage.Reactor;

/// <summary>Counters of a loop; what they cost per operation is a design statement.</summary>
public sealed class ReactorStatistics
{
    /// <summary>Passes of the loop.</summary>
    public long Passes { get; internal set; }

    /// <summary>Calls of io_uring_enter, or rounds of epoll.</summary>
    public long SystemCalls { get; internal set; }

    /// <summary>Of those, calls that were ready to sleep.</summary>
    public long Sleeps { get; internal set; }

    /// <summary>Times another thread had to wake the loop.</summary>
    public long WakeUps { get; internal set; }

    /// <summary>Operations completed.</summary>
    public long Completions { get; internal set; }
}
