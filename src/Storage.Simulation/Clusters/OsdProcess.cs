using System.Globalization;
using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Osd;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Clusters;

/// <summary>The daemon of an <see cref="OsdNode"/>, for as long as its process lives.</summary>
internal sealed class OsdProcess
{
    private readonly OsdNode _node;
    private readonly OsdDaemon _daemon;

    private OsdProcess(OsdNode node, OsdDaemon daemon)
    {
        _node = node;
        _daemon = daemon;
        daemon.Failed += OnFailed;
    }

    /// <summary>Creates and starts a daemon; called as the process.</summary>
    public static OsdProcess Start(OsdNode node, NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        Scenario scenario = node.Cluster.Scenario;
        var options = new OsdOptions
        {
            Instance = instance,
            ListenAddress = new NodeAddress(node.Host, OsdNode.Port),
            MonitorAddresses = node.Cluster.MonitorAddresses,
            LogEntries = scenario.LogEntries,
            // As in production: a client that is cut off for longer than so many writes of a PG may find its retry forgotten, which is a limit and no bug.
            DuplicateEntries = 2000,
            MapEpochsKept = 30,
            RecoveryChunkBytes = scenario.RecoveryChunkBytes,
            MostBackgroundBytes = scenario.BackgroundBytes,
            BackfillBatchObjects = scenario.BackfillBatchObjects,
            LeaseLength = scenario.LeaseLength,
            HeartbeatGrace = scenario.HeartbeatGrace,
            HeartbeatInterval = scenario.HeartbeatGrace / 4,
            RemovalObjects = 2,
            ScrubInterval = TimeSpan.FromSeconds(5),
            DeepScrubInterval = TimeSpan.FromSeconds(12),
            ScrubChunkObjects = 3,
            ScrubTimeout = TimeSpan.FromSeconds(20),
        };
        var daemon = new OsdDaemon(loop, transport, node.Store!, options, node.Cluster.NextRandom(), logger);
        var process = new OsdProcess(node, daemon);
        daemon.Start();
        return process;
    }

    /// <summary>What this OSD says of a PG; null if it does not know it.</summary>
    public GroupState? StateOf(PgId group) => _daemon.StateOf(group) is { } text
        ? new GroupState(text, _daemon.Map?.Epoch ?? Epoch.None, text is "active+clean" or "active+clean+scrubbing" or "active+clean+scrubbing+deep" or "active+clean+scrubbing+deep+repair")
        : null;

    /// <summary>How often this life took each rare path; asked once, when it ends.</summary>
    public void Collect(Coverage coverage) => coverage.Add(_daemon.RarePaths);

    /// <summary>How often this life took each rare path.</summary>
    public IReadOnlyList<long> RarePaths => _daemon.RarePaths;

    /// <summary>A PG that it holds, or null.</summary>
    public PlacementGroup? FindGroup(PgId group) => _daemon.FindGroup(group);

    /// <summary>Lists what it has not ended, once everything is at rest.</summary>
    public void ListLeftovers(List<string> left) => _daemon.ListLeftovers(left);

    /// <summary>Background work of this life that had not ended after seconds.</summary>
    public long OverdueWork => _daemon.OverdueWork;

    /// <summary>The map that it has.</summary>
    public ClusterMap? Map => _daemon.Map;

    /// <summary>Asserts what must hold between events.</summary>
    public void CheckInvariants() => _daemon.CheckInvariants();

    /// <summary>What is wrong with what this OSD keeps of a PG for snapshots.</summary>
    public string? FindSnapshotFault(PgId group, SnapshotIntervals live) => _daemon.FindSnapshotFault(group, live);

    /// <summary>What scrub knows of a PG; null if this OSD does not hold it.</summary>
    public ScrubStatus? ScrubStatusOf(PgId group) => _daemon.ScrubStatusOf(group);

    /// <summary>Orders a deep scrub that repairs.</summary>
    public void Repair(PgId group) => _daemon.RequestScrub(group, deep: true, repair: true);

    /// <summary>Gives up what no OSD has any more of a PG's objects.</summary>
    /// <param name="group">The PG.</param>
    /// <param name="revert">Go back to older versions where there are some; else the objects go.</param>
    /// <returns>False if there is nothing to give up, or not yet.</returns>
    public bool TryGiveUpUnfound(PgId group, bool revert) => _daemon.TryGiveUpUnfound(group, revert, out _);

    /// <summary>What scrub found wrong.</summary>
    public string? ListInconsistent(PgId group) => _daemon.ListInconsistentJson(group);

    /// <summary>Explains a PG.</summary>
    public string? Explain(PgId group) => _daemon.QueryJson(group);

    private void OnFailed(Exception error)
    {
        if (!_node.OnGaveUp())
        {
            throw new SimulationFailedException(string.Create(CultureInfo.InvariantCulture, $"{_node.Name} gave up: {error}"), error);
        }
    }
}
