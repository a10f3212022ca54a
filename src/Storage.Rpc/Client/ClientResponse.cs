using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using Storage.Rpc.Wire;

namespace Storage.Rpc.Client;

/// <summary>Reads status and metadata out of HTTP answers and failures.</summary>
internal static class ClientResponse
{
    /// <summary>Whether the headers alone already say UNAVAILABLE.</summary>
    internal static bool IsUnavailable(HttpResponseMessage response) =>
        GetStatus(response.Headers) is { } status
            ? status.Code == StatusCode.Unavailable
            : response.StatusCode != HttpStatusCode.OK && GrpcProtocol.FromHttpStatus((int)response.StatusCode) == StatusCode.Unavailable;

    /// <summary>Checks the headers; throws when they end the call with a failure.</summary>
    /// <returns>True when the headers carry an OK status, and so no message and no trailers follow.</returns>
    internal static bool CheckHeaders(HttpResponseMessage response)
    {
        if (GetStatus(response.Headers) is { } status)
        {
            return status.Code == StatusCode.Ok ? true : throw new RpcException(status, ReadMetadata(response.Headers));
        }

        if (response.StatusCode != HttpStatusCode.OK)
        {
            int code = (int)response.StatusCode;
            throw new RpcException(GrpcProtocol.FromHttpStatus(code), $"The server answered HTTP status {code} instead of a gRPC status.");
        }

        string? contentType = response.Content.Headers.ContentType?.ToString();
        if (!GrpcProtocol.IsGrpc(contentType))
        {
            throw new RpcException(StatusCode.Unknown, $"The server answered with content type '{contentType}' instead of {GrpcProtocol.ContentType}.");
        }

        if (response.Headers.TryGetValues(GrpcProtocol.EncodingHeader, out IEnumerable<string>? encodings)
            && encodings.FirstOrDefault(e => e != GrpcProtocol.Identity) is { } encoding)
        {
            throw new RpcException(StatusCode.Internal, $"The server answered with grpc-encoding '{encoding}', which was not offered.");
        }

        return false;
    }

    /// <summary>The status in headers or trailers; null when there is none.</summary>
    internal static RpcStatus? GetStatus(HttpResponseHeaders headers)
    {
        if (!headers.NonValidated.TryGetValues(GrpcProtocol.StatusHeader, out HeaderStringValues values))
        {
            return null;
        }

        string message = headers.NonValidated.TryGetValues(GrpcProtocol.MessageHeader, out HeaderStringValues texts)
            ? GrpcProtocol.DecodeMessage(texts.ToString())
            : "";
        return int.TryParse(values.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out int code) && code <= (int)StatusCode.Unauthenticated
            ? new RpcStatus((StatusCode)code, message)
            : new RpcStatus(StatusCode.Unknown, $"The server answered grpc-status '{values}', which does not exist: {message}");
    }

    internal static RpcMetadata ReadMetadata(HttpResponseHeaders headers)
    {
        var metadata = new RpcMetadata();
        foreach ((string name, HeaderStringValues values) in headers.NonValidated)
        {
            foreach (string value in values)
            {
                metadata.AddFromWire(name, value);
            }
        }

        return metadata;
    }

    /// <summary>A transport failure as a status: resets by their code, lost connections as UNAVAILABLE.</summary>
    internal static RpcException ToException(Exception e, Uri? address)
    {
        for (Exception? inner = e; inner is not null; inner = inner.InnerException)
        {
            // A connection-wide error is no verdict on this call; a reset of its stream is.
            if (inner is HttpProtocolException { ErrorCode: not 0 } protocol && !inner.Message.Contains("GOAWAY", StringComparison.Ordinal))
            {
                return new RpcException(GrpcProtocol.FromHttp2Error(protocol.ErrorCode), $"{address?.Authority} reset the call: {protocol.Message}", e);
            }
        }

        return new RpcException(StatusCode.Unavailable, $"The connection to {address?.Authority} broke: {e.Message}", e);
    }
}
