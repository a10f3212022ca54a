using System.Net;
using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;
using Storage.Reactor.Sockets;

namespace Storage.Messaging.Tcp;

/// <summary>One end of a TCP connection between nodes: greets, frames, checks. Receiving is in the other part.</summary>
internal sealed partial class TcpConnection : IConnection, IStreamHandler
{
    private readonly TcpTransport _transport;
    private readonly Func<IConnection, IConnectionHandler?>? _accept;
    private IConnectionHandler? _handler;
    private StreamSocket? _socket;
    private List<Waiting>? _waiting; // sent while the name is being looked up
    private long _waitingBytes;
    private ILoopTimer? _helloTimer;
    private ulong _sent;
    private bool _open;
    private bool _ended;
    private bool _paused;
    private CloseReason? _reason;

    public TcpConnection(TcpTransport transport, NodeAddress address, IConnectionHandler handler)
    {
        _transport = transport;
        RemoteAddress = address;
        _handler = handler;
        JoinFilter();
    }

    public TcpConnection(TcpTransport transport, Func<IConnection, IConnectionHandler?> accept)
    {
        _transport = transport;
        _accept = accept;
        JoinFilter();
    }

    public PeerIdentity Peer { get; private set; }

    public NodeAddress RemoteAddress { get; private set; }

    public bool IsAlive => !_ended && _reason is null;

    public long QueuedBytes => _waitingBytes + (_socket?.QueuedBytes ?? 0);

    public long HighWatermark => _transport.Options.Socket.HighWatermark;

    public void Dial(IPEndPoint endPoint)
    {
        if (!IsAlive)
        {
            Abandon(CloseReason.Local);
            return;
        }

        try
        {
            _socket = (_transport.LocalName(endPoint) is { } local ? StreamSocket.TryConnect(_transport.Loop, local, this, _transport.Options.Socket) : null)
                ?? StreamSocket.Connect(_transport.Loop, endPoint, this, _transport.Options.Socket);
        }
        catch (IoException e)
        {
            _transport.Warn($"cannot connect to {RemoteAddress}: {e.Message}");
            _transport.Loop.Post(static c => ((TcpConnection)c!).Abandon(CloseReason.Unreachable), this);
            return;
        }

        if (InboundHeld)
        {
            _socket.PauseReceiving();
        }

        GreetUnlessHeld();
        if (_paused)
        {
            _paused = false; // the greeting has to get through; paused again once it has
            _pauseWhenOpen = true;
        }

        if (!OutboundHeld)
        {
            SendWaiting();
        }
    }

    /// <summary>Ends a connection that never got a socket.</summary>
    public void Abandon(CloseReason reason)
    {
        _reason ??= reason;
        End();
    }

    public void Send(MessageType type, ReadOnlySpan<byte> body, BufferSegment data = default) =>
        Send(type, body, data.IsEmpty ? default : new ReadOnlySpan<BufferSegment>(in data));

    public void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        if (!IsAlive)
        {
            return;
        }

        if (_socket is null || OutboundHeld)
        {
            var waiting = new Waiting(type, body.ToArray(), data.ToArray());
            (_waiting ??= []).Add(waiting);
            _waitingBytes += waiting.Length;
            CloseIfOverfull();
            return;
        }

        Invariant.Holds((ushort)type >= 0x100);
        Frame((ushort)type, body, data);
        CloseIfOverfull();
    }

    public void PauseReceiving()
    {
        _paused = true;
        if (_open)
        {
            _socket!.PauseReceiving();
        }
        else
        {
            _pauseWhenOpen = true;
        }
    }

    public void ResumeReceiving()
    {
        _paused = false;
        _pauseWhenOpen = false;
        if (!InboundHeld)
        {
            _socket?.ResumeReceiving();
        }
    }

    public void Close() => CloseWith(CloseReason.Local);

    public void OnConnected(StreamSocket socket)
    {
        _socket = socket;
        if (InboundHeld)
        {
            socket.PauseReceiving();
        }

        if (_accept is not null)
        {
            var remote = socket.RemoteEndPoint as IPEndPoint;
            RemoteAddress = remote is null ? default : new NodeAddress(remote.Address.ToString(), remote.Port);
        }

        _helloTimer = _transport.Loop.Schedule(_transport.Options.HelloTimeout, static c => ((TcpConnection)c!).OnHelloTimeout(), this);
    }

    public void OnWritable(StreamSocket socket)
    {
        if (!_open)
        {
            // What was sent while dialling left before the peer's greeting came; the sender waits for this, so it is told after it.
            _drainedBeforeOpen = true;
        }
        else if (IsAlive)
        {
            _handler!.OnDrained(this);
        }
    }

    public void OnClosed(StreamSocket socket, IoError error)
    {
        _reason ??= error.Errno switch
        {
            0 or IoError.ConnectionReset or IoError.BrokenPipe or IoError.ConnectionAborted => CloseReason.Reset,
            IoError.ConnectionRefused => CloseReason.Refused,
            IoError.Canceled => CloseReason.Local,
            _ => CloseReason.Unreachable,
        };
        End();
    }

    private bool _pauseWhenOpen;
    private bool _drainedBeforeOpen;

    private void End()
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        _helloTimer?.Cancel();
        _cutTimer?.Cancel();
        _transport.Options.Filter?.Remove(this);
        DropWaiting();
        ReleaseReceiver();
        _handler?.OnClosed(this, _reason!.Value);
    }

    private void JoinFilter()
    {
        if (_transport.Options.Filter is { } filter)
        {
            filter.Add(this);
            ApplyFilter();
        }
    }

    private void CloseIfOverfull()
    {
        if (QueuedBytes > _transport.Options.MaxQueuedBytes)
        {
            _transport.Warn($"closing the connection to {Peer} at {RemoteAddress}: {QueuedBytes} bytes wait and it takes none");
            CloseWith(CloseReason.Unreachable);
        }
    }

    private void CloseWith(CloseReason reason)
    {
        if (!IsAlive)
        {
            return;
        }

        _reason = reason;
        if (_socket is null)
        {
            _transport.Loop.Post(static c => ((TcpConnection)c!).Abandon(CloseReason.Local), this);
        }
        else
        {
            _socket.Close();
        }
    }

    private void Reject(string why)
    {
        if (IsAlive)
        {
            _transport.Warn($"closing the connection to {(Peer.Kind == 0 ? "a stranger" : Peer.ToString())} at {RemoteAddress}: {why}");
            CloseWith(CloseReason.Protocol);
        }
    }

    private void OnHelloTimeout()
    {
        if (IsAlive && !_open)
        {
            _transport.Warn($"{RemoteAddress} did not say who it is within {_transport.Options.HelloTimeout}");
            CloseWith(CloseReason.Unreachable);
        }
    }

    private void SendHello()
    {
        var writer = new WireWriter(64);
        new Hello(_transport.Self, _transport.Fsid).Encode(writer);
        Frame(FrameHeader.HelloType, writer.WrittenSpan, default);
    }

    private void OnHello(ReadOnlySpan<byte> body)
    {
        Hello hello = Hello.Decode(body);
        Peer = hello.Identity;
        if (_transport.Options.Filter is not null)
        {
            ApplyFilter();
            if (InboundHeld)
            {
                _heldHello = body.ToArray();
                return;
            }
        }

        bool strange = hello.Fsid != Guid.Empty && _transport.Fsid != Guid.Empty && hello.Fsid != _transport.Fsid;
        if (_accept is not null)
        {
            GreetUnlessHeld(); // also to a stranger: it then knows why it is turned away
        }

        if (strange)
        {
            _transport.Warn($"refusing {Peer} at {RemoteAddress}: it belongs to cluster {hello.Fsid}, this is {_transport.Fsid}");
            _reason = CloseReason.Protocol;
            _socket!.CloseWhenFlushed();
            return;
        }

        if (_accept is not null)
        {
            _handler = _accept(this);
            if (_handler is null)
            {
                CloseWith(CloseReason.Local);
                return;
            }
        }

        _helloTimer?.Cancel();
        _open = true;
        if (_pauseWhenOpen)
        {
            _paused = true;
            _socket!.PauseReceiving();
        }

        _handler!.OnOpened(this);
        if (_drainedBeforeOpen && IsAlive)
        {
            _drainedBeforeOpen = false;
            _handler.OnDrained(this);
        }
    }

    private void Frame(ushort type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        int dataLength = 0;
        uint dataChecksum = 0;
        foreach (BufferSegment segment in data)
        {
            dataLength = checked(dataLength + segment.Length);
            dataChecksum = segment.Checksum(dataChecksum);
        }

        Invariant.Holds(body.Length <= FrameHeader.BodyLimit(type));
        Invariant.Holds(dataLength <= FrameHeader.LongestData);
        var header = new FrameHeader(type, body.Length, dataLength, ++_sent, Crc32C.Compute(body), dataChecksum);
        int together = FrameHeader.Size + body.Length;
        if (together <= _transport.Options.Socket.StagingBufferSize)
        {
            Span<byte> room = _socket!.Reserve(together);
            header.Write(room);
            body.CopyTo(room[FrameHeader.Size..]);
            _socket.Commit(together);
        }
        else
        {
            header.Write(_socket!.Reserve(FrameHeader.Size));
            _socket.Commit(FrameHeader.Size);
            _socket.Send(body);
        }

        foreach (BufferSegment segment in data)
        {
            _socket.Send(segment);
        }
    }

    private sealed class Waiting
    {
        public Waiting(MessageType type, byte[] body, BufferSegment[] data)
        {
            Type = type;
            Body = body;
            Data = data;
            Length = body.Length;
            foreach (BufferSegment segment in data)
            {
                segment.Buffer?.Retain();
                Length += segment.Length;
            }
        }

        public MessageType Type { get; }

        public byte[] Body { get; }

        public BufferSegment[] Data { get; }

        public long Length { get; }

        public void Release()
        {
            foreach (BufferSegment segment in Data)
            {
                segment.Buffer?.Release();
            }
        }
    }
}
