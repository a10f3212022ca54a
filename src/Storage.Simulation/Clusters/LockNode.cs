using System.Globalization;
using Microsoft.Extensions.Logging;
using Storage.Client;
using Storage.Messaging;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Clusters;

/// <summary>One of those who contend for a volume's exclusive lock. Like a gateway it keeps its name when it starts anew; every other one draws a new name.</summary>
internal sealed class LockNode(SimulatedCluster cluster, int number, History history, Action<Exception> failed)
    : SimulatedNode(cluster, EntityKind.Client, (ulong)number + 500, string.Create(CultureInfo.InvariantCulture, $"locker.{number}"), string.Create(CultureInfo.InvariantCulture, $"locker{number}"))
{
    public LockWorkload? Workload { get; private set; }

    protected override ulong IdOf(ulong instance) => instance;

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        var client = new ObjectClient(
            loop, transport, new ClientOptions { MonitorAddresses = Cluster.MonitorAddresses, ClientId = instance }, Cluster.NextRandom());
        string holder = number % 2 == 0 ? Name : string.Create(CultureInfo.InvariantCulture, $"{Name}, life {Starts}");
        Workload = new LockWorkload(Cluster, Name, holder, loop, client, history, Cluster.NextRandom());
        Workload.Start(failed);
    }

    protected override void OnDead() => Workload = null; // its writes stay without an outcome
}
