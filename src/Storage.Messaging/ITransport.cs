using Storage.Cluster;
using Storage.Reactor;

namespace Storage.Messaging;

/// <summary>Carries messages between nodes: TCP in production, memory in the simulator. All members are called on the loop.</summary>
public interface ITransport
{
    /// <summary>Starts to connect; never fails by itself: the outcome goes to the handler.</summary>
    /// <param name="address">Where the peer listens.</param>
    /// <param name="handler">Told what happens, later.</param>
    /// <returns>The connection. Messages sent before it opens wait for it.</returns>
    IConnection Connect(NodeAddress address, IConnectionHandler handler);

    /// <summary>Starts to listen.</summary>
    /// <param name="address">Where; port 0 picks one.</param>
    /// <param name="accept">Called for each peer that said who it is; returns who handles it, or null to refuse it.</param>
    /// <returns>The listener; disposing stops it and leaves the connections.</returns>
    /// <exception cref="IOException">The address cannot be had; the message names it and why.</exception>
    IListener Listen(NodeAddress address, Func<IConnection, IConnectionHandler?> accept);
}

/// <summary>A listening endpoint.</summary>
public interface IListener : IDisposable
{
    /// <summary>Where it listens, with the port that was picked.</summary>
    NodeAddress Address { get; }
}

/// <summary>
/// A connection between two nodes. Messages arrive in order and at most once; when the connection breaks, what was
/// under way is lost and both ends are told. Protocols resend by operation id.
/// </summary>
public interface IConnection
{
    /// <summary>Who is at the other end; known from <see cref="IConnectionHandler.OnOpened"/> on.</summary>
    PeerIdentity Peer { get; }

    /// <summary>The peer's address: where we dialled, or where it dialled from.</summary>
    NodeAddress RemoteAddress { get; }

    /// <summary>Open or still connecting.</summary>
    bool IsAlive { get; }

    /// <summary>Bytes that wait to be sent. A sender that can wait should stop above <see cref="HighWatermark"/>.</summary>
    long QueuedBytes { get; }

    /// <summary>Queued bytes above which a sender should wait for <see cref="IConnectionHandler.OnDrained"/>.</summary>
    long HighWatermark { get; }

    /// <summary>Queues a message; it leaves with everything else that is queued in this pass of the loop. Does nothing on a
    /// dead connection (the handler has been or will be told).</summary>
    /// <param name="type">What it is.</param>
    /// <param name="body">The packed body; copied.</param>
    /// <param name="data">Raw data; a reference is held until sent, so the bytes must not change.</param>
    void Send(MessageType type, ReadOnlySpan<byte> body, BufferSegment data = default);

    /// <summary>Queues a message whose data is in several pieces, sent as one data segment.</summary>
    /// <param name="type">What it is.</param>
    /// <param name="body">The packed body; copied.</param>
    /// <param name="data">The pieces, in order; references are held until sent.</param>
    void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data);

    /// <summary>Stops handing over messages until <see cref="ResumeReceiving"/>; the peer feels it as backpressure.</summary>
    void PauseReceiving();

    /// <summary>Ends <see cref="PauseReceiving"/>.</summary>
    void ResumeReceiving();

    /// <summary>Closes at once; the handler is told with <see cref="CloseReason.Local"/>.</summary>
    void Close();
}

/// <summary>Receives a connection's events, on the loop. An exception thrown by it is fatal to the daemon, except
/// <see cref="Coding.MalformedDataException"/>, which closes the connection.</summary>
public interface IConnectionHandler
{
    /// <summary>The connection is open and the peer has said who it is.</summary>
    /// <param name="connection">The connection.</param>
    void OnOpened(IConnection connection);

    /// <summary>A message arrived.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="message">Valid during the call; retain the data's buffer to keep it.</param>
    void OnMessage(IConnection connection, in Message message);

    /// <summary>The queue fell below half of the high watermark after having been above it.</summary>
    /// <param name="connection">The connection.</param>
    void OnDrained(IConnection connection);

    /// <summary>The connection is gone, or never came about; told exactly once.</summary>
    /// <param name="connection">The connection.</param>
    /// <param name="reason">Why.</param>
    void OnClosed(IConnection connection, CloseReason reason);
}

/// <summary>Why a connection ended.</summary>
public enum CloseReason
{
    /// <summary>This end closed it.</summary>
    Local,

    /// <summary>The peer closed it or its process died.</summary>
    Reset,

    /// <summary>Nobody listens there: the peer's process is dead. Counts as proof at once.</summary>
    Refused,

    /// <summary>The peer could not be reached, or did not answer in time.</summary>
    Unreachable,

    /// <summary>The peer sent what is no frame of ours, or the wrong version, cluster or identity.</summary>
    Protocol,
}

/// <summary>Kind of node.</summary>
public enum EntityKind : byte
{
    /// <summary>A monitor.</summary>
    Monitor = 1,

    /// <summary>An object storage daemon.</summary>
    Osd = 2,

    /// <summary>A client: gateway or command.</summary>
    Client = 3,
}

/// <summary>Who is at the end of a connection.</summary>
/// <param name="Kind">Kind of node.</param>
/// <param name="Id">Number of the monitor or OSD; for clients the id drawn at start, which the blocklist fences.</param>
/// <param name="Instance">Drawn anew at each start of the process, so that a restart is noticed.</param>
public readonly record struct PeerIdentity(EntityKind Kind, ulong Id, ulong Instance)
{
    /// <inheritdoc/>
    public override string ToString() => Kind switch
    {
        EntityKind.Monitor => $"mon.{Id}",
        EntityKind.Osd => $"osd.{Id}",
        _ => $"client.{Id:x}",
    };
}

/// <summary>A message as it arrived.</summary>
public readonly ref struct Message
{
    /// <summary>Creates a message.</summary>
    /// <param name="type">What it is.</param>
    /// <param name="body">The packed body.</param>
    /// <param name="data">The raw data.</param>
    public Message(MessageType type, ReadOnlySpan<byte> body, BufferSegment data)
    {
        Type = type;
        Body = body;
        Data = data;
    }

    /// <summary>What it is.</summary>
    public MessageType Type { get; }

    /// <summary>The packed body; valid during the call that hands it over.</summary>
    public ReadOnlySpan<byte> Body { get; }

    /// <summary>The raw data, at the start of a page-aligned buffer; retain the buffer to keep it.</summary>
    public BufferSegment Data { get; }
}
