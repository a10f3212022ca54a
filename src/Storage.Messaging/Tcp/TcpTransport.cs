using System.Net;
using System.Net.Sockets;
using Storage.Cluster;
using Storage.Reactor;
using Storage.Reactor.Sockets;

namespace Storage.Messaging.Tcp;

/// <summary>Settings of a <see cref="TcpTransport"/>.</summary>
public sealed record TcpTransportOptions
{
    private static readonly bool s_unixSockets = Environment.GetEnvironmentVariable("STORAGE_UNIX_SOCKETS") != "0";

    /// <summary>Settings of the sockets; <see cref="StreamOptions.HighWatermark"/> is the connections' watermark.</summary>
    public StreamOptions Socket { get; init; } = StreamOptions.Default;

    /// <summary>How long the peer has to say who it is. Default 10 s.</summary>
    public TimeSpan HelloTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Bytes queued on one connection at which it is given up, whoever ignored the watermark. Default 256 MiB.</summary>
    public long MaxQueuedBytes { get; init; } = 256L << 20;

    /// <summary>Messages to and from loopback addresses go over Unix sockets where both sides do so, which takes less CPU than TCP. The other side is then a
    /// process of the same user or of root. Default: true, unless the environment variable <c>STORAGE_UNIX_SOCKETS</c> is 0.</summary>
    public bool UnixSockets { get; init; } = s_unixSockets;

    /// <summary>Cuts this process off from peers, in tests of failures; null, the default, where that is not allowed.</summary>
    public MessageFilter? Filter { get; init; }
}

/// <summary>Messages over TCP, or Unix sockets within a machine, on one loop. See <see cref="FrameHeader"/> for the format.</summary>
public sealed class TcpTransport : ITransport
{
    /// <summary>Creates a transport.</summary>
    /// <param name="loop">The loop everything happens on.</param>
    /// <param name="self">Who this process is.</param>
    /// <param name="fsid">The cluster it belongs to; empty if it does not know yet. Peers of another cluster are refused.</param>
    /// <param name="options">Settings.</param>
    public TcpTransport(ReactorLoop loop, PeerIdentity self, Guid fsid, TcpTransportOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(loop);
        Loop = loop;
        Self = self;
        Fsid = fsid;
        Options = options ?? new TcpTransportOptions();
    }

    /// <summary>Something to log: a connection closed because of what the peer sent, or accepting failed.</summary>
    public event Action<string>? Warning;

    /// <summary>The loop everything happens on.</summary>
    public ReactorLoop Loop { get; }

    /// <summary>Who this process is.</summary>
    public PeerIdentity Self { get; }

    /// <summary>The cluster it belongs to; may be set once it is known, for connections made later.</summary>
    public Guid Fsid { get; set; }

    internal TcpTransportOptions Options { get; }

    /// <inheritdoc/>
    public IConnection Connect(NodeAddress address, IConnectionHandler handler)
    {
        ArgumentNullException.ThrowIfNull(handler);
        var connection = new TcpConnection(this, address, handler);
        if (TryParse(address) is { } endPoint)
        {
            connection.Dial(endPoint);
        }
        else
        {
            Resolve(address, connection);
        }

        return connection;
    }

    /// <inheritdoc/>
    public IListener Listen(NodeAddress address, Func<IConnection, IConnectionHandler?> accept)
    {
        ArgumentNullException.ThrowIfNull(accept);
        IPEndPoint? endPoint = TryParse(address);
        if (endPoint is null)
        {
            try
            {
                endPoint = new IPEndPoint(Dns.GetHostAddresses(address.Host)[0], address.Port);
            }
            catch (SocketException e)
            {
                throw new IOException($"cannot listen on {address}: {e.Message}", e);
            }
        }

        var listener = new StreamListener(Loop, endPoint, _ => new TcpConnection(this, accept), Options.Socket);
        listener.AcceptFailed += error => Warn($"accepting on {address} failed: {error}");
        var bound = (IPEndPoint)listener.LocalEndPoint;
        return new Listener(listener, ListenLocally(bound, accept), address with { Port = bound.Port });
    }

    /// <summary>
    /// The name under which a process that listens on a loopback address is found without TCP. It is in the abstract namespace (unix(7)): no file, gone
    /// with the process, and of this network namespace only.
    /// </summary>
    /// <param name="endPoint">Where it listens.</param>
    /// <returns>Null where messages go over TCP.</returns>
    internal UnixDomainSocketEndPoint? LocalName(IPEndPoint endPoint) =>
        Options.UnixSockets && IPAddress.IsLoopback(endPoint.Address) ? new UnixDomainSocketEndPoint($"\0storage/{endPoint}") : null;

    internal void Warn(string message) => Warning?.Invoke(message);

    private StreamListener? ListenLocally(IPEndPoint endPoint, Func<IConnection, IConnectionHandler?> accept)
    {
        if (LocalName(endPoint) is not { } name)
        {
            return null;
        }

        try
        {
            return new StreamListener(Loop, name, _ => new TcpConnection(this, accept), Options.Socket);
        }
        catch (IoException e)
        {
            // Somebody else has the name, which anybody may take. Whoever finds him there and does not trust him comes by TCP.
            Warn($"cannot listen on the Unix socket of {endPoint}, so that all connections come over TCP: {e.Message}");
            return null;
        }
    }

    private static IPEndPoint? TryParse(NodeAddress address)
    {
        if (IPAddress.TryParse(address.Host, out IPAddress? ip))
        {
            return new IPEndPoint(ip, address.Port);
        }

        return address.Host switch
        {
            "localhost" => new IPEndPoint(IPAddress.Loopback, address.Port),
            "*" or "" or null => new IPEndPoint(IPAddress.Any, address.Port),
            _ => null,
        };
    }

    /// <summary>Looks a name up off the loop; the outcome comes back as posted work.</summary>
    private void Resolve(NodeAddress address, TcpConnection connection) =>
        Dns.GetHostAddressesAsync(address.Host).ContinueWith(
            lookup => Loop.Post(
                _ =>
                {
                    if (lookup.IsCompletedSuccessfully && lookup.Result.Length > 0)
                    {
                        connection.Dial(new IPEndPoint(lookup.Result[0], address.Port));
                    }
                    else
                    {
                        Warn($"cannot resolve {address.Host}: {lookup.Exception?.GetBaseException().Message ?? "no address"}");
                        connection.Abandon(CloseReason.Unreachable);
                    }
                },
                null),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);

    private sealed class Listener(StreamListener listener, StreamListener? local, NodeAddress address) : IListener
    {
        public NodeAddress Address => address;

        public void Dispose()
        {
            listener.Dispose();
            local?.Dispose();
        }
    }
}
