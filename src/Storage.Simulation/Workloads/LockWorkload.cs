using System.Buffers.Binary;
using Storage.Block;
using Storage.Client;
using Storage.Messaging;
using Storage.Reactor;
using Storage.Simulation.Clusters;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Workloads;

/// <summary>
/// Contends for the exclusive lock of a volume, and as its owner replaces a number by another that nobody else writes. To the checker each is a
/// compare-and-set, though nothing compares but the lock: an owner that writes after somebody else has, without knowing it, cannot be explained.
/// </summary>
internal sealed class LockWorkload(SimulatedCluster cluster, string name, string holder, NodeLoop loop, IObjectClient client, History history, Random random)
    : Workload(loop, random)
{
    private const string Subject = "locked volume";
    private const string Number = "number";
    private const int ObjectOrder = 16;
    private const long Place = 0;
    private const long Elsewhere = 1 << ObjectOrder;
    private static readonly VolumeName s_volume = new(SimulatedCluster.PoolName, "locked");

    // A lock that changes hands often; and owners that are given up soon, for that is what a pause looks like.
    private static readonly VolumeLockTimes s_times = new()
    {
        Renewal = TimeSpan.FromSeconds(0.4), Poll = TimeSpan.FromSeconds(0.2), Patience = TimeSpan.FromSeconds(1.5), Courtesy = TimeSpan.FromSeconds(0.5),
    };

    private readonly VolumeStore _store = new(client, loop.TimeProvider, random, new CommandAuthority(cluster)) { LockTimes = s_times };
    private readonly BufferPool _buffers = new(idleBudget: 0);

    /// <summary>Reads the number and records it.</summary>
    public async Task ReadAsync()
    {
        Volume open;
        try
        {
            open = await _store.OpenAsync(s_volume);
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            return; // nobody ever made it
        }

        HistoryEntry entry = history.Invoke(name, Subject, ObjectCall.Of(new CallStep(OperationCode.GetAttributes)), Loop.TrueNow);
        byte[]? value = await ReadNumberAsync(open);
        if (value is { Length: > 0 })
        {
            history.Complete(entry, new CallOutcome { Result = ResultCode.Ok, Attributes = new(StringComparer.Ordinal) { [Number] = value } }, Loop.TrueNow);
        }
        else if (value is not null)
        {
            history.Complete(entry, new CallOutcome { Result = ResultCode.NotFound }, Loop.TrueNow);
        }
        else
        {
            History.Leave(entry);
        }
    }

    /// <summary>Removes the volume, if there is one.</summary>
    public Task RemoveAsync() => VolumeWorkload.RemoveAsync(_store, s_volume);

    protected override async Task LaneAsync()
    {
        Volume? open = null;
        while (!IsStopped)
        {
            await PauseAsync(cluster.Scenario.ThinkTime);
            open = open?.Lock!.State == VolumeLockState.Lost ? null : open ?? await TryOpenAsync();
            if (open is not null)
            {
                await ReplaceAsync(open);
            }
        }

        if (open is not null)
        {
            await open.Lock!.ReleaseAsync();
        }
    }

    private async Task<Volume?> TryOpenAsync()
    {
        try
        {
            return await _store.OpenAsync(s_volume, holder);
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            try
            {
                await _store.CreateAsync(s_volume, 2 << ObjectOrder, ObjectOrder);
            }
            catch (VolumeException another) when (another.Problem is VolumeProblem.Exists or VolumeProblem.NotFound)
            {
                // The next turn opens it; or the map is of a monitor that is behind, and knows no pool yet.
            }
            catch (ObjectOperationException full) when (full.Result is ResultCode.NoSpace or ResultCode.IoError)
            {
                // The next turn tries again.
            }
        }
        catch (ObjectOperationException e) when (e.Result is ResultCode.NoSpace or ResultCode.IoError)
        {
            // The next turn tries again.
        }

        return null;
    }

    private async Task ReplaceAsync(Volume open)
    {
        VolumeLock held = open.Lock!;
        if (held.State != VolumeLockState.Held && await WriteAsync(open, Elsewhere, NewNumber()) != ResultCode.Ok)
        {
            return;
        }

        int tenure = held.Tenure;
        byte[]? before = await ReadNumberAsync(open);
        if (before is null || held.Tenure != tenure || held.State != VolumeLockState.Held)
        {
            return; // somebody else had it meanwhile: what was read says nothing
        }

        byte[] after = NewNumber();
        HistoryEntry entry = history.Invoke(
            name, Subject, ObjectCall.Of(new CallStep(OperationCode.CompareAttribute, Key: Number, Value: before), new CallStep(OperationCode.SetAttribute, Key: Number, Value: after)), Loop.TrueNow);
        ResultCode result = await WriteAsync(open, Place, after);
        if (result == ResultCode.Ok)
        {
            history.Complete(entry, new CallOutcome { Result = ResultCode.Ok }, Loop.TrueNow);
            cluster.Coverage.Count("volume.written_as_owner");
        }
        else
        {
            History.Leave(entry);
            if (result == ResultCode.Blocklisted)
            {
                cluster.Coverage.Count("volume.fenced_write");
            }
        }

        cluster.Trace.Add(TraceKind.Complete, name, Loop.TrueNow, $"{s_volume.Name} {Convert.ToHexString(before)} to {Convert.ToHexString(after)}, tenure {tenure}: {result}");
    }

    private byte[] NewNumber()
    {
        var bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, Draws.NextInt64(1, long.MaxValue));
        return bytes;
    }

    private async Task<ResultCode> WriteAsync(Volume open, long offset, byte[] number)
    {
        PageBuffer buffer = _buffers.Rent(number.Length);
        number.CopyTo(buffer.Span);
        ResultCode result = await open.WriteAsync(offset, buffer.Slice(0, number.Length));
        buffer.Release();
        return result;
    }

    // Empty if it was never written, null if it cannot be read.
    private static async Task<byte[]?> ReadNumberAsync(Volume open)
    {
        var data = new byte[8];
        return await open.ReadAsync(Place, data) != ResultCode.Ok ? null : data.AsSpan().IndexOfAnyExcept((byte)0) < 0 ? [] : data;
    }
}
