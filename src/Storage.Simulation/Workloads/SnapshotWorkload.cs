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
internal sealed class SnapshotWorkload : Workload
{
    private const int Most = 4;
    private static readonly TimeSpan s_longestPause = TimeSpan.FromSeconds(30);
    private readonly SimulatedCluster _cluster;
    private readonly IObjectClient _client;
    private readonly History _history;

    public SnapshotWorkload(SimulatedCluster cluster, NodeLoop loop, IObjectClient client, History history, Random random)
        : base(loop, random)
    {
        _cluster = cluster;
        _client = client;
        _history = history;
    }

    private SnapshotRegistry Registry => _cluster.Snapshots!;

    // Ends after the snapshot under way, and removes some of those that are left.
    protected override async Task LaneAsync()
    {
        while (!IsStopped)
        {
            await PauseAsync(_cluster.Scenario.SnapshotInterval, s_longestPause);
            int live = Registry.Readable().Length;
            if (!IsStopped && (live < 1 || (live < Most && Draws.Next(3) > 0)))
            {
                await TakeAsync();
            }
            else if (!IsStopped)
            {
                await RemoveAsync(1);
            }
        }

        await RemoveAsync((Registry.Readable().Length + 1) / 2);
    }

    private async Task TakeAsync()
    {
        var request = new PoolSnapshotCreateRequest { PoolId = _cluster.Pool, RequestId = (ulong)Draws.NextInt64(1, long.MaxValue) };
        PoolSnapshotCreateReply created = await _cluster.CommandAsync("PoolSnapshotCreate", request, PoolSnapshotCreateReply.Parser);
        if (Draws.Next(4) == 0)
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
            ulong id = readable[Draws.Next(readable.Length)];
            Registry.All.First(s => s.Id == id).RemovalOrder = _history.Mark();
            request.Snapshots.Add(id);
            Note($"snapshot {id} is to go");
        }

        if (request.Snapshots.Count > 0)
        {
            await _cluster.CommandAsync("PoolSnapshotRemove", request, ChangeReply.Parser);
        }
    }

    private void Note(string text) => _cluster.Trace.Add(TraceKind.Invoke, "snapshots", Loop.TrueNow, text);
}
