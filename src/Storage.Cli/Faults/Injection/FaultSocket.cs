using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;

namespace Storage.Cli.Faults.Injection;

/// <summary>
/// A daemon's ear for faults: a Unix socket in its data folder that its owner alone may open. There only where the daemon was started
/// with --fault-injection.
/// </summary>
internal sealed class FaultSocket : IAsyncDisposable
{
    public const string FileName = "fault.sock";

    /// <summary>Bytes of a path that a Unix socket's address can hold.</summary>
    private const int LongestPath = 107;

    private const int LongestLine = 64 << 10;
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
    private readonly DaemonContext _context;
    private readonly LoopThread _thread;
    private readonly FaultPoints _points;
    private readonly Socket _listener;
    private readonly string _path;
    private readonly CancellationTokenSource _ending = new();
    private readonly Task _serving;

    private FaultSocket(DaemonContext context, LoopThread thread, FaultPoints points, Socket listener, string path)
    {
        _context = context;
        _thread = thread;
        _points = points;
        _listener = listener;
        _path = path;
        _serving = ServeAsync();
    }

    /// <summary>Starts to listen; logs why if it cannot, since a daemon without faults is still a daemon.</summary>
    /// <returns>The socket, or null.</returns>
    public static FaultSocket? TryStart(DaemonContext context, LoopThread thread, FaultPoints points, string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (Encoding.UTF8.GetByteCount(path) > LongestPath)
        {
            context.Log.LogWarning("no faults can be injected: {Path} is longer than the {Longest} bytes a Unix socket's path may have", path, LongestPath);
            return null;
        }

        var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            File.Delete(path); // of a process that was killed
            listener.Bind(new UnixDomainSocketEndPoint(path));

            // Nobody can connect before it listens, so nobody gets in meanwhile.
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            listener.Listen(4);
        }
        catch (Exception e) when (e is SocketException or IOException or UnauthorizedAccessException)
        {
            listener.Dispose();
            context.Log.LogWarning("no faults can be injected: cannot listen at {Path}: {Problem}", path, e.Message);
            return null;
        }

        context.Log.LogInformation("{Daemon} takes faults at {Path}", context.Name, path);
        return new FaultSocket(context, thread, points, listener, path);
    }

    public async ValueTask DisposeAsync()
    {
        await _ending.CancelAsync().ConfigureAwait(false);
        _listener.Dispose();
        await _serving.ConfigureAwait(false);
        _ending.Dispose();
        File.Delete(_path);
    }

    private async Task ServeAsync()
    {
        while (true)
        {
            try
            {
                using Socket client = await _listener.AcceptAsync(_ending.Token).ConfigureAwait(false);
                await AnswerAsync(client).ConfigureAwait(false);
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException && _ending.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (e is SocketException or IOException or OperationCanceledException)
            {
                _context.Log.LogWarning("fault socket: {Problem}", e.Message);
            }
        }
    }

    private async Task AnswerAsync(Socket client)
    {
        using var stream = new NetworkStream(client);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(_ending.Token);
        patience.CancelAfter(s_patience); // one that connects and says nothing must not keep others out
        byte[] line = new byte[LongestLine];
        int length = 0;
        while (length == 0 || line[length - 1] != (byte)'\n')
        {
            int read = length == LongestLine ? 0 : await stream.ReadAsync(line.AsMemory(length), patience.Token).ConfigureAwait(false);
            if (read == 0)
            {
                return;
            }

            length += read;
        }

        FaultReply reply;
        try
        {
            FaultCommand command = JsonSerializer.Deserialize(line.AsSpan(0, length), FaultMessagesJson.Default.FaultCommand) ?? throw new CliException("the command is empty.");
            if (command.Action is not (FaultAction.Status or FaultAction.UsedBlocks))
            {
                _context.Log.LogWarning("fault: {Command}", Encoding.UTF8.GetString(line, 0, length).TrimEnd());
            }

            reply = await _thread.InvokeAsync(() => Task.FromResult(_points.Run(command))).ConfigureAwait(false);
        }
        catch (Exception e) when (e is JsonException or CliException)
        {
            reply = new FaultReply { Error = e.Message };
        }

        await stream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(reply, FaultMessagesJson.Default.FaultReply), patience.Token).ConfigureAwait(false);
        await stream.WriteAsync("\n"u8.ToArray(), patience.Token).ConfigureAwait(false);
    }
}
