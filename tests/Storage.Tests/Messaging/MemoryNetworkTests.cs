using Storage.Cluster;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Reactor;
using Storage.Reactor.Virtual;
using Xunit;

namespace Storage.Tests.Messaging;

public sealed class MemoryNetworkTests
{
    private static readonly NodeAddress s_address = new("b", 6800);
    private readonly VirtualLoop _loop = new();
    private readonly BufferPool _pool = new(trace: true);
    private readonly MemoryNetwork _network;
    private readonly MemoryTransport _a;
    private readonly MemoryTransport _b;
    private readonly ScriptHandler _dialer = new();
    private readonly ScriptHandler _acceptor = new();
    private IConnection? _accepted;

    public MemoryNetworkTests()
    {
        _network = new MemoryNetwork(_loop, new Random(1), new MemoryNetworkOptions { Pool = _pool });
        _a = _network.CreateTransport("a", new PeerIdentity(EntityKind.Client, 1, 1));
        _b = _network.CreateTransport("b", new PeerIdentity(EntityKind.Osd, 2, 2));
        _b.Listen(s_address, c =>
        {
            _accepted = c;
            return _acceptor;
        });
    }

    [Fact]
    public void MessagesArriveInOrderAndAreCopies()
    {
        var seen = new List<int>();
        _acceptor.Received = (IConnection connection, in Message message) =>
        {
            seen.Add(message.Body[0]);
            Assert.True(message.Data.Span.IndexOfAnyExcept(message.Body[0]) < 0);
            connection.Send(MessageType.OperationReply, message.Body);
        };
        int replies = 0;
        _dialer.Received = (IConnection _, in Message message) => Assert.Equal(replies++, message.Body[0]);
        IConnection connection = _a.Connect(s_address, _dialer);
        PageBuffer data = _pool.Rent(4096);
        for (byte i = 0; i < 100; i++)
        {
            data.Span.Fill(i);
            connection.Send(MessageType.Operation, [i], data.Slice(0, 4096));
        }

        data.Release();
        _loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Equal(Enumerable.Range(0, 100), seen);
        Assert.Equal(100, replies);
        Assert.Equal(0, connection.QueuedBytes);
        Assert.Equal(0, _pool.Outstanding);
    }

    [Fact]
    public void NobodyListeningIsRefusedAndAClosedEndIsAReset()
    {
        _a.Connect(new NodeAddress("b", 1), _dialer);
        _loop.RunFor(TimeSpan.FromMilliseconds(10));
        Assert.Equal(["closed Refused"], _dialer.Trace);
        _dialer.Trace.Clear();
        IConnection connection = _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromMilliseconds(10));
        connection.Send(MessageType.Operation, [1]);
        connection.Close();
        Assert.False(connection.IsAlive);
        _loop.RunFor(TimeSpan.FromMilliseconds(10));
        Assert.Equal(["opened osd.2", "closed Local"], _dialer.Trace);
        Assert.Equal(["opened client.1", "message 1+0", "closed Reset"], _acceptor.Trace);
        Assert.Equal(0, _network.Connections);
    }

    [Fact]
    public void AShortPartitionDelaysALongOneBreaks()
    {
        IConnection connection = _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        _network.Partition("a", "b");
        connection.Send(MessageType.Operation, [1]);
        _loop.RunFor(TimeSpan.FromSeconds(10));
        Assert.Equal(["opened client.1"], _acceptor.Trace);
        _network.Heal("a", "b");
        _loop.RunFor(TimeSpan.FromSeconds(20));
        Assert.Equal(["opened client.1", "message 1+0"], _acceptor.Trace);
        _network.Partition("a", "b");
        connection.Send(MessageType.Operation, [2, 2]);
        _loop.RunFor(TimeSpan.FromSeconds(20));
        Assert.Equal(["opened client.1", "message 1+0", "closed Unreachable"], _acceptor.Trace);
        Assert.Equal(["opened osd.2", "closed Unreachable"], _dialer.Trace);
        var late = new ScriptHandler();
        _a.Connect(s_address, late);
        _loop.RunFor(TimeSpan.FromSeconds(11));
        Assert.Equal(["closed Unreachable"], late.Trace);
        Assert.True(_loop.IsIdle);
    }

    [Fact]
    public void AOneWayBlockStopsOneDirectionAndBreaksInTheEnd()
    {
        IConnection connection = _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        _network.Block("b", "a");
        connection.Send(MessageType.Operation, [1]);
        _accepted!.Send(MessageType.OperationReply, [2]);
        _loop.RunFor(TimeSpan.FromSeconds(5));
        Assert.Equal(["opened client.1", "message 1+0"], _acceptor.Trace);
        Assert.Equal(["opened osd.2"], _dialer.Trace);
        _loop.RunFor(TimeSpan.FromSeconds(15));
        Assert.Equal("closed Unreachable", _acceptor.Trace[^1]);
        Assert.Equal(["opened osd.2", "closed Unreachable"], _dialer.Trace);
    }

    [Theory]
    [InlineData(false, "closed Reset", "closed Refused")]
    [InlineData(true, "closed Unreachable", "closed Unreachable")]
    public void ACrashedProcessIsResetAndACrashedMachineIsSilent(bool machine, string first, string second)
    {
        IConnection connection = _a.Connect(s_address, _dialer);
        PageBuffer data = _pool.Rent(100);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        connection.Send(MessageType.Operation, [1], data.Slice(0, 100));
        _accepted!.Send(MessageType.Operation, [1], data.Slice(0, 100));
        data.Release();
        _network.Crash(_b, machine);
        _loop.RunFor(TimeSpan.FromSeconds(20));
        Assert.Equal(first, _dialer.Trace[^1]);
        Assert.Equal(["opened client.1"], _acceptor.Trace);
        _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(20));
        Assert.Equal(second, _dialer.Trace[^1]);
        Assert.Equal(0, _pool.Outstanding);
        Assert.Equal(0, _network.Connections);
        MemoryTransport again = _network.CreateTransport("b", new PeerIdentity(EntityKind.Osd, 2, 3));
        again.Listen(s_address, _ => _acceptor);
        _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Equal("opened osd.2", _dialer.Trace[^1]);
    }

    [Fact]
    public void ACrashBehindAPartitionIsLearntOnceItHeals()
    {
        _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        _network.Partition("a", "b");
        _network.Crash(_b);
        _loop.RunFor(TimeSpan.FromSeconds(5));
        Assert.Equal(["opened osd.2"], _dialer.Trace);
        _network.HealAll();
        _loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Equal(["opened osd.2", "closed Reset"], _dialer.Trace);
        Assert.True(_loop.IsIdle);
    }

    [Fact]
    public void BackpressureIsToldAndDrained()
    {
        int drained = 0;
        _dialer.Drained = _ => drained++;
        _acceptor.Opened = c => c.PauseReceiving();
        IConnection connection = _a.Connect(s_address, _dialer);
        _loop.RunFor(TimeSpan.FromSeconds(1));
        byte[] body = new byte[1 << 20];
        for (int i = 0; i < 6; i++)
        {
            connection.Send(MessageType.Operation, body);
        }

        _loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.True(connection.QueuedBytes > connection.HighWatermark);
        _accepted!.ResumeReceiving();
        _loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Equal(0, connection.QueuedBytes);
        Assert.Equal(1, drained);
    }

    [Fact]
    public void OneSeedOneHistory()
    {
        Assert.Equal(Play(5), Play(5));
        Assert.NotEqual(Play(5), Play(6));

        static string Play(int seed)
        {
            var loop = new VirtualLoop();
            var pool = new BufferPool(trace: true);
            var network = new MemoryNetwork(loop, new Random(seed), new MemoryNetworkOptions { BreakProbability = 0.01, DelayProbability = 0.1, Pool = pool });
            var log = new List<string>();
            MemoryTransport server = network.CreateTransport("s", new PeerIdentity(EntityKind.Monitor, 1, 1));
            var echo = new ScriptHandler();
            echo.Received = (IConnection c, in Message m) => c.Send(m.Type, m.Body, m.Data);
            server.Listen(new NodeAddress("s", 1), _ => echo);
            for (int n = 0; n < 5; n++)
            {
                MemoryTransport client = network.CreateTransport($"c{n}", new PeerIdentity(EntityKind.Client, (ulong)n, 1));
                Dial(client, n);
            }

            loop.RunFor(TimeSpan.FromSeconds(30));
            return string.Join('\n', log);

            void Dial(MemoryTransport client, int n)
            {
                int count = 0;
                var handler = new ScriptHandler { Opened = c => c.Send(MessageType.Operation, [(byte)n]) };
                handler.Received = (IConnection c, in Message m) =>
                {
                    if (++count < 200)
                    {
                        c.Send(m.Type, m.Body);
                    }
                };
                handler.Closed = (_, reason) =>
                {
                    log.Add($"{loop.Now} {n} {count} {reason}");
                    if (log.Count < 50)
                    {
                        Dial(client, n);
                    }
                };
                client.Connect(new NodeAddress("s", 1), handler);
            }
        }
    }
}
