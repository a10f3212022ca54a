using System.Buffers;
using Storage.Coding;
using Storage.Reactor;
using Storage.Reactor.Sockets;

namespace Storage.Messaging.Tcp;

// Receiving. A frame whose body fits the receive buffer is parsed where it lies; its data is copied once if it has arrived with it,
// else it goes from the socket straight into its own pages. Longer bodies are gathered piece by piece.
internal sealed partial class TcpConnection
{
    private const int LongestPiece = 1 << 20;

    private FrameHeader _current; // the frame whose body or data is under way
    private byte[]? _body; // its body, kept until the data is complete; from the shared array pool
    private int _bodyFilled;
    private bool _bodyComplete;
    private PageBuffer? _data;
    private PageBuffer? _piece;
    private ulong _received;

    private BufferPool Pool => _transport.Options.Socket.Pool;

    public int OnReceived(StreamSocket socket, BufferSegment data)
    {
        ReadOnlySpan<byte> bytes = data.Span;
        int consumed = 0;
        while (IsAlive && !(_open && _paused) && !InboundHeld)
        {
            ReadOnlySpan<byte> rest = bytes[consumed..];
            if (rest.IsEmpty)
            {
                break;
            }

            FrameStatus status = FrameHeader.TryRead(rest, out FrameHeader header, out string error);
            if (status == FrameStatus.NeedMore)
            {
                break;
            }

            if (status == FrameStatus.Malformed || !CheckOrder(header, out error))
            {
                Reject(error);
                break;
            }

            int small = FrameHeader.Size + header.BodyLength;
            if (small > _transport.Options.Socket.ReceiveBufferSize / 2)
            {
                consumed += FrameHeader.Size;
                BeginLongBody(header);
                break;
            }

            if (rest.Length < small)
            {
                break;
            }

            ReadOnlySpan<byte> body = rest[FrameHeader.Size..small];
            if (!CheckBody(header, body))
            {
                break;
            }

            if (header.DataLength > 0 && rest.Length - small < header.DataLength)
            {
                consumed += small;
                _received++;
                _current = header;
                _body = ArrayPool<byte>.Shared.Rent(Math.Max(1, header.BodyLength));
                body.CopyTo(_body);
                BeginData();
                break;
            }

            consumed += small + header.DataLength;
            _received++;
            if (header.DataLength == 0)
            {
                Dispatch(header, body, default);
                continue;
            }

            PageBuffer copy = Pool.Rent(header.DataLength);
            rest.Slice(small, header.DataLength).CopyTo(copy.Span);
            Dispatch(header, body, copy.Slice(0, header.DataLength));
            copy.Release();
        }

        // Of a connection that is being closed nothing is left lying: the buffer must not fill up.
        return IsAlive ? consumed : data.Length;
    }

    public void OnPayload(StreamSocket socket, BufferSegment payload)
    {
        if (!_bodyComplete && _piece is not null)
        {
            payload.Span.CopyTo(_body.AsSpan(_bodyFilled));
            _bodyFilled += payload.Length;
            if (_bodyFilled < _current.BodyLength)
            {
                ReceivePiece();
                return;
            }

            _piece.Release();
            _piece = null;
            if (!CheckBody(_current, _body.AsSpan(0, _current.BodyLength)))
            {
                return;
            }

            _bodyComplete = true;
            if (_current.DataLength > 0)
            {
                BeginData();
                return;
            }

            payload = default;
        }

        // Taken out of the fields first: the handler may close the connection meanwhile.
        byte[] body = _body!;
        PageBuffer? data = _data;
        _body = null;
        _data = null;
        _bodyComplete = false;
        Dispatch(_current, body.AsSpan(0, _current.BodyLength), payload);
        ArrayPool<byte>.Shared.Return(body);
        data?.Release();
    }

    private bool CheckOrder(in FrameHeader header, out string error)
    {
        error = string.Empty;
        if (header.Sequence != _received + 1)
        {
            error = $"frame {header.Sequence} where {_received + 1} belongs";
        }
        else if (_open != header.Type >= 0x100)
        {
            error = $"message 0x{header.Type:x} {(_open ? "after" : "before")} the greeting";
        }
        else if (!_open && (header.Type != FrameHeader.HelloType || header.BodyLength > Hello.LongestBody || header.DataLength != 0))
        {
            error = $"message 0x{header.Type:x} of {header.BodyLength} + {header.DataLength} bytes is no greeting";
        }

        return error.Length == 0;
    }

    private bool CheckBody(in FrameHeader header, ReadOnlySpan<byte> body)
    {
        uint computed = Crc32C.Compute(body);
        if (computed != header.BodyChecksum)
        {
            Reject($"body of message 0x{header.Type:x} (frame {header.Sequence}) has checksum 0x{computed:x8}, not 0x{header.BodyChecksum:x8}");
            return false;
        }

        return true;
    }

    private void BeginLongBody(in FrameHeader header)
    {
        _received++;
        _current = header;
        _body = ArrayPool<byte>.Shared.Rent(header.BodyLength);
        _bodyFilled = 0;
        _bodyComplete = false;
        _piece = Pool.Rent(Math.Min(header.BodyLength, LongestPiece));
        ReceivePiece();
    }

    private void ReceivePiece() => _socket!.ReceiveInto(_piece!.Slice(0, Math.Min(_piece.Capacity, _current.BodyLength - _bodyFilled)));

    private void BeginData()
    {
        _bodyComplete = true;
        _data = Pool.Rent(_current.DataLength);
        _socket!.ReceiveInto(_data.Slice(0, _current.DataLength));
    }

    private void Dispatch(in FrameHeader header, ReadOnlySpan<byte> body, BufferSegment data)
    {
        if (!IsAlive)
        {
            return;
        }

        uint computed = data.ComputeChecksum();
        if (computed != header.DataChecksum)
        {
            Reject($"data of message 0x{header.Type:x} (frame {header.Sequence}) has checksum 0x{computed:x8}, not 0x{header.DataChecksum:x8}");
            return;
        }

        try
        {
            if (_open)
            {
                _handler!.OnMessage(this, new Message((MessageType)header.Type, body, data));
            }
            else
            {
                OnHello(body);
            }
        }
        catch (MalformedDataException e)
        {
            Reject($"message 0x{header.Type:x}: {e.Message}");
        }
    }

    private void ReleaseReceiver()
    {
        if (_body is not null)
        {
            ArrayPool<byte>.Shared.Return(_body);
            _body = null;
        }

        _data?.Release();
        _data = null;
        _piece?.Release();
        _piece = null;
    }
}
