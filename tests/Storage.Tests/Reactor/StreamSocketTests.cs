using System.Net;
using System.Net.Sockets;
using Storage.Reactor;
using Storage.Reactor.Sockets;
using Xunit;

namespace Storage.Tests.Reactor;

/// <summary>On io_uring.</summary>
public sealed class StreamSocketOnIoUringTests() : StreamSocketTests(LoopEngine.IoUring);

/// <summary>On epoll and threads.</summary>
public sealed class StreamSocketOnEpollTests() : StreamSocketTests(LoopEngine.Epoll);

public abstract class StreamSocketTests(LoopEngine engine)
{
    private readonly ReactorOptions _options = new() { Engine = engine };

    private static readonly IPEndPoint s_anyPort = new(IPAddress.Loopback, 0);

    [Fact]
    public void RandomStreamsAreEchoedWhole()
    {
        using var fixture = new LoopFixture(_options);
        var options = new StreamOptions { Pool = fixture.Pool, ReceiveBufferSize = 4096, StagingBufferSize = 4096 };
        byte[] sent = new byte[3_000_000];
        new Random(3).NextBytes(sent);
        var received = new MemoryStream();
        StreamListener? listener = null;
        fixture.Post(() =>
        {
            listener = new StreamListener(fixture.Loop, s_anyPort, _ => new Echo(), options);
            int position = 0;
            var random = new Random(4);
            var client = new Script();
            client.Connected = Pump;
            client.Writable = Pump;
            client.Received = (socket, data) =>
            {
                int take = random.Next(0, data.Length + 1); // leaves some for later, sometimes all
                if (data.Length > 3000 || received.Length + data.Length == sent.Length)
                {
                    take = data.Length;
                }

                received.Write(data.Span[..take]);
                if (received.Length == sent.Length)
                {
                    socket.Close();
                }

                return take;
            };
            client.Closed = (_, _) =>
            {
                listener.Dispose();
                fixture.Loop.Schedule(TimeSpan.FromMilliseconds(20), _ => fixture.Finished.Set(), null);
            };
            StreamSocket.Connect(fixture.Loop, listener.LocalEndPoint, client, options with { HighWatermark = 100_000 });

            void Pump(StreamSocket socket)
            {
                while (position < sent.Length && !socket.IsCongested)
                {
                    int count = Math.Min(random.Next(1, 20_000), sent.Length - position);
                    if (random.Next(2) == 0)
                    {
                        socket.Send(sent.AsSpan(position, count));
                    }
                    else
                    {
                        PageBuffer buffer = fixture.Pool.Rent(count);
                        sent.AsSpan(position, count).CopyTo(buffer.Span);
                        socket.Send(buffer.Slice(0, count));
                        buffer.Release();
                    }

                    position += count;
                    Assert.True(socket.QueuedBytes < 150_000);
                }
            }
        });
        fixture.Await();
        Assert.True(sent.AsSpan().SequenceEqual(received.ToArray()));
        fixture.AssertNoBuffersOut();
    }

    [Fact]
    public void PayloadsLandInTheCallersBuffer()
    {
        using var fixture = new LoopFixture(_options);
        var options = new StreamOptions { Pool = fixture.Pool, ReceiveBufferSize = 4096 };
        int seen = 0;
        fixture.Post(() =>
        {
            StreamListener? listener = null;
            var server = new Script();
            PageBuffer? payload = null;
            server.Received = (socket, data) =>
            {
                if (data.Length < 4)
                {
                    return 0;
                }

                int length = BitConverter.ToInt32(data.Span);
                payload = fixture.Pool.Rent(length);
                socket.ReceiveInto(payload.Slice(0, length));
                return 4;
            };
            server.Payload = (socket, segment) =>
            {
                Assert.True(segment.Span.IndexOfAnyExcept((byte)(seen + 1)) < 0);
                payload!.Release();
                if (++seen == 50)
                {
                    listener!.Dispose();
                    socket.Close();
                }
            };
            listener = new StreamListener(fixture.Loop, s_anyPort, _ => server, options);
            var client = new Script
            {
                Connected = socket =>
                {
                    var random = new Random(5);
                    for (int i = 1; i <= 50; i++)
                    {
                        int length = random.Next(1, 60_000);
                        socket.Send(BitConverter.GetBytes(length));
                        byte[] bytes = new byte[length];
                        bytes.AsSpan().Fill((byte)i);
                        socket.Send(bytes);
                    }
                },
                Closed = (_, _) => fixture.Finished.Set(),
            };
            StreamSocket.Connect(fixture.Loop, listener.LocalEndPoint, client, options);
        });
        fixture.Await();
        fixture.Run(() => { });
        Assert.Equal(50, seen);
        fixture.AssertNoBuffersOut();
    }

    [Fact]
    public void RefusedAndLocalCloseAreTold()
    {
        using var fixture = new LoopFixture(_options);
        var errors = new List<string>();
        fixture.Post(() =>
        {
            var listener = new StreamListener(fixture.Loop, s_anyPort, _ => null);
            EndPoint free = listener.LocalEndPoint;
            listener.Dispose();
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(10), _ => StreamSocket.Connect(fixture.Loop, free, new Script
            {
                Closed = (_, error) =>
                {
                    errors.Add(error.ToString());
                    StreamSocket.Connect(fixture.Loop, free, new Script
                    {
                        Closed = (_, e) =>
                        {
                            errors.Add(e.ToString());
                            fixture.Finished.Set();
                        },
                    }).Close();
                },
            }), null);
        });
        fixture.Await();
        Assert.Equal(["ECONNREFUSED (111)", "ECANCELED (125)"], errors);
    }

    [Fact]
    public void StoppingTheLoopEndsConnectionsAndReturnsBuffers()
    {
        var fixture = new LoopFixture(_options);
        var options = new StreamOptions { Pool = fixture.Pool };
        int closed = 0;
        fixture.Post(() =>
        {
            var listener = new StreamListener(fixture.Loop, s_anyPort, _ => new Script { Closed = (_, _) => closed++ }, options);
            StreamSocket.Connect(fixture.Loop, listener.LocalEndPoint, new Script
            {
                Received = (_, data) => data.Length,
                Closed = (_, _) => closed++,
                Connected = _ => fixture.Loop.Schedule(TimeSpan.FromMilliseconds(20), _ => fixture.Finished.Set(), null),
            }, options);
        });
        fixture.Await();
        fixture.Dispose();
        Assert.Equal(2, closed);
        fixture.AssertNoBuffersOut();
    }

    [Fact]
    public void UnixSocketsWork()
    {
        string path = $"/tmp/reactor-{Environment.ProcessId}-{Guid.NewGuid():n}.sock";
        using var fixture = new LoopFixture(_options);
        fixture.Post(() =>
        {
            var listener = new StreamListener(fixture.Loop, new UnixDomainSocketEndPoint(path), _ => new Echo());
            StreamSocket.Connect(fixture.Loop, new UnixDomainSocketEndPoint(path), new Script
            {
                Connected = s => s.Send("hello"u8),
                Received = (s, data) =>
                {
                    Assert.True(data.Span.SequenceEqual("hello"u8));
                    s.Close();
                    listener.Dispose();
                    return data.Length;
                },
                Closed = (_, _) => fixture.Finished.Set(),
            });
        });
        fixture.Await();
        Assert.False(File.Exists(path));
    }

    [Fact]
    public void WritersToAPeerThatDoesNotReadAreBounded()
    {
        using var fixture = new LoopFixture(_options);
        var options = new StreamOptions { Pool = fixture.Pool, HighWatermark = 1 << 20 };
        long sent = 0;
        bool drained = false;
        fixture.Post(() =>
        {
            StreamSocket? reader = null;
            var listener = new StreamListener(fixture.Loop, s_anyPort, _ => new Script
            {
                Connected = s =>
                {
                    reader = s;
                    s.PauseReceiving();
                },
                Received = (_, data) => data.Length,
            }, options);
            byte[] block = new byte[16 << 10];
            StreamSocket? writer = null;
            writer = StreamSocket.Connect(fixture.Loop, listener.LocalEndPoint, new Script
            {
                Connected = Write,
                Writable = socket =>
                {
                    drained |= reader is not null && sent > 0 && _resumed;
                    if (_resumed)
                    {
                        listener.Dispose();
                        socket.Close();
                    }
                    else
                    {
                        Write(socket);
                    }
                },
                Closed = (_, _) => fixture.Finished.Set(),
            }, options);
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(200), _ =>
            {
                Assert.True(writer.IsCongested);
                Assert.True(writer.QueuedBytes < 2 << 20);
                _resumed = true;
                reader!.ResumeReceiving();
            }, null);

            void Write(StreamSocket socket)
            {
                while (!socket.IsCongested)
                {
                    socket.Send(block);
                    sent += block.Length;
                }
            }
        });
        fixture.Await();
        Assert.True(drained);
    }

    private bool _resumed;

    private sealed class Echo : IStreamHandler
    {
        public void OnConnected(StreamSocket socket)
        {
        }

        public int OnReceived(StreamSocket socket, BufferSegment data)
        {
            socket.Send(data.Span);
            return data.Length;
        }

        public void OnPayload(StreamSocket socket, BufferSegment payload)
        {
        }

        public void OnWritable(StreamSocket socket)
        {
        }

        public void OnClosed(StreamSocket socket, IoError error)
        {
        }
    }

    private sealed class Script : IStreamHandler
    {
        public Action<StreamSocket>? Connected { get; set; }

        public Func<StreamSocket, BufferSegment, int>? Received { get; set; }

        public Action<StreamSocket, BufferSegment>? Payload { get; set; }

        public Action<StreamSocket>? Writable { get; set; }

        public Action<StreamSocket, IoError>? Closed { get; set; }

        public void OnConnected(StreamSocket socket) => Connected?.Invoke(socket);

        public int OnReceived(StreamSocket socket, BufferSegment data) => Received?.Invoke(socket, data) ?? data.Length;

        public void OnPayload(StreamSocket socket, BufferSegment payload) => Payload!(socket, payload);

        public void OnWritable(StreamSocket socket) => Writable?.Invoke(socket);

        public void OnClosed(StreamSocket socket, IoError error) => Closed?.Invoke(socket, error);
    }
}
