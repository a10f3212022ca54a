using System.IO.Pipelines;
using System.Net;
using System.Net.Http.Headers;
using Storage.Rpc.Wire;

namespace Storage.Rpc.Client;

/// <summary>
/// One call on the calling side. One writer and one reader may work at the same time. Dispose it: a call that is not over
/// is cancelled, and the server learns of it.
/// </summary>
/// <typeparam name="TRequest">Requests.</typeparam>
/// <typeparam name="TResponse">Responses.</typeparam>
public sealed class RpcCall<TRequest, TResponse> : IAsyncDisposable
{
    private readonly RpcChannel _channel;
    private readonly Method<TRequest, TResponse> _method;
    private readonly RpcCallOptions _options;
    private readonly CancellationToken _caller;
    private readonly CancellationTokenSource? _deadline;
    private readonly CancellationTokenSource _stop;
    private readonly Pipe? _requests;
    private readonly Task<HttpResponseMessage> _response;
    private PipeReader? _reader;
    private Uri? _address;
    private bool _over;
    private TResponse? _current;

    /// <summary>Starts the call; <paramref name="single"/> is the whole request, null when requests follow.</summary>
    internal RpcCall(
        RpcChannel channel, Method<TRequest, TResponse> method, ReadOnlyMemory<byte>? single, RpcCallOptions options, CancellationToken caller)
    {
        _channel = channel;
        _method = method;
        _options = options;
        _caller = caller;
        if (options.Timeout is { } timeout)
        {
            TimeSpan limit = timeout > TimeSpan.Zero ? timeout : TimeSpan.Zero;
            _deadline = new CancellationTokenSource(limit < GrpcProtocol.LongestTimeout ? limit : GrpcProtocol.LongestTimeout, channel.Options.Time);
        }

        _stop = CancellationTokenSource.CreateLinkedTokenSource(caller, _deadline?.Token ?? default);
        _requests = single is null ? new Pipe(new PipeOptions(useSynchronizationContext: false)) : null;
        bool mayRetry = options.Idempotent && single is not null;
        _response = SendAsync(single, mayRetry);
    }

    /// <summary>The response that <see cref="MoveNextAsync"/> found.</summary>
    public TResponse Current => _current!;

    /// <summary>What came with the status; empty before the call is over.</summary>
    public RpcMetadata Trailers { get; private set; } = new();

    /// <summary>Waits for the response headers.</summary>
    /// <exception cref="RpcException">The call failed.</exception>
    public async Task<RpcMetadata> GetHeadersAsync()
    {
        try
        {
            HttpResponseMessage response = await _response.ConfigureAwait(false);
            return ClientResponse.ReadMetadata(response.Headers);
        }
        catch (Exception e) when (Translate(e) is { } translated)
        {
            throw translated;
        }
    }

    /// <summary>Sends one request; waits while the server does not read. One call at a time.</summary>
    /// <param name="message">The request.</param>
    /// <exception cref="RpcException">The call is over: CANCELLED here; its true end is told by the reading side.</exception>
    public async ValueTask WriteAsync(TRequest message)
    {
        PipeWriter writer = Requests.Writer;
        MessageFrame.Write(writer, message, _method.Request);
        try
        {
            FlushResult result = await writer.FlushAsync(_stop.Token).ConfigureAwait(false);
            if (result.IsCompleted)
            {
                throw new RpcException(StatusCode.Cancelled, $"{_method.FullName} is over; no more requests can be sent.");
            }
        }
        catch (Exception e) when (e is not RpcException && Translate(e) is { } translated)
        {
            throw translated;
        }
    }

    /// <summary>Tells the server that no more requests come.</summary>
    public ValueTask CompleteRequestsAsync() => Requests.Writer.CompleteAsync();

    /// <summary>Waits for the next response.</summary>
    /// <returns>False when the call ended with the status OK.</returns>
    /// <exception cref="RpcException">The call failed, by its status or on its way.</exception>
    public async ValueTask<bool> MoveNextAsync()
    {
        if (_over)
        {
            return false;
        }

        try
        {
            HttpResponseMessage response = await _response.ConfigureAwait(false);
            if (_reader is null)
            {
                if (ClientResponse.CheckHeaders(response))
                {
                    _over = true;
                    Trailers = ClientResponse.ReadMetadata(response.Headers);
                    return false;
                }

                _reader = PipeReader.Create(await response.Content.ReadAsStreamAsync(_stop.Token).ConfigureAwait(false));
            }

            FrameResult<TResponse> result = await MessageFrame
                .ReadAsync(_reader, _method.Response, _channel.Options.MaxReceiveMessageBytes, _stop.Token).ConfigureAwait(false);
            _current = result.Message;
            if (result.Found)
            {
                return true;
            }

            _over = true;
            RpcStatus status = ClientResponse.GetStatus(response.TrailingHeaders)
                ?? throw new RpcException(StatusCode.Internal, "The server ended the call without a status.");
            Trailers = ClientResponse.ReadMetadata(response.TrailingHeaders);
            return status.Code == StatusCode.Ok ? false : throw new RpcException(status, Trailers);
        }
        catch (Exception e) when (Translate(e) is { } translated)
        {
            _over = true;
            throw translated;
        }
    }

    /// <summary>Waits for the only response and for the status.</summary>
    /// <exception cref="RpcException">The call failed, or answered none or more than one response.</exception>
    public async ValueTask<TResponse> ReadSingleAsync()
    {
        if (!await MoveNextAsync().ConfigureAwait(false))
        {
            throw new RpcException(StatusCode.Internal, $"{_method.FullName} ended with OK but without a response.");
        }

        TResponse response = Current;
        return await MoveNextAsync().ConfigureAwait(false)
            ? throw new RpcException(StatusCode.Internal, $"{_method.FullName} answered more than one response.")
            : response;
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_requests is not null)
        {
            // An end without an exception would look like a regular half-close to the server.
            await _requests.Writer.CompleteAsync(_over ? null : new OperationCanceledException("The call was disposed.")).ConfigureAwait(false);
        }

        if (!_over)
        {
            await _stop.CancelAsync().ConfigureAwait(false);
        }

        try
        {
            (await _response.ConfigureAwait(false)).Dispose();
        }
        catch (Exception e) when (Translate(e) is not null)
        {
            // Whoever read the call was told; one who only disposes it does not care how it ended.
        }

        _stop.Dispose();
        _deadline?.Dispose();
    }

    private Pipe Requests => _requests ?? throw new InvalidOperationException($"{_method.FullName} was started with its only request.");

    private Task<HttpResponseMessage> SendAsync(ReadOnlyMemory<byte>? single, bool mayRetry) => _channel.SendAsync(
        address =>
        {
            _address = address;
            var request = new HttpRequestMessage(HttpMethod.Post, new Uri(address, _method.FullName))
            {
                Version = HttpVersion.Version20,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
                Content = single is { } bytes ? new ReadOnlyMemoryContent(bytes) : new PipeContent(_requests!.Reader),
            };
            request.Content.Headers.ContentType = new MediaTypeHeaderValue(GrpcProtocol.ContentType);
            request.Headers.TryAddWithoutValidation("te", "trailers");
            request.Headers.TryAddWithoutValidation("user-agent", "storage-rpc/1");
            request.Headers.TryAddWithoutValidation(GrpcProtocol.AcceptEncodingHeader, GrpcProtocol.Identity);
            if (_options.Timeout is { } timeout)
            {
                request.Headers.TryAddWithoutValidation(GrpcProtocol.TimeoutHeader, GrpcProtocol.EncodeTimeout(timeout));
            }

            if (_options.Headers is { } headers)
            {
                foreach (RpcMetadataEntry entry in headers)
                {
                    request.Headers.TryAddWithoutValidation(entry.Key, RpcMetadata.ToWire(entry));
                }
            }

            return request;
        },
        mayRetry,
        _stop.Token);

    /// <summary>The exception a caller shall see; null for one that is a bug and passes as it is.</summary>
    private Exception? Translate(Exception e)
    {
        if (e is RpcException { Code: not StatusCode.Cancelled } rpc)
        {
            return rpc;
        }

        if (e is not (RpcException or OperationCanceledException or HttpRequestException or IOException))
        {
            return null;
        }

        if (_caller.IsCancellationRequested)
        {
            return new OperationCanceledException($"{_method.FullName} was cancelled.", e, _caller);
        }

        if (_deadline is { IsCancellationRequested: true })
        {
            return new RpcException(StatusCode.DeadlineExceeded, $"{_method.FullName} did not end within {_options.Timeout}.", e);
        }

        return e switch
        {
            RpcException cancelled => cancelled,
            OperationCanceledException => new RpcException(StatusCode.Cancelled, $"{_method.FullName} was cancelled.", e),
            _ => ClientResponse.ToException(e, _address),
        };
    }
}

/// <summary>A request body that is written while the call runs.</summary>
internal sealed class PipeContent(PipeReader reader) : HttpContent
{
    /// <inheritdoc/>
    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
        SerializeToStreamAsync(stream, context, CancellationToken.None);

    /// <inheritdoc/>
    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        // Headers leave with the first flush; the server may want to speak first.
        await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            while (true)
            {
                ReadResult result = await reader.ReadAsync(cancellationToken).ConfigureAwait(false);
                foreach (ReadOnlyMemory<byte> segment in result.Buffer)
                {
                    await stream.WriteAsync(segment, cancellationToken).ConfigureAwait(false);
                }

                await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
                reader.AdvanceTo(result.Buffer.End);
                if (result.IsCompleted)
                {
                    return;
                }
            }
        }
        finally
        {
            // A writer that waits for room, or comes later, learns that nobody reads.
            await reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
