using System.CommandLine;
using System.Net;
using Microsoft.Extensions.Logging;
using Storage.Block;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Data;
using Storage.Cli.Faults.Injection;
using Storage.Nbd;

namespace Storage.Cli.Daemons;

/// <summary><c>nbd mkfs</c> and <c>nbd run</c>: an NBD gateway as a process.</summary>
internal sealed class NbdDaemon(DaemonContext context, DaemonFile file, string? faultFolder) : IDaemon
{
    private static readonly TimeSpan s_lastWrites = TimeSpan.FromSeconds(3);

    private FaultSocket? _faults;
    private ClientSession? _session;
    private NbdServer? _server;
    private ClusterVolumeProvider? _volumes;
    private MapAdmin? _admin;

    public static Command Command() => StorageCommand.Group("nbd", "The NBD gateway: serves volumes to hypervisors and kernels.", GatewayFolders.Mkfs("nbd", 10809), Run());

    public static Verb Run()
    {
        var listen = new Option<string?>("--listen") { Description = "Where to listen, HOST:PORT, in place of what the folder says." };
        var verb = new Verb("run", "Runs an NBD gateway in the foreground.", "storage nbd run --data /var/lib/storage/nbd.0", "storage nbd run --data cluster/data --listen 127.0.0.1:10809") { listen };
        return DaemonOptions.AddTo(verb).Does((run, cancellation) =>
        {
            DaemonFile file = GatewayFolders.Read(run, "nbd", run.Get(listen));
            return DaemonHost.RunAsync("nbd", DaemonOptions.Logging(run), context => new NbdDaemon(context, file, DaemonOptions.FaultFolder(run)), cancellation);
        });
    }

    public async Task StartAsync(CancellationToken cancellation)
    {
        _session = await ClientSession.OpenAsync(file.Fsid, file.MonitorAddresses(), context.Fail, text => context.Log.LogWarning("{Warning}", text), faultFolder is not null, context.Shared).ConfigureAwait(false);
        Cluster.NodeAddress address = AddressRules.Parse(file.Listen);
        await _session.Thread.InvokeAsync(() =>
        {
            _admin = new MapAdmin(_session.Inner);
            var store = new VolumeStore(_session.Inner, _session.Thread.Loop.TimeProvider, ClientSession.NewRandom(), new AdminVolumeAuthority(() => _admin.Client));
            _volumes = new ClusterVolumeProvider(_session.Inner, store, $"{context.Name} at {Environment.MachineName}, {address}");
            var endPoint = new IPEndPoint(IPAddress.Parse(address.Host), address.Port);
            _server = new NbdServer(_session.Thread.Loop, endPoint, _volumes);
            _server.ConnectionFailed += (remote, problem) => context.Log.LogWarning("connection from {Remote}: {Problem}", remote, problem);
        }).ConfigureAwait(false);
        _faults = faultFolder is null ? null : FaultSocket.TryStart(context, _session.Thread, _session.Faults!, faultFolder);
        context.Log.LogInformation("{Daemon} listens on {Address}", context.Name, address);
    }

    public async ValueTask DisposeAsync()
    {
        if (_faults is not null)
        {
            await _faults.DisposeAsync().ConfigureAwait(false);
        }

        if (_session is not null)
        {
            if (_server is not null)
            {
                await _session.Thread.InvokeAsync(CloseAsync).ConfigureAwait(false);
            }

            await _session.DisposeAsync().ConfigureAwait(false);
            _admin?.Dispose();
        }
    }

    private async Task CloseAsync()
    {
        _server!.Dispose();
        try
        {
            await _volumes!.WhenIdleAsync().WaitAsync(s_lastWrites);
        }
        catch (TimeoutException)
        {
            context.Log.LogWarning("writes to {Volumes} volumes did not end within {Seconds} s; the next start takes over their locks", _volumes!.OpenVolumes, s_lastWrites.TotalSeconds);
        }
    }
}
