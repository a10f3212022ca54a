using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Storage.Rpc;
using Storage.Rpc.Server;

namespace Storage.Tests.Rpc;

/// <summary>A Kestrel on a free loopback port with a service of every kind of method.</summary>
public sealed class RpcTestServer : IAsyncDisposable
{
    public const string Service = "storage.test.Echo";
    private readonly WebApplication _app;

    private RpcTestServer(WebApplication app, int port)
    {
        _app = app;
        Port = port;
    }

    public int Port { get; }

    public string Address => $"127.0.0.1:{Port}";

    /// <summary>Completes when the handler of Hang saw its cancellation.</summary>
    public TaskCompletionSource HangCancelled { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when the handler of Hang began.</summary>
    public TaskCompletionSource HangBegan { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static Method<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>> Method(string name, MethodType type = MethodType.Unary) =>
        new(type, Service, name, RpcMarshaller.Raw, RpcMarshaller.Raw);

    public static async Task<RpcTestServer> StartAsync(Action<IEndpointRouteBuilder>? map = null, int maxBytes = 100_000)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(k => k.ListenRpc(new IPEndPoint(IPAddress.Loopback, 0)));
        WebApplication app = builder.Build();
        RpcTestServer? server = null;
        if (map is not null)
        {
            map(app);
        }
        else
        {
            app.MapRpc(Service, b => Configure(b, () => server!), new RpcServerOptions { MaxReceiveMessageBytes = maxBytes });
        }

        await app.StartAsync();
        string url = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();
        server = new RpcTestServer(app, new Uri(url).Port);
        return server;
    }

    public async ValueTask DisposeAsync()
    {
        using var quick = new CancellationTokenSource(TimeSpan.FromMilliseconds(200));
        await _app.StopAsync(quick.Token);
        await _app.DisposeAsync();
    }

    private static void Configure(RpcServiceBuilder builder, Func<RpcTestServer> self)
    {
        builder.Unary(Method("Echo"), (request, context) =>
        {
            foreach (RpcMetadataEntry entry in context.RequestHeaders)
            {
                if (entry.Key.StartsWith("x-", StringComparison.Ordinal))
                {
                    if (entry.IsBinary)
                    {
                        context.ResponseHeaders.Add(entry.Key, entry.Bytes);
                        context.ResponseTrailers.Add("t" + entry.Key, entry.Bytes);
                    }
                    else
                    {
                        context.ResponseHeaders.Add(entry.Key, entry.Text);
                    }
                }
            }

            return ValueTask.FromResult(request);
        });
        builder.Unary(Method("Fail"), (_, _) =>
        {
            var trailers = new RpcMetadata { { "why", "test" }, { "why-bin", new byte[] { 0, 255 } } };
            throw new RpcException(new RpcStatus(StatusCode.FailedPrecondition, "100% ünfit\n"), trailers);
        });
        builder.Unary(Method("Throw"), (_, _) => throw new InvalidOperationException("secret"));
        builder.Unary(Method("Hang"), async (request, context) =>
        {
            self().HangBegan.TrySetResult();
            try
            {
                await Task.Delay(Timeout.Infinite, context.Cancellation);
            }
            catch (OperationCanceledException)
            {
                self().HangCancelled.TrySetResult();
                throw;
            }

            return request;
        });
        builder.ServerStreaming(Method("Split", MethodType.ServerStreaming), async (request, writer, _) =>
        {
            for (int i = 0; i < request.Length; i++)
            {
                await writer.WriteAsync(request.Slice(i, 1));
            }
        });
        builder.ServerStreaming(Method("Endless", MethodType.ServerStreaming), async (request, writer, context) =>
        {
            try
            {
                while (true)
                {
                    await writer.WriteAsync(request);
                }
            }
            finally
            {
                self().HangCancelled.TrySetResult();
            }
        });
        builder.ClientStreaming(Method("Join", MethodType.ClientStreaming), async (requests, _) =>
        {
            var all = new List<byte>();
            await foreach (ReadOnlyMemory<byte> request in requests)
            {
                all.AddRange(request.Span);
            }

            return (ReadOnlyMemory<byte>)all.ToArray();
        });
        builder.Duplex(Method("Chat", MethodType.DuplexStreaming), async (requests, writer, _) =>
        {
            await foreach (ReadOnlyMemory<byte> request in requests)
            {
                await writer.WriteAsync(request);
            }
        });
        builder.Duplex(Method("Early", MethodType.DuplexStreaming), (_, _, _) => throw new RpcException(StatusCode.Aborted, "early"));
    }
}
