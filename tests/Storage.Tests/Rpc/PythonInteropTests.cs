using System.Diagnostics;
using System.Text;
using Storage.Rpc;
using Storage.Rpc.Client;
using Xunit;

namespace Storage.Tests.Rpc;

public class PythonInteropTests
{
    [Fact]
    public async Task Pythons_client_understands_our_server()
    {
        await using RpcTestServer server = await RpcTestServer.StartAsync();
        await PythonGrpc.RunAsync(
            """
            import time
            c = grpc.insecure_channel(sys.argv[1], options=[("grpc.enable_http_proxy", 0)])
            s = "/storage.test.Echo/"
            def fails(code, f):
                try:
                    f()
                except grpc.RpcError as e:
                    assert e.code() == code, (e.code(), e.details())
                    return e
                raise AssertionError("no failure")

            r, call = c.unary_unary(s + "Echo").with_call(b"hello", metadata=[("x-a", "b"), ("x-c-bin", b"\x00\xff\x01")], timeout=20)
            assert r == b"hello"
            assert ("x-a", "b") in call.initial_metadata(), call.initial_metadata()
            assert ("x-c-bin", b"\x00\xff\x01") in call.initial_metadata(), call.initial_metadata()
            assert ("tx-c-bin", b"\x00\xff\x01") in call.trailing_metadata(), call.trailing_metadata()
            assert c.unary_unary(s + "Echo")(b"") == b""
            assert c.unary_unary(s + "Echo")(b"x" * 100000) == b"x" * 100000

            e = fails(grpc.StatusCode.FAILED_PRECONDITION, lambda: c.unary_unary(s + "Fail")(b""))
            assert e.details() == "100% \u00fcnfit\n", e.details()
            assert ("why", "test") in e.trailing_metadata() and ("why-bin", b"\x00\xff") in e.trailing_metadata()
            e = fails(grpc.StatusCode.UNKNOWN, lambda: c.unary_unary(s + "Throw")(b""))
            assert "secret" not in e.details()
            fails(grpc.StatusCode.UNIMPLEMENTED, lambda: c.unary_unary(s + "Nothing")(b""))
            fails(grpc.StatusCode.UNIMPLEMENTED, lambda: c.unary_unary("/no.Service/X")(b""))
            fails(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: c.unary_unary(s + "Echo")(b"x" * 100001))
            fails(grpc.StatusCode.UNIMPLEMENTED, lambda: c.unary_unary(s + "Echo")(b"x" * 1000, compression=grpc.Compression.Gzip))
            fails(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: c.unary_unary(s + "Hang")(b"", timeout=0.3))

            assert list(c.unary_stream(s + "Split")(b"abc")) == [b"a", b"b", b"c"]
            assert list(c.unary_stream(s + "Split")(b"")) == []
            assert c.stream_unary(s + "Join")(iter([b"a", b"", b"bc"] * 100)) == b"abc" * 100
            assert list(c.stream_stream(s + "Chat")(iter([b"1", b"", b"333"]))) == [b"1", b"", b"333"]
            def forever():
                while True:
                    yield b"x" * 1000
            fails(grpc.StatusCode.ABORTED, lambda: list(c.stream_stream(s + "Early")(forever())))
            it = c.unary_stream(s + "Endless")(b"z")
            assert next(it) == b"z"
            it.cancel()
            """,
            server.Address);
        await server.HangCancelled.Task.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Our_client_understands_pythons_server()
    {
        using Process process = PythonGrpc.Start(
            """
            import time
            from concurrent import futures
            def fail(r, ctx):
                ctx.set_trailing_metadata([("why-bin", b"\x00\xff")])
                ctx.abort(grpc.StatusCode.FAILED_PRECONDITION, "100% \u00fcnfit\n")
            def echo(r, ctx):
                ctx.send_initial_metadata([(k, v) for k, v in ctx.invocation_metadata() if k.startswith("x-")])
                return r
            def hang(r, ctx):
                while ctx.is_active():
                    time.sleep(0.01)
                return r
            def split(r, ctx):
                for b in r:
                    yield bytes([b])
            def join(rs, ctx):
                return b"".join(rs)
            def chat(rs, ctx):
                for r in rs:
                    yield r
            h = {
                "Echo": grpc.unary_unary_rpc_method_handler(echo),
                "Fail": grpc.unary_unary_rpc_method_handler(fail),
                "Hang": grpc.unary_unary_rpc_method_handler(hang),
                "Split": grpc.unary_stream_rpc_method_handler(split),
                "Join": grpc.stream_unary_rpc_method_handler(join),
                "Chat": grpc.stream_stream_rpc_method_handler(chat),
            }
            server = grpc.server(futures.ThreadPoolExecutor(4))
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("storage.test.Echo", h),))
            print(server.add_insecure_port("127.0.0.1:0"))
            server.start()
            sys.stdin.read()
            server.stop(0)
            """);
        try
        {
            string? port = await process.StandardOutput.ReadLineAsync();
            Assert.True(int.TryParse(port, out _), port ?? await process.StandardError.ReadToEndAsync());
            using var channel = new RpcChannel([$"127.0.0.1:{port}"]);
            var headers = new RpcMetadata { { "x-a", "b" }, { "x-c-bin", new byte[] { 0, 255, 1 } } };

            await using (RpcCall<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>> call = channel.Start(RpcTestServer.Method("Echo"), new RpcCallOptions { Headers = headers }))
            {
                await call.WriteAsync(Bytes("hi"));
                await call.CompleteRequestsAsync();
                RpcMetadata got = await call.GetHeadersAsync();
                Assert.Equal("b", got.GetText("x-a"));
                Assert.Equal([0, 255, 1], got.GetBytes("x-c-bin")!.Value.ToArray());
                Assert.Equal("hi", Text(await call.ReadSingleAsync()));
            }

            var big = new byte[3_000_000];
            big[^1] = 7;
            Assert.Equal(big, (await channel.UnaryAsync(RpcTestServer.Method("Echo"), (ReadOnlyMemory<byte>)big)).ToArray());

            RpcException failure = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(RpcTestServer.Method("Fail"), Bytes("")));
            Assert.Equal(new RpcStatus(StatusCode.FailedPrecondition, "100% ünfit\n"), failure.Status);
            Assert.Equal([0, 255], failure.Trailers.GetBytes("why-bin")!.Value.ToArray());
            failure = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(RpcTestServer.Method("Nothing"), Bytes("")));
            Assert.Equal(StatusCode.Unimplemented, failure.Code);
            failure = await Assert.ThrowsAsync<RpcException>(() => channel.UnaryAsync(
                RpcTestServer.Method("Hang"), Bytes(""), new RpcCallOptions { Timeout = TimeSpan.FromMilliseconds(300) }));
            Assert.Equal(StatusCode.DeadlineExceeded, failure.Code);

            var parts = new List<string>();
            await foreach (ReadOnlyMemory<byte> part in channel.ServerStreamingAsync(RpcTestServer.Method("Split", MethodType.ServerStreaming), Bytes("abc")))
            {
                parts.Add(Text(part));
            }

            Assert.Equal(["a", "b", "c"], parts);
            await using (var join = channel.Start(RpcTestServer.Method("Join", MethodType.ClientStreaming)))
            {
                for (int i = 0; i < 100; i++)
                {
                    await join.WriteAsync(Bytes("ab"));
                }

                await join.CompleteRequestsAsync();
                Assert.Equal(200, (await join.ReadSingleAsync()).Length);
            }

            await using (var chat = channel.Start(RpcTestServer.Method("Chat", MethodType.DuplexStreaming)))
            {
                foreach (string word in new[] { "a", "", "ccc" })
                {
                    await chat.WriteAsync(Bytes(word));
                    Assert.True(await chat.MoveNextAsync());
                    Assert.Equal(word, Text(chat.Current));
                }

                await chat.CompleteRequestsAsync();
                Assert.False(await chat.MoveNextAsync());
            }
        }
        finally
        {
            process.StandardInput.Close();
            if (!process.WaitForExit(3000))
            {
                process.Kill();
            }
        }
    }

    private static ReadOnlyMemory<byte> Bytes(string text) => Encoding.UTF8.GetBytes(text);

    private static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);
}
