using Storage.Cluster;
using Storage.Messaging;
using Storage.Messaging.Local;
using Storage.Messaging.Tcp;
using Storage.Reactor;
using Storage.Tests.Reactor;
using Xunit;

namespace Storage.Tests.Messaging;

public sealed class LocalNetworkTests
{
    private static readonly Guid s_fsid = Guid.NewGuid();
    private static readonly NodeAddress s_anyPort = new("127.0.0.1", 0);
    private static readonly PeerIdentity s_osd = new(EntityKind.Osd, 1, 11);
    private static readonly PeerIdentity s_client = new(EntityKind.Client, 2, 22);

    private static ITransport Node(LoopFixture fixture, LocalNetwork network, PeerIdentity self) => network.CreateTransport(new TcpTransport(fixture.Loop, self, s_fsid));

    [Fact]
    public void MessagesArriveInOrderAfterTheCallAndWholePagesByReference()
    {
        using var fixture = new LoopFixture();
        var trace = new List<string>();
        fixture.Post(() =>
        {
            var network = new LocalNetwork(fixture.Loop);
            PageBuffer page = fixture.Pool.Rent(8192);
            new Random(1).NextBytes(page.Span);
            byte[] content = page.Span[..8192].ToArray();
            bool sending = false;
            var server = new ScriptHandler
            {
                Received = (IConnection connection, in Message message) =>
                {
                    Assert.False(sending);
                    Assert.Equal(s_client, connection.Peer);
                    trace.Add($"{message.Body[0]}: {message.Data.Length} {ReferenceEquals(message.Data.Buffer, page)} {message.Data.Offset % 4096}");
                    if (message.Data.Length > 0)
                    {
                        Assert.True(message.Data.Span.SequenceEqual(content.AsSpan(message.Body[0] == 2 ? 100 : 0, message.Data.Length)) || message.Body[0] == 3);
                    }

                    if (message.Body[0] == 3)
                    {
                        connection.Send(MessageType.OperationReply, [9]);
                    }
                },
            };
            IListener listener = Node(fixture, network, s_osd).Listen(s_anyPort, _ => server);
            var client = new ScriptHandler
            {
                Received = (IConnection connection, in Message message) =>
                {
                    Assert.Equal(s_osd, connection.Peer);
                    Assert.Equal(5, network.Delivered);
                    trace.Add($"answer {message.Body[0]}");
                    fixture.Finished.Set();
                },
            };
            IConnection writer = Node(fixture, network, s_client).Connect(listener.Address, client);
            sending = true;
            writer.Send(MessageType.Operation, [0]); // before it stands
            writer.Send(MessageType.Operation, [1], page.Slice(0, 8192));
            writer.Send(MessageType.Operation, [2], page.Slice(100, 50));
            writer.Send(MessageType.Operation, [3], [page.Slice(0, 10), page.Slice(4096, 10)]);
            sending = false;
            page.Release();
        });
        fixture.Await();
        Assert.Equal(["0: 0 False 0", "1: 8192 True 0", "2: 50 False 0", "3: 20 False 0", "answer 9"], trace);
        Assert.Equal(0, fixture.Pool.Outstanding);
    }

    [Fact]
    public void OtherProcessesAreReachedByTcpAndReachIt()
    {
        using var fixture = new LoopFixture();
        int answers = 0;
        fixture.Post(() =>
        {
            var network = new LocalNetwork(fixture.Loop);
            var outside = new TcpTransport(fixture.Loop, s_client, s_fsid);
            IListener local = Node(fixture, network, s_osd).Listen(s_anyPort, _ => Echo());
            IListener foreign = outside.Listen(s_anyPort, _ => Echo());
            outside.Connect(local.Address, Asker());
            Node(fixture, network, s_osd).Connect(foreign.Address, Asker());

            ScriptHandler Asker() => new()
            {
                Opened = connection => connection.Send(MessageType.Operation, [1]),
                Received = (IConnection connection, in Message message) =>
                {
                    Assert.Equal(0, network.Delivered);
                    if (++answers == 2)
                    {
                        fixture.Finished.Set();
                    }
                },
            };
            static ScriptHandler Echo() => new() { Received = (IConnection connection, in Message message) => connection.Send(MessageType.OperationReply, message.Body) };
        });
        fixture.Await();
        Assert.Equal(2, answers);
    }

    [Fact]
    public void EndsAreToldOnceWithTheirReasonAndALateAnswerHarmsNothing()
    {
        using var fixture = new LoopFixture();
        var server = new ScriptHandler();
        var closes = new ScriptHandler();
        var turnedAway = new ScriptHandler();
        var givenUp = new ScriptHandler();
        fixture.Post(() =>
        {
            var network = new LocalNetwork(fixture.Loop);
            IConnection? answerer = null;
            IListener listener = Node(fixture, network, s_osd).Listen(s_anyPort, connection =>
            {
                answerer = connection;
                return server;
            });
            IListener refusing = Node(fixture, network, s_osd).Listen(s_anyPort, _ => null);
            ITransport client = Node(fixture, network, s_client);
            closes.Opened = connection =>
            {
                connection.Close();
                connection.Close();
                connection.Send(MessageType.Operation, [1]);
                Assert.False(connection.IsAlive);
                Assert.False(answerer!.IsAlive);
                answerer.Send(MessageType.OperationReply, [1]);
            };
            client.Connect(listener.Address, closes);
            client.Connect(refusing.Address, turnedAway);
            client.Connect(listener.Address, givenUp).Close();
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(50), _ => fixture.Finished.Set(), null);
        });
        fixture.Await();
        Assert.Equal([$"opened {s_osd}", "closed Local"], closes.Trace);
        Assert.Equal([$"opened {s_client}", "closed Reset"], server.Trace);
        Assert.Equal(["closed Reset"], turnedAway.Trace);
        Assert.Equal(["closed Local"], givenUp.Trace);
    }

    [Fact]
    public void APausedReceiverSlowsItsSenderAndABadMessageEndsTheConnection()
    {
        using var fixture = new LoopFixture();
        long sent = 0, received = 0;
        var client = new ScriptHandler();
        fixture.Post(() =>
        {
            var network = new LocalNetwork(fixture.Loop);
            IConnection? serverSide = null;
            var server = new ScriptHandler { Opened = connection => connection.PauseReceiving() };
            server.Received = (IConnection connection, in Message message) =>
            {
                received += message.Body.Length;
                if (received >= 20_000_000)
                {
                    throw new Storage.Coding.MalformedDataException("enough");
                }
            };
            IListener listener = Node(fixture, network, s_osd).Listen(s_anyPort, connection =>
            {
                serverSide = connection;
                return server;
            });
            byte[] body = new byte[10_000];
            bool resumed = false;
            client.Opened = Pump;
            client.Drained = Pump;
            client.Closed = (_, _) => fixture.Finished.Set();
            IConnection writer = Node(fixture, network, s_client).Connect(listener.Address, client);
            fixture.Loop.Schedule(TimeSpan.FromMilliseconds(50), _ =>
            {
                Assert.Equal(0, received);
                Assert.InRange(writer.QueuedBytes, writer.HighWatermark, writer.HighWatermark + 20_000);
                resumed = true;
                serverSide!.ResumeReceiving();
            }, null);

            void Pump(IConnection connection)
            {
                while (connection.IsAlive && connection.QueuedBytes < connection.HighWatermark && (!resumed || sent < 30_000_000))
                {
                    connection.Send(MessageType.Operation, body);
                    sent += body.Length;
                }
            }
        });
        fixture.Await();
        Assert.Equal(20_000_000, received);
        Assert.Equal("closed Reset", client.Trace[^1]);
    }
}
