using Microsoft.Extensions.Logging;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Monitor;

namespace Storage.Cli.Daemons;

/// <summary>
/// All daemons of a local cluster in one process (<c>cluster run</c>). OSDs and the NBD gateway share one loop and hand each other their messages in memory; each
/// OSD still has its own disk, and a write is acknowledged when all of them have it. Monitors and the S3 gateway keep loops of their own.
/// </summary>
internal sealed class ClusterProcess(DaemonContext context, ClusterFile cluster, DaemonLogging logging, bool insecureNetwork) : IDaemon
{
    private readonly Stack<IDaemon> _daemons = new();
    private SharedLoop? _shared;

    public static Verb Run() => DaemonOptions.AddTo(new Verb("run", "Runs all daemons of a local cluster in this process, in the foreground.", "storage cluster run --data /tmp/c1")).Does((run, cancellation) =>
    {
        ClusterFile cluster = run.Cluster;
        DaemonLogging logging = DaemonOptions.Logging(run);
        return DaemonHost.RunAsync("cluster", logging, context => new ClusterProcess(context, cluster, logging, DaemonOptions.InsecureNetwork(run)), cancellation);
    });

    public async Task StartAsync(CancellationToken cancellation)
    {
        _shared = new SharedLoop("data", context.Fail, text => context.Log.LogWarning("{Warning}", text));
        foreach (string role in (string[])["mon", "osd", "nbd", "s3"])
        {
            foreach (DaemonEntry entry in cluster.Daemons.Where(daemon => daemon.Role == role))
            {
                IDaemon daemon = Create(entry);
                _daemons.Push(daemon);
                await daemon.StartAsync(cancellation).ConfigureAwait(false);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        // The last one first: each goes while what it needs is there.
        while (_daemons.TryPop(out IDaemon? daemon))
        {
            await daemon.DisposeAsync().ConfigureAwait(false);
        }

        _shared?.Dispose();
    }

    private IDaemon Create(DaemonEntry entry)
    {
        string folder = Path.Combine(cluster.Folder, entry.Name);
        var own = new DaemonContext(entry.Name, context.Logging);
        switch (entry.Role)
        {
            case "mon":
                MonitorOptions options = MonitorStore.Read(folder);
                AddressRules.Check(options.Self.Address, insecureNetwork);
                AddressRules.Check(options.Self.AdminAddress, insecureNetwork);
                return new MonitorProcess(own, folder, options, logging, null);
            case "osd":
                return new OsdProcess(own with { Shared = _shared }, folder, Checked(DaemonFile.Read(folder, "osd")), null);
            case "nbd":
                return new NbdDaemon(own with { Shared = _shared }, Checked(DaemonFile.Read(folder, "nbd")), null);
            case "s3":
                return new S3Daemon(own, Checked(DaemonFile.Read(folder, "s3")), logging, null);
            default:
                throw new CliException($"{entry.Name} is a '{entry.Role}', which this build does not know.");
        }
    }

    private DaemonFile Checked(DaemonFile file)
    {
        AddressRules.ParseListen(file.Listen, insecureNetwork);
        return file;
    }
}
