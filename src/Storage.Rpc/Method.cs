using System.Buffers;
using Google.Protobuf;

namespace Storage.Rpc;

/// <summary>Which sides of a call stream.</summary>
public enum MethodType
{
    /// <summary>One request, one response.</summary>
    Unary,

    /// <summary>One request, many responses.</summary>
    ServerStreaming,

    /// <summary>Many requests, one response.</summary>
    ClientStreaming,

    /// <summary>Many of both, independently.</summary>
    DuplexStreaming,
}

/// <summary>How one message type is written and read.</summary>
/// <typeparam name="T">The message type.</typeparam>
/// <param name="Size">Bytes that <paramref name="Write"/> will write.</param>
/// <param name="Write">Writes exactly that many bytes.</param>
/// <param name="Read">Reads a whole message; the sequence is the callee's only until it returns.</param>
public sealed record RpcMarshaller<T>(Func<T, int> Size, Action<T, IBufferWriter<byte>> Write, Func<ReadOnlySequence<byte>, T> Read);

/// <summary>The marshallers there are.</summary>
public static class RpcMarshaller
{
    /// <summary>Messages as raw bytes, for forwarding; reading copies.</summary>
    public static RpcMarshaller<ReadOnlyMemory<byte>> Raw { get; } =
        new(m => m.Length, (m, writer) => writer.Write(m.Span), s => s.ToArray());

    /// <summary>A protobuf message.</summary>
    /// <typeparam name="T">The generated class.</typeparam>
    /// <param name="parser">Its parser.</param>
    public static RpcMarshaller<T> Protobuf<T>(MessageParser<T> parser)
        where T : IMessage<T> =>
        new(m => m.CalculateSize(), (m, writer) => m.WriteTo(writer), s => parser.ParseFrom(s));
}

/// <summary>A method of a service.</summary>
/// <typeparam name="TRequest">Requests.</typeparam>
/// <typeparam name="TResponse">Responses.</typeparam>
/// <param name="Type">Which sides stream.</param>
/// <param name="Service">Full name of the service, with its package.</param>
/// <param name="Name">Name of the method.</param>
/// <param name="Request">Writes and reads requests.</param>
/// <param name="Response">Writes and reads responses.</param>
public sealed record Method<TRequest, TResponse>(
    MethodType Type,
    string Service,
    string Name,
    RpcMarshaller<TRequest> Request,
    RpcMarshaller<TResponse> Response)
{
    /// <summary>The path of its requests: "/service/method".</summary>
    public string FullName { get; } = $"/{Service}/{Name}";
}
