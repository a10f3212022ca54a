using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Reactor.Virtual;
using Xunit;

namespace Storage.Tests.Osd.Kit;

/// <summary>OSDs on memory disks, a map authority and a real client in one thread on virtual time.</summary>
public sealed class OsdCluster
{
    public const long Pool = 1;

    private readonly Node[] _nodes;
    private readonly Random _random;
    private ulong _lastInstance = 100;

    public OsdCluster(int osds, int size = 3, int minSize = 2, int pgCount = 1, int seed = 1, Func<OsdOptions, OsdOptions>? configure = null)
    {
        _random = new Random(seed);
        Configure = configure ?? (options => options);
        Network = new MemoryNetwork(Loop, _random);
        Monitor = new MapAuthority(Loop, Network, osds);
        _nodes = new Node[osds];
        for (int i = 0; i < osds; i++)
        {
            _nodes[i] = new Node { Disk = new MemoryDisk(1L << 30) };
            Format(i);
            Start(i);
        }

        RunUntil(() => Monitor.Map.Osds.Count(osd => osd.IsUp) == osds, "all OSDs up");
        Monitor.ChangeNow(increment => increment.Pools.Add(new PoolInfo
        {
            Id = Pool, Name = "pool", Size = size, MinSize = minSize, PgCount = pgCount, Created = increment.Epoch,
        }));
        Client = NewClient(7);
    }

    public VirtualLoop Loop { get; } = new();

    public MemoryNetwork Network { get; }

    public MapAuthority Monitor { get; }

    public ObjectClient Client { get; }

    public Func<OsdOptions, OsdOptions> Configure { get; }

    /// <summary>Settings of an OSD's disk, asked when it starts.</summary>
    public Func<int, MemoryStoreOptions> StoreOptions { get; set; } = _ => new MemoryStoreOptions();

    public PgId Group => new(Pool, 0);

    public OsdDaemon Daemon(int osd) => _nodes[osd].Daemon!;

    public MemoryDisk Disk(int osd) => _nodes[osd].Disk;

    public MemoryObjectStore Store(int osd) => _nodes[osd].Store!;

    public bool IsAlive(int osd) => _nodes[osd].Daemon is not null;

    public int Primary(PgId group) => Monitor.Map.Locate(group).Primary.Value;

    public ObjectClient NewClient(ulong id) => new(
        Loop,
        Network.CreateTransport($"client{id}", new PeerIdentity(EntityKind.Client, id, 1), MapAuthority.Fsid),
        new ClientOptions { MonitorAddresses = [Monitor.Address], ClientId = id },
        _random);

    public void Format(int osd)
    {
        var store = new MemoryObjectStore(Loop, _random, _nodes[osd].Disk);
        OsdDaemon.Format(store, MapAuthority.Fsid, new OsdId(osd), new Guid(osd + 1, 0, 0, new byte[8]));
        Loop.RunFor(TimeSpan.FromMilliseconds(5));
        store.Close();
    }

    public void Start(int osd)
    {
        Node node = _nodes[osd];
        ulong instance = ++_lastInstance;
        node.Store = new MemoryObjectStore(Loop, _random, node.Disk, StoreOptions(osd));
        node.Transport = Network.CreateTransport($"host{osd}", new PeerIdentity(EntityKind.Osd, (ulong)osd, instance), MapAuthority.Fsid);
        OsdOptions options = Configure(new OsdOptions
        {
            Instance = instance,
            ListenAddress = new NodeAddress($"host{osd}", 0),
            MonitorAddresses = [Monitor.Address],
        });
        node.Daemon = new OsdDaemon(Loop, node.Transport, node.Store, options, _random, NullLogger.Instance);
        node.Daemon.Start();
    }

    /// <summary>Power loss: the process is gone, what was not durable may be.</summary>
    public void Crash(int osd)
    {
        Node node = _nodes[osd];
        Network.Crash(node.Transport!);
        node.Daemon!.Kill();
        node.Store!.Crash();
        node.Daemon = null;
        node.Store = null;
    }

    public void ReplaceDisk(int osd)
    {
        _nodes[osd].Disk = new MemoryDisk(1L << 30);
        Format(osd);
    }

    public long Reached(int osd, RarePath path) => Daemon(osd).RarePaths[(int)path];

    public void EditPool(Func<PoolInfo, PoolInfo> edit) => Monitor.EditPool(Pool, edit);

    /// <summary>Splits PGs where they are.</summary>
    public void Split(int pgCount) => EditPool(pool => pool with { PgCount = pgCount, PlacedPgCount = pool.EffectivePlacedPgCount });

    /// <summary>Lets all PGs be placed by their own seed.</summary>
    public void Spread() => EditPool(pool => pool with { PlacedPgCount = 0 });

    public PgId GroupOf(string name) => ClusterMap.GroupOf(Monitor.Map.FindPool(Pool)!, Placement.HashName(name));

    public void RunFor(double seconds)
    {
        Loop.RunFor(TimeSpan.FromSeconds(seconds));
        Check();
    }

    public void RunUntil(Func<bool> condition, string what, double seconds = 60)
    {
        TimeSpan end = Loop.Now + TimeSpan.FromSeconds(seconds);
        while (!condition())
        {
            if (Loop.Now >= end)
            {
                Assert.Fail($"not within {seconds} s: {what}\n{Describe()}");
            }

            Loop.RunFor(TimeSpan.FromMilliseconds(20));
            Check();
        }
    }

    public void Check()
    {
        foreach (Node node in _nodes)
        {
            node.Daemon?.CheckInvariants();
        }
    }

    public string StateOf(PgId group)
    {
        int primary = Primary(group);
        return primary >= 0 && IsAlive(primary) ? Daemon(primary).StateOf(group) ?? "absent" : "no primary";
    }

    public void WaitClean(double seconds = 120) => RunUntil(
        () => Enumerable.Range(0, Monitor.Map.FindPool(Pool)!.PgCount).All(seed => StateOf(new PgId(Pool, (uint)seed)) == "active+clean"),
        "all PGs active+clean",
        seconds);

    public string Describe()
    {
        var text = new StringBuilder();
        text.AppendLine($"map {Monitor.Map.Epoch} up {string.Join(",", Monitor.Map.Osds.Where(osd => osd.IsUp).Select(osd => osd.Id))}");
        for (int i = 0; i < _nodes.Length; i++)
        {
            if (_nodes[i].Daemon is { } daemon)
            {
                text.AppendLine($"osd.{i} map {daemon.Map?.Epoch} up {daemon.IsUp} {string.Join(" ", daemon.Groups.Select(group => $"{group}:{daemon.StateOf(group)}"))}");
            }
        }

        foreach (uint seed in Enumerable.Range(0, Monitor.Map.FindPool(Pool)?.PgCount ?? 0))
        {
            var group = new PgId(Pool, seed);
            int primary = Primary(group);
            if (primary >= 0 && IsAlive(primary) && StateOf(group) != "active+clean")
            {
                foreach (int osd in Enumerable.Range(0, _nodes.Length).Where(IsAlive))
                {
                    text.AppendLine($"osd.{osd}: {Daemon(osd).QueryJson(group)}");
                }
            }
        }

        return text.ToString();
    }

    public ResultCode Write(string name, byte[] data, long offset = 0)
    {
        return Loop.Run(() => WriteAsync(Client, name, data, offset), TimeSpan.FromSeconds(60));
    }

    public static async Task<ResultCode> WriteAsync(ObjectClient client, string name, byte[] data, long offset = 0)
    {
        var operation = new ObjectOperation().AddData(OperationCode.Write, offset, data);
        using OperationResult result = await client.ExecuteAsync(Pool, name, operation, default);
        operation.Clear();
        return result.Result;
    }

    public static async Task<byte[]?> ReadAsync(ObjectClient client, string name)
    {
        var operation = new ObjectOperation().Add(OperationCode.Read, 0, 8 << 20);
        using OperationResult result = await client.ExecuteAsync(Pool, name, operation, default);
        return result.Result switch
        {
            ResultCode.Ok => result.DataOf(0).Span.ToArray(),
            ResultCode.NotFound => null,
            _ => throw new InvalidOperationException($"read of {name}: {result.Result}"),
        };
    }

    public byte[]? Read(string name) => Loop.Run(() => ReadAsync(Client, name), TimeSpan.FromSeconds(60));

    /// <summary>Asserts that every member holds the same objects with the same content.</summary>
    public void AssertCopiesEqual(PgId group, IEnumerable<string> names)
    {
        foreach (string name in names)
        {
            ObjectId id = Placement.ObjectOf(name);
            string? first = null;
            foreach (OsdId osd in Monitor.Map.Locate(group).Acting)
            {
                string copy = CopyOf(osd.Value, group, id);
                Assert.Equal(first ?? copy, copy);
                first ??= copy;
            }
        }
    }

    public string CopyOf(int osd, PgId group, ObjectId id)
    {
        var collection = new Storage.ObjectStore.CollectionId(group);
        MemoryObjectStore store = Store(osd);
        if (!store.TryStat(collection, id, out long size))
        {
            return "absent";
        }

        string attributes = string.Join(";", store.GetAttributes(collection, id).Select(pair => pair.Key + "=" + Convert.ToHexString(pair.Value.Span)));
        var read = new Reading();
        store.Read(collection, id, 0, (int)size, read, 1);
        Loop.RunUntil(() => read.Text is not null, TimeSpan.FromSeconds(1));
        var omap = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        store.ListOmap(collection, id, default, int.MaxValue, omap);
        string entries = string.Join(";", omap.Select(pair => Convert.ToHexString(pair.Key.Span) + "=" + Convert.ToHexString(pair.Value.Span)));
        return $"{size} {attributes} {entries} {read.Text}";
    }

    private sealed class Reading : Storage.ObjectStore.IReadCompletion
    {
        public string? Text { get; private set; }

        public void OnRead(ulong token, Storage.ObjectStore.ReadStatus status, Storage.Reactor.BufferSegment data)
        {
            Text = status + Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(data.Span));
            data.Buffer?.Release();
        }
    }

    private sealed class Node
    {
        public MemoryDisk Disk = null!;
        public MemoryObjectStore? Store;
        public MemoryTransport? Transport;
        public OsdDaemon? Daemon;
    }
}
