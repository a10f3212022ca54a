namespace Storage.Reactor.Sockets;

/// <summary>What a <see cref="StreamSocket"/> tells its owner; every call comes on the loop.</summary>
public interface IStreamHandler
{
    /// <summary>The connection stands. First call for a connection, unless it fails.</summary>
    /// <param name="socket">The socket.</param>
    void OnConnected(StreamSocket socket);

    /// <summary>
    /// Bytes have arrived. What is not consumed is shown again, together with what follows, once more bytes have arrived. After
    /// <see cref="StreamSocket.ReceiveInto"/> the bytes behind the consumed ones go to that buffer.
    /// </summary>
    /// <param name="socket">The socket.</param>
    /// <param name="data">What is there, at least one byte; valid during the call, or as long as its buffer is retained.</param>
    /// <returns>Bytes consumed, 0 to all.</returns>
    int OnReceived(StreamSocket socket, BufferSegment data);

    /// <summary>The range given to <see cref="StreamSocket.ReceiveInto"/> is full. The socket lets go of its reference after the call.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="payload">The range.</param>
    void OnPayload(StreamSocket socket, BufferSegment payload);

    /// <summary>After <see cref="StreamSocket.IsCongested"/> was true: the queue has drained to half the mark, sending may go on.</summary>
    /// <param name="socket">The socket.</param>
    void OnWritable(StreamSocket socket);

    /// <summary>The connection has ended and the kernel uses no buffer of it any more. Last call, exactly one.</summary>
    /// <param name="socket">The socket.</param>
    /// <param name="error">None if the peer closed in order; ECANCELED if this side closed; else what broke it.</param>
    void OnClosed(StreamSocket socket, IoError error);
}

/// <summary>Settings of a <see cref="StreamSocket"/>.</summary>
public sealed record StreamOptions
{
    /// <summary>The defaults.</summary>
    public static StreamOptions Default { get; } = new();

    /// <summary>Receive buffer in bytes; the longest piece a handler may leave unconsumed. Default 64 KiB.</summary>
    public int ReceiveBufferSize { get; init; } = 64 << 10;

    /// <summary>Buffer for small pieces that are copied on their way out, in bytes. Default 32 KiB.</summary>
    public int StagingBufferSize { get; init; } = 32 << 10;

    /// <summary>Bytes queued for sending from which on the socket is congested. Default 4 MiB.</summary>
    public int HighWatermark { get; init; } = 4 << 20;

    /// <summary>How long a connection attempt may take. Default 10 s.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long sent bytes may stay unacknowledged before the connection breaks with ETIMEDOUT (TCP_USER_TIMEOUT); also
    /// bounds keepalive on idle connections. Default 15 s; zero leaves it to the kernel.</summary>
    public TimeSpan UserTimeout { get; init; } = TimeSpan.FromSeconds(15);

    /// <summary>Where receive and staging buffers come from.</summary>
    public BufferPool Pool { get; init; } = BufferPool.Shared;
}
