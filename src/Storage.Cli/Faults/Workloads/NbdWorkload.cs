using System.Globalization;
using Storage.Cluster;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Workloads;

/// <summary>
/// Clients of one volume: each writes, reads and flushes random blocks, one request after the other, several of them on each
/// connection. A broken connection is made again; its requests' outcome stays unknown.
/// </summary>
internal sealed class NbdWorkload : IAsyncDisposable
{
    private const int BlockSize = BlockPattern.BlockSize;
    private const int LongestRun = 16; // 64 KiB
    private static readonly TimeSpan s_redial = TimeSpan.FromMilliseconds(50);
    private readonly NodeAddress _gateway;
    private readonly string _export;
    private readonly int _blocks;
    private readonly TimeSpan _pause;
    private readonly BlockPattern _pattern;
    private readonly RecordedHistory _history;
    private readonly RunClock _clock;
    private readonly CancellationTokenSource _stopping = new();
    private readonly List<Task> _clients = [];
    private readonly List<SharedLink> _links = [];

    public NbdWorkload(NodeAddress gateway, string export, int blocks, TimeSpan pause, ulong run, RecordedHistory history, RunClock clock)
    {
        _gateway = gateway;
        _export = export;
        _blocks = blocks;
        _pause = pause;
        _pattern = new BlockPattern(run);
        _history = history;
        _clock = clock;
    }

    public void Start(int connections, int depth, int seed)
    {
        for (int connection = 0; connection < connections; connection++)
        {
            var link = new SharedLink(_gateway, _export);
            _links.Add(link);
            for (int client = 0; client < depth; client++)
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"nbd.{connection}.{client}");
                var random = new Random(seed * 1000 + _clients.Count);
                _clients.Add(Task.Run(() => RunAsync(name, link, random)));
            }
        }
    }

    /// <summary>Lets every client end its request; gives up on those that get no answer.</summary>
    public async Task StopAsync(TimeSpan patience)
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        Task all = Task.WhenAll(_clients);
        await Task.WhenAny(all, Task.Delay(patience)).ConfigureAwait(false);
        _links.ForEach(link => link.Dispose());
        await all.ConfigureAwait(false);
    }

    /// <summary>Flushes, so that what was acknowledged has to be there after any crash.</summary>
    public async Task FlushAsync(CancellationToken cancellation)
    {
        using NbdLink link = await NbdLink.ConnectAsync(_gateway, _export, cancellation).ConfigureAwait(false);
        await link.FlushAsync().WaitAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>Reads every block and records what is there.</summary>
    /// <returns>What could not be read, with why; empty if all could.</returns>
    public async Task<IReadOnlyList<string>> ReadBackAsync(TimeSpan patience, CancellationToken cancellation)
    {
        var unreadable = new List<string>();
        using var link = new SharedLink(_gateway, _export);
        for (int block = 0; block < _blocks; block += LongestRun)
        {
            int count = Math.Min(LongestRun, _blocks - block);
            TimeSpan start = _clock.Now;
            while (true)
            {
                (RecordedResult result, string? error) = await ReadAsync("final", link, block, count, cancellation).WaitAsync(cancellation).ConfigureAwait(false);
                if (result == RecordedResult.Ok)
                {
                    break;
                }

                if (_clock.Now - start > patience)
                {
                    unreadable.Add(string.Create(CultureInfo.InvariantCulture, $"blocks {block} to {block + count - 1}: {error}"));
                    break;
                }

                await Task.Delay(200, cancellation).ConfigureAwait(false);
            }
        }

        return unreadable;
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(TimeSpan.Zero).ConfigureAwait(false);
        _stopping.Dispose();
    }

    private static string Register(int block) => string.Create(CultureInfo.InvariantCulture, $"block {block}");

    private static string Target(int block, int count) => string.Create(CultureInfo.InvariantCulture, $"{(long)block * BlockSize}+{count * BlockSize}");

    private async Task RunAsync(string name, SharedLink link, Random random)
    {
        try
        {
            while (!_stopping.IsCancellationRequested)
            {
                int count = random.Next(10) < 7 ? 1 : random.Next(2, LongestRun + 1);
                int block = random.Next(_blocks - count + 1);
                RecordedResult result = random.Next(100) switch
                {
                    < 45 => (await ReadAsync(name, link, block, count, _stopping.Token).ConfigureAwait(false)).Result,
                    < 85 => await WriteAsync(name, link, block, count, durable: false).ConfigureAwait(false),
                    < 95 => await WriteAsync(name, link, block, count, durable: true).ConfigureAwait(false),
                    _ => await FlushAsync(name, link).ConfigureAwait(false),
                };
                await Task.Delay(result == RecordedResult.Ok ? _pause : s_redial, _stopping.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            // The end of the run.
        }
    }

    private async Task<(RecordedResult Result, string? Error)> ReadAsync(string name, SharedLink shared, int block, int count, CancellationToken cancellation)
    {
        NbdLink link;
        try
        {
            link = await shared.GetAsync(cancellation).ConfigureAwait(false);
        }
        catch (IOException e)
        {
            return (RecordedResult.Unknown, e.Message);
        }

        RecordedOperation operation = _history.Begin(name, RecordedKind.Read, Target(block, count), _clock.Microseconds);
        byte[] data = [];
        (RecordedResult result, string? error) = await TryAsync(async () => data = await link.ReadAsync((long)block * BlockSize, count * BlockSize).ConfigureAwait(false)).ConfigureAwait(false);
        RecordedRegister[] registers = result != RecordedResult.Ok
            ? []
            : [.. Enumerable.Range(0, count).Select(i => new RecordedRegister(Register(block + i), _pattern.Read(data.AsSpan(i * BlockSize, BlockSize), block + i)))];
        _history.End(operation with { Result = result, Error = error, Registers = registers }, _clock.Microseconds);
        return (result, error);
    }

    private async Task<RecordedResult> WriteAsync(string name, SharedLink shared, int block, int count, bool durable)
    {
        NbdLink link = await GetAsync(shared).ConfigureAwait(false);
        RecordedOperation operation = _history.Begin(name, RecordedKind.Write, Target(block, count), _clock.Microseconds);
        byte[] data = new byte[count * BlockSize];
        for (int i = 0; i < count; i++)
        {
            _pattern.Fill(data.AsSpan(i * BlockSize, BlockSize), block + i, (ulong)operation.Id);
        }

        (RecordedResult result, string? error) = await TryAsync(() => link.WriteAsync((long)block * BlockSize, data, durable)).ConfigureAwait(false);
        RecordedRegister[] registers = [.. Enumerable.Range(block, count).Select(i => new RecordedRegister(Register(i), (ulong)operation.Id))];
        _history.End(operation with { Result = result, Error = error, Registers = registers }, _clock.Microseconds);
        return result;
    }

    private async Task<RecordedResult> FlushAsync(string name, SharedLink shared)
    {
        NbdLink link = await GetAsync(shared).ConfigureAwait(false);
        RecordedOperation operation = _history.Begin(name, RecordedKind.Flush, "", _clock.Microseconds);
        (RecordedResult result, string? error) = await TryAsync(link.FlushAsync).ConfigureAwait(false);
        _history.End(operation with { Result = result, Error = error }, _clock.Microseconds);
        return result;
    }

    /// <summary>The connection, waited for until the end of the run.</summary>
    private async Task<NbdLink> GetAsync(SharedLink shared)
    {
        while (true)
        {
            try
            {
                return await shared.GetAsync(_stopping.Token).ConfigureAwait(false);
            }
            catch (IOException)
            {
                await Task.Delay(s_redial, _stopping.Token).ConfigureAwait(false);
            }
        }
    }

    private static async Task<(RecordedResult Result, string? Error)> TryAsync(Func<Task> request)
    {
        try
        {
            await request().ConfigureAwait(false);
            return (RecordedResult.Ok, null);
        }
        catch (NbdErrorException e)
        {
            return (RecordedResult.Failed, e.Message);
        }
        catch (IOException e)
        {
            return (RecordedResult.Unknown, e.Message);
        }
    }

    /// <summary>A connection that its clients share and the first to need it makes again.</summary>
    private sealed class SharedLink(NodeAddress gateway, string export) : IDisposable
    {
        private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
        private readonly SemaphoreSlim _dialling = new(1, 1);
        private NbdLink? _link;
        private bool _disposed;

        public async Task<NbdLink> GetAsync(CancellationToken cancellation)
        {
            if (_link is { IsBroken: false } known)
            {
                return known;
            }

            await _dialling.WaitAsync(cancellation).ConfigureAwait(false);
            try
            {
                if (_link is not { IsBroken: false })
                {
                    ObjectDisposedException.ThrowIf(_disposed, this);
                    _link?.Dispose();
                    using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
                    patience.CancelAfter(s_patience);
                    try
                    {
                        _link = await NbdLink.ConnectAsync(gateway, export, patience.Token).ConfigureAwait(false);
                    }
                    catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
                    {
                        throw new IOException("the NBD gateway does not answer");
                    }
                }

                return _link;
            }
            finally
            {
                _dialling.Release();
            }
        }

        public void Dispose()
        {
            _disposed = true;
            _link?.Dispose();
        }
    }
}
