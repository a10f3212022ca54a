using Google.Protobuf.Reflection;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Storage.Rpc.Server;

namespace Storage.Rpc.Admin;

/// <summary>Serves the admin API.</summary>
public static class AdminEndpoint
{
    /// <summary>Maps every method of the admin API to a handler of raw bytes, so that a follower can forward them unparsed.</summary>
    /// <param name="endpoints">The application.</param>
    /// <param name="handler">
    /// Request to encoded reply; the request's bytes are the handler's to keep. Fails by <see cref="RpcException"/>.
    /// </param>
    /// <param name="watch">Method name and encoded request to encoded events; null answers UNIMPLEMENTED to Watch.</param>
    /// <param name="options">Settings; null means the defaults.</param>
    public static IEndpointConventionBuilder MapAdmin(
        this IEndpointRouteBuilder endpoints,
        Func<AdminRequest, CancellationToken, ValueTask<ReadOnlyMemory<byte>>> handler,
        Func<string, ReadOnlyMemory<byte>, CancellationToken, IAsyncEnumerable<ReadOnlyMemory<byte>>>? watch = null,
        RpcServerOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(handler);
        return endpoints.MapRpc(
            AdminMethods.Service,
            builder =>
            {
                ServiceDescriptor service = AdminReflection.Descriptor.Services[0];
                foreach (MethodDescriptor method in service.Methods)
                {
                    string name = method.Name;
                    if (!method.IsServerStreaming)
                    {
                        builder.Unary(
                            AdminMethods.Raw(name),
                            (request, context) => handler(new AdminRequest(name, request, IdOf(context.RequestHeaders)), context.Cancellation));
                    }
                    else if (watch is not null)
                    {
                        builder.ServerStreaming(
                            AdminMethods.Raw(name) with { Type = MethodType.ServerStreaming },
                            async (request, writer, context) =>
                            {
                                await foreach (ReadOnlyMemory<byte> message in watch(name, request, context.Cancellation).ConfigureAwait(false))
                                {
                                    await writer.WriteAsync(message).ConfigureAwait(false);
                                }
                            });
                    }
                }
            },
            options);
    }

    private static Guid IdOf(RpcMetadata headers) => headers.GetBytes(AdminRequest.IdHeader) is not { } id ? default
        : id.Length == 16 ? new Guid(id.Span)
        : throw new RpcException(StatusCode.InvalidArgument, $"{AdminRequest.IdHeader} has {id.Length} bytes instead of 16");
}
