using System.Diagnostics;
using System.Globalization;
using Google.Protobuf;
using Storage.Cluster;
using Storage.Coding;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Monitor;
using Storage.Monitor.Core;
using Storage.Reactor.Virtual;
using Storage.Rpc.Admin;
using MonitorInfo = Storage.Cluster.MonitorInfo;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Scale.Bench;

/// <summary>What a leading monitor costs whose map is large and to which every OSD is subscribed: the real daemon on virtual time, OSDs that only
/// send what OSDs send. The same traffic to somebody who ignores it is subtracted.</summary>
internal sealed class MonitorLoad(ClusterMap map, int osds)
{
    private static readonly TimeSpan s_statisticsInterval = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_measured = TimeSpan.FromSeconds(10);
    private static readonly NodeAddress s_address = new("mon-a", 6789);
    private readonly byte[][] _statistics = Statistics(map, osds);

    /// <summary>The members that the map has to name.</summary>
    public static MonitorInfo Self { get; } = new(1, "a", s_address, default);

    public void Run()
    {
        (TimeSpan idle, _, _) = Measure(isReal: false);
        (TimeSpan busy, TimeSpan change, long received) = Measure(isReal: true);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{"monitor, every OSD subscribed, statistics every 2 s",-46} {(busy - idle).TotalMilliseconds / s_measured.TotalSeconds,10:0.00} ms of CPU per second ({(busy - idle) / s_measured:P1} of a core)"));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{"one map change handed to every OSD",-46} {change.TotalMilliseconds,10:0.00} ms of CPU, delivery to {received} connections included"));
    }

    private (TimeSpan Traffic, TimeSpan Change, long Received) Measure(bool isReal)
    {
        var loop = new VirtualLoop();
        var network = new MemoryNetwork(loop, new Random(1));
        MemoryTransport transport = network.CreateTransport(s_address.Host, new PeerIdentity(EntityKind.Monitor, Self.Id, 1), map.Fsid);
        using MonitorDaemon? daemon = isReal ? Start(loop, transport) : null;
        if (!isReal)
        {
            transport.Listen(s_address, _ => new Deaf());
        }

        var stubs = new Stub[osds];
        for (int i = 0; i < osds; i++)
        {
            stubs[i] = new Stub(loop, map.Epoch, _statistics[i], s_statisticsInterval * ((double)i / osds));
            network.CreateTransport($"osd{i}", new PeerIdentity(EntityKind.Osd, (ulong)i, 1), map.Fsid).Connect(s_address, stubs[i]);
        }

        loop.RunFor(TimeSpan.FromSeconds(6)); // connected, elected, compiled
        TimeSpan before = Used();
        loop.RunFor(s_measured);
        TimeSpan traffic = Used() - before;
        long received = stubs.Sum(stub => stub.Received);
        before = Used();
        if (daemon is not null)
        {
            Task<ReadOnlyMemory<byte>> down = daemon.HandleAdminAsync(new AdminRequest("OsdDown", new OsdIdsRequest { Osds = { osds / 2 } }.ToByteArray()), CancellationToken.None).AsTask();
            loop.RunUntil(() => down.IsCompleted && stubs.Sum(stub => stub.Received) >= received + osds, TimeSpan.FromSeconds(2));
            down.GetAwaiter().GetResult();
        }

        return (traffic, Used() - before, stubs.Sum(stub => stub.Received) - received);
    }

    private MonitorDaemon Start(VirtualLoop loop, MemoryTransport transport)
    {
        var state = new MapState();
        state.Apply(new MapCommand(1, map.Encode(), default, [], []).Encode());
        var storage = new MemoryRaftStorage();
        storage.Bootstrap(RaftSnapshot.Bootstrap(new RaftConfiguration([new NodeId(Self.Id)])) with { Data = state.Encode() });
        var daemon = new MonitorDaemon(loop, transport, storage, new MonitorOptions { Fsid = map.Fsid, Id = Self.Id, Monitors = [Self] }, new Random(2));
        daemon.Start();
        return daemon;
    }

    private static byte[][] Statistics(ClusterMap map, int osds)
    {
        var groups = new List<PgStatistics>[osds];
        for (int i = 0; i < osds; i++)
        {
            groups[i] = [];
        }

        foreach (PoolInfo pool in map.Pools)
        {
            for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
            {
                var group = new PgId(pool.Id, seed);
                PgMapping mapping = map.Locate(group);
                groups[mapping.Primary.Value].Add(new PgStatistics(group, "active+clean", mapping.Up, mapping.Acting, PgVersion.Zero, 100, 400 << 20, 0, 0, 0, 0));
            }
        }

        var writer = new WireWriter();
        var encoded = new byte[osds][];
        for (int i = 0; i < osds; i++)
        {
            writer.Clear();
            new OsdStatistics(new OsdId(i), map.Epoch, 1L << 40, 1L << 38, 0, 0, 0, 0, 0, 0, 0, groups[i]).Encode(writer);
            encoded[i] = writer.ToArray();
        }

        return encoded;
    }

    private static TimeSpan Used()
    {
        using Process self = Process.GetCurrentProcess();
        return self.TotalProcessorTime;
    }

    private sealed class Deaf : IConnectionHandler
    {
        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }
    }

    private sealed class Stub(VirtualLoop loop, Epoch epoch, byte[] statistics, TimeSpan phase) : IConnectionHandler
    {
        private IConnection? _connection;

        public long Received { get; private set; }

        public void OnOpened(IConnection connection)
        {
            _connection = connection;
            var writer = new WireWriter();
            new MapSubscribe(epoch).Encode(writer);
            connection.Send(MessageType.MapSubscribe, writer.WrittenSpan);
            loop.Schedule(phase, _ => Report(), null);
        }

        public void OnMessage(IConnection connection, in Message message) => Received += message.Type == MessageType.MapUpdate ? 1 : 0;

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
        }

        private void Report()
        {
            _connection!.Send(MessageType.OsdStatistics, statistics);
            loop.Schedule(s_statisticsInterval, _ => Report(), null);
        }
    }
}
