using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.Reactor.Native;

namespace Storage.Reactor.Sockets;

/// <summary>
/// A TCP or Unix stream connection on a loop. Receives into one buffer of its own, or straight into the caller's; queues what is
/// sent and sends it at the end of the loop's pass, everything that is queued in one system call. All members are called on the loop.
/// </summary>
public sealed unsafe partial class StreamSocket : IDisposable
{
    private readonly ReactorLoop _loop;
    private readonly IStreamHandler _handler;
    private readonly StreamOptions _options;
    private readonly Operation _receive;
    private readonly Operation _send;
    private readonly Operation _connect;
    private NativeState* _native;
    private ILoopTimer? _connectTimer;
    private EndPoint? _remote;
    private int _fd;
    private State _state;
    private IoError _error;

    private StreamSocket(ReactorLoop loop, int fd, IStreamHandler handler, StreamOptions options)
    {
        loop.AssertCurrent();
        _loop = loop;
        _fd = fd;
        _handler = handler;
        _options = options;
        _receive = new Operation(this, OperationKind.Receive);
        _send = new Operation(this, OperationKind.Send);
        _connect = new Operation(this, OperationKind.Connect);
        _native = (NativeState*)NativeMemory.AllocZeroed((nuint)sizeof(NativeState));
    }

    private enum State
    {
        Connecting,
        Open,
        Closing,
        Closed,
    }

    private enum OperationKind
    {
        Connect,
        Receive,
        Send,
    }

    /// <summary>The loop it lives on.</summary>
    public ReactorLoop Loop => _loop;

    /// <summary>The peer's address; null before the connection stands and for Unix sockets.</summary>
    public EndPoint? RemoteEndPoint => _remote ??= _state == State.Open ? SocketCalls.Address(_fd, remote: true) : null;

    /// <summary>True while bytes can be sent and received.</summary>
    public bool IsOpen => _state == State.Open;

    /// <summary>Starts to connect; the handler hears <see cref="IStreamHandler.OnConnected"/> or <see cref="IStreamHandler.OnClosed"/>.</summary>
    /// <param name="loop">The loop.</param>
    /// <param name="endPoint">An IP address and port, or a Unix socket path.</param>
    /// <param name="handler">Its owner.</param>
    /// <param name="options">Settings.</param>
    /// <returns>The socket; may be closed, and data may be queued, before it is connected.</returns>
    public static StreamSocket Connect(ReactorLoop loop, EndPoint endPoint, IStreamHandler handler, StreamOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(loop);
        ArgumentNullException.ThrowIfNull(endPoint);
        ArgumentNullException.ThrowIfNull(handler);
        int fd = SocketCalls.Create(endPoint);
        var socket = new StreamSocket(loop, fd, handler, options ?? StreamOptions.Default) { _state = State.Connecting };
        if (endPoint is not UnixDomainSocketEndPoint)
        {
            SocketCalls.SetTcpOptions(fd, socket._options);
        }

        SocketAddress address = endPoint.Serialize();
        Invariant.Holds(address.Size <= NativeState.LongestAddress);
        address.Buffer.Span[..address.Size].CopyTo(new Span<byte>(socket._native->Address, NativeState.LongestAddress));
        socket._connect.InFlight = true;
        loop.Connect(fd, socket._native->Address, (uint)address.Size, socket._connect);
        socket._connectTimer = loop.Schedule(
            socket._options.ConnectTimeout,
            static s => ((StreamSocket)s!).Close(new IoError(IoError.TimedOut)),
            socket);
        return socket;
    }

    /// <summary>Connects to a listener on this machine if there is one, at once; the handler hears of it in the loop's next pass.</summary>
    /// <param name="loop">The loop.</param>
    /// <param name="endPoint">A Unix socket's address.</param>
    /// <param name="handler">Its owner.</param>
    /// <param name="options">Settings.</param>
    /// <returns>The socket; null if nobody listens there, has no room for more, or belongs to neither this process's user nor root.</returns>
    public static StreamSocket? TryConnect(ReactorLoop loop, UnixDomainSocketEndPoint endPoint, IStreamHandler handler, StreamOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(loop);
        ArgumentNullException.ThrowIfNull(endPoint);
        ArgumentNullException.ThrowIfNull(handler);
        int fd = SocketCalls.TryConnect(endPoint);
        if (fd < 0)
        {
            return null;
        }

        var socket = new StreamSocket(loop, fd, handler, options ?? StreamOptions.Default) { _state = State.Connecting };
        loop.Post(static s => ((StreamSocket)s!).OnConnectCompleted(0), socket);
        return socket;
    }

    /// <summary>Ends the connection at once: what is queued is dropped. <see cref="IStreamHandler.OnClosed"/> follows.</summary>
    public void Close() => Close(new IoError(IoError.Canceled));

    /// <summary>As <see cref="Close()"/>.</summary>
    public void Dispose() => Close();

    /// <summary>Ends the connection at once with a reason of the caller's.</summary>
    /// <param name="error">Handed to <see cref="IStreamHandler.OnClosed"/>; the first reason wins.</param>
    public void Close(IoError error)
    {
        _loop.AssertCurrent();
        if (_state is State.Closing or State.Closed)
        {
            return;
        }

        _state = State.Closing;
        _error = error;
        _connectTimer?.Cancel();
        _ = Libc.Shutdown(_fd, 2);
        if (_connect.InFlight || _receive.InFlight || _send.InFlight)
        {
            _loop.CancelAll(_fd);
        }
        else
        {
            _loop.Post(static s => ((StreamSocket)s!).Finish(), this);
        }
    }

    internal static void Adopt(ReactorLoop loop, int fd, IStreamHandler handler, StreamOptions options, bool tcp)
    {
        var socket = new StreamSocket(loop, fd, handler, options) { _state = State.Open };
        if (tcp)
        {
            SocketCalls.SetTcpOptions(fd, options);
        }
        else
        {
            SocketCalls.SetUnixOptions(fd);
        }

        socket.Start();
    }

    private void Start()
    {
        _receiveBuffer = _options.Pool.Rent(_options.ReceiveBufferSize);
        _handler.OnConnected(this);
        Deliver();
    }

    private void OnConnectCompleted(int result)
    {
        _connectTimer?.Cancel();
        if (_state is State.Closing or State.Closed)
        {
            FinishIfIdle();
        }
        else if (result < 0)
        {
            Close(new IoError(-result));
        }
        else
        {
            _state = State.Open;
            Start();
            ScheduleFlush();
        }
    }

    private void FinishIfIdle()
    {
        if (!_connect.InFlight && !_receive.InFlight && !_send.InFlight)
        {
            Finish();
        }
    }

    /// <summary>Nothing is in flight: the descriptor, the memory and the references can go.</summary>
    private void Finish()
    {
        if (_state == State.Closed)
        {
            return;
        }

        _state = State.Closed;
        _ = Libc.Close(_fd);
        _fd = -1;
        NativeMemory.Free(_native);
        _native = null;
        ReleaseReceiver();
        ReleaseSender();
        _handler.OnClosed(this, _error);
    }

    /// <summary>What the kernel reads and writes while operations run, in one piece of native memory.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct NativeState
    {
        public const int LongestAddress = 128;

        public MessageHeader ReceiveHeader;
        public MessageHeader SendHeader;
        public IoVec PayloadRange;
        public IoVec BufferRange;
        public fixed byte Address[LongestAddress];
    }

    private sealed class Operation(StreamSocket socket, OperationKind kind) : IoCompletion
    {
        public bool InFlight { get; set; }

        protected internal override void OnCompleted(int result, uint flags)
        {
            InFlight = false;
            switch (kind)
            {
                case OperationKind.Receive:
                    socket.OnReceiveCompleted(result, flags);
                    break;
                case OperationKind.Send:
                    socket.OnSendCompleted(result);
                    break;
                default:
                    socket.OnConnectCompleted(result);
                    break;
            }
        }
    }
}
