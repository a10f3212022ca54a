using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Reactor;
using Storage.Simulation.Checking;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>A process's network: traced, silent once the process is dead, deaf while it is paused.</summary>
internal sealed class NodeTransport(NodeLoop loop, MemoryTransport inner) : ITransport
{
    public NodeLoop Loop => loop;

    public MemoryTransport Inner => inner;

    /// <summary>Sees all messages; null for none.</summary>
    public IMessageWatch? Watch { get; init; }

    public IConnection Connect(NodeAddress address, IConnectionHandler handler)
    {
        var connection = new NodeConnection(this, handler);
        connection.Attach(inner.Connect(address, connection));
        return connection;
    }

    public IListener Listen(NodeAddress address, Func<IConnection, IConnectionHandler?> accept) =>
        inner.Listen(address, accepted =>
        {
            if (!loop.IsAlive)
            {
                return null;
            }

            var connection = new NodeConnection(this, null);
            connection.Attach(accepted);
            IConnectionHandler? handler = accept(connection);
            connection.Handler = handler;
            return handler is null ? null : connection;
        });
}

/// <summary>One end of a connection, as its process sees it.</summary>
internal sealed class NodeConnection : IConnection, IConnectionHandler
{
    private readonly NodeTransport _transport;
    private readonly NodeLoop _loop;
    private IConnection? _inner;
    private bool _wantsPause;
    private string? _peerName;

    public NodeConnection(NodeTransport transport, IConnectionHandler? handler)
    {
        _transport = transport;
        _loop = transport.Loop;
        Handler = handler;
        _loop.Paused += OnPaused;
    }

    public IConnectionHandler? Handler { get; set; }

    public PeerIdentity Peer => _inner!.Peer;

    public NodeAddress RemoteAddress => _inner!.RemoteAddress;

    public bool IsAlive => _loop.IsAlive && _inner!.IsAlive;

    public long QueuedBytes => _inner!.QueuedBytes;

    public long HighWatermark => _inner!.HighWatermark;

    public void Attach(IConnection inner)
    {
        _inner = inner;
        if (_loop.IsPaused)
        {
            inner.PauseReceiving();
        }
    }

    public void Send(MessageType type, ReadOnlySpan<byte> body, BufferSegment data = default)
    {
        if (_loop.TryAct())
        {
            _transport.Watch?.OnSending(Peer, type, body);
            _loop.Lookout?.OnSent(Peer, type);
            _inner!.Send(type, body, data);
        }
    }

    public void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        if (_loop.TryAct())
        {
            _transport.Watch?.OnSending(Peer, type, body);
            _loop.Lookout?.OnSent(Peer, type);
            _inner!.Send(type, body, data);
        }
    }

    public void PauseReceiving()
    {
        _wantsPause = true;
        _inner!.PauseReceiving();
    }

    public void ResumeReceiving()
    {
        _wantsPause = false;
        if (!_loop.IsPaused)
        {
            _inner!.ResumeReceiving();
        }
    }

    public void Close()
    {
        if (_loop.IsAlive)
        {
            _inner!.Close();
        }
    }

    void IConnectionHandler.OnOpened(IConnection connection)
    {
        _loop.Trace.Tick(TraceKind.Opened, _loop.Name, _loop.TrueNow);
        _loop.Run(static s => ((NodeConnection)s!).TellOpened(), this);
    }

    void IConnectionHandler.OnMessage(IConnection connection, in Message message)
    {
        if (!_loop.IsAlive)
        {
            return;
        }

        // Receiving stands still while the process is paused, so there is nothing to hold back here.
        Invariant.Holds(!_loop.IsPaused);
        uint hash = Crc32C.Compute(message.Body) ^ (message.Data.IsEmpty ? 0 : Crc32C.Compute(message.Data.Span));
        _loop.Trace.Deliver(_loop.Name, _peerName ??= Peer.ToString(), _loop.TrueNow, message.Type, hash, message.Body.Length, message.Data.Length);
        _transport.Watch?.OnReceiving(Peer, in message);
        _loop.Enter();
        try
        {
            Handler!.OnMessage(this, in message);
        }
        finally
        {
            _loop.Leave();
        }

        _transport.Watch?.OnReceived(Peer, message.Type);
        _loop.Lookout?.OnReceived(Peer, message.Type);
    }

    void IConnectionHandler.OnDrained(IConnection connection) => _loop.Run(
        static s =>
        {
            var self = (NodeConnection)s!;
            self.Handler!.OnDrained(self);
        },
        this);

    void IConnectionHandler.OnClosed(IConnection connection, CloseReason reason)
    {
        _loop.Paused -= OnPaused;
        if (_loop.IsAlive)
        {
            _loop.Trace.Add(TraceKind.Closed, _loop.Name, _loop.TrueNow, $"{connection.RemoteAddress} {reason}");
        }

        _loop.Run(_ => Handler!.OnClosed(this, reason), null);
    }

    private void TellOpened() => Handler!.OnOpened(this);

    private void OnPaused(bool paused)
    {
        if (paused)
        {
            _inner!.PauseReceiving();
        }
        else if (!_wantsPause)
        {
            _inner!.ResumeReceiving();
        }
    }
}
