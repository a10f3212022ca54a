using Storage.Client;
using Storage.Cluster;
using Storage.Rpc.Admin;
using Storage.Simulation.Clusters;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Workloads;

/// <summary>
/// Takes and removes snapshots while clients write, in the order that volumes do it: an id from the monitors, into the list, then the barrier
/// moves on, and when every PG has been seen to know it the snapshot counts.
/// </summary>
internal sealed class SnapshotWorkload
{
    private const int Most = 4;
    private readonly SimulatedCluster _cluster;
    private readonly NodeLoop _loop;
    private readonly IObjectClient _client;
    private readonly History _history;
    private readonly Random _random;
    private bool _stopped;

    public SnapshotWorkload(SimulatedCluster cluster, NodeLoop loop, IObjectClient client, History history, Random random)
    {
        _cluster = cluster;
        _loop = loop;
        _client = client;
        _history = history;
        _random = random;
    }

    /// <summary>It takes and removes.</summary>
    public bool IsRunning { get; private set; }

    private SnapshotRegistry Registry => _cluster.Snapshots!;

    /// <summary>Ends after the snapshot under way, and removes some of those that are left.</summary>
    public void Stop() => _stopped = true;

    public void Start(Action<Exception> failed)
    {
        IsRunning = true;
        ObjectWorkload.Watch(RunAsync(), failed);
    }

    private async Task RunAsync()
    {
        while (!_stopped)
        {
            double pause = -Math.Log(1 - _random.NextDouble()) * _cluster.Scenario.SnapshotInterval.TotalSeconds;
            await Task.Delay(TimeSpan.FromSeconds(Math.Min(pause, 30)), _loop.TimeProvider);
            int live = Registry.Readable().Length;
            if (!_stopped && (live < 1 || (live < Most && _random.Next(3) > 0)))
            {
                await TakeAsync();
            }
            else if (!_stopped)
            {
                await RemoveAsync(1);
            }
        }

        await RemoveAsync((Registry.Readable().Length + 1) / 2);
        IsRunning = false;
    }

    private async Task TakeAsync()
    {
        var request = new PoolSnapshotCreateRequest { PoolId = _cluster.Pool, RequestId = (ulong)_random.NextInt64(1, long.MaxValue) };
        PoolSnapshotCreateReply created = await _cluster.CommandAsync("PoolSnapshotCreate", request, PoolSnapshotCreateReply.Parser);
        if (_random.Next(4) == 0)
        {
            PoolSnapshotCreateReply again = await _cluster.CommandAsync("PoolSnapshotCreate", request, PoolSnapshotCreateReply.Parser);
            Coding.Invariant.Holds(again.Snapshot == created.Snapshot);
        }

        TakenSnapshot taken = Registry.Add(created.Snapshot);
        Note($"snapshot {taken.Id} is in the list");
        ChangeReply published = await _cluster.CommandAsync("PoolSnapshotPublish", new PoolSnapshotPublishRequest { PoolId = _cluster.Pool }, ChangeReply.Parser);
        ClusterMap map = await _client.WaitForMapAsync(new Epoch(published.Epoch));
        for (uint seed = 0; seed < map.FindPool(_cluster.Pool)!.PgCount; seed++)
        {
            await _client.ListObjectsAsync(_cluster.Pool, seed, null, 1);
        }

        taken.AnnouncedOrder = _history.Mark();
        _cluster.Coverage.Count("workload.snapshots");
        Note($"snapshot {taken.Id} is taken");
    }

    private async Task RemoveAsync(int count)
    {
        var request = new PoolSnapshotRemoveRequest { PoolId = _cluster.Pool };
        for (; count > 0; count--)
        {
            ulong[] readable = Registry.Readable();
            ulong id = readable[_random.Next(readable.Length)];
            Registry.All.First(s => s.Id == id).RemovalOrder = _history.Mark();
            request.Snapshots.Add(id);
            Note($"snapshot {id} is to go");
        }

        if (request.Snapshots.Count > 0)
        {
            await _cluster.CommandAsync("PoolSnapshotRemove", request, ChangeReply.Parser);
        }
    }

    private void Note(string text) => _cluster.Trace.Add(TraceKind.Invoke, "snapshots", _loop.TrueNow, text);
}
