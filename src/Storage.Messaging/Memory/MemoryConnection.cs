using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.Messaging.Memory;

/// <summary>One end of a connection on a <see cref="MemoryNetwork"/>.</summary>
internal sealed class MemoryConnection : IConnection
{
    private static readonly TimeSpan s_connectRetry = TimeSpan.FromSeconds(1);

    private readonly MemoryNetwork _network;
    private readonly MemoryTransport _transport;
    private readonly bool _dialled;
    private readonly Queue<Packet> _outgoing = new(); // sent and not yet at the other end, oldest first
    private readonly Queue<Packet> _arrived = new(); // held back while paused
    private IConnectionHandler? _handler;
    private MemoryConnection? _peer;
    private TimeSpan _lastArrival;
    private TimeSpan _dialledAt;
    private ILoopTimer? _breakTimer;
    private State _state;
    private bool _paused;
    private bool _aboveWatermark;
    private long _queuedBytes;

    public MemoryConnection(MemoryTransport transport, NodeAddress remote, IConnectionHandler? handler, bool dialled = true)
    {
        _transport = transport;
        _network = transport.Network;
        RemoteAddress = remote;
        _handler = handler;
        _dialled = dialled;
    }

    private enum State
    {
        Connecting,
        Open,
        Ended,
    }

    public PeerIdentity Peer { get; private set; }

    public NodeAddress RemoteAddress { get; }

    public bool IsAlive => _state != State.Ended && !_transport.IsDead;

    public long QueuedBytes => _queuedBytes;

    public long HighWatermark => _network.Options.HighWatermark;

    public void Dial()
    {
        _dialledAt = _network.Loop.Now;
        After(_network.DrawLatency(), static c => c.Arrive());
    }

    public void Send(MessageType type, ReadOnlySpan<byte> body, BufferSegment data = default) =>
        Send(type, body, data.IsEmpty ? default : new ReadOnlySpan<BufferSegment>(in data));

    public void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        if (!IsAlive)
        {
            return;
        }

        int length = 0;
        foreach (BufferSegment segment in data)
        {
            length = checked(length + segment.Length);
        }

        Invariant.Holds(body.Length <= Tcp.FrameHeader.BodyLimit((ushort)type));
        Invariant.Holds(length <= Tcp.FrameHeader.LongestData);
        BufferSegment copy = default;
        if (length > 0)
        {
            PageBuffer buffer = _network.Options.Pool.Rent(length);
            int offset = 0;
            foreach (BufferSegment segment in data)
            {
                segment.Span.CopyTo(buffer.Span[offset..]);
                offset += segment.Length;
            }

            copy = buffer.Slice(0, length);
        }

        var packet = new Packet(type, body.ToArray(), copy);
        _queuedBytes += packet.Length;
        _aboveWatermark |= _queuedBytes > HighWatermark;
        _outgoing.Enqueue(packet);
        if (_state == State.Open)
        {
            Launch(packet);
        }
    }

    public void PauseReceiving() => _paused = true;

    public void ResumeReceiving()
    {
        if (_paused)
        {
            _paused = false;
            _network.Loop.Post(static c => ((MemoryConnection)c!).HandOver(), this);
        }
    }

    public void Close()
    {
        if (IsAlive)
        {
            MemoryConnection? peer = _peer;
            _network.Loop.Post(static c => ((MemoryConnection)c!).Tell(), this);
            Finish(CloseReason.Local, tell: false);
            peer?.BreakAfterArrivals(_network.DrawLatency());
        }
    }

    public bool Joins(string from, string to)
    {
        string here = _transport.Host;
        string there = RemoteAddress.Host;
        return (here == from && there == to) || (here == to && there == from);
    }

    /// <summary>The way is blocked now, one direction or both: without acknowledgements either end gives up in time.</summary>
    public void OnBlocked()
    {
        ArmBreak();
        _peer?.ArmBreak();
    }

    public void OnUnblocked()
    {
        foreach (MemoryConnection? end in new[] { this, _peer })
        {
            if (end is null)
            {
                continue;
            }

            if (!end.IsCutOff)
            {
                end._breakTimer?.Cancel();
                end._breakTimer = null;
            }

            end.DeliverDue();
            if (end.IsAlive && end._peer is { _state: State.Ended, _transport.MachineIsDead: false })
            {
                end.BreakAfterArrivals(_network.DrawLatency()); // the answer to its first packet is a reset
            }
        }
    }

    public void OnCrash(MemoryTransport transport, bool machine)
    {
        MemoryConnection? dead = _transport == transport ? this : _peer?._transport == transport ? _peer : null;
        if (dead is null)
        {
            return;
        }

        MemoryConnection? survivor = dead._peer;
        if (machine || _network.DrawCoin())
        {
            dead.DropOutgoing(); // what the kernel had not sent yet, or the reset overtook
        }

        dead.Finish(CloseReason.Local, tell: false);
        if (survivor is null)
        {
            return;
        }

        if (machine)
        {
            survivor.ArmBreak();
        }
        else
        {
            survivor.BreakAfterArrivals(_network.DrawLatency());
        }
    }

    private bool IsCutOff =>
        _network.IsBlocked(_transport.Host, RemoteAddress.Host)
        || _network.IsBlocked(RemoteAddress.Host, _transport.Host)
        || _peer is { _transport.MachineIsDead: true };

    private CloseReason? _toTell;

    private void Tell()
    {
        if (_toTell is { } reason && !_transport.IsDead)
        {
            _toTell = null;
            _handler?.OnClosed(this, reason);
        }
    }

    // Connecting: the first packet reaches the other machine, the answer comes back after another latency.

    private void Arrive()
    {
        if (!IsAlive)
        {
            return;
        }

        MemoryListener? listener = _network.Find(RemoteAddress);
        bool silent = _network.IsBlocked(_transport.Host, RemoteAddress.Host)
            || _network.IsBlocked(RemoteAddress.Host, _transport.Host)
            || listener is { Transport.MachineIsDead: true };
        if (silent)
        {
            if (_network.Loop.Now - _dialledAt >= _network.Options.ConnectTimeout)
            {
                Finish(CloseReason.Unreachable, tell: true);
            }
            else
            {
                TimeSpan left = _dialledAt + _network.Options.ConnectTimeout - _network.Loop.Now;
                After(left < s_connectRetry ? left : s_connectRetry, static c => c.Arrive());
            }

            return;
        }

        if (listener is null)
        {
            After(_network.DrawLatency(), static c => c.FinishIfAlive(CloseReason.Refused));
            return;
        }

        Guid theirs = listener.Transport.Fsid;
        if (theirs != Guid.Empty && _transport.Fsid != Guid.Empty && theirs != _transport.Fsid)
        {
            After(_network.DrawLatency(), static c => c.FinishIfAlive(CloseReason.Protocol));
            return;
        }

        var accepted = new MemoryConnection(listener.Transport, _transport.NextLocalAddress(), null, dialled: false)
        {
            _peer = this,
            _state = State.Open,
            Peer = _transport.Self,
        };
        IConnectionHandler? handler = listener.Accept(accepted);
        if (handler is null || !IsAlive)
        {
            accepted._state = State.Ended;
            accepted._peer = null;
            After(_network.DrawLatency(), static c => c.FinishIfAlive(CloseReason.Reset));
            return;
        }

        accepted._handler = handler;
        _peer = accepted;
        TimeSpan latency = _network.DrawLatency();
        accepted._lastArrival = _network.Loop.Now + latency; // nothing of the acceptor's overtakes the answer
        After(latency, static c => c.Open());
        if (accepted.IsAlive)
        {
            handler.OnOpened(accepted);
        }
    }

    private void Open()
    {
        if (!IsAlive || _peer is null)
        {
            return;
        }

        _state = State.Open;
        Peer = _peer._transport.Self;
        foreach (Packet packet in _outgoing)
        {
            Launch(packet);
        }

        if (IsCutOff)
        {
            ArmBreak();
            _peer.ArmBreak();
        }

        _handler!.OnOpened(this);
        HandOver();
    }

    // Messages on their way.

    private void Launch(Packet packet)
    {
        if (_network.DrawBreak())
        {
            After(_network.DrawLatency(), static c => c.Break());
        }

        TimeSpan arrival = _network.Loop.Now + _network.DrawLatency() + _network.SlownessOf(_transport.Host, RemoteAddress.Host);
        _lastArrival = arrival > _lastArrival ? arrival : _lastArrival;
        packet.Arrival = _lastArrival;
        _network.Loop.Schedule(_lastArrival - _network.Loop.Now, static c => ((MemoryConnection)c!).DeliverDue(), this);
    }

    /// <summary>Moves to the other end what has had its time, unless the way is blocked.</summary>
    private void DeliverDue()
    {
        MemoryConnection? peer = _peer;
        if (peer is null || _network.IsBlocked(_transport.Host, RemoteAddress.Host))
        {
            return;
        }

        while (_outgoing.TryPeek(out Packet? packet) && packet.Arrival is { } arrival && arrival <= _network.Loop.Now)
        {
            _outgoing.Dequeue();
            if (peer._state == State.Ended || peer._transport.IsDead)
            {
                packet.Release();
                continue;
            }

            peer._arrived.Enqueue(packet);
        }

        peer.HandOver();
    }

    private void HandOver()
    {
        while (!_paused && _state == State.Open && !_transport.IsDead && _arrived.TryDequeue(out Packet? packet))
        {
            _network.Delivered++;
            _peer?.OnTaken(packet.Length);
            try
            {
                _handler!.OnMessage(this, new Message(packet.Type, packet.Body, packet.Data));
            }
            catch (MalformedDataException)
            {
                MemoryConnection? peer = _peer;
                Finish(CloseReason.Protocol, tell: true);
                peer?.BreakAfterArrivals(_network.DrawLatency());
            }
            finally
            {
                packet.Release();
            }
        }
    }

    private void OnTaken(long bytes)
    {
        _queuedBytes -= bytes;
        if (_aboveWatermark && _queuedBytes <= HighWatermark / 2 && _state == State.Open)
        {
            _aboveWatermark = false;
            _network.Loop.Post(
                static s =>
                {
                    var connection = (MemoryConnection)s!;
                    if (connection.IsAlive)
                    {
                        connection._handler!.OnDrained(connection);
                    }
                },
                this);
        }
    }

    // The end.

    /// <summary>The connection breaks in the network: both ends learn it, what is under way is lost.</summary>
    public void Break()
    {
        MemoryConnection? peer = _peer;
        DropOutgoing();
        peer?.DropOutgoing();
        FinishIfAlive(CloseReason.Reset);
        peer?.After(_network.DrawLatency(), static c => c.FinishIfAlive(CloseReason.Reset));
    }

    /// <summary>The other end is gone; its reset comes behind what it had sent, if it gets through at all.</summary>
    private void BreakAfterArrivals(TimeSpan latency)
    {
        if (_network.IsBlocked(RemoteAddress.Host, _transport.Host))
        {
            ArmBreak();
            return;
        }

        After(latency + TimeSpan.FromTicks(Math.Max(0, (LastPeerArrival - _network.Loop.Now).Ticks)), static c =>
        {
            if (c._network.IsBlocked(c.RemoteAddress.Host, c._transport.Host))
            {
                c.ArmBreak();
            }
            else
            {
                c.FinishIfAlive(CloseReason.Reset);
            }
        });
    }

    private TimeSpan LastPeerArrival => _peer?._lastArrival ?? TimeSpan.Zero;

    private void ArmBreak()
    {
        if (IsAlive && _breakTimer is null)
        {
            _breakTimer = _network.Loop.Schedule(
                _network.Options.BreakAfter + _network.DrawLatency(),
                static s =>
                {
                    var connection = (MemoryConnection)s!;
                    connection._breakTimer = null;
                    connection.FinishIfAlive(CloseReason.Unreachable);
                },
                this);
        }
    }

    private void FinishIfAlive(CloseReason reason)
    {
        if (IsAlive)
        {
            Finish(reason, tell: true);
        }
    }

    private void Finish(CloseReason reason, bool tell)
    {
        if (_state == State.Ended)
        {
            return;
        }

        _state = State.Ended;
        _breakTimer?.Cancel();
        _breakTimer = null;
        if (_peer is null || reason != CloseReason.Local)
        {
            DropOutgoing();
        }

        while (_arrived.TryDequeue(out Packet? packet))
        {
            packet.Release();
        }

        // The pair leaves the network's list when both ends are done.
        MemoryConnection dialer = _dialled ? this : _peer!;
        if (_peer is null || _peer._state == State.Ended)
        {
            _network.Remove(dialer);
            DropOutgoing();
            _peer?.DropOutgoing();
        }

        _toTell = reason;
        if (tell)
        {
            Tell();
        }
    }

    private void DropOutgoing()
    {
        while (_outgoing.TryDequeue(out Packet? packet))
        {
            packet.Release();
        }
    }

    private void After(TimeSpan delay, Action<MemoryConnection> action) =>
        _network.Loop.Schedule(delay, static s =>
        {
            var (connection, then) = ((MemoryConnection, Action<MemoryConnection>))s!;
            then(connection);
        }, (this, action));

    private sealed class Packet(MessageType type, byte[] body, BufferSegment data)
    {
        public MessageType Type => type;

        public byte[] Body => body;

        public BufferSegment Data => data;

        public long Length => body.Length + data.Length;

        /// <summary>When it reaches the other end; null until the connection is open.</summary>
        public TimeSpan? Arrival { get; set; }

        public void Release() => data.Buffer?.Release();
    }
}
