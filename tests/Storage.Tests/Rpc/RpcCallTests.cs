using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using Google.Protobuf;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Rpc.Client;
using Xunit;

namespace Storage.Tests.Rpc;

public class RpcCallTests
{
    private static readonly ReadOnlyMemory<byte> Word = Encoding.ASCII.GetBytes("word");

    [Fact]
    public async Task A_call_fails_over_to_an_address_that_connects()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var channel = new RpcChannel([Dead(), server.Address]);
        Assert.Equal(Word.ToArray(), (await channel.UnaryAsync(RpcTestServer.Method("Echo"), Word)).ToArray());
        await using var call = channel.Start(RpcTestServer.Method("Chat", MethodType.DuplexStreaming));
        await call.WriteAsync(Word);
        Assert.True(await call.MoveNextAsync());
    }

    [Fact]
    public async Task A_call_without_any_live_address_is_unavailable()
    {
        using var channel = new RpcChannel([Dead(), Dead()]);
        RpcException e = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(RpcTestServer.Method("Echo"), Word));
        Assert.Equal(StatusCode.Unavailable, e.Code);
        Assert.Contains("2 of 2", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Cancelling_reaches_the_handler_and_the_caller()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var channel = new RpcChannel([server.Address]);
        using var stop = new CancellationTokenSource();
        Task<ReadOnlyMemory<byte>> call = channel.UnaryAsync(RpcTestServer.Method("Hang"), Word, default, stop.Token);
        await server.HangBegan.Task.WaitAsync(TimeSpan.FromSeconds(10));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
        await server.HangCancelled.Task.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Leaving_a_stream_cancels_it()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var channel = new RpcChannel([server.Address]);
        await foreach (ReadOnlyMemory<byte> _ in channel.ServerStreamingAsync(RpcTestServer.Method("Endless", MethodType.ServerStreaming), Word))
        {
            break;
        }

        await server.HangCancelled.Task.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task A_response_over_the_limit_is_refused()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var channel = new RpcChannel([server.Address], new RpcChannelOptions { MaxReceiveMessageBytes = 3 });
        RpcException e = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(RpcTestServer.Method("Echo"), Word));
        Assert.Equal(StatusCode.ResourceExhausted, e.Code);
    }

    [Theory]
    [InlineData("application/json", "0000000000", null, null, HttpStatusCode.UnsupportedMediaType, null)]
    [InlineData("application/grpc-web", "0000000000", null, null, HttpStatusCode.UnsupportedMediaType, null)]
    [InlineData("application/grpc+proto", "0000000000", null, null, HttpStatusCode.OK, "0")]
    [InlineData("application/grpc", "0000000000", "identity", "5S", HttpStatusCode.OK, "0")]
    [InlineData("application/grpc", "0000000000", "zip", null, HttpStatusCode.OK, "12")]
    [InlineData("application/grpc", "0000000000", null, "5x", HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "000000", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "0000000005AABB", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "0100000000", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "0700000000", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "00000000000000000000", null, null, HttpStatusCode.OK, "13")]
    [InlineData("application/grpc", "00FFFFFFFF", null, null, HttpStatusCode.OK, "8")]
    public async Task A_malformed_request_gets_the_right_answer(
        string contentType, string body, string? encoding, string? timeout, HttpStatusCode http, string? status)
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Post, $"http://{server.Address}{RpcTestServer.Method("Echo").FullName}")
        {
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Content = new ByteArrayContent(Convert.FromHexString(body)),
        };
        request.Content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);
        if (encoding is not null)
        {
            request.Headers.Add("grpc-encoding", encoding);
        }

        if (timeout is not null)
        {
            request.Headers.Add("grpc-timeout", timeout);
        }

        using HttpResponseMessage response = await client.SendAsync(request);
        Assert.Equal(http, response.StatusCode);
        bool found = response.TrailingHeaders.TryGetValues("grpc-status", out IEnumerable<string>? values)
            || response.Headers.TryGetValues("grpc-status", out values);
        Assert.Equal(status, found ? values!.Single() : null);
    }

    [Fact]
    public async Task Garbage_on_the_port_closes_only_its_own_connection()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        using var channel = new RpcChannel([server.Address]);
        await channel.UnaryAsync(RpcTestServer.Method("Echo"), Word);
        foreach (string garbage in new[] { "GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\0\0\0\0" })
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(IPAddress.Loopback, server.Port);
            await socket.SendAsync(Encoding.Latin1.GetBytes(garbage));
            socket.Shutdown(SocketShutdown.Send);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
            try
            {
                while (await socket.ReceiveAsync(new byte[4096], limit.Token) > 0)
                {
                }
            }
            catch (SocketException)
            {
                // A reset is as good as an orderly end.
            }
        }

        await channel.UnaryAsync(RpcTestServer.Method("Echo"), Word);
    }

    [Fact]
    public async Task The_admin_api_carries_requests_replies_failures_and_events()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync(app => app.MapAdmin(
            (request, _) => request.Method switch
            {
                "OsdOut" => ValueTask.FromResult<ReadOnlyMemory<byte>>(
                    new OsdIdsReply { Epoch = 9, Changed = { OsdIdsRequest.Parser.ParseFrom(request.Body.Span).Osds } }.ToByteArray()),
                _ => throw new RpcException(StatusCode.Unavailable, "no quorum"),
            },
            (_, _, _) => Events()));
        using var channel = new RpcChannel([server.Address]);
        var client = new AdminClient(channel);
        OsdIdsReply reply = await client.OsdOutAsync(new OsdIdsRequest { Osds = { 3, 5 } });
        Assert.Equal(9u, reply.Epoch);
        Assert.Equal([3, 5], reply.Changed);
        RpcException e = await Assert.ThrowsAsync<RpcException>(() => client.StatusAsync(new StatusRequest()));
        Assert.Equal(new RpcStatus(StatusCode.Unavailable, "no quorum"), e.Status);
        var epochs = new List<uint>();
        await foreach (Event item in client.WatchAsync(new WatchRequest()))
        {
            epochs.Add(item.Epoch);
        }

        Assert.Equal([1u, 2u], epochs);
    }

    [Fact]
    public async Task An_admin_call_moves_on_under_its_own_name_from_a_monitor_without_quorum()
    {
        var names = new List<Guid>();
        await using RpcTestServer minority = await RpcTestServer.StartAsync(app => app.MapAdmin((request, _) =>
        {
            names.Add(request.Id);
            throw new RpcException(StatusCode.Unavailable, "no quorum");
        }));
        await using RpcTestServer majority = await RpcTestServer.StartAsync(app => app.MapAdmin((request, _) =>
        {
            names.Add(request.Id);
            return ValueTask.FromResult<ReadOnlyMemory<byte>>(new ChangeReply { Epoch = 4 }.ToByteArray());
        }));
        using var channel = new RpcChannel([minority.Address, majority.Address]);
        var client = new AdminClient(channel);
        Assert.Equal(4u, (await client.PoolRemoveAsync(new PoolRemoveRequest { Name = "p" })).Epoch);
        Assert.Equal(4u, (await client.PoolRemoveAsync(new PoolRemoveRequest { Name = "p" })).Epoch);
        Assert.Equal(3, names.Count); // the second call went to where the first was answered
        Assert.Equal(names[0], names[1]);
        Assert.NotEqual(names[0], names[2]);
        Assert.DoesNotContain(Guid.Empty, names);
    }

    [Fact]
    public async Task A_call_goes_to_a_server_that_is_ready_and_not_to_one_that_hangs()
    {
        using var hanging = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        hanging.Start(); // its kernel takes connections, and nobody reads them
        var asked = new List<string>();
        await using RpcTestServer outOfTouch = await StartMonitor("out of touch", () => false);
        bool isReady = false;
        await using RpcTestServer ready = await StartMonitor("ready", () =>
        {
            bool was = isReady;
            isReady = true; // at the second question, as after an election
            return was;
        });
        using RpcChannel channel = AdminChannel.Create([$"127.0.0.1:{((IPEndPoint)hanging.LocalEndpoint).Port}", outOfTouch.Address, ready.Address]);
        Assert.Equal(4u, (await new AdminClient(channel).OsdOutAsync(new OsdIdsRequest())).Epoch);
        Assert.Equal(["ready"], asked);

        Task<RpcTestServer> StartMonitor(string name, Func<bool> isInTouch) => RpcTestServer.StartAsync(app => app.MapAdmin((request, _) =>
        {
            if (request.Method == "Ready")
            {
                return isInTouch() ? default : throw new RpcException(StatusCode.Unavailable, "not in touch");
            }

            lock (asked)
            {
                asked.Add(name);
            }

            return ValueTask.FromResult<ReadOnlyMemory<byte>>(new OsdIdsReply { Epoch = 4 }.ToByteArray());
        }));
    }

    [Fact]
    public void Every_method_of_the_contract_has_a_client_method()
    {
        foreach (var method in AdminReflection.Descriptor.Services[0].Methods)
        {
            Assert.NotNull(typeof(AdminMethods).GetProperty(method.Name));
            Assert.NotNull(typeof(AdminClient).GetMethod(method.Name + "Async"));
        }
    }

    private static string Dead()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return $"127.0.0.1:{((IPEndPoint)socket.LocalEndPoint!).Port}";
    }

    private static async IAsyncEnumerable<ReadOnlyMemory<byte>> Events()
    {
        for (uint epoch = 1; epoch <= 2; epoch++)
        {
            await Task.Yield();
            yield return new Event { Epoch = epoch }.ToByteArray();
        }
    }
}
