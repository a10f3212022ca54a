using Microsoft.AspNetCore.Http;

namespace Storage.Rpc.Server;

/// <summary>What a handler knows of its call.</summary>
public sealed class RpcServerContext
{
    internal RpcServerContext(HttpContext http, string service, string method, RpcMetadata headers, TimeSpan? timeout, CancellationToken cancellation)
    {
        Http = http;
        Service = service;
        Method = method;
        RequestHeaders = headers;
        Timeout = timeout;
        Cancellation = cancellation;
    }

    /// <summary>The HTTP request underneath, for the connection's certificate and addresses.</summary>
    public HttpContext Http { get; }

    /// <summary>Full name of the service.</summary>
    public string Service { get; }

    /// <summary>Name of the method.</summary>
    public string Method { get; }

    /// <summary>What the caller sent.</summary>
    public RpcMetadata RequestHeaders { get; }

    /// <summary>Sent before the first response; later additions are lost.</summary>
    public RpcMetadata ResponseHeaders { get; } = new();

    /// <summary>Sent with the status, unless the handler throws an exception that has trailers of its own.</summary>
    public RpcMetadata ResponseTrailers { get; } = new();

    /// <summary>Time the caller gave at the call's start; null means no limit.</summary>
    public TimeSpan? Timeout { get; }

    /// <summary>Fires when the caller left or its deadline passed.</summary>
    public CancellationToken Cancellation { get; }
}
