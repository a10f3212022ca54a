using Microsoft.Extensions.Logging;

namespace Storage.Cli.Daemons;

/// <summary>What a daemon gets from the process that runs it.</summary>
/// <param name="Name">As in <c>osd.0</c>.</param>
/// <param name="Logging">Makes loggers.</param>
internal sealed record DaemonContext(string Name, ILoggerFactory Logging)
{
    /// <summary>The loop that it shares with others of its process; null if it has one of its own.</summary>
    public SharedLoop? Shared { get; init; }

    private int _ending;

    /// <summary>The daemon's own logger.</summary>
    public ILogger Log { get; } = Logging.CreateLogger(Name);

    /// <summary>
    /// Ends the process at once after a failure that the daemon must not outlive: a failed disk, a broken invariant, a loop that
    /// stopped. May be called from any thread, any number of times; does not return.
    /// </summary>
    public void Fail(Exception failure)
    {
        if (Interlocked.Exchange(ref _ending, 1) != 0)
        {
            Thread.Sleep(Timeout.Infinite);
        }

        Log.LogCritical(failure, "{Daemon} cannot go on and ends: {Reason}", Name, failure.Message);
        Logging.Dispose(); // writes out what is queued
        Environment.Exit(DaemonHost.ExitFailed);
    }
}
