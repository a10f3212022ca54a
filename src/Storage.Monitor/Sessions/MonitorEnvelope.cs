using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Core;

namespace Storage.Monitor.Sessions;

/// <summary>A message of an OSD or client that a follower passes on to the leader. Body: version u8, kind u8, id u64, instance u64, type u16,
/// the message's body.</summary>
internal readonly record struct MonitorForward(PeerIdentity Origin, MessageType Type, ReadOnlyMemory<byte> Body)
{
    private const byte FormatVersion = 1;

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)Origin.Kind);
        writer.WriteUInt64(Origin.Id);
        writer.WriteUInt64(Origin.Instance);
        writer.WriteUInt16((ushort)Type);
        writer.WriteBytes(Body.Span);
    }

    public static MonitorForward Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "forwarded message");
        var origin = new PeerIdentity((EntityKind)reader.ReadByte(), reader.ReadUInt64(), reader.ReadUInt64());
        var type = (MessageType)reader.ReadUInt16();
        var forward = new MonitorForward(origin, type, reader.ReadBytes().ToArray());
        reader.ExpectEnd();
        return forward;
    }
}

/// <summary>An admin request that a follower passes on. Body: version u8, correlation u64 (the follower's), id (2 × u64; the client's, or drawn by the
/// follower's process), method, request bytes.</summary>
internal readonly record struct AdminRequestMessage(ulong Correlation, RequestId Id, string Method, ReadOnlyMemory<byte> Body)
{
    private const byte FormatVersion = 3;

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Correlation);
        writer.WriteUInt64(Id.Origin);
        writer.WriteUInt64(Id.Number);
        writer.WriteString(Method);
        writer.WriteBytes(Body.Span);
    }

    public static AdminRequestMessage Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "admin request");
        var message = new AdminRequestMessage(
            reader.ReadUInt64(), new RequestId(reader.ReadUInt64(), reader.ReadUInt64()), reader.ReadString(), reader.ReadBytes().ToArray());
        reader.ExpectEnd();
        return message;
    }
}

/// <summary>The leader's answer. Body: version u8, correlation u64, gRPC status code u8, message, reply bytes.</summary>
internal readonly record struct AdminReplyMessage(ulong Correlation, Rpc.RpcStatus Status, ReadOnlyMemory<byte> Reply)
{
    private const byte FormatVersion = 1;

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Correlation);
        writer.WriteByte((byte)Status.Code);
        writer.WriteString(Status.Message ?? "");
        writer.WriteBytes(Reply.Span);
    }

    public static AdminReplyMessage Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "admin reply");
        var message = new AdminReplyMessage(
            reader.ReadUInt64(),
            new Rpc.RpcStatus((Rpc.StatusCode)reader.ReadByte(), reader.ReadString()),
            reader.ReadBytes().ToArray());
        reader.ExpectEnd();
        return message;
    }
}
