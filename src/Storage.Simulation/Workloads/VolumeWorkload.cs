using System.Globalization;
using Storage.Block;
using Storage.Client;
using Storage.Messaging;
using Storage.Reactor;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Workloads;

/// <summary>
/// A client's requests on a volume: reads, writes, zeroes and discards of any alignment, flushes, and resizes where it is the only one.
/// Each request is written down as one call on every 4 KiB block that it touches, so that each block's history is checked by itself.
/// </summary>
internal sealed class VolumeWorkload(
    string name, NodeLoop loop, IObjectClient client, VolumeName volume, bool mayResize, Scenario scenario, History history, EventTrace trace, Coverage coverage, Random random)
    : Workload(loop, random)
{
    public const int BlockSize = 4096;
    public const int LargestSize = 192 << 10;
    private const int ObjectOrder = 16;
    private const int LongestRequest = 24 << 10;
    private static readonly byte[] s_zeroes = new byte[BlockSize];

    private readonly VolumeStore _store = new(client, loop.TimeProvider, random);
    private readonly BufferPool _buffers = new(idleBudget: 0);

    /// <summary>Reads the whole volume and records it.</summary>
    public async Task ReadAllAsync()
    {
        if (await TryOpenAsync() is not { } open)
        {
            return; // nobody ever made it
        }

        for (long at = 0; at < open.Size; at += LongestRequest)
        {
            await ReadAsync(open, at, (int)Math.Min(LongestRequest, open.Size - at));
        }
    }

    /// <summary>Removes the volume and its data, if there is one.</summary>
    public Task RemoveAsync() => RemoveAsync(_store, volume);

    /// <summary>Removes a volume and its data, if there is one.</summary>
    internal static async Task RemoveAsync(VolumeStore store, VolumeName volume)
    {
        try
        {
            await store.RemoveAsync(volume);
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            // Nobody ever made it.
        }
    }

    protected override async Task LaneAsync()
    {
        Volume? open = null;
        while (!IsStopped)
        {
            await PauseAsync(scenario.ThinkTime);
            if (!IsStopped && (open ??= await OpenAsync()) is { Size: > 0 } ready)
            {
                await RequestAsync(ready);
            }
        }
    }

    private async Task<Volume?> TryOpenAsync()
    {
        try
        {
            return await _store.OpenAsync(volume);
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            return null;
        }
    }

    private async Task<Volume?> OpenAsync()
    {
        try
        {
            if (await TryOpenAsync() is { } open)
            {
                return open;
            }

            await _store.CreateAsync(volume, LargestSize, ObjectOrder);
            coverage.Count("volume.created");
            return await TryOpenAsync();
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.Exists)
        {
            coverage.Count("volume.created_by_another");
        }
        catch (VolumeException e) when (e.Problem == VolumeProblem.NotFound)
        {
            coverage.Count("volume.pool_unknown"); // the map is of a monitor that is behind
        }
        catch (ObjectOperationException e) when (e.Result is ResultCode.NoSpace or ResultCode.IoError)
        {
            coverage.Count("volume.not_opened");
        }

        return null;
    }

    private async Task RequestAsync(Volume open)
    {
        int length = Math.Max(1, Draws.Next(3) == 0 ? BlockSize * Draws.Next(1, 5) : Draws.Next(1, LongestRequest));
        length = (int)Math.Min(length, open.Size);
        long offset = Draws.NextInt64(open.Size - length + 1);
        offset = Draws.Next(3) == 0 ? offset / BlockSize * BlockSize : offset;
        int kind = Draws.Next(100);
        if (kind < 35)
        {
            await ReadAsync(open, offset, length);
        }
        else if (kind < 80)
        {
            await WriteAsync(open, offset, length);
        }
        else if (kind < 93 || !mayResize)
        {
            // Sometimes a whole object, which goes with all its data.
            (long start, long size) = Draws.Next(4) == 0 ? (offset >> ObjectOrder << ObjectOrder, 1L << ObjectOrder) : (offset, length);
            await ZeroAsync(open, start, Math.Min(size, open.Size - start), Draws.Next(3));
        }
        else
        {
            await ResizeAsync(open);
        }

        if (Draws.Next(6) == 0)
        {
            await open.FlushAsync();
            coverage.Count("volume.flushed");
        }
    }

    private async Task ReadAsync(Volume open, long offset, int length)
    {
        List<HistoryEntry> entries = Invoke(offset, length, (within, _, count) => new CallStep(OperationCode.Read, within, count));
        byte[] data = new byte[length];
        ResultCode result = await open.ReadAsync(offset, data);
        int from = 0;
        foreach (HistoryEntry entry in entries)
        {
            int count = (int)entry.Call.Steps[0].Length;
            history.Complete(entry, new CallOutcome { Result = result, Data = result == ResultCode.Ok ? data[from..(from + count)] : null }, Loop.TrueNow);
            from += count;
        }

        Note($"read {offset}+{length}: {result}");
    }

    private async Task WriteAsync(Volume open, long offset, int length)
    {
        PageBuffer buffer = _buffers.Rent(length);
        Filler.Fill(buffer.Span[..length], Draws);
        List<HistoryEntry> entries = Invoke(offset, length, (within, from, count) => new CallStep(OperationCode.Write, within, Data: buffer.Span.Slice(from, count).ToArray()));
        ResultCode result = await open.WriteAsync(offset, buffer.Slice(0, length));
        buffer.Release();
        Complete(entries, result);
        Note($"write {offset}+{length}: {result}");
    }

    private async Task ZeroAsync(Volume open, long offset, long length, int how)
    {
        List<HistoryEntry> entries = Invoke(offset, length, (within, _, count) => new CallStep(OperationCode.Zero, within, count));
        ResultCode result = how switch
        {
            0 => await open.DiscardAsync(offset, length),
            1 => await open.ZeroAsync(offset, length),
            _ => await open.ZeroAsync(offset, length, keepAllocated: true),
        };
        Complete(entries, result);
        Note($"zero {offset}+{length}: {result}");
    }

    // What lies beyond a smaller size is gone: it reads as zeroes if the volume grows again.
    private async Task ResizeAsync(Volume open)
    {
        long size = Draws.Next(1, (LargestSize / 512) + 1) * 512L;
        List<HistoryEntry> entries = size >= open.Size
            ? []
            : Invoke(size, LargestSize - size, (within, _, count) => new CallStep(OperationCode.Zero, within, count));
        try
        {
            await _store.ResizeAsync(volume, size, allowShrink: true);
            await _store.RefreshAsync(open);
            Complete(entries, ResultCode.Ok);
            coverage.Count(entries.Count > 0 ? "volume.shrunk" : "volume.grown");
            Note($"resized to {size}");
        }
        catch (ObjectOperationException e) when (e.Result is ResultCode.NoSpace or ResultCode.IoError)
        {
            // It may have been done in part; what this handle knows of the size is not certain any more.
            entries.ForEach(History.Leave);
            await _store.RefreshAsync(open);
            Note($"resize to {size}: {e.Result}");
        }
    }

    private List<HistoryEntry> Invoke(long offset, long length, Func<int, int, int, CallStep> step)
    {
        var entries = new List<HistoryEntry>();
        for (long at = offset; at < offset + length;)
        {
            int within = (int)(at % BlockSize);
            int count = (int)Math.Min(BlockSize - within, offset + length - at);
            string block = string.Create(CultureInfo.InvariantCulture, $"{volume.Name}[{at / BlockSize}]");
            if (history.TouchFirst(block))
            {
                HistoryEntry made = history.Invoke(name, block, ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: s_zeroes)), Loop.TrueNow);
                history.Complete(made, new CallOutcome { Result = ResultCode.Ok }, Loop.TrueNow);
            }

            entries.Add(history.Invoke(name, block, ObjectCall.Of(step(within, (int)(at - offset), count)), Loop.TrueNow));
            at += count;
        }

        return entries;
    }

    // A change that was refused may have happened on some of the objects that it spans: its outcome stays unknown.
    private void Complete(List<HistoryEntry> entries, ResultCode result)
    {
        foreach (HistoryEntry entry in entries)
        {
            if (result == ResultCode.Ok)
            {
                history.Complete(entry, new CallOutcome { Result = ResultCode.Ok }, Loop.TrueNow);
            }
        }
    }

    private void Note(string text) => trace.Add(TraceKind.Complete, name, Loop.TrueNow, $"{volume.Name} {text}");
}
