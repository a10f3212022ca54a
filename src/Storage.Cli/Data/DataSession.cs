using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.Client;
using Storage.Cluster;

namespace Storage.Cli.Data;

/// <summary>Runs a command that works on data, with a client of its own.</summary>
internal static class DataSession
{
    /// <summary>How long to look for a monitor before giving up.</summary>
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);

#pragma warning disable CA1068 // a function reads best as the last argument
    /// <summary>Runs a function with a client that has a map.</summary>
    public static async Task RunAsync(Invocation run, CancellationToken cancellation, Func<IObjectClient, Task> function)
    {
        ClientSession session = await OpenAsync(run, cancellation).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            await function(session.Client).ConfigureAwait(false);
        }
    }

    /// <summary>Runs a function with a client that has a map, on the client's own loop.</summary>
    public static async Task<T> RunOnLoopAsync<T>(Invocation run, CancellationToken cancellation, Func<IObjectClient, Task<T>> function)
    {
        ClientSession session = await OpenAsync(run, cancellation).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            return await session.Thread.InvokeAsync(() => function(session.Inner)).ConfigureAwait(false);
        }
    }
#pragma warning restore CA1068

    /// <summary>The id of a pool.</summary>
    /// <exception cref="CliException">There is none of that name.</exception>
    public static async ValueTask<long> PoolIdAsync(IObjectClient client, string name, CancellationToken cancellation)
    {
        ClusterMap map = await client.WaitForMapAsync(Epoch.None, cancellation).ConfigureAwait(false);
        if (map.FindPool(name) is { } pool)
        {
            return pool.Id;
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        try
        {
            map = await client.ConfirmMapAsync(patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new CliException($"the map knows no pool '{name}', but the monitors have no quorum to tell whether that map is the newest; see 'storage mon status'.");
        }

        return map.FindPool(name)?.Id ?? throw new CliException($"no pool '{name}'; see 'storage pool ls'.");
    }

    private static async Task<ClientSession> OpenAsync(Invocation run, CancellationToken cancellation)
    {
        ClientSession session = await ClientSession.OpenAsync(run.Cluster.Fsid, run.Cluster.MonitorAddresses, Ended).ConfigureAwait(false);
        try
        {
            await WaitForMapAsync(session.Client, cancellation).ConfigureAwait(false);
            return session;
        }
        catch
        {
            await session.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static async Task WaitForMapAsync(LoopObjectClient client, CancellationToken cancellation)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        try
        {
            await client.WaitForMapAsync(Epoch.None, patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new CliException("no monitor sent a cluster map within 30 s. Is the cluster running (storage daemons)?");
        }
    }

    private static void Ended(Exception failure)
    {
        Console.Error.WriteLine($"storage: the event loop ended: {failure}");
        Environment.Exit(DaemonHost.ExitFailed);
    }
}
