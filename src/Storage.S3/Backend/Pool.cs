using System.Runtime.CompilerServices;
using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;
using Storage.S3.Protocol;

namespace Storage.S3.Backend;

/// <summary>One pool of the cluster, by name. Safe for use from any thread.</summary>
internal sealed class Pool(IObjectClient client, string name)
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);

    internal IObjectClient Client => client;

    internal async ValueTask<long> GetIdAsync(CancellationToken cancellation)
    {
        ClusterMap map = client.Map ?? await client.WaitForMapAsync(Epoch.None, cancellation);
        return map.FindPool(name)?.Id
            ?? throw new S3Exception(S3Error.ServiceUnavailable, $"The pool '{name}' does not exist. Create it: storage pool create {name}");
    }

    /// <summary>Carries out an operation whose answers do not matter beyond success.</summary>
    internal async ValueTask<PoolResult> ExecuteAsync(string objectName, ObjectOperation operation, CancellationToken cancellation)
    {
        using OperationResult result = await RunAsync(objectName, operation, cancellation);
        return new PoolResult(result.Result, result.IsOk ? -1 : Math.Max(0, result.StepCount - 1));
    }

    /// <summary>Carries out an operation; gives up with ServiceUnavailable after a minute, because an HTTP client will not wait longer.
    /// A write may have happened then; S3 clients retry, and every write here is safe to repeat.</summary>
    internal async ValueTask<OperationResult> RunAsync(string objectName, ObjectOperation operation, CancellationToken cancellation)
    {
        long id = await GetIdAsync(cancellation);
        using var timeout = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        timeout.CancelAfter(s_patience);
        try
        {
            return await client.ExecuteAsync(id, objectName, operation, timeout.Token);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            throw new S3Exception(S3Error.ServiceUnavailable, "A placement group did not answer within a minute. See: storage health --detail");
        }
    }

    internal async ValueTask<byte[]?> GetOmapAsync(string objectName, ReadOnlyMemory<byte> key, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.GetOmap, key: key.Span);
        using OperationResult result = await RunAsync(objectName, operation.Value, cancellation);
        if (result.Result == ResultCode.NotFound)
        {
            return null;
        }

        PoolResult.ThrowUnlessOk(result.Result, objectName);
        return result.InlineOf(0).ToArray();
    }

    internal async ValueTask<OmapPage?> ListOmapAsync(string objectName, ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> prefix, int limit, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.ListOmap, length: limit, key: from.Span, value: prefix.Span);
        using OperationResult result = await RunAsync(objectName, operation.Value, cancellation);
        if (result.Result == ResultCode.NotFound)
        {
            return null;
        }

        PoolResult.ThrowUnlessOk(result.Result, objectName);
        return result.OmapOf(0);
    }

    /// <summary>Goes through an object's omap entries whose keys begin with a prefix, page by page; none if there is no such object.
    /// Entries changed meanwhile may or may not be among them.</summary>
    internal async IAsyncEnumerable<KeyValuePair<byte[], byte[]>> EnumerateOmapAsync(string objectName, string prefix, int pageSize, [EnumeratorCancellation] CancellationToken cancellation)
    {
        byte[] prefixBytes = Encoding.UTF8.GetBytes(prefix);
        byte[] from = [];
        OmapPage? page;
        do
        {
            page = await ListOmapAsync(objectName, from, prefixBytes, pageSize, cancellation);
            foreach (KeyValuePair<byte[], byte[]> entry in page?.Entries ?? [])
            {
                yield return entry;
            }

            from = page?.NextKey() ?? [];
        }
        while (page is { More: true });
    }

    internal async ValueTask<byte[]?> ReadWholeAsync(string objectName, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.Read, 0, 1 << 20);
        using OperationResult result = await RunAsync(objectName, operation.Value, cancellation);
        if (result.Result == ResultCode.NotFound)
        {
            return null;
        }

        PoolResult.ThrowUnlessOk(result.Result, objectName);
        return result.DataOf(0).Span.ToArray();
    }

    internal async ValueTask<PoolResult> RemoveAsync(string objectName, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.Remove);
        return await ExecuteAsync(objectName, operation.Value, cancellation);
    }
}

/// <summary>Outcome of an operation.</summary>
/// <param name="Code">The first failed step's code, or Ok.</param>
/// <param name="FailedStep">Index of the step that failed, -1 if none.</param>
internal readonly record struct PoolResult(ResultCode Code, int FailedStep)
{
    internal bool IsOk => Code == ResultCode.Ok;

    internal void ThrowUnlessOk(string what) => ThrowUnlessOk(Code, what);

    internal static void ThrowUnlessOk(ResultCode code, string what)
    {
        if (code == ResultCode.Ok)
        {
            return;
        }

        throw code switch
        {
            ResultCode.NoSpace => new S3Exception(S3Error.InsufficientStorage),
            ResultCode.Blocklisted => new S3Exception(S3Error.ServiceUnavailable, "This gateway was fenced by the cluster; restart it."),
            _ => new S3Exception(S3Error.InternalError, $"The cluster refused an operation on {what}: {code}."),
        };
    }
}

/// <summary>An operation builder that is cleared at the end of its scope.</summary>
internal readonly struct PooledOperation : IDisposable
{
    public PooledOperation() => Value = new ObjectOperation();

    internal ObjectOperation Value { get; }

    public void Dispose() => Value.Clear();
}

/// <summary>Names and data of objects' chunks.</summary>
internal static class Chunks
{
    internal static string Name(string bucketId, string dataId, long chunk) => $"data.{bucketId}.{dataId}.{chunk:x}";

    internal static async ValueTask WriteAsync(Pool pool, string objectName, BufferSegment data, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.AddData(OperationCode.WriteFull, 0, data);
        (await pool.ExecuteAsync(objectName, operation.Value, cancellation)).ThrowUnlessOk(objectName);
    }

    /// <summary>Reads a part of a chunk; the result is the caller's to dispose of.</summary>
    internal static async ValueTask<OperationResult> ReadAsync(Pool pool, string objectName, long offset, int length, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.Read, offset, length);
        OperationResult result = await pool.RunAsync(objectName, operation.Value, cancellation);
        if (!result.IsOk || result.AllData.Length != length)
        {
            ResultCode code = result.Result;
            int got = code == ResultCode.Ok ? result.AllData.Length : 0;
            result.Dispose();
            throw new MalformedDataException($"chunk {objectName}: wanted {length} bytes at {offset}, got {got} ({code})");
        }

        return result;
    }
}
