using Google.Protobuf;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Monitor;
using Storage.Reactor.Virtual;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;
using MonitorInfo = Storage.Cluster.MonitorInfo;

namespace Storage.Tests.Monitor;

public sealed partial class MonitorClusterTests : IDisposable
{
    private static readonly Guid Fsid = new(9, 9, 9, 1, 2, 3, 4, 5, 6, 7, 8);
    private readonly VirtualLoop _loop = new();
    private readonly Random _random = new(17);
    private readonly MemoryNetwork _network;
    private readonly List<Node> _nodes;

    public MonitorClusterTests()
    {
        _network = new MemoryNetwork(_loop, _random);
        MonitorInfo[] monitors = [.. Enumerable.Range(1, 3).Select(id => new MonitorInfo((ulong)id, $"{(char)('a' + id - 1)}", new NodeAddress($"mon{id}", 6789), default))];
        _nodes = [.. monitors.Select(monitor => new Node(new MonitorOptions { Fsid = Fsid, Id = monitor.Id, Monitors = monitors, SnapshotEntries = 20, RetainedEntries = 5 }))];
        foreach (Node node in _nodes)
        {
            MonitorStore.BootstrapRaft(node.Storage, node.Options);
            Start(node);
        }

        Assert.True(_loop.RunUntil(() => Leader() is { } leader && _nodes.All(node => node.Daemon!.Map?.Epoch == leader.Daemon!.Map?.Epoch && leader.Daemon.Map is not null), TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public void ThreeMonitorsElectOneLeaderAndAgreeOnTheMap()
    {
        Assert.Single(_nodes, node => node.Daemon!.IsLeader);
        Assert.All(_nodes, node => Assert.Equal(_nodes[0].Daemon!.Map!.Encode(), node.Daemon!.Map!.Encode()));
    }

    [Fact]
    public void AFollowerAnswersTheAdminApi()
    {
        Node follower = _nodes.First(node => !node.Daemon!.IsLeader);
        OsdCreateReply created = Ask(follower, "OsdCreate", new OsdCreateRequest { Uuid = CoreHarness.Uuid(0).ToString() }, OsdCreateReply.Parser);
        Assert.True(created.Created);
        PoolCreateReply pool = Ask(follower, "PoolCreate", new PoolCreateRequest { Name = "vms" }, PoolCreateReply.Parser);
        Assert.True(pool.Epoch > created.Epoch);
        StatusReply status = Ask(follower, "Status", new StatusRequest(), StatusReply.Parser);
        Assert.Equal(1u, status.Osds.Total);
        Assert.Equal(32UL, status.Pgs);
        Assert.Equal(3, status.Quorum.InQuorum.Count);
        Assert.Equal(Leader()!.Daemon!.Name, status.Quorum.Leader);
        MonStatusReply monitors = Ask(follower, "MonStatus", new MonStatusRequest(), MonStatusReply.Parser);
        Assert.Equal(3, monitors.Monitors.Count);
        Assert.Single(monitors.Monitors, monitor => monitor.State == MonitorState.Leader);
        Assert.Contains("osd.0", Ask(follower, "CrushGet", new CrushGetRequest(), CrushGetReply.Parser).Text, StringComparison.Ordinal);
        Assert.Contains(Ask(follower, "LogLast", new LogLastRequest(), LogLastReply.Parser).Entries, entry => entry.Message.Contains("pool 'vms' created", StringComparison.Ordinal));
        Assert.Equal(StatusCode.AlreadyExists, Fail(follower, "PoolCreate", new PoolCreateRequest { Name = "vms" }).Code);
        Assert.Equal(StatusCode.NotFound, Fail(follower, "OsdOut", new OsdIdsRequest { Osds = { 5 } }).Code);
        Assert.Equal(StatusCode.Unimplemented, Fail(follower, "Nonsense", new StatusRequest()).Code);
        foreach (string method in new[] { "Health", "OsdTree", "OsdDump", "PoolList", "PgList", "MapGet", "ConfigGet", "BlocklistList" })
        {
            Assert.False(AskRaw(follower, method, default).IsEmpty);
        }
    }

    [Fact]
    public void AMonitorAnswersPingsOnlyWhileItIsInTouchWithALeader()
    {
        Node follower = _nodes.First(node => !node.Daemon!.IsLeader);
        Node[] others = [.. _nodes.Where(node => node != follower)];
        var pinger = new Pinger(_network, follower.Options.Monitors.First(monitor => monitor.Id == follower.Options.Id).Address);
        pinger.Ping();
        Assert.True(_loop.RunUntil(() => pinger.Answers == 1, TimeSpan.FromSeconds(1)));
        foreach (Node node in others)
        {
            Kill(node);
        }

        _loop.RunFor(TimeSpan.FromSeconds(5));
        pinger.Ping();
        _loop.RunFor(TimeSpan.FromSeconds(2));
        Assert.Equal(1, pinger.Answers);
        foreach (Node node in others)
        {
            Start(node);
        }

        Assert.True(_loop.RunUntil(() => Leader() is not null, TimeSpan.FromSeconds(10)));
        _loop.RunFor(TimeSpan.FromSeconds(1));
        pinger.Ping();
        Assert.True(_loop.RunUntil(() => pinger.Answers == 2, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void DeathOfTheLeaderHealsWithinTwoSeconds()
    {
        Node old = Leader()!;
        Kill(old);
        TimeSpan killed = _loop.Now;
        ChangeReply reply = Ask(_nodes.First(node => node != old), "OsdSetFlag", new OsdFlagRequest { Flag = "noout" }, ChangeReply.Parser);
        Assert.True(reply.Changed);
        Assert.True(_loop.Now - killed < TimeSpan.FromSeconds(2), $"took {_loop.Now - killed}");
    }

    [Fact]
    public void ARestartedMonitorCatchesUpByLog()
    {
        Node follower = _nodes.First(node => !node.Daemon!.IsLeader);
        Kill(follower);
        Change(3);
        Start(follower);
        Assert.True(_loop.RunUntil(() => follower.Daemon!.Map?.Epoch == Leader()?.Daemon!.Map!.Epoch, TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public void ARestartedMonitorCatchesUpBySnapshot()
    {
        Node follower = _nodes.First(node => !node.Daemon!.IsLeader);
        Kill(follower);
        Change(60);
        Start(follower);
        Assert.True(_loop.RunUntil(() => follower.Daemon!.Map?.Epoch == Leader()?.Daemon!.Map!.Epoch, TimeSpan.FromSeconds(5)));
        Assert.Equal(Leader()!.Daemon!.State.Encode(), follower.Daemon!.State.Encode());
        Assert.True(follower.Daemon.Raft!.Snapshot.Index > 0);
    }

    [Fact]
    public void ALeaderWhoseProcessEndedIsReplacedAtOnce()
    {
        for (int i = 0; i < 5; i++)
        {
            Node leader = Leader()!;
            TimeSpan died = _loop.Now;
            Kill(leader);
            Assert.True(_loop.RunUntil(() => Leader() is not null, TimeSpan.FromSeconds(3)));
            Assert.True(_loop.Now - died < TimeSpan.FromMilliseconds(250), $"took {_loop.Now - died}");
            Start(leader);
            Assert.True(_loop.RunUntil(() => _nodes.All(node => node.Daemon!.LeaderId == Leader()?.Options.Id), TimeSpan.FromSeconds(5)));
            _loop.RunFor(TimeSpan.FromSeconds(1));
        }
    }

    [Fact]
    public void ALeaderThatOneMonitorTakesForDeadStays()
    {
        Node leader = Leader()!;
        ulong term = leader.Daemon!.Raft!.Term;
        Node mistaken = _nodes.Last(node => node != leader);
        for (int i = 0; i < 20; i++)
        {
            mistaken.Daemon!.Raft!.ReportDead(new NodeId(leader.Options.Id));
            _loop.RunFor(TimeSpan.FromMilliseconds(137));
            Assert.True(leader.Daemon!.IsLeader);
            Assert.Equal(term, leader.Daemon.Raft!.Term);
        }
    }

    [Fact]
    public void AMinoritySaysThatThereIsNoQuorum()
    {
        Node last = Leader()!;
        foreach (Node node in _nodes.Where(node => node != last))
        {
            Kill(node);
        }

        RpcException failure = Fail(last, "Status", new StatusRequest());
        Assert.Equal(StatusCode.Unavailable, failure.Code);
        Assert.Contains("no quorum", failure.Message, StringComparison.Ordinal);
        Assert.Equal("", Ask(last, "MonStatus", new MonStatusRequest(), MonStatusReply.Parser).Leader);
        Assert.Equal(StatusCode.Unavailable, Fail(last, "OsdSetFlag", new OsdFlagRequest { Flag = "noout" }).Code);
    }

    [Fact]
    public void ARequestThatItsClientNamedIsCarriedOutOnceWhicheverMonitorsItIsGivenTo()
    {
        var id = new Guid(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
        byte[] request = new PoolCreateRequest { Name = "vms" }.ToByteArray();
        Node[] followers = [.. _nodes.Where(node => !node.Daemon!.IsLeader)];

        // By a follower and at the leader at the same time, then by the other follower.
        ReadOnlyMemory<byte>[] both = _loop.Run(() => Task.WhenAll(Give(followers[0]), Give(Leader()!)), TimeSpan.FromSeconds(10));
        PoolCreateReply first = PoolCreateReply.Parser.ParseFrom(both[0].Span);
        Assert.Equal(first, PoolCreateReply.Parser.ParseFrom(both[1].Span));
        Assert.Equal(first, PoolCreateReply.Parser.ParseFrom(_loop.Run(() => Give(followers[1]), TimeSpan.FromSeconds(10)).Span));

        // After a change of leaders too.
        Kill(Leader()!);
        Assert.True(_loop.RunUntil(() => Leader() is not null, TimeSpan.FromSeconds(10)));
        Assert.Equal(first, PoolCreateReply.Parser.ParseFrom(_loop.Run(() => Give(followers[1]), TimeSpan.FromSeconds(10)).Span));
        Assert.Equal(StatusCode.AlreadyExists, Fail(followers[1], "PoolCreate", new PoolCreateRequest { Name = "vms" }).Code);

        Task<ReadOnlyMemory<byte>> Give(Node node) => node.Daemon!.HandleAdminAsync(new AdminRequest("PoolCreate", request, id), CancellationToken.None).AsTask();
    }

    [Fact]
    public void AClientWhoseMonitorLagsBehindAsksForTheNewestMapBeforeItSaysThatAPoolDoesNotExist()
    {
        Node lagging = _nodes.First(node => !node.Daemon!.IsLeader);
        Node[] others = [.. _nodes.Where(node => node != lagging)];
        foreach (Node other in others)
        {
            _network.Partition(lagging.Options.Self.Address.Host, other.Options.Self.Address.Host);
        }

        Ask(others[0], "PoolCreate", new PoolCreateRequest { Name = "vms" }, PoolCreateReply.Parser);
        using var client = new ObjectClient(
            _loop,
            _network.CreateTransport("client", new PeerIdentity(EntityKind.Client, 5, 1), Fsid),
            new ClientOptions { ClientId = 5, MonitorAddresses = [lagging.Options.Self.Address] },
            new Random(3));
        ClusterMap old = _loop.Run(() => client.WaitForMapAsync(Epoch.None).AsTask(), TimeSpan.FromSeconds(5));
        Assert.Null(old.FindPool("vms"));
        Task<ClusterMap> newest = _loop.Run(() => Task.FromResult(client.ConfirmMapAsync().AsTask()), TimeSpan.FromSeconds(1));
        Assert.NotNull(_loop.Run(() => newest, TimeSpan.FromSeconds(30)).FindPool("vms")); // from another monitor, which the map names

        // One that really does not exist is refused, by its number too.
        using OperationResult refused = _loop.Run(
            () => client.ExecuteAsync(77, "x", new ObjectOperation().Add(OperationCode.Stat)).AsTask(), TimeSpan.FromSeconds(10));
        Assert.Equal(ResultCode.NoSuchPool, refused.Result);
    }

    [Fact]
    public void AnOsdBootsThroughAFollowerAndHearsOfMapChanges()
    {
        Node follower = _nodes.First(node => !node.Daemon!.IsLeader);
        Ask(follower, "OsdCreate", new OsdCreateRequest { Uuid = CoreHarness.Uuid(0).ToString() }, OsdCreateReply.Parser);
        var osd = new FakeOsd(_network, 0, 55);
        osd.Connect(follower.Options.Self.Address);
        Assert.True(_loop.RunUntil(() => osd.Map?.FindOsd(new OsdId(0)) is { IsUp: true, Instance: 55 }, TimeSpan.FromSeconds(3)));
        Assert.True(osd.Updates > 1);

        // Its process dies: the monitor that loses the connection knocks at its door and finds it closed.
        TimeSpan died = _loop.Now;
        _network.Crash(osd.Transport);
        Assert.True(_loop.RunUntil(() => !follower.Daemon!.Map!.IsUp(new OsdId(0)), TimeSpan.FromSeconds(3)));
        Assert.True(_loop.Now - died < TimeSpan.FromMilliseconds(500), $"took {_loop.Now - died}");
    }

    public void Dispose()
    {
        foreach (Node node in _nodes)
        {
            node.Daemon?.Dispose();
            node.Storage.Dispose();
        }
    }

    private Node? Leader() => _nodes.FirstOrDefault(node => node.Daemon is { IsLeader: true });

    private void Start(Node node)
    {
        node.Instance++;
        node.Transport = _network.CreateTransport(node.Options.Self.Address.Host, new PeerIdentity(EntityKind.Monitor, node.Options.Id, node.Instance), Fsid);
        node.Daemon = new MonitorDaemon(_loop, node.Transport, node.Storage, node.Options, new Random((int)node.Options.Id));
        node.Daemon.Start();
    }

    private void Kill(Node node)
    {
        _network.Crash(node.Transport!);
        node.Daemon!.Stop();
        node.Daemon = null;
    }

    private void Change(int times)
    {
        for (int i = 0; i < times; i++)
        {
            Ask(_nodes.First(node => node.Daemon is not null), i % 2 == 0 ? "OsdSetFlag" : "OsdUnsetFlag", new OsdFlagRequest { Flag = "noout" }, ChangeReply.Parser);
        }
    }

    private ReadOnlyMemory<byte> AskRaw(Node node, string method, ReadOnlyMemory<byte> request) =>
        _loop.Run(() => node.Daemon!.HandleAdminAsync(new AdminRequest(method, request), CancellationToken.None).AsTask(), TimeSpan.FromSeconds(30));

    private T Ask<T>(Node node, string method, IMessage request, MessageParser<T> parser)
        where T : IMessage<T> => parser.ParseFrom(AskRaw(node, method, request.ToByteArray()).Span);

    private RpcException Fail(Node node, string method, IMessage request) => Assert.Throws<RpcException>(() => AskRaw(node, method, request.ToByteArray()));

    private sealed class Node(MonitorOptions options)
    {
        public MonitorOptions Options { get; } = options;

        public MemoryRaftStorage Storage { get; } = new();

        public MemoryTransport? Transport { get; set; }

        public MonitorDaemon? Daemon { get; set; }

        public ulong Instance { get; set; }
    }

    private sealed class Pinger : IConnectionHandler
    {
        private readonly IConnection _connection;

        public Pinger(MemoryNetwork network, NodeAddress monitor) =>
            _connection = network.CreateTransport("pinger", new PeerIdentity(EntityKind.Client, 77, 1), Fsid).Connect(monitor, this);

        public int Answers { get; private set; }

        public int Maps { get; private set; }

        public void Subscribe()
        {
            var writer = new WireWriter(16);
            new MapSubscribe(Epoch.None).Encode(writer);
            _connection.Send(MessageType.MapSubscribe, writer.WrittenSpan);
        }

        public void Ping() => _connection.Send(MessageType.MonitorPing, [1]);

        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            Answers += message.Type == MessageType.MonitorPong ? 1 : 0;
            Maps += message.Type == MessageType.MapUpdate ? 1 : 0;
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }
    }

    private sealed class FakeOsd(MemoryNetwork network, int id, ulong instance) : IConnectionHandler
    {
        public MemoryTransport Transport { get; } = network.CreateTransport($"osd{id}", new PeerIdentity(EntityKind.Osd, (ulong)id, instance), Fsid);

        public ClusterMap? Map { get; private set; }

        public int Updates { get; private set; }

        public void Connect(NodeAddress monitor)
        {
            IListener listener = Transport.Listen(new NodeAddress($"osd{id}", 6800), _ => null);
            IConnection connection = Transport.Connect(monitor, this);
            var writer = new WireWriter();
            new MapSubscribe(Epoch.None).Encode(writer);
            connection.Send(MessageType.MapSubscribe, writer.WrittenSpan);
            writer.Clear();
            new OsdBoot(new OsdId(id), CoreHarness.Uuid(id), instance, listener.Address, Epoch.None).Encode(writer);
            connection.Send(MessageType.OsdBoot, writer.WrittenSpan);
        }

        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            MapUpdate update = MapUpdate.Decode(message.Body);
            Updates++;
            Map = update.Full.IsEmpty ? Map : ClusterMap.Decode(update.Full.Span);
            foreach (ReadOnlyMemory<byte> increment in update.Increments)
            {
                Map = Map!.Apply(ClusterMapIncrement.Decode(increment.Span));
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }
    }
}
