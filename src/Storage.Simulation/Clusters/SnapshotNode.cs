using Microsoft.Extensions.Logging;
using Storage.Client;
using Storage.Messaging;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Clusters;

/// <summary>Who takes and removes snapshots; never dies.</summary>
internal sealed class SnapshotNode(SimulatedCluster cluster, History history, Action<Exception> failed)
    : SimulatedNode(cluster, EntityKind.Client, 1_000, "snapshots", "snapshots")
{
    public SnapshotWorkload? Workload { get; private set; }

    protected override ulong IdOf(ulong instance) => instance;

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        var client = new ObjectClient(
            loop, transport, new ClientOptions { MonitorAddresses = Cluster.MonitorAddresses, ClientId = instance }, Cluster.NextRandom());
        Workload = new SnapshotWorkload(Cluster, loop, client, history, Cluster.NextRandom());
        Workload.Start(failed);
    }

    protected override void OnDead()
    {
    }
}
