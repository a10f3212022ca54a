using System.Globalization;
using Microsoft.Extensions.Logging;
using Storage.Block;
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
    private readonly int _number;
    private NodeLoop? _loop;

    /// <param name="cluster">The cluster.</param>
    /// <param name="number">Its number.</param>
    /// <param name="history">Where calls are written down.</param>
    /// <param name="failed">Told of failures in its code.</param>
    /// <param name="isIdle">Makes no calls of its own.</param>
    public ClientNode(SimulatedCluster cluster, int number, History history, Action<Exception> failed, bool isIdle = false)
        : base(cluster, EntityKind.Client, (ulong)number + 1, $"client.{number}", $"client{number}")
    {
        _number = number;
        _history = history;
        _failed = failed;
        _isIdle = isIdle;
    }

    public ObjectClient? Client { get; private set; }

    public ObjectWorkload? Workload { get; private set; }

    /// <summary>Its volumes, those of other clients included, which it only looks at in the end.</summary>
    public IReadOnlyList<VolumeWorkload> Volumes { get; private set; } = [];

    /// <summary>The volume that others contend for; it only looks at it in the end.</summary>
    public LockWorkload? Locked { get; private set; }

    /// <summary>Whether calls or requests are under way.</summary>
    public bool IsBusy => Workload is { Running: > 0 } || Volumes.Any(volume => volume.IsRunning);

    /// <summary>No new calls are made.</summary>
    public void Stop()
    {
        Workload?.Stop();
        foreach (VolumeWorkload volume in Volumes)
        {
            volume.Stop();
        }
    }

    /// <summary>Does something as the client.</summary>
    public Task Do(Func<Task> action)
    {
        _loop!.Enter();
        try
        {
            return action();
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
        Workload = new ObjectWorkload(Name, loop, Client, Cluster.Pool, Cluster.Scenario, _history, Cluster.Trace, Cluster.NextRandom(), Cluster.Snapshots)
        {
            Refused = OnRefused,
        };
        Volumes = [.. Enumerable.Range(0, Cluster.Scenario.Volumes).Select(i => new VolumeWorkload(
            Name, loop, Client, new VolumeName(SimulatedCluster.PoolName, string.Create(CultureInfo.InvariantCulture, $"volume{i}")),
            i == _number && i < Cluster.Scenario.Volumes - 1, Cluster.Scenario, _history, Cluster.Trace, Cluster.Coverage, Cluster.NextRandom()))];
        Locked = new LockWorkload(Cluster, Name, Name, loop, Client, _history, Cluster.NextRandom());
        if (!_isIdle)
        {
            Workload.Start(_failed);
            for (int i = 0; i < Volumes.Count; i++)
            {
                // The last volume is everybody's, and nobody resizes it; the others have a client each.
                if (i == _number || i == Volumes.Count - 1)
                {
                    Volumes[i].Start(_failed);
                }
            }
        }
    }

    // Whether an answer was to be had at all depends on what was done to the disks.
    private void OnRefused(string name, ResultCode result)
    {
        Cluster.Coverage.Count(result == ResultCode.NoSpace ? "client.no_space" : "client.io_error");
        if (result == ResultCode.IoError && !Cluster.Damaged.Any(damaged => damaged.Name == name))
        {
            _failed(new InvalidOperationException($"{Name} was told of an I/O error on {name}, of which no copy was damaged"));
        }
        else if (result == ResultCode.NoSpace && !Cluster.WasFull)
        {
            _failed(new InvalidOperationException($"{Name} was told that there is no room for {name}, and no disk was ever full"));
        }
    }

    protected override void OnDead()
    {
        // Its calls stay without an outcome.
        Client = null;
        Workload = null;
        Volumes = [];
        Locked = null;
    }
}
