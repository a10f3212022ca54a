using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Monitor;
using Storage.Monitor.Core;
using Storage.Rpc;
using Storage.Simulation.Checking;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;
using AdminRequest = Storage.Rpc.Admin.AdminRequest;

namespace Storage.Simulation.Clusters;

/// <summary>A monitor with its log.</summary>
#pragma warning disable CA1001 // the disk is memory, outlives every process, and its Dispose does nothing
internal sealed class MonitorNode : SimulatedNode
#pragma warning restore CA1001
{
    private readonly MemoryRaftStorage _disk = new();
    private readonly IReadOnlyList<MonitorInfo> _first;
    private NodeLoop? _loop;
    private bool _isRetired;

    /// <param name="cluster">The run.</param>
    /// <param name="info">What the map says, or will say, of it.</param>
    /// <param name="first">The members that its folder was made with.</param>
    public MonitorNode(SimulatedCluster cluster, MonitorInfo info, IReadOnlyList<MonitorInfo> first)
        : base(cluster, EntityKind.Monitor, info.Id, "mon." + info.Name, info.Address.Host)
    {
        Info = info;
        _first = first;
        MonitorStore.BootstrapRaft(_disk, Options());
    }

    public MonitorInfo Info { get; }

    /// <summary>The daemon; null while it does not run.</summary>
    public MonitorDaemon? Daemon { get; private set; }

    /// <summary>Its Raft log, as it is durable.</summary>
    public MemoryRaftStorage Disk => _disk;

    /// <summary>Raft messages that reached it, in all its lives.</summary>
    public long Heard { get; private set; }

    /// <summary>Asks the daemon as the command line does.</summary>
    /// <param name="request">The request.</param>
    /// <param name="within">How long to wait.</param>
    /// <param name="clock">Whose time that is.</param>
    /// <returns>The reply.</returns>
    /// <exception cref="RpcException">It does not run (Unavailable), or refuses.</exception>
    /// <exception cref="TimeoutException">No answer: also where it died just before it would have answered.</exception>
    public async Task<ReadOnlyMemory<byte>> AskAsync(AdminRequest request, TimeSpan within, TimeProvider clock)
    {
        (MonitorDaemon? daemon, NodeLoop? loop) = (Daemon, _loop);
        if (daemon is null)
        {
            throw new RpcException(StatusCode.Unavailable, $"{Name} does not run");
        }

        ReadOnlyMemory<byte> reply = await daemon.HandleAdminAsync(request, CancellationToken.None).AsTask().WaitAsync(within, clock);
        return loop!.IsAlive ? reply : throw new TimeoutException($"{Name} died before its answer left");
    }

    protected override IMessageWatch CreateWatch() => new RaftMessageWatch(Name, _disk, () => Heard++);

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        _loop = loop;
        Daemon = new MonitorDaemon(loop, transport, new NodeRaftStorage(loop, _disk, Cluster.Coverage), Options(), Cluster.NextRandom(), loop.TimeProvider, logger)
        {
            Failed = OnFailed,
        };
        try
        {
            Daemon.Start();
        }
        catch (InvalidOperationException e) when (!Cluster.IsMember(this))
        {
            OnFailed(e);
        }
    }

    protected override bool MayStart => !_isRetired;

    // The cluster has removed it, and it knows. The process ends, and nobody starts it again.
    private void OnFailed(Exception reason)
    {
        if (Cluster.IsMember(this))
        {
            throw new SimulationFailedException($"{Name} ends though it is a member: {reason.Message}");
        }

        Note("learns that it was removed");
        Cluster.Coverage.Count("mon.learned_of_removal");
        _isRetired = true;
        Cluster.Loop.Post(_ => Crash(), null);
    }

    protected override void OnDead()
    {
        Daemon = null;
        _disk.Crash(Cluster.NextRandom());
    }

    private MonitorOptions Options() => new()
    {
        Fsid = Cluster.Fsid,
        Id = Info.Id,
        Monitors = _first,
        SnapshotEntries = 60,
        RetainedEntries = 10,
        RaftAppendBytes = Cluster.Scenario.RaftAppendBytes,
        Policy = new MonitorPolicy { DownOutInterval = TimeSpan.FromSeconds(7) },
    };
}
