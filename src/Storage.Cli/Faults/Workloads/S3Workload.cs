using System.Globalization;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Workloads;

/// <summary>Clients of one bucket: each puts, gets, deletes and lists, one request after the other.</summary>
internal sealed class S3Workload : IAsyncDisposable
{
    private const int LongestObject = 96 << 10;
    private static readonly TimeSpan s_afterError = TimeSpan.FromMilliseconds(100);
    private readonly S3Link _link;
    private readonly string _bucket;
    private readonly string[] _keys;
    private readonly TimeSpan _pause;
    private readonly ObjectPattern _pattern;
    private readonly RecordedHistory _history;
    private readonly RunClock _clock;
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _abandoning = new();
    private readonly List<Task> _clients = [];

    public S3Workload(S3Link link, string bucket, int keys, TimeSpan pause, ulong run, RecordedHistory history, RunClock clock)
    {
        _link = link;
        _bucket = bucket;
        _keys = [.. Enumerable.Range(0, keys).Select(i => string.Create(CultureInfo.InvariantCulture, $"key-{i:000}"))];
        _pause = pause;
        _pattern = new ObjectPattern(run);
        _history = history;
        _clock = clock;
    }

    public void Start(int clients, int seed)
    {
        for (int client = 0; client < clients; client++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"s3.{client}");
            var random = new Random(seed * 1000 + 500 + client);
            _clients.Add(Task.Run(() => RunAsync(name, random)));
        }
    }

    public async Task StopAsync(TimeSpan patience)
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        _abandoning.CancelAfter(patience);
        await Task.WhenAll(_clients).ConfigureAwait(false);
    }

    /// <summary>Gets every key, lists the bucket, and records what is there.</summary>
    /// <returns>What could not be read, with why; empty if all could.</returns>
    public async Task<IReadOnlyList<string>> ReadBackAsync(TimeSpan patience, CancellationToken cancellation)
    {
        var unreadable = new List<string>();
        foreach (string key in _keys.Append(""))
        {
            TimeSpan start = _clock.Now;
            while (true)
            {
                RecordedOperation done = key.Length == 0 ? await ListAsync("final", cancellation).ConfigureAwait(false) : await GetAsync("final", key, cancellation).ConfigureAwait(false);
                if (done.Result == RecordedResult.Ok)
                {
                    break;
                }

                if (_clock.Now - start > patience)
                {
                    unreadable.Add($"{(key.Length == 0 ? "the list of keys" : key)}: {done.Error}");
                    break;
                }

                await Task.Delay(200, cancellation).ConfigureAwait(false);
            }
        }

        return unreadable;
    }

    /// <summary>Empties the bucket and removes it.</summary>
    public async Task RemoveAsync(CancellationToken cancellation)
    {
        foreach (string key in await _link.ListAsync(_bucket, cancellation).ConfigureAwait(false))
        {
            await _link.DeleteAsync(_bucket, key, cancellation).ConfigureAwait(false);
        }

        await _link.DeleteBucketAsync(_bucket, cancellation).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        await StopAsync(TimeSpan.Zero).ConfigureAwait(false);
        _stopping.Dispose();
        _abandoning.Dispose();
    }

    private async Task RunAsync(string name, Random random)
    {
        try
        {
            while (!_stopping.IsCancellationRequested)
            {
                string key = _keys[random.Next(_keys.Length)];
                RecordedOperation done = random.Next(100) switch
                {
                    < 40 => await PutAsync(name, key, random.Next(4) == 0 ? random.Next(LongestObject) : random.Next(2000)).ConfigureAwait(false),
                    < 75 => await GetAsync(name, key, _abandoning.Token).ConfigureAwait(false),
                    < 92 => await RequestAsync(name, RecordedKind.Delete, key, async _ =>
                    {
                        await _link.DeleteAsync(_bucket, key, _abandoning.Token).ConfigureAwait(false);
                        return [new RecordedRegister(key, RecordedValue.Missing)];
                    }, [new RecordedRegister(key, RecordedValue.Missing)]).ConfigureAwait(false),
                    _ => await ListAsync(name, _abandoning.Token).ConfigureAwait(false),
                };
                await Task.Delay(done.Result == RecordedResult.Ok ? _pause : s_afterError, _stopping.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            // The end of the run.
        }
    }

    private Task<RecordedOperation> PutAsync(string name, string key, int length)
    {
        return RequestAsync(name, RecordedKind.Write, key, async value =>
        {
            await _link.PutAsync(_bucket, key, _pattern.Make(key, value, length), _abandoning.Token).ConfigureAwait(false);
            return [new RecordedRegister(key, value)];
        });
    }

    private Task<RecordedOperation> GetAsync(string name, string key, CancellationToken cancellation) => RequestAsync(name, RecordedKind.Read, key, async _ =>
    {
        byte[]? content = await _link.GetAsync(_bucket, key, cancellation).ConfigureAwait(false);
        return [new RecordedRegister(key, content is null ? RecordedValue.Missing : _pattern.Read(key, content))];
    });

    private Task<RecordedOperation> ListAsync(string name, CancellationToken cancellation) => RequestAsync(name, RecordedKind.List, "", async _ =>
    {
        IReadOnlyList<string> listed = await _link.ListAsync(_bucket, cancellation).ConfigureAwait(false);
        return [.. _keys.Select(key => new RecordedRegister(key, listed.Contains(key) ? RecordedValue.Present : RecordedValue.Missing))];
    });

    /// <summary>Makes a request and records it. Of a change without an answer it records what it would have done.</summary>
    private async Task<RecordedOperation> RequestAsync(
        string name, RecordedKind kind, string target, Func<ulong, Task<IReadOnlyList<RecordedRegister>>> request, IReadOnlyList<RecordedRegister>? change = null)
    {
        RecordedOperation operation = _history.Begin(name, kind, target, _clock.Microseconds);
        change ??= kind == RecordedKind.Write ? [new RecordedRegister(target, (ulong)operation.Id)] : [];
        try
        {
            operation = operation with { Result = RecordedResult.Ok, Registers = await request((ulong)operation.Id).ConfigureAwait(false) };
        }
        catch (S3ErrorException e)
        {
            operation = operation with { Result = RecordedResult.Failed, Error = e.Message, Registers = change };
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException)
        {
            operation = operation with { Result = RecordedResult.Unknown, Error = e.Message, Registers = change };
        }

        _history.End(operation, _clock.Microseconds);
        return operation;
    }
}
