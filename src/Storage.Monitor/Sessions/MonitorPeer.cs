using Storage.Cluster;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Monitor.Sessions;

/// <summary>The way to another monitor: a connection that this one dials, and dials again. What it sends goes this way; answers come
/// back on it.</summary>
internal sealed class MonitorPeer : IConnectionHandler
{
    private static readonly TimeSpan s_afterReset = TimeSpan.FromMilliseconds(5);
    private readonly MonitorDaemon _daemon;
    private readonly IEventLoop _loop;
    private readonly ITransport _transport;
    private readonly Random _random;
    private readonly TimeSpan _longestPause;
    private IConnection? _connection;
    private ILoopTimer? _redial;
    private TimeSpan _pause;
    private bool _stopped;

    public MonitorPeer(MonitorDaemon daemon, MonitorInfo info, IEventLoop loop, ITransport transport, Random random, TimeSpan longestPause)
    {
        _daemon = daemon;
        Info = info;
        _loop = loop;
        _transport = transport;
        _random = random;
        _longestPause = longestPause;
        _pause = longestPause / 20;
    }

    public MonitorInfo Info { get; }

    public bool IsOpen { get; private set; }

    public void Start() => Dial();

    public void Stop()
    {
        _stopped = true;
        _redial?.Cancel();
        _connection?.Close();
    }

    /// <summary>Sends if the connection is open; Raft and the protocols above it repeat what is lost.</summary>
    public bool TrySend(MessageType type, ReadOnlySpan<byte> body)
    {
        if (!IsOpen || _connection is null)
        {
            return false;
        }

        _connection.Send(type, body);
        return true;
    }

    public void OnOpened(IConnection connection)
    {
        if (connection.Peer.Kind != EntityKind.Monitor || connection.Peer.Id != Info.Id)
        {
            connection.Close(); // somebody else has this address now
            return;
        }

        IsOpen = true;
        _pause = _longestPause / 20;
        _daemon.OnPeerOpened(this);
    }

    public void OnMessage(IConnection connection, in Message message) => _daemon.OnPeerReply(this, message.Type, message.Body);

    public void OnDrained(IConnection connection)
    {
    }

    public void OnClosed(IConnection connection, CloseReason reason)
    {
        _connection = null;
        bool wasOpen = IsOpen;
        IsOpen = false;
        if (_stopped)
        {
            return;
        }

        if (wasOpen)
        {
            _daemon.OnPeerClosed(this);
        }
        else if (reason == CloseReason.Refused)
        {
            _daemon.OnPeerRefused(this);
        }

        // A reset may mean that the process died: then the next attempt is refused, which proves it.
        TimeSpan pause = wasOpen && reason == CloseReason.Reset ? s_afterReset : _pause * (0.5 + _random.NextDouble());
        _pause = _pause * 2 < _longestPause ? _pause * 2 : _longestPause;
        _redial = _loop.Schedule(pause, static self => ((MonitorPeer)self!).Dial(), this);
    }

    private void Dial()
    {
        if (!_stopped)
        {
            _connection = _transport.Connect(Info.Address, this);
        }
    }
}
