using System.Net;
using System.Runtime.CompilerServices;
using Google.Protobuf;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor.Admin;

/// <summary>Serves a monitor's admin API as gRPC over HTTP/2 without TLS. Meant for loopback, or a network that is trusted.</summary>
public sealed class MonitorAdminServer : IAsyncDisposable
{
    private static readonly TimeSpan WatchInterval = TimeSpan.FromSeconds(1);
    private readonly WebApplication _application;
    private readonly MonitorDaemon _daemon;
    private readonly TimeProvider _time;

    private MonitorAdminServer(MonitorDaemon daemon, NodeAddress address, TimeProvider time, Action<ILoggingBuilder>? logging)
    {
        _daemon = daemon;
        _time = time;
        // Nothing from the environment, the working folder or appsettings.json: the slim builder would watch that whole folder.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore();
        logging?.Invoke(builder.Logging);
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(
            new IPEndPoint(ParseHost(address), address.Port), listen => listen.Protocols = HttpProtocols.Http2));
        _application = builder.Build();
        _application.MapAdmin(daemon.HandleAdminAsync, WatchAsync);
    }

    /// <summary>Starts to serve.</summary>
    /// <param name="daemon">The monitor.</param>
    /// <param name="address">Where; an IP address or <c>localhost</c>, port 0 picks one.</param>
    /// <param name="timeProvider">Paces event streams; null for the system's.</param>
    /// <param name="logging">Adds log providers; null for none.</param>
    /// <param name="cancellation">Gives the start up.</param>
    /// <returns>The server.</returns>
    /// <exception cref="IOException">The address cannot be had.</exception>
    public static async Task<MonitorAdminServer> StartAsync(
        MonitorDaemon daemon, NodeAddress address, TimeProvider? timeProvider = null, Action<ILoggingBuilder>? logging = null, CancellationToken cancellation = default)
    {
        var server = new MonitorAdminServer(daemon, address, timeProvider ?? TimeProvider.System, logging);
        await server._application.StartAsync(cancellation);
        return server;
    }

    /// <summary>Where it serves, as URLs.</summary>
    public IReadOnlyCollection<string> Urls => [.. _application.Urls];

    /// <summary>Stops to serve.</summary>
    /// <returns>Completes when stopped.</returns>
    public ValueTask DisposeAsync() => _application.DisposeAsync();

    private static IPAddress ParseHost(NodeAddress address) =>
        address.Host == "localhost" ? IPAddress.Loopback
        : IPAddress.TryParse(address.Host, out IPAddress? ip) ? ip
        : throw new IOException($"the admin address {address} is no IP address");

    /// <summary>Events, found by looking every second: log lines, map epochs, changes of health and quorum.</summary>
    private async IAsyncEnumerable<ReadOnlyMemory<byte>> WatchAsync(
        string method, ReadOnlyMemory<byte> request, [EnumeratorCancellation] CancellationToken cancellation)
    {
        WatchRequest watch = WatchRequest.Parser.ParseFrom(request.Span);
        ulong lastLog = (await AskAsync("LogLast", new LogLastRequest { Count = 1 }, LogLastReply.Parser, cancellation)).Entries.LastOrDefault()?.Sequence ?? 0;
        uint epoch = watch.SinceEpoch;
        string health = "", quorum = "";
        while (true)
        {
            StatusReply status = await AskAsync("Status", new StatusRequest(), StatusReply.Parser, cancellation);
            LogLastReply log = await AskAsync("LogLast", new LogLastRequest { Count = 1000 }, LogLastReply.Parser, cancellation);
            long now = _time.GetUtcNow().ToUnixTimeMilliseconds();
            foreach (LogEntry entry in log.Entries.Where(entry => entry.Sequence > lastLog))
            {
                lastLog = entry.Sequence;
                if (Wants(EventKind.Log))
                {
                    yield return new Event { Kind = EventKind.Log, Epoch = status.Epoch, TimeUnixMs = entry.TimeUnixMs, Summary = entry.Message, Log = entry }.ToByteArray();
                }
            }

            if (status.Epoch > epoch)
            {
                epoch = status.Epoch;
                if (Wants(EventKind.Map))
                {
                    yield return new Event { Kind = EventKind.Map, Epoch = epoch, TimeUnixMs = now, Summary = $"map epoch {epoch}" }.ToByteArray();
                }
            }

            string seen = status.Health + " " + string.Join("; ", status.Checks.Select(check => check.Code + " " + check.Summary));
            if (seen != health && Wants(EventKind.Health))
            {
                var reply = new HealthReply { Status = status.Health, Epoch = status.Epoch };
                reply.Checks.Add(status.Checks);
                yield return new Event { Kind = EventKind.Health, Epoch = status.Epoch, TimeUnixMs = now, Summary = seen, Health = reply }.ToByteArray();
            }

            health = seen;
            seen = $"leader {status.Quorum.Leader}, quorum {string.Join(',', status.Quorum.InQuorum)}";
            if (seen != quorum && Wants(EventKind.Quorum))
            {
                yield return new Event { Kind = EventKind.Quorum, Epoch = status.Epoch, TimeUnixMs = now, Summary = seen, Quorum = status.Quorum }.ToByteArray();
            }

            quorum = seen;
            if (Wants(EventKind.Status))
            {
                yield return new Event { Kind = EventKind.Status, Epoch = status.Epoch, TimeUnixMs = now, Summary = health, Status = status }.ToByteArray();
            }

            await Task.Delay(WatchInterval, _time, cancellation);
        }

        bool Wants(EventKind kind) => watch.Kinds.Count == 0 || watch.Kinds.Contains(kind);
    }

    private async Task<T> AskAsync<T>(string method, IMessage request, MessageParser<T> parser, CancellationToken cancellation)
        where T : IMessage<T>
    {
        ReadOnlyMemory<byte> reply = await _daemon.HandleAdminAsync(new AdminRequest(method, request.ToByteArray()), cancellation);
        return parser.ParseFrom(reply.Span);
    }
}
