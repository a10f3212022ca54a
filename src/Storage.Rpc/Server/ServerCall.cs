using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Storage.Rpc.Wire;

namespace Storage.Rpc.Server;

/// <summary>One call on the serving side, from its headers to its status.</summary>
internal sealed class ServerCall<TRequest, TResponse> : IRpcResponseWriter<TResponse>
{
    private readonly HttpContext _http;
    private readonly Method<TRequest, TResponse> _method;
    private readonly int _maxReceiveBytes;
    private bool _headersSet;
    private bool _bodyBegun;

    private ServerCall(HttpContext http, Method<TRequest, TResponse> method, int maxReceiveBytes, RpcServerContext context)
    {
        _http = http;
        _method = method;
        _maxReceiveBytes = maxReceiveBytes;
        Context = context;
    }

    internal RpcServerContext Context { get; }

    /// <summary>Runs a call; answers every failure of the handler as a status.</summary>
    internal static async Task HandleAsync(
        HttpContext http, Method<TRequest, TResponse> method, RpcServerOptions options, Func<ServerCall<TRequest, TResponse>, ValueTask> run)
    {
        if (!ServerResponse.TryBegin(http))
        {
            return;
        }

        TimeSpan? timeout = null;
        if (http.Request.Headers[GrpcProtocol.TimeoutHeader].ToString() is { Length: > 0 } text)
        {
            if (!GrpcProtocol.TryDecodeTimeout(text, out TimeSpan value))
            {
                ServerResponse.End(http, new RpcStatus(StatusCode.Internal, $"grpc-timeout '{text}' is malformed."), null);
                return;
            }

            timeout = value < GrpcProtocol.LongestTimeout ? value : GrpcProtocol.LongestTimeout;
        }

        using var deadline = timeout is { } limit ? new CancellationTokenSource(limit, options.Time) : new CancellationTokenSource();
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, deadline.Token);
        ServerCall<TRequest, TResponse>? call = null;
        RpcStatus status = RpcStatus.Ok;
        RpcMetadata? trailers;
        try
        {
            var context = new RpcServerContext(http, method.Service, method.Name, ServerResponse.ReadHeaders(http), timeout, linked.Token);
            call = new ServerCall<TRequest, TResponse>(http, method, options.MaxReceiveMessageBytes, context);
            trailers = context.ResponseTrailers;
            await run(call).ConfigureAwait(false);
        }
        catch (Exception e)
        {
            (status, trailers) = ToStatus(e, http, method.FullName, deadline.Token);
        }

        if (http.RequestAborted.IsCancellationRequested)
        {
            return; // nobody listens any more
        }

        call?.SetHeaders();
        ServerResponse.End(http, status, trailers, call is { _bodyBegun: true });
    }

    /// <summary>The one request of a call whose client does not stream.</summary>
    internal async ValueTask<TRequest> ReadSingleAsync()
    {
        FrameResult<TRequest> first = await ReadAsync().ConfigureAwait(false);
        if (!first.Found)
        {
            throw new RpcException(StatusCode.Internal, $"{_method.FullName} needs one request; none came.");
        }

        // Wait for the end of the request: a second message would be a client's bug that must not pass unseen.
        if ((await ReadAsync().ConfigureAwait(false)).Found)
        {
            throw new RpcException(StatusCode.Internal, $"{_method.FullName} takes one request; more came.");
        }

        return first.Message!;
    }

    internal async IAsyncEnumerable<TRequest> ReadAllAsync([EnumeratorCancellation] CancellationToken cancellation = default)
    {
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            FrameResult<TRequest> result = await ReadAsync().ConfigureAwait(false);
            if (!result.Found)
            {
                yield break;
            }

            yield return result.Message!;
        }
    }

    /// <summary>Puts the only response into the transport's buffer; it leaves together with the trailers.</summary>
    internal void BufferResponse(TResponse message)
    {
        SetHeaders();
        _bodyBegun = true;
        MessageFrame.Write(_http.Response.BodyWriter, message, _method.Response);
    }

    /// <inheritdoc/>
    public async ValueTask WriteAsync(TResponse message)
    {
        Context.Cancellation.ThrowIfCancellationRequested();
        BufferResponse(message);
        await _http.Response.BodyWriter.FlushAsync(Context.Cancellation).ConfigureAwait(false);
        Context.Cancellation.ThrowIfCancellationRequested();
    }

    private ValueTask<FrameResult<TRequest>> ReadAsync() =>
        MessageFrame.ReadAsync(_http.Request.BodyReader, _method.Request, _maxReceiveBytes, Context.Cancellation);

    private void SetHeaders()
    {
        if (_headersSet || _http.Response.HasStarted)
        {
            return;
        }

        _headersSet = true;
        foreach (RpcMetadataEntry entry in Context.ResponseHeaders)
        {
            _http.Response.Headers.Append(entry.Key, RpcMetadata.ToWire(entry));
        }
    }

    private static (RpcStatus Status, RpcMetadata? Trailers) ToStatus(Exception e, HttpContext http, string method, CancellationToken deadline)
    {
        switch (e)
        {
            case OperationCanceledException or RpcException { Code: StatusCode.Cancelled } when deadline.IsCancellationRequested:
                return (new RpcStatus(StatusCode.DeadlineExceeded, "The deadline passed."), null);
            case RpcException rpc:
                return (rpc.Status, rpc.Trailers);
            case OperationCanceledException:
                return (new RpcStatus(StatusCode.Cancelled, "The call was cancelled."), null);
            case BadHttpRequestException or IOException when http.RequestAborted.IsCancellationRequested:
                return (new RpcStatus(StatusCode.Cancelled, "The caller left."), null);
            default:
                // The message may tell what a stranger should not know; it goes to the log only.
                http.RequestServices.GetService<ILoggerFactory>()?.CreateLogger("Storage.Rpc")
                    .LogError(e, "{Method} failed with an exception that is not an RpcException", method);
                return (new RpcStatus(StatusCode.Unknown, $"The handler failed with {e.GetType().Name}; see the server's log."), null);
        }
    }
}

/// <summary>Start and end of a response, the same for every method.</summary>
internal static class ServerResponse
{
    /// <summary>Checks that a request is gRPC and sets the response up; false when it was answered.</summary>
    internal static bool TryBegin(HttpContext http)
    {
        if (http.Request.Protocol != HttpProtocol.Http2)
        {
            http.Response.StatusCode = StatusCodes.Status426UpgradeRequired;
            return false;
        }

        if (!HttpMethods.IsPost(http.Request.Method))
        {
            http.Response.StatusCode = StatusCodes.Status405MethodNotAllowed;
            return false;
        }

        if (!GrpcProtocol.IsGrpc(http.Request.ContentType))
        {
            http.Response.StatusCode = StatusCodes.Status415UnsupportedMediaType;
            return false;
        }

        // Streams may live for days and pause for hours; messages have a limit of their own.
        if (http.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size)
        {
            size.MaxRequestBodySize = null;
        }

        if (http.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate)
        {
            rate.MinDataRate = null;
        }

        http.Response.ContentType = GrpcProtocol.ContentType;
        http.Response.Headers[GrpcProtocol.AcceptEncodingHeader] = GrpcProtocol.Identity;
        string encoding = http.Request.Headers[GrpcProtocol.EncodingHeader].ToString();
        if (encoding.Length != 0 && encoding != GrpcProtocol.Identity)
        {
            End(http, new RpcStatus(StatusCode.Unimplemented, $"grpc-encoding '{encoding}' is not supported; use identity."), null);
            return false;
        }

        return true;
    }

    /// <summary>
    /// Sets the status; it leaves when the request delegate returns. A failure before any response goes into the headers, so
    /// that the caller knows at once and may try elsewhere; every other status goes into the trailers.
    /// </summary>
    internal static void End(HttpContext http, RpcStatus status, RpcMetadata? trailers, bool bodyBegun = false)
    {
        IHeaderDictionary? headers = status.Code != StatusCode.Ok && !bodyBegun && !http.Response.HasStarted
            ? http.Response.Headers
            : http.Features.Get<IHttpResponseTrailersFeature>()?.Trailers;
        if (headers is null || headers.IsReadOnly)
        {
            return; // the response is closed: reset by the peer
        }

        headers[GrpcProtocol.StatusHeader] = ((int)status.Code).ToString(System.Globalization.CultureInfo.InvariantCulture);
        if (!string.IsNullOrEmpty(status.Message))
        {
            headers[GrpcProtocol.MessageHeader] = GrpcProtocol.EncodeMessage(status.Message);
        }

        if (trailers is not null)
        {
            foreach (RpcMetadataEntry entry in trailers)
            {
                headers.Append(entry.Key, RpcMetadata.ToWire(entry));
            }
        }
    }

    internal static RpcMetadata ReadHeaders(HttpContext http)
    {
        var metadata = new RpcMetadata();
        foreach ((string name, Microsoft.Extensions.Primitives.StringValues values) in http.Request.Headers)
        {
            foreach (string? value in values)
            {
                metadata.AddFromWire(name, value ?? "");
            }
        }

        return metadata;
    }
}
