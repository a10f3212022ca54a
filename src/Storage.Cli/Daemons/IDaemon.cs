namespace Storage.Cli.Daemons;

/// <summary>What <see cref="DaemonHost"/> runs: opens everything in start, gives everything back on disposal, in order: nothing acknowledged is lost either way,
/// but a clean end makes the next start quick.</summary>
internal interface IDaemon : IAsyncDisposable
{
    /// <summary>Opens files, listens and takes part. Throws if it cannot.</summary>
    Task StartAsync(CancellationToken cancellation);
}
