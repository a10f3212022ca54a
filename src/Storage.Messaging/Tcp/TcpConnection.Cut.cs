using Storage.Coding;
using Storage.Reactor;

namespace Storage.Messaging.Tcp;

// Cuts, where a filter is set. What is held inbound stays in the kernel, so that the peer feels a full window; what is held outbound
// waits here. The greeting is held like everything else.
internal sealed partial class TcpConnection
{
    private CutDirections _held;
    private byte[]? _heldHello; // the peer's greeting that has come while its messages are held
    private bool _ownHelloHeld;
    private ILoopTimer? _cutTimer;

    private bool InboundHeld => (_held & CutDirections.Inbound) != 0;

    private bool OutboundHeld => (_held & CutDirections.Outbound) != 0;

    /// <summary>Looks at the filter again: its rules changed, or who the peer is became known.</summary>
    internal void ApplyFilter()
    {
        CutDirections before = _held, now = _transport.Options.Filter!.Held(Peer);
        if (!IsAlive || now == before)
        {
            return;
        }

        _held = now;
        if (before == CutDirections.None)
        {
            TimeSpan patience = _transport.Options.Socket.UserTimeout;
            _cutTimer = patience > TimeSpan.Zero ? _transport.Loop.Schedule(patience, static c => ((TcpConnection)c!).CloseWith(CloseReason.Unreachable), this) : null;
        }
        else if (now == CutDirections.None)
        {
            _cutTimer?.Cancel();
            _cutTimer = null;
        }

        if ((before & ~now & CutDirections.Outbound) != 0 && _socket is not null)
        {
            if (_ownHelloHeld)
            {
                _ownHelloHeld = false;
                SendHello();
            }

            SendWaiting();
        }

        if (InboundHeld)
        {
            _socket?.PauseReceiving();
        }
        else if ((before & CutDirections.Inbound) != 0)
        {
            TakeHeldHello();
            if (IsAlive && !_paused)
            {
                _socket?.ResumeReceiving();
            }
        }
    }

    /// <summary>Greets, or remembers to once the cut is over.</summary>
    private void GreetUnlessHeld()
    {
        if (OutboundHeld)
        {
            _ownHelloHeld = true;
        }
        else
        {
            SendHello();
        }
    }

    /// <summary>Sends what waited for a socket or for the end of a cut.</summary>
    private void SendWaiting()
    {
        if (_waiting is { } waiting)
        {
            _waiting = null;
            _waitingBytes = 0;
            foreach (Waiting message in waiting)
            {
                Send(message.Type, message.Body, message.Data);
                message.Release();
            }
        }
    }

    private void DropWaiting()
    {
        _waiting?.ForEach(static m => m.Release());
        _waiting = null;
        _waitingBytes = 0;
    }

    private void TakeHeldHello()
    {
        if (_heldHello is not { } hello)
        {
            return;
        }

        _heldHello = null;
        try
        {
            OnHello(hello);
        }
        catch (MalformedDataException e)
        {
            Reject($"greeting: {e.Message}");
        }
    }
}
