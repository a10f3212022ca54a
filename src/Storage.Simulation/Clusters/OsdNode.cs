using System.Globalization;
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

    private const long Capacity = 256 << 20;
    private const double FullRatio = 0.95;

    private static readonly TimeSpan s_slowest = TimeSpan.FromMilliseconds(400);

    private readonly Guid _uuid;
    private readonly (TimeSpan Min, TimeSpan Max) _commitLatency;
    private OsdProcess? _daemon;
    private bool _isFormatted;

    public OsdNode(SimulatedCluster cluster, int number)
        : base(cluster, EntityKind.Osd, (ulong)number, $"osd.{number}", $"osd{number}")
    {
        Id = new OsdId(number);
        _uuid = DrawUuid();
        _commitLatency = DrawCommitLatency();
    }

    public OsdId Id { get; }

    /// <summary>Its disk, as the process sees it; null before the first start.</summary>
    public NodeStore? Store { get; private set; }

    /// <summary>Its disk as a thing that outlives processes.</summary>
    public MemoryDisk Disk { get; private set; } = NewDisk();

    /// <summary>Set while the disk is to fail: the daemon ends for it, and that is right.</summary>
    public bool IsFailing { get; private set; }

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

    /// <summary>How often its process took each rare path; empty while it does not run.</summary>
    public IReadOnlyList<long> RarePaths => _daemon?.RarePaths ?? [];

    /// <summary>Background work of its process that had not ended after seconds.</summary>
    public long OverdueWork => _daemon?.OverdueWork ?? 0;

    /// <summary>Lists what its process has not ended, once everything is at rest.</summary>
    public void ListLeftovers(List<string> left) => _daemon?.ListLeftovers(left);

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
        Disk = NewDisk();
        _isFormatted = false;
        Durable = new DurableGroups();
        WasReplaced = true;
        Cluster.Damaged.RemoveWhere(damaged => damaged.Osd == Id);
    }

    /// <summary>Damages a block at rest.</summary>
    /// <param name="pick">Chooses the object, among those with data, and the block.</param>
    /// <param name="damage">How.</param>
    /// <param name="may">Whether an object of a name may be damaged here.</param>
    /// <returns>False if there is none.</returns>
    public bool Damage(int pick, BlockDamage damage, Func<string, bool> may)
    {
        if (Store is null || !IsRunning)
        {
            return false;
        }

        var found = new List<(CollectionId Collection, ObjectId Object, long Offset)>();
        var objects = new List<ObjectId>();
        var extents = new List<DataExtent>();
        foreach (CollectionId collection in Store.ListCollections())
        {
            objects.Clear();
            Store.ListObjects(collection, null, int.MaxValue, objects);
            foreach (ObjectId id in objects)
            {
                if (id.Name.Length == 0 || !may(id.Name) || !Store.TryStat(collection, id, out long size))
                {
                    continue;
                }

                Store.ListExtents(collection, id, 0, size, extents);
                foreach (DataExtent extent in extents)
                {
                    for (long at = extent.Offset / StoreLimits.BlockSize * StoreLimits.BlockSize; at < extent.Offset + extent.Length; at += StoreLimits.BlockSize)
                    {
                        found.Add((collection, id, at));
                    }
                }
            }
        }

        if (found.Count == 0)
        {
            return false;
        }

        (CollectionId where, ObjectId what, long offset) = found[pick % found.Count];
        return DamageBlock(where, what, offset, damage);
    }

    /// <summary>Lets a coming write land on another object's block: neither block is then what its checksum says.</summary>
    /// <param name="pick">Chooses the other block.</param>
    /// <param name="may">Whether an object of a name may be damaged here.</param>
    public void MisdirectWrite(int pick, Func<string, bool> may)
    {
        if (Store is not null && IsRunning)
        {
            Store.MisdirectNext = (collection, id, offset) =>
                id.Name.Length > 0 && may(id.Name) && Damage(pick, BlockDamage.Flipped, name => name != id.Name && may(name))
                && DamageBlock(collection, id, offset, BlockDamage.Flipped);
        }
    }

    /// <summary>Ends <see cref="MisdirectWrite"/>, if no write has come since.</summary>
    public void DirectWrites()
    {
        if (Store is not null)
        {
            Store.MisdirectNext = null;
        }
    }

    /// <summary>The disk reports errors for writes and syncs; the daemon ends.</summary>
    /// <returns>False if it does not run.</returns>
    public bool FailWrites()
    {
        if (!IsRunning || IsPaused || !Loop!.IsAlive)
        {
            return false;
        }

        Note("cannot write to its disk");
        IsFailing = true;
        Loop.Run(_ => Store!.Inner.FailWrites(new IOException("input/output error, injected")), null);
        return true;
    }

    /// <summary>What is wrong with what this OSD keeps of a PG for snapshots.</summary>
    public string? FindSnapshotFault(PgId group, SnapshotIntervals live) => _daemon?.FindSnapshotFault(group, live);

    /// <summary>What scrub knows of a PG; null if this OSD does not run or does not hold it.</summary>
    public ScrubStatus? ScrubStatusOf(PgId group) => _daemon?.ScrubStatusOf(group);

    /// <summary>Orders a deep scrub that repairs.</summary>
    public void Repair(PgId group) => _daemon?.Repair(group);

    /// <summary>Gives up what no OSD has any more of a PG's objects, as soon as the daemon gets to it.</summary>
    public void GiveUpUnfound(PgId group, bool revert) => Loop!.Run(
        _ =>
        {
            if (_daemon?.TryGiveUpUnfound(group, revert) == true)
            {
                Cluster.Coverage.Count("beyond.unfound_given_up");
            }
        },
        null);

    /// <summary>What scrub found wrong.</summary>
    public string? ListInconsistent(PgId group) => _daemon?.ListInconsistent(group);

    /// <summary>Leaves the disk room for a few blocks only, or all it needs.</summary>
    /// <param name="blocks">Blocks that can still be written; null to lift the limit.</param>
    public void LimitSpace(int? blocks)
    {
        Note(blocks is null ? "has room again" : $"has room for {blocks} blocks only");
        Cluster.WasFull |= blocks is not null;
        Disk.CapacityBytes = blocks is { } count ? (long)((Disk.UsedBytes + (count * (long)StoreLimits.BlockSize)) / FullRatio) : Capacity;
    }

    /// <summary>Slows the disk down.</summary>
    /// <param name="factor">1 for not at all.</param>
    public void SlowDown(double factor)
    {
        factor = Math.Clamp(factor, 1, Math.Max(1, s_slowest / (_commitLatency.Max > Cluster.Scenario.ReadLatency ? _commitLatency.Max : Cluster.Scenario.ReadLatency)));
        Note(factor > 1 ? string.Create(CultureInfo.InvariantCulture, $"has a disk {factor:F0} times slower") : "has a fast disk again");
        Disk.Slowness = factor;
    }

    /// <summary>The daemon gave up.</summary>
    /// <returns>Whether that was to be expected.</returns>
    public bool OnGaveUp()
    {
        if (IsFailing)
        {
            Cluster.Coverage.Count("osd.died_of_write_error");
            int life = Starts;
            Cluster.Loop.Post(
                _ =>
                {
                    if (Starts == life)
                    {
                        Crash();
                    }
                },
                null);
        }

        return IsFailing;
    }

    /// <summary>Explains a PG.</summary>
    public string? Explain(PgId group) => _daemon?.Explain(group);

    /// <summary>Asserts what must hold between events.</summary>
    public void CheckInvariants() => _daemon?.CheckInvariants();

    private static MemoryDisk NewDisk() => new(Capacity);

    /// <summary>Damages one block of a copy.</summary>
    /// <returns>False if there is no such block.</returns>
    public bool DamageBlock(CollectionId collection, ObjectId id, long offset, BlockDamage damage)
    {
        if (!Store!.Inner.Damage(collection, id, offset, damage))
        {
            return false;
        }

        Cluster.Damaged.Add((Id, id.Name));
        Note($"{id} at {offset} is {(damage == BlockDamage.Flipped ? "corrupt" : "unreadable")}");
        return true;
    }

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        if (!_isFormatted)
        {
            var empty = new MemoryObjectStore(loop, Cluster.NextRandom(), Disk);
            OsdDaemon.Format(empty, Cluster.Fsid, Id, _uuid);
            empty.Close();
            _isFormatted = true;
        }

        var options = new MemoryStoreOptions
        {
            CommitLatencyMin = _commitLatency.Min,
            CommitLatencyMax = _commitLatency.Max,
            ReadLatencyMin = TimeSpan.FromMilliseconds(0.05),
            ReadLatencyMax = Cluster.Scenario.ReadLatency,
            Pool = Cluster.Buffers,
            FullRatio = FullRatio,
        };
        Store = new NodeStore(loop, new MemoryObjectStore(loop, Cluster.NextRandom(), Disk, options), Durable);
        IsFailing = false;
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

    // Each disk is of its own kind: some are far slower than the network, always or now and then.
    private (TimeSpan Min, TimeSpan Max) DrawCommitLatency()
    {
        Random random = Cluster.NextRandom();
        TimeSpan longest = Cluster.Scenario.CommitLatency * (Cluster.Scenario is { Varies: true, DisksVary: true } && random.Next(4) == 0 ? 3 : 1);
        return (random.Next(3) == 0 ? longest / 2 : TimeSpan.FromMilliseconds(Math.Min(0.1, longest.TotalMilliseconds)), longest);
    }

    private Guid DrawUuid()
    {
        byte[] bytes = new byte[16];
        Cluster.NextRandom().NextBytes(bytes);
        return new Guid(bytes);
    }
}
