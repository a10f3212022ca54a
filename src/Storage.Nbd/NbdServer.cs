using System.Net;
using Storage.Reactor;
using Storage.Reactor.Sockets;

namespace Storage.Nbd;

/// <summary>Settings of an <see cref="NbdServer"/>.</summary>
public sealed record NbdOptions
{
    /// <summary>Bytes that requests of one connection may hold, read and write together; beyond it the client waits. At least one
    /// largest request, 32 MiB. Default 64 MiB.</summary>
    public long MaxBytesPerConnection { get; init; } = 64L << 20;

    /// <summary>Requests of one connection under way at once; beyond it the client waits. Default 1024.</summary>
    public int MaxRequestsPerConnection { get; init; } = 1024;

    /// <summary>Connections at once; more are closed when they come. Default 1024.</summary>
    public int MaxConnections { get; init; } = 1024;

    /// <summary>How long a client may take for the handshake. Default 30 s.</summary>
    public TimeSpan HandshakeTimeout { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>
/// Serves volumes over NBD: fixed newstyle handshake with GO, INFO and LIST, structured replies, <c>base:allocation</c>. Lives on one
/// loop; a client that breaks the protocol loses its connection and nothing else.
/// </summary>
public sealed class NbdServer : IDisposable
{
    private readonly StreamListener _listener;
    private readonly HashSet<NbdConnection> _connections = [];
    private bool _disposed;

    /// <summary>Starts to listen.</summary>
    /// <param name="loop">The loop that it and the volumes' client live on.</param>
    /// <param name="endPoint">IP address and port (0 picks one), or a Unix socket path.</param>
    /// <param name="volumes">What to export.</param>
    /// <param name="options">Settings.</param>
    /// <exception cref="IoException">The address cannot be had.</exception>
    public NbdServer(ReactorLoop loop, EndPoint endPoint, IVolumeProvider volumes, NbdOptions? options = null)
    {
        Loop = loop;
        Volumes = volumes;
        Options = options ?? new NbdOptions();
        ArgumentOutOfRangeException.ThrowIfLessThan(Options.MaxBytesPerConnection, NbdProtocol.LongestPayload, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(Options.MaxRequestsPerConnection, nameof(options));
        _listener = new StreamListener(loop, endPoint, _ => Accept(), new StreamOptions { HighWatermark = 8 << 20 });
    }

    /// <summary>Told why a connection ended, when it was not in good order; on the loop.</summary>
    public event Action<EndPoint?, string>? ConnectionFailed;

    /// <summary>Where it listens.</summary>
    public EndPoint LocalEndPoint => _listener.LocalEndPoint;

    /// <summary>Connections at the moment.</summary>
    public int Connections => _connections.Count;

    internal ReactorLoop Loop { get; }

    internal IVolumeProvider Volumes { get; }

    internal NbdOptions Options { get; }

    /// <summary>Stops listening and closes all connections; what they have under way ends in the background.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _listener.Dispose();
        foreach (NbdConnection connection in _connections.ToArray())
        {
            connection.Close();
        }
    }

    internal void Remove(NbdConnection connection, EndPoint? remote, string? problem)
    {
        _connections.Remove(connection);
        if (problem is not null)
        {
            ConnectionFailed?.Invoke(remote, problem);
        }
    }

    private NbdConnection? Accept()
    {
        if (_disposed || _connections.Count >= Options.MaxConnections)
        {
            return null;
        }

        var connection = new NbdConnection(this);
        _connections.Add(connection);
        return connection;
    }
}
