using System.Net.Sockets;
using System.Text.Json;
using Storage.Cli.Commands;
using Storage.Cli.Local;

namespace Storage.Cli.Faults.Injection;

/// <summary>Tells daemons of faults, over the socket in their data folder.</summary>
internal static class FaultClient
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(3);

    /// <summary>Sends one command and waits for the answer.</summary>
    /// <exception cref="CliException">The daemon takes no faults, does not answer or refuses.</exception>
    public static async Task<FaultReply> SendAsync(DaemonProcess daemon, FaultCommand command, CancellationToken cancellation) =>
        await TrySendAsync(daemon, command, cancellation).ConfigureAwait(false)
        ?? throw new CliException($"{daemon.Name} is just starting or ending; try again in a moment, or see {daemon.LogFile}.");

    /// <summary>Sends one command and waits for the answer; null from a daemon that starts or ends at this moment, which has no faults.</summary>
    /// <exception cref="CliException">The daemon takes no faults, does not answer or refuses.</exception>
    public static async Task<FaultReply?> TrySendAsync(DaemonProcess daemon, FaultCommand command, CancellationToken cancellation)
    {
        string path = Path.Combine(daemon.Folder, FaultSocket.FileName);
        if (daemon.Pid is null)
        {
            throw new CliException($"{daemon.Name} does not run, so no fault can be put into it; start it with 'storage daemon start {daemon.Name}'.");
        }

        if (!File.Exists(path))
        {
            throw new CliException(
                $"{daemon.Name} takes no faults: {path} is missing. Daemons take them only where cluster.json says \"fault_injection\": true, as cluster/up writes it for new clusters; it counts from a daemon's next start.");
        }

        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_patience);
        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), patience.Token).ConfigureAwait(false);
            using var stream = new NetworkStream(socket);
            await stream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(command, FaultMessagesJson.Default.FaultCommand), patience.Token).ConfigureAwait(false);
            await stream.WriteAsync("\n"u8.ToArray(), patience.Token).ConfigureAwait(false);
            using var reader = new StreamReader(stream);
            string? line = await reader.ReadLineAsync(patience.Token).ConfigureAwait(false);
            if (line is null)
            {
                return null;
            }

            FaultReply reply = JsonSerializer.Deserialize(line, FaultMessagesJson.Default.FaultReply)!;
            return reply.Error is null ? reply : throw new CliException($"{daemon.Name}: {reply.Error}");
        }
        catch (Exception e) when (e is SocketException { SocketErrorCode: SocketError.ConnectionRefused or SocketError.AddressNotAvailable } || e is IOException && daemon.Pid is null)
        {
            return null; // the file is that of a process before it, or is gone
        }
        catch (Exception e) when (e is SocketException or IOException or JsonException)
        {
            throw new CliException($"{daemon.Name} cannot be reached at {path}: {e.Message}", e);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new CliException($"{daemon.Name} did not answer at {path} within {s_patience.TotalSeconds:0} s{(daemon.IsPaused ? "; it is paused" : "")}.");
        }
    }
}
