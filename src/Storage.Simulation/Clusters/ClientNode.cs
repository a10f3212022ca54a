using Microsoft.Extensions.Logging;
using Storage.Client;
using Storage.Messaging;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Clusters;

/// <summary>A client with its calls.</summary>
internal sealed class ClientNode : SimulatedNode
{
    private readonly History _history;
    private readonly Action<Exception> _failed;
    private readonly bool _isIdle;
    private NodeLoop? _loop;

    /// <param name="cluster">The cluster.</param>
    /// <param name="number">Its number.</param>
    /// <param name="history">Where calls are written down.</param>
    /// <param name="failed">Told of failures in its code.</param>
    /// <param name="isIdle">Makes no calls of its own.</param>
    public ClientNode(SimulatedCluster cluster, int number, History history, Action<Exception> failed, bool isIdle = false)
        : base(cluster, EntityKind.Client, (ulong)number + 1, $"client.{number}", $"client{number}")
    {
        _history = history;
        _failed = failed;
        _isIdle = isIdle;
    }

    public ObjectClient? Client { get; private set; }

    public ObjectWorkload? Workload { get; private set; }

    /// <summary>Reads an object once; runs as the client.</summary>
    public Task ReadAsync(string name, ulong snapshot = 0)
    {
        _loop!.Enter();
        try
        {
            return Workload!.ReadAsync(name, snapshot);
        }
        finally
        {
            _loop.Leave();
        }
    }

    // Drawn at each start: operation ids of two lives must not meet.
    protected override ulong IdOf(ulong instance) => instance;

    protected override void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger)
    {
        _loop = loop;
        Client = new ObjectClient(
            loop, transport, new ClientOptions { MonitorAddresses = Cluster.MonitorAddresses, ClientId = instance }, Cluster.NextRandom());
        Workload = new ObjectWorkload(Name, loop, Client, Cluster.Pool, Cluster.Scenario, _history, Cluster.Trace, Cluster.NextRandom(), Cluster.Snapshots);
        if (!_isIdle)
        {
            Workload.Start(_failed);
        }
    }

    protected override void OnDead()
    {
        // Its calls stay without an outcome.
        Client = null;
        Workload = null;
    }
}
