using System.Buffers.Binary;
using Storage.Block;
using Storage.Coding;
using Storage.Reactor;
using Storage.Reactor.Sockets;
using static Storage.Nbd.NbdProtocol;

namespace Storage.Nbd;

// Requests and replies. A write's payload is received into buffers of its own and passed on as it is; what a read brought is sent
// from the buffers it came in. Replies go out in the order they are done, all of one pass of the loop in one send.
internal sealed partial class NbdConnection
{
    private const int MostExtents = 4096;
    private const long LongestStatusQuery = 1L << 30;
    private const long CostPerRequest = 256;

    private readonly Stack<NbdRequest> _free = new();
    private NbdRequest? _receiving; // a write whose payload is on its way
    private uint _discarding; // payload bytes of a refused write still to come
    private long _exportSize;
    private long _bytesUnderWay;
    private int _underWay;
    private bool _allocationAgreed;
    private bool _paused;
    private bool _disconnecting;

    public void OnPayload(StreamSocket socket, BufferSegment payload)
    {
        NbdRequest request = _receiving!;
        int rest = (int)request.Length - request.FirstLength;
        if (rest > 0 && request.Rest is null)
        {
            request.Rest = BufferPool.Shared.Rent(rest);
            _socket.ReceiveInto(request.Rest.Slice(0, rest));
            return;
        }

        _receiving = null;
        Start(request);
        PauseIfFull();
    }

    private int ReceiveRequest(ReadOnlySpan<byte> data)
    {
        if (_discarding > 0)
        {
            int count = (int)Math.Min(_discarding, (uint)data.Length);
            _discarding -= (uint)count;
            if (_discarding == 0)
            {
                NbdRequest refused = _receiving!;
                _receiving = null;
                Complete(refused, refused.Refusal);
            }

            return count;
        }

        if (data.Length < RequestLength)
        {
            return 0;
        }

        if (BinaryPrimitives.ReadUInt32BigEndian(data) != RequestMagic)
        {
            Fail("no request magic where one belongs");
            return data.Length;
        }

        NbdRequest request = _free.TryPop(out NbdRequest? pooled) ? pooled : new NbdRequest(this);
        request.Flags = (NbdCommandFlags)BinaryPrimitives.ReadUInt16BigEndian(data[4..]);
        request.Command = (NbdCommand)BinaryPrimitives.ReadUInt16BigEndian(data[6..]);
        request.Cookie = BinaryPrimitives.ReadUInt64BigEndian(data[8..]);
        ulong offset = BinaryPrimitives.ReadUInt64BigEndian(data[16..]);
        request.Offset = (long)offset;
        request.Length = BinaryPrimitives.ReadUInt32BigEndian(data[24..]);
        if (request.Command == NbdCommand.Disconnect)
        {
            _free.Push(request);
            BeginDisconnect();
            return RequestLength;
        }

        request.Refusal = Check(request, offset);
        request.Cost = CostPerRequest + (request.Command is NbdCommand.Read or NbdCommand.Write && request.Refusal == NbdError.None ? request.Length : 0);
        _underWay++;
        _bytesUnderWay += request.Cost;
        if (request.Command == NbdCommand.Write && request.Length > 0)
        {
            ReceivePayload(request);
        }
        else if (request.Refusal != NbdError.None)
        {
            Complete(request, request.Refusal);
        }
        else
        {
            Start(request);
        }

        PauseIfFull();
        return RequestLength;
    }

    private void ReceivePayload(NbdRequest request)
    {
        if (request.Length > LongestPayload)
        {
            Fail($"a write of {request.Length} bytes; the limit is {LongestPayload}");
            EndRequest(request);
            return;
        }

        _receiving = request;
        if (request.Refusal != NbdError.None)
        {
            _discarding = request.Length;
            return;
        }

        request.Payload = BufferPool.Shared.Rent(request.FirstLength);
        _socket.ReceiveInto(request.Payload.Slice(0, request.FirstLength));
    }

    private void Start(NbdRequest request)
    {
        if (request.Length == 0 || request.Command == NbdCommand.Cache)
        {
            // Nothing to do; a flush has no length and goes on.
            if (request.Command != NbdCommand.Flush)
            {
                Complete(request, NbdError.None);
                return;
            }
        }

        request.Start(_share!.Volume);
    }

    private NbdError Check(NbdRequest request, ulong offset)
    {
        NbdCommandFlags allowed = request.Command switch
        {
            NbdCommand.Read => NbdCommandFlags.Fua | (_structured ? NbdCommandFlags.DontFragment : 0),
            NbdCommand.WriteZeroes => NbdCommandFlags.Fua | NbdCommandFlags.NoHole | NbdCommandFlags.FastZero,
            NbdCommand.BlockStatus => NbdCommandFlags.Fua | NbdCommandFlags.RequestOne,
            _ => NbdCommandFlags.Fua, // every acknowledged write is durable, so it asks for nothing more
        };
        if ((request.Flags & ~allowed) != 0)
        {
            return NbdError.Invalid;
        }

        switch (request.Command)
        {
            case NbdCommand.Flush:
                return offset == 0 && request.Length == 0 ? NbdError.None : NbdError.Invalid;
            case NbdCommand.Read when request.Length > LongestPayload:
                return NbdError.Invalid;
            case NbdCommand.BlockStatus when !_allocationAgreed || request.Length == 0:
                return NbdError.Invalid;
            case NbdCommand.Read or NbdCommand.Write or NbdCommand.Trim or NbdCommand.Cache or NbdCommand.WriteZeroes or NbdCommand.BlockStatus:
                break;
            default:
                return NbdError.Invalid;
        }

        if (_share!.Volume.IsReadOnly && request.Command is NbdCommand.Write or NbdCommand.Trim or NbdCommand.WriteZeroes)
        {
            return NbdError.NotPermitted;
        }

        if (offset > (ulong)_exportSize || request.Length > (ulong)_exportSize - offset)
        {
            return request.Command is NbdCommand.Write or NbdCommand.WriteZeroes ? NbdError.NoSpace : NbdError.Invalid;
        }

        if ((request.Flags & NbdCommandFlags.FastZero) != 0 && (request.Flags & NbdCommandFlags.NoHole) != 0)
        {
            return NbdError.NotSupported; // zeroes that take space are not faster than a write
        }

        if (request.Command == NbdCommand.BlockStatus)
        {
            // An answer may cover less than was asked for.
            request.Length = (uint)Math.Min(request.Length, LongestStatusQuery);
        }

        return NbdError.None;
    }

    /// <summary>Answers a request and forgets it.</summary>
    internal void Complete(NbdRequest request, NbdError error)
    {
        if (!_closed)
        {
            if (request.Command == NbdCommand.Read && _structured)
            {
                SendStructuredRead(request, error);
            }
            else if (request.Command == NbdCommand.BlockStatus && _structured && error == NbdError.None)
            {
                SendBlockStatus(request);
            }
            else if (request.Command == NbdCommand.BlockStatus && _structured)
            {
                SendErrorChunk(request, error);
            }
            else
            {
                SendSimple(request, error);
            }
        }

        EndRequest(request);
        if (_disconnecting && _underWay == 0 && !_closed)
        {
            _socket.CloseWhenFlushed();
        }

        ReleaseShareIfIdle();
        ResumeIfRoom();
    }

    private void EndRequest(NbdRequest request)
    {
        _underWay--;
        _bytesUnderWay -= request.Cost;
        Invariant.Holds(_underWay >= 0 && _bytesUnderWay >= 0);
        request.Clear();
        _free.Push(request);
    }

    private void SendSimple(NbdRequest request, NbdError error)
    {
        Span<byte> header = _socket.Reserve(SimpleReplyLength);
        BinaryPrimitives.WriteUInt32BigEndian(header, SimpleReplyMagic);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], (uint)error);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], request.Cookie);
        _socket.Commit(SimpleReplyLength);
        if (error == NbdError.None && request.Command == NbdCommand.Read)
        {
            SendData(request);
        }
    }

    private void SendStructuredRead(NbdRequest request, NbdError error)
    {
        if (error != NbdError.None)
        {
            SendErrorChunk(request, error);
            return;
        }

        if (request.Length == 0)
        {
            WriteChunkHeader(_socket.Reserve(ChunkHeaderLength), NbdChunk.None, request.Cookie, 0);
            _socket.Commit(ChunkHeaderLength);
            return;
        }

        Span<byte> header = _socket.Reserve(ChunkHeaderLength + 8);
        if (IsHole(request))
        {
            header = header[..ChunkHeaderLength];
            WriteChunkHeader(header, NbdChunk.OffsetHole, request.Cookie, 12);
            _socket.Commit(ChunkHeaderLength);
            Span<byte> hole = _socket.Reserve(12);
            BinaryPrimitives.WriteUInt64BigEndian(hole, (ulong)request.Offset);
            BinaryPrimitives.WriteUInt32BigEndian(hole[8..], request.Length);
            _socket.Commit(12);
            return;
        }

        WriteChunkHeader(header, NbdChunk.OffsetData, request.Cookie, 8 + request.Length);
        BinaryPrimitives.WriteUInt64BigEndian(header[ChunkHeaderLength..], (ulong)request.Offset);
        _socket.Commit(ChunkHeaderLength + 8);
        SendData(request);
    }

    private static bool IsHole(NbdRequest request)
    {
        foreach (VolumePiece piece in request.Read.Pieces)
        {
            if (!piece.Data.IsEmpty)
            {
                return false;
            }
        }

        return true;
    }

    private void SendData(NbdRequest request)
    {
        foreach (VolumePiece piece in request.Read.Pieces)
        {
            _socket.Send(piece.Data);
            for (int rest = piece.Length - piece.Data.Length; rest > 0;)
            {
                int count = Math.Min(rest, Volume.Zeroes.Capacity);
                _socket.Send(Volume.Zeroes.Slice(0, count));
                rest -= count;
            }
        }
    }

    private void SendErrorChunk(NbdRequest request, NbdError error)
    {
        Span<byte> chunk = _socket.Reserve(ChunkHeaderLength + 6);
        WriteChunkHeader(chunk, NbdChunk.Error, request.Cookie, 6);
        BinaryPrimitives.WriteUInt32BigEndian(chunk[ChunkHeaderLength..], (uint)error);
        BinaryPrimitives.WriteUInt16BigEndian(chunk[(ChunkHeaderLength + 4)..], 0);
        _socket.Commit(ChunkHeaderLength + 6);
    }

    private void SendBlockStatus(NbdRequest request)
    {
        const uint Hole = 1, Zero = 2; // NBD_STATE_HOLE, NBD_STATE_ZERO
        int count = (request.Flags & NbdCommandFlags.RequestOne) != 0 ? 1 : Math.Min(request.Extents.Count, MostExtents);
        uint length = 4 + (8 * (uint)count);
        Span<byte> header = _socket.Reserve(ChunkHeaderLength + 4);
        WriteChunkHeader(header, NbdChunk.BlockStatus, request.Cookie, length);
        BinaryPrimitives.WriteUInt32BigEndian(header[ChunkHeaderLength..], AllocationContext);
        _socket.Commit(ChunkHeaderLength + 4);
        for (int i = 0; i < count; i++)
        {
            VolumeExtent extent = request.Extents[i];
            Span<byte> entry = _socket.Reserve(8);
            BinaryPrimitives.WriteUInt32BigEndian(entry, (uint)extent.Length);
            BinaryPrimitives.WriteUInt32BigEndian(entry[4..], extent.IsAllocated ? 0 : Hole | Zero);
            _socket.Commit(8);
        }
    }

    private static void WriteChunkHeader(Span<byte> header, NbdChunk type, ulong cookie, uint length)
    {
        BinaryPrimitives.WriteUInt32BigEndian(header, StructuredReplyMagic);
        BinaryPrimitives.WriteUInt16BigEndian(header[4..], 1); // NBD_REPLY_FLAG_DONE
        BinaryPrimitives.WriteUInt16BigEndian(header[6..], (ushort)type);
        BinaryPrimitives.WriteUInt64BigEndian(header[8..], cookie);
        BinaryPrimitives.WriteUInt32BigEndian(header[16..], length);
    }

    private void BeginDisconnect()
    {
        // Everything under way is done and answered before the connection ends.
        _disconnecting = true;
        _phase = Phase.Ending;
        if (_underWay == 0)
        {
            _socket.CloseWhenFlushed();
        }
    }

    private void PauseIfFull()
    {
        if (!_paused && _phase == Phase.Transmission && _receiving is null && !HasRoom())
        {
            _paused = true;
            _socket.PauseReceiving();
        }
    }

    private void ResumeIfRoom()
    {
        if (_paused && !_closed && HasRoom())
        {
            _paused = false;
            _socket.ResumeReceiving();
        }
    }

    // Room for the largest request that may come next.
    private bool HasRoom() =>
        _underWay < server.Options.MaxRequestsPerConnection
        && _bytesUnderWay + LongestPayload <= server.Options.MaxBytesPerConnection + CostPerRequest
        && !_socket.IsCongested;

    private void ReleasePayload()
    {
        if (_receiving is { } request)
        {
            _receiving = null;
            _discarding = 0;
            EndRequest(request);
        }
    }
}
