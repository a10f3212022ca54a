using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Rpc.Admin;
using Storage.Simulation.Checking;
using Storage.Simulation.Processes;

namespace Storage.Simulation.Clusters;

/// <summary>An OSD with its disk.</summary>
internal sealed class OsdNode : SimulatedNode
{
    public const int Port = 6800;

    private MemoryDisk _disk = new();
    private readonly Guid _uuid;
    private OsdProcess? _daemon;
    private bool _isFormatted;

    public OsdNode(SimulatedCluster cluster, int number)
        : base(cluster, EntityKind.Osd, (ulong)number, $"osd.{number}", $"osd{number}")
    {
        Id = new OsdId(number);
        _uuid = DrawUuid();
    }

    public OsdId Id { get; }

    /// <summary>Its disk, as the process sees it; null before the first start.</summary>
    public NodeStore? Store { get; private set; }

    /// <summary>Whether a bit was flipped on its disk, repaired since or not.</summary>
    public bool HasFlips { get; private set; }

    /// <summary>What makes its id known to the monitors.</summary>
    public OsdCreateRequest CreateRequest() => new()
    {
        Uuid = _uuid.ToString(),
        Osd = Id.Value,
        CrushWeight = 1,
        Location = { ["root"] = "default", ["host"] = Host },
    };

    /// <summary>What this OSD says of a PG; null if it does not run or does not know it.</summary>
    public GroupState? StateOf(PgId group) => _daemon?.StateOf(group);

    /// <summary>A PG on this OSD; null if it does not run or does not hold it.</summary>
    public PlacementGroup? FindGroup(PgId group) => _daemon?.FindGroup(group);

    /// <summary>The map that its process has.</summary>
    public ClusterMap? Map => _daemon?.Map;

    /// <summary>What its disk is known to have made durable.</summary>
    public DurableGroups Durable { get; private set; } = new();

    /// <summary>Whether an empty disk took the place of one that held data.</summary>
    public bool WasReplaced { get; private set; }

    /// <summary>Version of the copy of an object on its disk, whether the process runs or not; Zero if there is none.</summary>
    public PgVersion VersionOf(CollectionId collection, ObjectId id)
    {
        if (Store is null || !Store.TryGetAttribute(collection, id, PlacementGroup.VersionAttribute, out ReadOnlyMemory<byte> value))
        {
            return PgVersion.Zero;
        }

        var reader = new Storage.Coding.WireReader(value.Span[1..]);
        return new PgVersion(new Epoch(reader.ReadUInt32()), reader.ReadUInt64());
    }

    protected override IMessageWatch CreateWatch() => new OsdMessageWatch(Cluster, this);

    /// <summary>Puts an empty disk in the place of the old one; the process must not run.</summary>
    public void ReplaceDisk()
    {
        Note("gets an empty disk");
        _disk = new MemoryDisk();
        _isFormatted = false;
        HasFlips = false;
        Durable = new DurableGroups();
        WasReplaced = true;
    }

    /// <summary>Flips a bit in this disk's copy of an object.</summary>
    /// <returns>False if there is no such copy, or no data at the place that was drawn.</returns>
    public bool FlipBit(Random random, string objectName)
    {
        if (Store is null || !IsRunning || Cluster.NewestMap?.FindPool(Cluster.Pool) is not { } pool)
        {
            return false;
        }

        ObjectId id = Placement.ObjectOf(objectName);
        var collection = new CollectionId(ClusterMap.GroupOf(pool, id.Hash));
        if (!Store.ListCollections().Contains(collection) || !Store.TryStat(collection, id, out long size) || size == 0
            || !Store.Inner.FlipBit(collection, id, random.NextInt64(size)))
        {
            return false;
        }

        HasFlips = true;
        Note($"a bit flips in {objectName}");
        return true;
    }

    /// <summary>What is wrong with what this OSD keeps of a PG for snapshots.</summary>
    public string? FindSnapshotFault(PgId group, SnapshotIntervals live) => _daemon?.FindSnapshotFault(group, live);

    /// <summary>What scrub knows of a PG; null if this OSD does not run or does not hold it.</summary>
    public ScrubStatus? ScrubStatusOf(PgId group) => _daemon?.ScrubStatusOf(group);

    /// <summary>Orders a deep scrub that repairs.</summary>
    public void Repair(PgId group) => _daemon?.Repair(group);

    /// <summary>What scrub found wrong.</summary>
    public string? ListInconsistent(PgId group) => _daemon?.ListInconsistent(group);

    /// <summary>Explains a PG.</summary>
    public string? Explain(PgId group) => _daemon?.Explain(group);

    /// <summary>Asserts what must hold between events.</summary>
    public void CheckInvariants() => _daemon?.CheckInvariants();

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        if (!_isFormatted)
        {
            var empty = new MemoryObjectStore(loop, Cluster.NextRandom(), _disk);
            OsdDaemon.Format(empty, Cluster.Fsid, Id, _uuid);
            empty.Close();
            _isFormatted = true;
        }

        var options = new MemoryStoreOptions
        {
            CommitLatencyMax = TimeSpan.FromMilliseconds(3),
            ReadLatencyMin = TimeSpan.FromMilliseconds(0.05),
            ReadLatencyMax = TimeSpan.FromMilliseconds(1),
            Pool = Cluster.Buffers,
        };
        Store = new NodeStore(loop, new MemoryObjectStore(loop, Cluster.NextRandom(), _disk, options), Durable);
        _daemon = OsdProcess.Start(this, loop, transport, instance, logger);
    }

    /// <summary>The run is over: what the last life did counts too.</summary>
    public void Collect() => _daemon?.Collect(Cluster.Coverage);

    protected override void OnDead()
    {
        Collect();
        _daemon = null;
        Store!.Inner.Crash();
    }

    private Guid DrawUuid()
    {
        byte[] bytes = new byte[16];
        Cluster.NextRandom().NextBytes(bytes);
        return new Guid(bytes);
    }
}
