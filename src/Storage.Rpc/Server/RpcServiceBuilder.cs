using Microsoft.AspNetCore.Http;

namespace Storage.Rpc.Server;

/// <summary>Settings of the serving side.</summary>
public sealed record RpcServerOptions
{
    /// <summary>Longest request message in bytes. 16 MiB holds the CRUSH text of ten thousand OSDs several times over.</summary>
    public int MaxReceiveMessageBytes { get; init; } = 16 << 20;

    /// <summary>Source of deadlines.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;
}

/// <summary>Sends responses of a streaming call.</summary>
/// <typeparam name="T">The response type.</typeparam>
public interface IRpcResponseWriter<T>
{
    /// <summary>Sends one response; completes when the transport has taken it, which is the backpressure. One call at a time.</summary>
    /// <param name="message">The response.</param>
    /// <exception cref="OperationCanceledException">The caller left or its deadline passed.</exception>
    ValueTask WriteAsync(T message);
}

/// <summary>Collects the methods of one service. Handlers fail by throwing <see cref="RpcException"/>.</summary>
public sealed class RpcServiceBuilder
{
    private readonly RpcServerOptions _options;
    private readonly Dictionary<string, RequestDelegate> _methods = new(StringComparer.Ordinal);

    internal RpcServiceBuilder(string service, RpcServerOptions options)
    {
        Service = service;
        _options = options;
    }

    /// <summary>Full name of the service.</summary>
    public string Service { get; }

    internal IReadOnlyDictionary<string, RequestDelegate> Methods => _methods;

    /// <summary>Adds a method with one request and one response.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.Unary"/>.</param>
    /// <param name="handler">Carries the call out.</param>
    public RpcServiceBuilder Unary<TRequest, TResponse>(
        Method<TRequest, TResponse> method, Func<TRequest, RpcServerContext, ValueTask<TResponse>> handler) =>
        Add(method, MethodType.Unary, async call =>
        {
            TRequest request = await call.ReadSingleAsync().ConfigureAwait(false);
            TResponse response = await handler(request, call.Context).ConfigureAwait(false);
            call.Context.Cancellation.ThrowIfCancellationRequested();
            call.BufferResponse(response);
        });

    /// <summary>Adds a method with one request and many responses.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.ServerStreaming"/>.</param>
    /// <param name="handler">Carries the call out.</param>
    public RpcServiceBuilder ServerStreaming<TRequest, TResponse>(
        Method<TRequest, TResponse> method, Func<TRequest, IRpcResponseWriter<TResponse>, RpcServerContext, ValueTask> handler) =>
        Add(method, MethodType.ServerStreaming, async call =>
        {
            TRequest request = await call.ReadSingleAsync().ConfigureAwait(false);
            await handler(request, call, call.Context).ConfigureAwait(false);
        });

    /// <summary>Adds a method with many requests and one response.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.ClientStreaming"/>.</param>
    /// <param name="handler">Carries the call out; may answer before the requests end.</param>
    public RpcServiceBuilder ClientStreaming<TRequest, TResponse>(
        Method<TRequest, TResponse> method, Func<IAsyncEnumerable<TRequest>, RpcServerContext, ValueTask<TResponse>> handler) =>
        Add(method, MethodType.ClientStreaming, async call =>
        {
            TResponse response = await handler(call.ReadAllAsync(), call.Context).ConfigureAwait(false);
            call.Context.Cancellation.ThrowIfCancellationRequested();
            call.BufferResponse(response);
        });

    /// <summary>Adds a method with many of both.</summary>
    /// <typeparam name="TRequest">Requests.</typeparam>
    /// <typeparam name="TResponse">Responses.</typeparam>
    /// <param name="method">Of type <see cref="MethodType.DuplexStreaming"/>.</param>
    /// <param name="handler">Carries the call out; reads and writes may overlap.</param>
    public RpcServiceBuilder Duplex<TRequest, TResponse>(
        Method<TRequest, TResponse> method,
        Func<IAsyncEnumerable<TRequest>, IRpcResponseWriter<TResponse>, RpcServerContext, ValueTask> handler) =>
        Add(method, MethodType.DuplexStreaming, call => handler(call.ReadAllAsync(), call, call.Context));

    private RpcServiceBuilder Add<TRequest, TResponse>(
        Method<TRequest, TResponse> method, MethodType type, Func<ServerCall<TRequest, TResponse>, ValueTask> run)
    {
        ArgumentNullException.ThrowIfNull(method);
        if (method.Type != type || method.Service != Service)
        {
            throw new ArgumentException($"{method.FullName} ({method.Type}) cannot be added as {type} to {Service}.", nameof(method));
        }

        if (!_methods.TryAdd(method.Name, http => ServerCall<TRequest, TResponse>.HandleAsync(http, method, _options, run)))
        {
            throw new ArgumentException($"{method.FullName} is there already.", nameof(method));
        }

        return this;
    }
}
