using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Storage.Rpc.Server;

/// <summary>Serves gRPC from a Kestrel application.</summary>
public static class RpcEndpointExtensions
{
    /// <summary>Maps a service; its methods that are not added answer UNIMPLEMENTED.</summary>
    /// <param name="endpoints">The application.</param>
    /// <param name="service">Full name of the service, with its package.</param>
    /// <param name="configure">Adds the methods.</param>
    /// <param name="options">Settings; null means the defaults.</param>
    public static IEndpointConventionBuilder MapRpc(
        this IEndpointRouteBuilder endpoints, string service, Action<RpcServiceBuilder> configure, RpcServerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentException.ThrowIfNullOrEmpty(service);
        ArgumentNullException.ThrowIfNull(configure);
        var builder = new RpcServiceBuilder(service, options ?? new RpcServerOptions());
        configure(builder);
        IReadOnlyDictionary<string, RequestDelegate> methods = builder.Methods;

        // ASP.NET's routes ignore case, gRPC's names do not: hence a look-up of our own.
        string prefix = $"/{service}/";
        return endpoints.Map($"{prefix}{{**method}}", http =>
        {
            string path = http.Request.Path.Value ?? "";
            if (path.StartsWith(prefix, StringComparison.Ordinal) && methods.TryGetValue(path[prefix.Length..], out RequestDelegate? run))
            {
                return run(http);
            }

            if (ServerResponse.TryBegin(http))
            {
                ServerResponse.End(http, new RpcStatus(StatusCode.Unimplemented, $"There is no method {path}."), null);
            }

            return Task.CompletedTask;
        });
    }

    /// <summary>Listens for gRPC in clear text (HTTP/2 with prior knowledge); for loopback only, else use TLS.</summary>
    /// <param name="kestrel">The server.</param>
    /// <param name="endpoint">Address and port; port 0 takes a free one.</param>
    public static void ListenRpc(this KestrelServerOptions kestrel, IPEndPoint endpoint)
    {
        ArgumentNullException.ThrowIfNull(kestrel);
        ArgumentNullException.ThrowIfNull(endpoint);
        kestrel.AddServerHeader = false;
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(20);
        kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(10);
        kestrel.Listen(endpoint, listen => listen.Protocols = HttpProtocols.Http2);
    }
}
