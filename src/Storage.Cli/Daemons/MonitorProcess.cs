using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using Storage.Cli.Faults.Injection;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.Monitor;
using Storage.Monitor.Admin;

namespace Storage.Cli.Daemons;

/// <summary>A monitor as a process: its loop, its Raft log, its messenger and its admin API.</summary>
internal sealed class MonitorProcess(DaemonContext context, string folder, MonitorOptions options, DaemonLogging logging, string? faultFolder) : IDaemon
{
    private FaultSocket? _faults;
    private LoopThread? _thread;
    private IRaftStorage? _storage;
    private MonitorDaemon? _daemon;
    private MonitorAdminServer? _admin;

    public async Task StartAsync(CancellationToken cancellation)
    {
        _thread = new LoopThread(context.Name, context.Fail, text => context.Log.LogWarning("{Warning}", text));
        _storage = MonitorStore.OpenRaft(folder, options);
        FaultPoints? points = faultFolder is null ? null : new FaultPoints(_thread.Loop);
        _daemon = await _thread.InvokeAsync(() =>
        {
            var transport = new TcpTransport(_thread.Loop, new PeerIdentity(EntityKind.Monitor, options.Id, ClientSession.RandomId()), options.Fsid, new TcpTransportOptions { Filter = points?.Filter });
            transport.Warning += text => context.Log.LogWarning("{Warning}", text);
            var daemon = new MonitorDaemon(_thread.Loop, transport, _storage, options, ClientSession.NewRandom(), TimeProvider.System, context.Log) { Failed = context.Fail };
            daemon.Start();
            return Task.FromResult(daemon);
        }).ConfigureAwait(false);
        _admin = await MonitorAdminServer.StartAsync(_daemon, options.BindHost is { } host ? options.Self.AdminAddress with { Host = host } : options.Self.AdminAddress, TimeProvider.System, logging.Apply, cancellation).ConfigureAwait(false);
        _faults = points is null ? null : FaultSocket.TryStart(context, _thread, points, faultFolder!);
        context.Log.LogInformation("{Daemon} listens on {Address}, admin API on {Admin}", context.Name, options.Self.Address, options.Self.AdminAddress);
    }

    public async ValueTask DisposeAsync()
    {
        if (_faults is not null)
        {
            await _faults.DisposeAsync().ConfigureAwait(false);
        }

        if (_admin is not null)
        {
            await _admin.DisposeAsync().ConfigureAwait(false);
        }

        if (_daemon is not null)
        {
            await _thread!.InvokeAsync(_daemon.StopAsync).ConfigureAwait(false);
        }

        _thread?.Dispose();
        (_storage as IDisposable)?.Dispose();
    }
}
