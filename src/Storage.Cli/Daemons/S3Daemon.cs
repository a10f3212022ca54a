using System.CommandLine;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Faults.Injection;
using Storage.S3;

namespace Storage.Cli.Daemons;

/// <summary><c>s3 mkfs</c> and <c>s3 run</c>: an S3 gateway as a process.</summary>
internal sealed class S3Daemon(DaemonContext context, DaemonFile file, DaemonLogging logging, string? faultFolder) : IDaemon
{
    private readonly CancellationTokenSource _ending = new();
    private ClientSession? _session;
    private FaultSocket? _faults;
    private WebApplication? _server;
    private Task _garbage = Task.CompletedTask;

    public static Verb Mkfs() => GatewayFolders.Mkfs("s3", 10808);

    public static Verb Run()
    {
        var listen = new Option<string?>("--listen") { Description = "Where to listen, HOST:PORT, in place of what the folder says." };
        var verb = new Verb("run", "Runs an S3 gateway in the foreground.", "storage s3 run --data /var/lib/storage/s3.0", "storage s3 run --data cluster/data --listen 127.0.0.1:9000") { listen };
        return DaemonOptions.AddTo(verb).Does((run, cancellation) =>
        {
            DaemonFile file = GatewayFolders.Read(run, "s3", run.Get(listen));
            DaemonLogging logging = DaemonOptions.Logging(run);
            return DaemonHost.RunAsync("s3", logging, context => new S3Daemon(context, file, logging, DaemonOptions.FaultFolder(run)), cancellation);
        });
    }

    public async Task StartAsync(CancellationToken cancellation)
    {
        var options = new S3Options { Listen = AddressRules.Parse(file.Listen), Region = file.Region ?? "us-east-1" };
        _session = await ClientSession.OpenAsync(file.Fsid, file.MonitorAddresses(), context.Fail, text => context.Log.LogWarning("{Warning}", text), faultFolder is not null).ConfigureAwait(false);
        var gateway = new S3Gateway(_session.Client, options, TimeProvider.System, context.Log);
        _server = S3Server.Build(gateway, options, logging.Apply);
        await _server.StartAsync(cancellation).ConfigureAwait(false);
        _garbage = CollectGarbageAsync(gateway);
        _faults = faultFolder is null ? null : FaultSocket.TryStart(context, _session.Thread, _session.Faults!, faultFolder);
        context.Log.LogInformation("{Daemon} listens on {Address}", context.Name, options.Listen);
    }

    public async ValueTask DisposeAsync()
    {
        if (_faults is not null)
        {
            await _faults.DisposeAsync().ConfigureAwait(false);
        }

        await _ending.CancelAsync().ConfigureAwait(false);
        if (_server is not null)
        {
            await _server.StopAsync().ConfigureAwait(false);
            await _server.DisposeAsync().ConfigureAwait(false);
        }

        await _garbage.ConfigureAwait(false);
        if (_session is not null)
        {
            await _session.DisposeAsync().ConfigureAwait(false);
        }

        _ending.Dispose();
    }

    private async Task CollectGarbageAsync(S3Gateway gateway)
    {
        try
        {
            await gateway.CollectGarbageAsync(_ending.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_ending.IsCancellationRequested)
        {
            // The end of the process.
        }
#pragma warning disable CA1031 // reported, and the process ends
        catch (Exception e)
#pragma warning restore CA1031
        {
            context.Fail(e);
        }
    }
}
