using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Monitor;
using Storage.Monitor.Core;
using Storage.Simulation.Checking;
using Storage.Simulation.Processes;

namespace Storage.Simulation.Clusters;

/// <summary>A monitor with its log.</summary>
#pragma warning disable CA1001 // the disk is memory, outlives every process, and its Dispose does nothing
internal sealed class MonitorNode : SimulatedNode
#pragma warning restore CA1001
{
    private readonly MemoryRaftStorage _disk = new();
    private readonly ulong _id;

    public MonitorNode(SimulatedCluster cluster, MonitorInfo info)
        : base(cluster, EntityKind.Monitor, info.Id, "mon." + info.Name, info.Address.Host)
    {
        _id = info.Id;
        MonitorStore.BootstrapRaft(_disk, Options());
    }

    /// <summary>The daemon; null while it does not run.</summary>
    public MonitorDaemon? Daemon { get; private set; }

    /// <summary>Its Raft log, as it is durable.</summary>
    public MemoryRaftStorage Disk => _disk;

    protected override IMessageWatch CreateWatch() => new RaftMessageWatch(Name, _disk);

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        Daemon = new MonitorDaemon(loop, transport, new NodeRaftStorage(loop, _disk, Cluster.Coverage), Options(), Cluster.NextRandom(), loop.TimeProvider, logger);
        Daemon.Start();
    }

    protected override void OnDead()
    {
        Daemon = null;
        _disk.Crash(Cluster.NextRandom());
    }

    private MonitorOptions Options() => new()
    {
        Fsid = Cluster.Fsid,
        Id = _id,
        Monitors = Cluster.MonitorInfos,
        SnapshotEntries = 60,
        RetainedEntries = 10,
        RaftAppendBytes = Cluster.Scenario.RaftAppendBytes,
        Policy = new MonitorPolicy { DownOutInterval = TimeSpan.FromSeconds(7) },
    };
}
