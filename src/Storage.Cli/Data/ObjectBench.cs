using System.Diagnostics;
using Storage.Client;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Cli.Data;

/// <summary>What a benchmark of a pool does.</summary>
/// <param name="Write">Overwrites blocks; else it reads them.</param>
/// <param name="Depth">Operations under way at once.</param>
/// <param name="ObjectSize">Bytes of an object.</param>
/// <param name="BlockSize">Bytes of an operation; divides the object's size.</param>
/// <param name="Objects">How many objects are used.</param>
/// <param name="Duration">Length of the measured part.</param>
internal readonly record struct ObjectBenchLoad(bool Write, int Depth, int ObjectSize, int BlockSize, int Objects, TimeSpan Duration);

/// <summary>
/// Loads a pool with operations at random places of objects of its own, straight from an object client on the client's loop: no gateway is in
/// between. The client's CPU is that of this process.
/// </summary>
internal sealed class ObjectBench(IObjectClient client, long pool, ObjectBenchLoad load, CancellationToken cancellation)
{
    private readonly string[] _names = [.. Enumerable.Range(0, load.Objects).Select(i => $"bench-{client.ClientId:x}-{i}")];
    private readonly PageBuffer _payload = BufferPool.Shared.Rent(load.ObjectSize);
    private readonly Random _random = new(1);
    private int _next;

    /// <summary>How long each measured operation took.</summary>
    public LatencyHistogram Latencies { get; } = new();

    /// <summary>Length of the measured part as it was.</summary>
    public TimeSpan Elapsed { get; private set; }

    /// <summary>CPU time this process spent on the measured part.</summary>
    public TimeSpan ClientCpu { get; private set; }

    /// <summary>Makes the objects, loads them, and removes them whatever happens. Runs on the client's loop.</summary>
    /// <exception cref="ObjectOperationException">An operation was refused.</exception>
    public async Task RunAsync(Action<string> stage)
    {
        _random.NextBytes(_payload.Span);
        try
        {
            stage($"writing {load.Objects} objects");
            await EachObjectAsync(FillAsync, cancellation);
            stage(load.Write ? "overwriting" : "reading");
            using var process = Process.GetCurrentProcess();
            TimeSpan cpu = process.TotalProcessorTime;
            long start = Stopwatch.GetTimestamp();
            await Task.WhenAll(Enumerable.Range(0, load.Depth).Select(_ => WorkAsync(start)));
            Elapsed = Stopwatch.GetElapsedTime(start);
            process.Refresh();
            ClientCpu = process.TotalProcessorTime - cpu;
        }
        finally
        {
            stage("removing the objects");
            await EachObjectAsync(RemoveAsync, CancellationToken.None);
            _payload.Release();
        }
    }

    private async Task WorkAsync(long start)
    {
        var operation = new ObjectOperation();
        int blocks = load.ObjectSize / load.BlockSize;
        while (Stopwatch.GetElapsedTime(start) < load.Duration)
        {
            cancellation.ThrowIfCancellationRequested();
            long offset = (long)_random.Next(blocks) * load.BlockSize;
            if (load.Write)
            {
                operation.AddData(OperationCode.Write, offset, _payload.Slice(0, load.BlockSize));
            }
            else
            {
                operation.Add(OperationCode.Read, offset, load.BlockSize);
            }

            long began = Stopwatch.GetTimestamp();
            await ExecuteAsync(_random.Next(load.Objects), operation, cancellation);
            Latencies.Add(Stopwatch.GetElapsedTime(began));
        }
    }

    private async Task EachObjectAsync(Func<int, ObjectOperation, Task> work, CancellationToken cancelled)
    {
        _next = 0;
        await Task.WhenAll(Enumerable.Range(0, Math.Min(16, load.Objects)).Select(async _ =>
        {
            var operation = new ObjectOperation();
            while (_next < load.Objects)
            {
                cancelled.ThrowIfCancellationRequested();
                await work(_next++, operation);
            }
        }));
    }

    private Task FillAsync(int index, ObjectOperation operation) =>
        ExecuteAsync(index, operation.AddData(OperationCode.WriteFull, 0, _payload.Slice(0, load.ObjectSize)), cancellation);

    private async Task RemoveAsync(int index, ObjectOperation operation)
    {
        using OperationResult result = await client.ExecuteAsync(pool, _names[index], operation.Add(OperationCode.Remove), new OperationContext(EvenIfFull: true), CancellationToken.None);
        operation.Clear();
        if (result.Result != ResultCode.NotFound) // what was cancelled may have left objects unmade
        {
            result.ThrowIfFailed($"remove {_names[index]}");
        }
    }

    private async Task ExecuteAsync(int index, ObjectOperation operation, CancellationToken cancelled)
    {
        try
        {
            using OperationResult result = await client.ExecuteAsync(pool, _names[index], operation, cancelled);
            result.ThrowIfFailed($"{(operation.IsWrite ? "write" : "read")} {_names[index]}");
        }
        finally
        {
            operation.Clear();
        }
    }
}
