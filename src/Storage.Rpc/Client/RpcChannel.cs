using System.Net;
using Storage.Rpc.Wire;

namespace Storage.Rpc.Client;

/// <summary>
/// The calling side: one service at several addresses. A call goes to the address that served last, or that says that it is ready
/// (<see cref="RpcChannelOptions.Probe"/>); one that cannot be connected is passed over for the next. When all fail the call ends
/// UNAVAILABLE. Safe for concurrent use.
/// </summary>
/// <remarks>Every failure is an <see cref="RpcException"/>, except the caller's own cancellation, an <see cref="OperationCanceledException"/>.</remarks>
public sealed partial class RpcChannel : IDisposable
{
    private readonly Uri[] _addresses;
    private readonly HttpMessageInvoker _http;
    private int _preferred;

    /// <summary>Creates a channel; nothing is connected before the first call.</summary>
    /// <param name="addresses">At least one: "http://host:port", "https://host:port", or "host:port", which means clear text.</param>
    /// <param name="options">Settings; null means the defaults.</param>
    /// <exception cref="ArgumentException">No address, or a malformed one.</exception>
    public RpcChannel(IEnumerable<string> addresses, RpcChannelOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        _addresses = [.. addresses.Select(ParseAddress)];
        if (_addresses.Length == 0)
        {
            throw new ArgumentException("A channel needs at least one address.", nameof(addresses));
        }

        Options = options ?? new RpcChannelOptions();
        var handler = new SocketsHttpHandler
        {
            UseProxy = false,
            UseCookies = false,
            AllowAutoRedirect = false,
            AutomaticDecompression = DecompressionMethods.None,
            ActivityHeadersPropagator = null,
            EnableMultipleHttp2Connections = true,
            ConnectTimeout = Options.ConnectTimeout,
            KeepAlivePingDelay = Options.KeepAlive,
            KeepAlivePingTimeout = Options.KeepAlive,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
        };
        if (Options.Tls is not null)
        {
            handler.SslOptions = Options.Tls;
        }

        _http = new HttpMessageInvoker(handler, disposeHandler: true);
    }

    /// <summary>The addresses, in the order given.</summary>
    public IReadOnlyList<Uri> Addresses => _addresses;

    internal RpcChannelOptions Options { get; }

    /// <summary>One request, one response.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.Unary"/>.</param>
    /// <param name="request">The request.</param>
    /// <param name="options">Deadline, headers, retries.</param>
    /// <param name="cancellation">Gives the call up; the server learns of it.</param>
    /// <exception cref="RpcException">The call failed.</exception>
    public async Task<TResponse> UnaryAsync<TRequest, TResponse>(
        Method<TRequest, TResponse> method, TRequest request, RpcCallOptions options = default, CancellationToken cancellation = default)
    {
        RpcCall<TRequest, TResponse> call = StartSingle(method, MethodType.Unary, request, options, cancellation);
        await using (call.ConfigureAwait(false))
        {
            return await call.ReadSingleAsync().ConfigureAwait(false);
        }
    }

    /// <summary>One request, many responses, each given out as it arrives. Leaving the enumeration cancels the call.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.ServerStreaming"/>.</param>
    /// <param name="request">The request.</param>
    /// <param name="options">Deadline and headers.</param>
    /// <param name="cancellation">Gives the call up; the server learns of it.</param>
    /// <exception cref="RpcException">The call failed; thrown by the enumeration.</exception>
    public async IAsyncEnumerable<TResponse> ServerStreamingAsync<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        TRequest request,
        RpcCallOptions options = default,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellation = default)
    {
        RpcCall<TRequest, TResponse> call = StartSingle(method, MethodType.ServerStreaming, request, options, cancellation);
        await using (call.ConfigureAwait(false))
        {
            while (await call.MoveNextAsync().ConfigureAwait(false))
            {
                yield return call.Current;
            }
        }
    }

    /// <summary>Starts a call whose client streams; the connection is made in the background.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of any type.</param>
    /// <param name="options">Deadline and headers.</param>
    /// <param name="cancellation">Gives the call up; the server learns of it.</param>
    /// <returns>The call, to be disposed.</returns>
    public RpcCall<TRequest, TResponse> Start<TRequest, TResponse>(
        Method<TRequest, TResponse> method, RpcCallOptions options = default, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(method);
        return new RpcCall<TRequest, TResponse>(this, method, null, options, cancellation);
    }

    /// <summary>Closes all connections; calls in flight fail.</summary>
    public void Dispose() => _http.Dispose();

    /// <summary>Sends a request to the first address that takes it.</summary>
    /// <param name="create">Makes the request for an address; called anew for each.</param>
    /// <param name="mayRetry">Whether an answer UNAVAILABLE may be tried elsewhere.</param>
    /// <param name="cancellation">Deadline and cancellation of the call.</param>
    internal async Task<HttpResponseMessage> SendAsync(Func<Uri, HttpRequestMessage> create, bool mayRetry, CancellationToken cancellation)
    {
        int first = await ChooseAsync(cancellation).ConfigureAwait(false);
        for (int attempt = 0; ; attempt++)
        {
            int index = (first + attempt) % _addresses.Length;
            bool last = attempt == _addresses.Length - 1;
            Uri address = _addresses[index];
            RpcException failure;
            try
            {
                HttpRequestMessage request = create(address);
                HttpResponseMessage response = await _http.SendAsync(request, cancellation).ConfigureAwait(false);
                if (last || !mayRetry || !ClientResponse.IsUnavailable(response))
                {
                    Prefer(index);
                    return response;
                }

                response.Dispose();
                continue;
            }
            catch (HttpRequestException e) when (IsNotConnected(e))
            {
                failure = new RpcException(StatusCode.Unavailable, $"Cannot connect to {address.Authority}: {e.InnerException?.Message ?? e.Message}", e);
            }
            catch (HttpRequestException e)
            {
                // Sent, perhaps carried out: only the caller knows whether a second time does harm.
                failure = ClientResponse.ToException(e, address);
                last |= !mayRetry || failure.Code != StatusCode.Unavailable;
            }
            catch (OperationCanceledException e) when (!cancellation.IsCancellationRequested)
            {
                failure = new RpcException(StatusCode.Unavailable, $"Cannot connect to {address.Authority} within {Options.ConnectTimeout}.", e);
            }

            if (last)
            {
                throw _addresses.Length == 1
                    ? failure
                    : new RpcException(failure.Code, $"{failure.Status.Message} ({attempt + 1} of {_addresses.Length} addresses tried)", failure);
            }
        }
    }

    private RpcCall<TRequest, TResponse> StartSingle<TRequest, TResponse>(
        Method<TRequest, TResponse> method, MethodType type, TRequest request, RpcCallOptions options, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(method);
        if (method.Type != type)
        {
            throw new ArgumentException($"{method.FullName} is {method.Type}, not {type}.", nameof(method));
        }

        return new RpcCall<TRequest, TResponse>(this, method, MessageFrame.ToMemory(request, method.Request), options, cancellation);
    }

    private static bool IsNotConnected(HttpRequestException e) =>
        e.HttpRequestError is HttpRequestError.ConnectionError or HttpRequestError.NameResolutionError or HttpRequestError.SecureConnectionError;

    private static Uri ParseAddress(string address)
    {
        ArgumentException.ThrowIfNullOrEmpty(address);
        string text = address.Contains("://", StringComparison.Ordinal) ? address : "http://" + address;
        return Uri.TryCreate(text, UriKind.Absolute, out Uri? uri) && uri.Scheme is "http" or "https" && uri.PathAndQuery == "/"
            ? uri
            : throw new ArgumentException($"'{address}' is not an address; expected host:port, http://host:port or https://host:port.", nameof(address));
    }
}
