using System.Net;
using Storage.Block;
using Storage.Reactor;
using Storage.Reactor.Sockets;

namespace Storage.Nbd;

/// <summary>One client: first the handshake (NbdConnection.Handshake.cs), then requests (NbdConnection.Transmission.cs).</summary>
#pragma warning disable CA1001 // the source is disposed of in OnClosed, the last call there is
internal sealed partial class NbdConnection(NbdServer server) : IStreamHandler
#pragma warning restore CA1001
{
    private readonly CancellationTokenSource _gone = new();
    private StreamSocket _socket = null!;
    private EndPoint? _remote;
    private ILoopTimer? _deadline;
    private Phase _phase;
    private VolumeShare? _share;
    private string? _problem;
    private bool _closed;

    private enum Phase
    {
        ClientFlags,
        Options,
        Transmission,
        Ending, // nothing more is read; what is under way is answered
    }

    public void Close() => _socket.Close();

    public void OnConnected(StreamSocket socket)
    {
        _socket = socket;
        _remote = socket.RemoteEndPoint;
        _deadline = server.Loop.Schedule(server.Options.HandshakeTimeout, static c => ((NbdConnection)c!).Fail("the handshake took too long"), this);
        SendGreeting();
    }

    public int OnReceived(StreamSocket socket, BufferSegment data) => _phase switch
    {
        Phase.ClientFlags => ReceiveClientFlags(data.Span),
        Phase.Options => ReceiveOption(data.Span),
        Phase.Transmission => ReceiveRequest(data.Span),
        _ => data.Length,
    };

    public void OnWritable(StreamSocket socket) => ResumeIfRoom();

    public void OnClosed(StreamSocket socket, IoError error)
    {
        _closed = true;
        _deadline?.Cancel();
        _gone.Cancel();
        _gone.Dispose();
        ReleasePayload();
        ReleaseShareIfIdle();
        server.Remove(this, _remote, _problem);
    }

    /// <summary>The client broke the protocol, or is not to be served: only its own connection ends.</summary>
    private void Fail(string problem)
    {
        if (!_closed)
        {
            _problem ??= problem;
            _phase = Phase.Ending;
            _socket.Close();
        }
    }

    private void ReleaseShareIfIdle()
    {
        if (_closed && _underWay == 0)
        {
            _share?.Dispose();
            _share = null;
        }
    }
}
