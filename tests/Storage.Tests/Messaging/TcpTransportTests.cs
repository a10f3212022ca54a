using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.Reactor;
using Storage.Reactor.Sockets;
using Storage.Tests.Reactor;
using Xunit;

namespace Storage.Tests.Messaging;

/// <summary>Messages over TCP.</summary>
public sealed class TcpTransportTests() : TransportTests(unixSockets: false);

/// <summary>Messages between processes of one machine, over Unix sockets.</summary>
public sealed class LocalTransportTests() : TransportTests(unixSockets: true)
{
    [Fact]
    public void ANameThatSomebodyHasIsNoReasonNotToListen()
    {
        using var fixture = new LoopFixture();
        using var other = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        var handler = new ScriptHandler { Opened = _ => fixture.Finished.Set() };
        var warnings = new List<string>();
        int port;
        using (var free = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            free.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            port = ((IPEndPoint)free.LocalEndPoint!).Port;
        }

        other.Bind(new UnixDomainSocketEndPoint($"\0storage/127.0.0.1:{port}")); // takes no connections
        fixture.Post(() =>
        {
            TcpTransport server = Transport(fixture, Osd);
            server.Warning += warnings.Add;
            IListener listener = server.Listen(AnyPort with { Port = port }, _ => new ScriptHandler());
            Transport(fixture, Client).Connect(listener.Address, handler);
        });
        fixture.Await();
        Assert.Equal(["opened osd.3"], handler.Trace);
        Assert.Contains("Unix socket", Assert.Single(warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void AListenerThatTakesTcpOnlyIsFoundAllTheSame()
    {
        using var fixture = new LoopFixture();
        var handler = new ScriptHandler { Opened = _ => fixture.Finished.Set() };
        fixture.Post(() =>
        {
            IListener listener = Transport(fixture, Osd, unixSockets: false).Listen(AnyPort, _ => new ScriptHandler());
            Transport(fixture, Client).Connect(listener.Address, handler);
        });
        fixture.Await();
        Assert.Equal(["opened osd.3"], handler.Trace);
    }
}

/// <summary>What holds whatever carries the messages.</summary>
public abstract class TransportTests(bool unixSockets)
{
    protected static NodeAddress AnyPort { get; } = new("127.0.0.1", 0);
    protected static PeerIdentity Osd { get; } = new(EntityKind.Osd, 3, 11);
    protected static PeerIdentity Client { get; } = new(EntityKind.Client, 0xc11e, 12);

    [Fact]
    public void MessagesOfAllSizesArriveInOrderAndWhole()
    {
        using var fixture = new LoopFixture();
        const int Count = 10_000;
        int received = 0;
        var random = new Random(9);
        fixture.Post(() =>
        {
            TcpTransport server = Transport(fixture, Osd), client = Transport(fixture, Client);
            var serverHandler = new ScriptHandler();
            IListener listener = server.Listen(AnyPort, _ => serverHandler);
            serverHandler.Received = (IConnection connection, in Message message) =>
            {
                Assert.Equal(MessageType.Operation, message.Type);
                Assert.Equal(received, BitConverter.ToInt32(message.Body));
                Assert.True(message.Body[4..].IndexOfAnyExcept((byte)received) < 0);
                Assert.True(message.Data.Span.IndexOfAnyExcept((byte)~received) < 0);
                Assert.Equal(0, message.Data.Offset);
                received++;
                connection.Send(MessageType.OperationReply, message.Body[..4]);
            };
            int sent = 0, replies = 0;
            var clientHandler = new ScriptHandler { Drained = Pump, Opened = Pump };
            clientHandler.Received = (IConnection connection, in Message message) =>
            {
                Assert.Equal(replies++, BitConverter.ToInt32(message.Body));
                if (replies == Count)
                {
                    Assert.Equal(Osd, connection.Peer);
                    connection.Close();
                }
            };
            clientHandler.Closed = (_, reason) =>
            {
                Assert.Equal(CloseReason.Local, reason);
                listener.Dispose();
                fixture.Loop.Schedule(TimeSpan.FromMilliseconds(20), _ => fixture.Finished.Set(), null);
            };
            client.Connect(listener.Address, clientHandler);

            void Pump(IConnection connection)
            {
                for (; sent < Count && connection.QueuedBytes < connection.HighWatermark; sent++)
                {
                    int scale = random.Next(200);
                    int bodyLength = scale == 0 ? random.Next(1_000_000) : random.Next(300);
                    int dataLength = scale == 1 ? random.Next(3_000_000) : random.Next(3) == 0 ? random.Next(9000) : 0;
                    byte[] body = new byte[4 + bodyLength];
                    body.AsSpan().Fill((byte)sent);
                    BitConverter.TryWriteBytes(body, sent);
                    PageBuffer data = fixture.Pool.Rent(dataLength);
                    data.Span[..dataLength].Fill((byte)~sent);
                    if (dataLength > 100)
                    {
                        connection.Send(MessageType.Operation, body, [data.Slice(0, 10), data.Slice(10, 1), data.Slice(11, dataLength - 11)]);
                    }
                    else
                    {
                        connection.Send(MessageType.Operation, body, data.Slice(0, dataLength));
                    }

                    data.Release();
                }
            }
        });
        fixture.Await(30);
        Assert.Equal(Count, received);
        fixture.AssertNoBuffersOut();
    }

    [Fact]
    public void DataThatChangesInTheMemoryOfWhoPassesItOnIsRefused()
    {
        using var fixture = new LoopFixture();
        var warnings = new List<string>();
        var last = new ScriptHandler();
        fixture.Post(() =>
        {
            TcpTransport server = Transport(fixture, Osd), relay = Transport(fixture, Osd with { Id = 4 }), client = Transport(fixture, Client);
            server.Warning += warning =>
            {
                warnings.Add(warning);
                fixture.Finished.Set();
            };
            NodeAddress address = server.Listen(AnyPort, _ => last).Address;
            IConnection onward = relay.Connect(address, new ScriptHandler());
            var relaying = new ScriptHandler
            {
                Received = (IConnection _, in Message message) =>
                {
                    onward.Send(MessageType.Operation, message.Body, message.Data);
                    PageBuffer kept = message.Data.Buffer!.Retain();
                    kept.Span[70_000] ^= 4;
                    onward.Send(MessageType.Operation, message.Body, message.Data.Slice(4096, 90_000));
                    kept.Release();
                },
            };
            PageBuffer data = fixture.Pool.Rent(100_000);
            Random.Shared.NextBytes(data.Span);
            client.Connect(relay.Listen(AnyPort, _ => relaying).Address, new ScriptHandler()).Send(MessageType.Operation, [7], data.Slice(0, 100_000));
            data.Release();
        });
        fixture.Await();
        Assert.Contains("checksum", Assert.Single(warnings), StringComparison.Ordinal);
        Assert.DoesNotContain(last.Trace, line => line.StartsWith("message", StringComparison.Ordinal));
    }

    [Fact]
    public void BodiesLongerThanTheReceiveBufferArrive()
    {
        using var fixture = new LoopFixture();
        byte[] body = RandomNumberGenerator.GetBytes(20_000_000);
        fixture.Post(() =>
        {
            var serverHandler = new ScriptHandler();
            IListener? listener = null;
            serverHandler.Received = (IConnection connection, in Message message) =>
            {
                Assert.True(message.Body.SequenceEqual(body));
                Assert.Equal(5, message.Data.Length);
                listener!.Dispose();
                connection.Close();
            };
            serverHandler.Closed = (_, _) => fixture.Loop.Schedule(TimeSpan.FromMilliseconds(20), _ => fixture.Finished.Set(), null);
            listener = Transport(fixture, Osd).Listen(AnyPort, _ => serverHandler);
            IConnection connection = Transport(fixture, Client).Connect(listener.Address, new ScriptHandler());
            PageBuffer data = fixture.Pool.Rent(5);
            connection.Send(MessageType.MapUpdate, body, data.Slice(0, 5)); // before it is open
            data.Release();
        });
        fixture.Await();
        fixture.AssertNoBuffersOut();
    }

    [Fact]
    public void GarbageClosesTheConnectionAndHarmsNothing()
    {
        using var fixture = new LoopFixture();
        var warnings = new List<string>();
        NodeAddress address = default;
        var good = new ScriptHandler();
        fixture.Run(() =>
        {
            TcpTransport server = Transport(fixture, Osd);
            server.Warning += warnings.Add;
            address = server.Listen(AnyPort, _ => new ScriptHandler()).Address;
            Transport(fixture, Client).Connect(address, good);
        });
        var random = new Random(6);
        byte[] hello = HelloFrame();
        for (int round = 0; round < 60; round++)
        {
            byte[] bytes = new byte[random.Next(1, 5000)];
            random.NextBytes(bytes);
            if (round % 3 == 1)
            {
                bytes = [.. hello, .. bytes];
            }
            else if (round % 3 == 2)
            {
                bytes = (byte[])hello.Clone();
                bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
            }

            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ReceiveTimeout = 5000 };
            socket.Connect(IPAddress.Loopback, address.Port);
            socket.Send(bytes);
            socket.Shutdown(SocketShutdown.Send);
            byte[] rest = new byte[1000];
            try
            {
                while (socket.Receive(rest) > 0)
                {
                }
            }
            catch (SocketException e)
            {
                Assert.Equal(SocketError.ConnectionReset, e.SocketErrorCode);
            }
        }

        fixture.Run(() => Assert.Equal(["opened osd.3"], good.Trace));
        fixture.Run(() => Assert.NotEmpty(warnings));
    }

    [Fact]
    public void APeerKilledInTheMiddleOfAFrameIsReset()
    {
        using var fixture = new LoopFixture();
        using var opened = new ManualResetEventSlim();
        var handler = new ScriptHandler
        {
            Opened = _ => opened.Set(),
            Closed = (_, _) => fixture.Loop.Schedule(TimeSpan.FromMilliseconds(20), _ => fixture.Finished.Set(), null),
        };
        NodeAddress address = default;
        fixture.Run(() => address = Transport(fixture, Osd).Listen(AnyPort, _ => handler).Address);
        using (var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            socket.Connect(IPAddress.Loopback, address.Port);
            socket.Send(HelloFrame());
            byte[] frame = new byte[FrameHeader.Size + 100];
            new FrameHeader(0x200, 10, 100_000, 2, Crc32C.Compute(new byte[10]), 0).Write(frame);
            socket.Send(frame);
            Assert.True(opened.Wait(TimeSpan.FromSeconds(5)));
        }

        fixture.Await();
        Assert.Equal(["opened client.c11e", "closed Reset"], handler.Trace);
        fixture.Run(() => { });
        Assert.Equal(0, fixture.Pool.Outstanding);
    }

    [Fact]
    public void RefusedAndStrangersAndLocalCloseAreToldApart()
    {
        using var fixture = new LoopFixture();
        var refused = new ScriptHandler();
        var stranger = new ScriptHandler();
        var turnedAway = new ScriptHandler();
        fixture.Post(() =>
        {
            TcpTransport server = Transport(fixture, Osd);
            IListener listener = server.Listen(AnyPort, _ => null);
            IListener gone = server.Listen(AnyPort, _ => null);
            gone.Dispose();
            turnedAway.Closed = stranger.Closed = refused.Closed = (_, _) =>
            {
                if (refused.Trace.Count + stranger.Trace.Count + turnedAway.Trace.Count >= 3)
                {
                    fixture.Finished.Set();
                }
            };
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(10), _ => Transport(fixture, Client).Connect(gone.Address, refused), null);
            new TcpTransport(fixture.Loop, Client, Guid.NewGuid()).Connect(listener.Address, stranger);
            Transport(fixture, Client).Connect(listener.Address, turnedAway);
        });
        fixture.Await();
        Assert.Equal(["closed Refused"], refused.Trace);
        Assert.Equal(["closed Protocol"], stranger.Trace);
        Assert.Equal(["closed Reset"], turnedAway.Trace);
    }

    [Fact]
    public void APausedReceiverSlowsItsSender()
    {
        using var fixture = new LoopFixture();
        long sent = 0, received = 0;
        fixture.Post(() =>
        {
            var serverHandler = new ScriptHandler { Opened = c => c.PauseReceiving() };
            IConnection? serverSide = null;
            IListener listener = Transport(fixture, Osd).Listen(AnyPort, c =>
            {
                serverSide = c;
                return serverHandler;
            });
            serverHandler.Received = (IConnection connection, in Message message) =>
            {
                received += message.Body.Length;
                if (received == sent && sent >= 20_000_000)
                {
                    fixture.Finished.Set();
                }
            };
            byte[] body = new byte[10_000];
            bool resumed = false;
            IConnection writer = Transport(fixture, Client).Connect(listener.Address, new ScriptHandler { Opened = Pump, Drained = Pump });
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(150), _ =>
            {
                Assert.Equal(0, received);
                Assert.InRange(writer.QueuedBytes, writer.HighWatermark / 2, writer.HighWatermark + 20_000);
                resumed = true;
                serverSide!.ResumeReceiving();
            }, null);

            void Pump(IConnection connection)
            {
                while (connection.QueuedBytes < connection.HighWatermark && (!resumed || sent < 20_000_000))
                {
                    connection.Send(MessageType.Operation, body);
                    sent += body.Length;
                }
            }
        });
        fixture.Await();
    }

    [Fact]
    public async Task ASenderIsToldOfWhatDrainedBeforeThePeersGreetingCame()
    {
        using var fixture = new LoopFixture();
        using var raw = new TcpListener(IPAddress.Loopback, 0);
        raw.Start();
        const int Length = 3_000_000;
        var handler = new ScriptHandler { Drained = _ => fixture.Finished.Set() };
        fixture.Post(() =>
        {
            PageBuffer data = fixture.Pool.Rent(Length);
            IConnection connection = Transport(fixture, Osd).Connect(new NodeAddress("127.0.0.1", ((IPEndPoint)raw.LocalEndpoint).Port), handler);
            connection.Send(MessageType.Operation, [1, 2, 3], data.Slice(0, Length));
            Assert.True(connection.QueuedBytes > connection.HighWatermark);
            data.Release();
        });
        using TcpClient peer = await raw.AcceptTcpClientAsync();
        NetworkStream stream = peer.GetStream();
        byte[] everything = new byte[HelloFrame().Length + FrameHeader.Size + 3 + Length];
        await stream.ReadExactlyAsync(everything);
        await stream.WriteAsync(HelloFrame());
        fixture.Await();
        Assert.Equal("opened client.c11e", Assert.Single(handler.Trace));
    }

    private static readonly Guid s_fsid = new("0f0e0d0c-0b0a-0908-0706-050403020100");

    private protected TcpTransport Transport(LoopFixture fixture, PeerIdentity self) => Transport(fixture, self, unixSockets);

    private protected static TcpTransport Transport(LoopFixture fixture, PeerIdentity self, bool unixSockets)
    {
        var socket = new StreamOptions { Pool = fixture.Pool, HighWatermark = 1 << 20 };
        return new TcpTransport(fixture.Loop, self, s_fsid, new TcpTransportOptions { Socket = socket, UnixSockets = unixSockets });
    }

    private static byte[] HelloFrame()
    {
        var writer = new WireWriter();
        writer.WriteByte(1);
        writer.WriteByte((byte)Client.Kind);
        writer.WriteUInt64(Client.Id);
        writer.WriteUInt64(Client.Instance);
        s_fsid.TryWriteBytes(writer.Reserve(16));
        byte[] frame = new byte[FrameHeader.Size + writer.Length];
        new FrameHeader(FrameHeader.HelloType, writer.Length, 0, 1, Crc32C.Compute(writer.WrittenSpan), 0).Write(frame);
        writer.WrittenSpan.CopyTo(frame.AsSpan(FrameHeader.Size));
        return frame;
    }
}
