using Storage.Coding;

namespace Storage.Reactor.Sockets;

// Receiving. Bytes land in the receive buffer; while a payload is due they land in the payload first and only the rest in the
// receive buffer, in the same system call.
public sealed unsafe partial class StreamSocket
{
    private const uint MoreToRead = 1 << 2; // IORING_CQE_F_SOCK_NONEMPTY

    private PageBuffer? _receiveBuffer;
    private int _start; // first byte not consumed
    private int _end; // end of what was received; _start <= _end <= capacity
    private BufferSegment _payload;
    private int _payloadFilled;
    private bool _paused;
    private bool _delivering;
    private bool _pollFirst;

    /// <summary>Bytes received since the start.</summary>
    public long BytesReceived { get; private set; }

    /// <summary>
    /// Sends the next bytes of the stream, those behind what the handler has consumed, to a buffer of the caller's, without a copy as
    /// far as they have not arrived yet. The socket holds a reference to the buffer until <see cref="IStreamHandler.OnPayload"/> or the end.
    /// </summary>
    /// <param name="payload">Where they go; not empty. The previous payload must be complete.</param>
    public void ReceiveInto(BufferSegment payload)
    {
        Invariant.Holds(payload.Buffer is not null && payload.Length > 0 && _payload.Buffer is null);
        payload.Buffer.Retain();
        _payload = payload;
        _payloadFilled = 0;
    }

    /// <summary>Stops deliveries until <see cref="ResumeReceiving"/>; the peer is slowed down once the kernel's buffers are full.</summary>
    public void PauseReceiving() => _paused = true;

    /// <summary>Goes on after <see cref="PauseReceiving"/>; what has arrived is delivered in the loop's next pass.</summary>
    public void ResumeReceiving()
    {
        if (_paused)
        {
            _paused = false;
            _loop.Post(static s => ((StreamSocket)s!).Deliver(), this);
        }
    }

    private void OnReceiveCompleted(int result, uint flags)
    {
        if (_state != State.Open)
        {
            FinishIfIdle();
            return;
        }

        if (result <= 0)
        {
            if (result is -IoError.Interrupted or -IoError.TryAgain)
            {
                SubmitReceive();
                return;
            }

            Close(new IoError(-result));
            FinishIfIdle();
            return;
        }

        BytesReceived += result;
        _pollFirst = _loop.SupportsPollFirst && (flags & MoreToRead) == 0;
        if (_payload.Buffer is not null && _receivesPayload)
        {
            int direct = Math.Min(result, _payload.Length - _payloadFilled);
            _payloadFilled += direct;
            result -= direct;
        }

        _end += result;
        Deliver();
    }

    private void Deliver()
    {
        if (_delivering || _receive.InFlight)
        {
            return;
        }

        _delivering = true;
        while (_state == State.Open && !_paused)
        {
            if (_payload.Buffer is { } target)
            {
                TakePayloadFromBuffer();
                if (_payloadFilled < _payload.Length)
                {
                    break;
                }

                BufferSegment done = _payload;
                _payload = default;
                _handler.OnPayload(this, done);
                target.Release();
                continue;
            }

            int available = _end - _start;
            if (available == 0)
            {
                break;
            }

            int consumed = _handler.OnReceived(this, new BufferSegment(_receiveBuffer, _start, available));
            Invariant.Holds((uint)consumed <= (uint)available);
            _start += consumed;
            if (consumed == 0 && _payload.Buffer is null)
            {
                break;
            }
        }

        _delivering = false;
        if (_state == State.Open && !_paused)
        {
            SubmitReceive();
        }
    }

    private bool _receivesPayload;

    private void TakePayloadFromBuffer()
    {
        int count = Math.Min(_end - _start, _payload.Length - _payloadFilled);
        if (count > 0)
        {
            _receiveBuffer!.Span.Slice(_start, count).CopyTo(_payload.Span[_payloadFilled..]);
            _start += count;
            _payloadFilled += count;
        }
    }

    private void SubmitReceive()
    {
        MakeRoom();
        int room = _receiveBuffer!.Capacity - _end;
        if (room == 0)
        {
            // The handler wants more in one piece than the buffer holds: its limit on lengths is wrong or missing.
            Invariant.Fail($"a handler leaves {_end} bytes unconsumed");
        }

        _native->BufferRange.Base = _receiveBuffer.Address + _end;
        _native->BufferRange.Length = (nuint)room;
        _receivesPayload = _payload.Buffer is not null;
        if (_receivesPayload)
        {
            _native->PayloadRange.Base = _payload.Buffer!.Address + _payload.Offset + _payloadFilled;
            _native->PayloadRange.Length = (nuint)(_payload.Length - _payloadFilled);
            _native->ReceiveHeader.Vectors = &_native->PayloadRange;
            _native->ReceiveHeader.VectorCount = 2;
        }
        else
        {
            _native->ReceiveHeader.Vectors = &_native->BufferRange;
            _native->ReceiveHeader.VectorCount = 1;
        }

        _receive.InFlight = true;
        _loop.ReceiveMessage(_fd, &_native->ReceiveHeader, _pollFirst, _receive);
    }

    private void MakeRoom()
    {
        if (_start == _end && _receiveBuffer!.References == 1)
        {
            _start = _end = 0;
            return;
        }

        // Moving what is left pays only when the room behind it gets short.
        if (_receiveBuffer!.Capacity - _end >= _receiveBuffer.Capacity / 4)
        {
            return;
        }

        if (_receiveBuffer.References > 1)
        {
            // Somebody keeps a part of it: go on in a fresh one.
            PageBuffer fresh = _options.Pool.Rent(_options.ReceiveBufferSize);
            _receiveBuffer.Span[_start.._end].CopyTo(fresh.Span);
            _receiveBuffer.Release();
            _receiveBuffer = fresh;
        }
        else
        {
            _receiveBuffer.Span[_start.._end].CopyTo(_receiveBuffer.Span);
        }

        _end -= _start;
        _start = 0;
    }

    private void ReleaseReceiver()
    {
        _receiveBuffer?.Release();
        _receiveBuffer = null;
        _payload.Buffer?.Release();
        _payload = default;
    }
}
