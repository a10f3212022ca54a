using System.Buffers;
using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using Google.Protobuf;

namespace Storage.Rpc.Wire;

/// <summary>A message or the stream's end.</summary>
/// <typeparam name="T">The message type.</typeparam>
/// <param name="Found">False at the end of the stream.</param>
/// <param name="Message">The message, when there is one.</param>
internal readonly record struct FrameResult<T>(bool Found, T? Message);

/// <summary>Messages on a stream. Each: a byte (1 = compressed), the length as 4 big-endian bytes, the message.</summary>
internal static class MessageFrame
{
    internal const int PrefixSize = 5;

    /// <summary>Appends one message, uncompressed.</summary>
    internal static void Write<T>(IBufferWriter<byte> writer, T message, RpcMarshaller<T> marshaller)
    {
        int size = marshaller.Size(message);
        Span<byte> prefix = writer.GetSpan(PrefixSize);
        prefix[0] = 0;
        BinaryPrimitives.WriteUInt32BigEndian(prefix[1..], (uint)size);
        writer.Advance(PrefixSize);
        marshaller.Write(message, writer);
    }

    /// <summary>One message with its prefix, in a buffer of its own.</summary>
    internal static ReadOnlyMemory<byte> ToMemory<T>(T message, RpcMarshaller<T> marshaller)
    {
        int size = marshaller.Size(message);
        var buffer = new ArrayBufferWriter<byte>(checked(size + PrefixSize));
        Write(buffer, message, marshaller);
        return buffer.WrittenMemory;
    }

    /// <summary>Reads the next message.</summary>
    /// <param name="reader">The stream, at a message's start; left there.</param>
    /// <param name="marshaller">Parses the message.</param>
    /// <param name="maxSize">Longest message accepted, in bytes; judged by the prefix, before anything is buffered for it.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <exception cref="RpcException">The message is too long, compressed, cut off or cannot be parsed.</exception>
    internal static async ValueTask<FrameResult<T>> ReadAsync<T>(
        PipeReader reader, RpcMarshaller<T> marshaller, int maxSize, CancellationToken cancellation)
    {
        while (true)
        {
            ReadResult result = await reader.ReadAsync(cancellation).ConfigureAwait(false);
            if (result.IsCanceled)
            {
                throw new OperationCanceledException("The stream's read was cancelled.");
            }

            ReadOnlySequence<byte> buffer = result.Buffer;
            if (TryCut(buffer, maxSize, out ReadOnlySequence<byte> body))
            {
                T message = Parse(marshaller, body);
                reader.AdvanceTo(body.End);
                return new FrameResult<T>(true, message);
            }

            if (result.IsCompleted)
            {
                long left = buffer.Length;
                reader.AdvanceTo(buffer.End);
                return left == 0
                    ? new FrameResult<T>(false, default)
                    : throw new RpcException(StatusCode.Internal, $"The stream ended inside a message, {left} bytes after its start.");
            }

            reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    /// <summary>Finds the first message's body; false while it is incomplete.</summary>
    internal static bool TryCut(ReadOnlySequence<byte> buffer, int maxSize, out ReadOnlySequence<byte> body)
    {
        body = default;
        if (buffer.Length < PrefixSize)
        {
            return false;
        }

        Span<byte> prefix = stackalloc byte[PrefixSize];
        buffer.Slice(0, PrefixSize).CopyTo(prefix);
        if (prefix[0] != 0)
        {
            ThrowBadFlag(prefix[0]);
        }

        uint length = BinaryPrimitives.ReadUInt32BigEndian(prefix[1..]);
        if (length > (uint)maxSize)
        {
            ThrowTooLong(length, maxSize);
        }

        if (buffer.Length - PrefixSize < length)
        {
            return false;
        }

        body = buffer.Slice(PrefixSize, length);
        return true;
    }

    private static T Parse<T>(RpcMarshaller<T> marshaller, ReadOnlySequence<byte> body)
    {
        try
        {
            return marshaller.Read(body);
        }
        catch (InvalidProtocolBufferException e)
        {
            throw new RpcException(StatusCode.Internal, $"A message of {body.Length} bytes is not a valid {typeof(T).Name}: {e.Message}", e);
        }
    }

    [DoesNotReturn]
    private static void ThrowBadFlag(byte flag) => throw new RpcException(
        StatusCode.Internal,
        flag == 1 ? "A message is compressed, but the stream has no grpc-encoding that is supported." : $"A message starts with flag {flag}; only 0 and 1 exist.");

    [DoesNotReturn]
    private static void ThrowTooLong(uint length, int maxSize) => throw new RpcException(
        StatusCode.ResourceExhausted, $"A message has {length} bytes; the limit is {maxSize}.");
}
