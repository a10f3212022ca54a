using System.Globalization;
using System.Text;
using Microsoft.Extensions.Logging;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.S3.Backend;
using Storage.S3.Buckets;

namespace Storage.S3.Objects;

/// <summary>
/// Removes data that no object refers to any more, once its time has come. An entry is claimed (renamed from <c>g:</c> to <c>d:</c>)
/// before its data goes, so an upload that is committed at the same moment either keeps its data or fails. Every step may be
/// repeated: gateways may collect side by side and die anywhere.
/// </summary>
internal sealed partial class GarbageCollector(Pool index, Pool data, TimeProvider time, ILogger logger)
{
    private const int ProbeMisses = 16;

    internal async Task RunAsync(TimeSpan interval, CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(interval, time);
        while (await timer.WaitForNextTickAsync(cancellation))
        {
            try
            {
                long removed = await CollectAsync(cancellation);
                if (removed > 0)
                {
                    LogCollected(logger, removed);
                }
            }
            catch (Exception error) when (error is not OperationCanceledException)
            {
                // The garbage stays listed; the next round takes it up again.
                LogFailed(logger, error);
            }
        }
    }

    /// <summary>Goes through all buckets once.</summary>
    /// <returns>Data objects removed.</returns>
    internal async ValueTask<long> CollectAsync(CancellationToken cancellation)
    {
        long pool = await index.GetIdAsync(cancellation);
        long removed = 0;
        var shards = new List<string>();
        await foreach (ObjectId id in index.Client.EnumerateObjectsAsync(pool, cancellation))
        {
            if (id.Name.StartsWith("index.", StringComparison.Ordinal))
            {
                shards.Add(id.Name);
            }
        }

        foreach (string shard in shards)
        {
            removed += await CollectShardAsync(shard, cancellation);
        }

        return removed;
    }

    private async ValueTask<long> CollectShardAsync(string shard, CancellationToken cancellation)
    {
        string bucketId = shard.Split('.')[1];
        long removed = 0;
        bool empty = true;
        foreach (string prefix in (string[])["d:", "g:"])
        {
            await foreach ((byte[] key, byte[] value) in index.EnumerateOmapAsync(shard, prefix, 100, cancellation))
            {
                empty = false;
                byte[]? claimed = prefix == "d:" ? key : await ClaimAsync(shard, key, value, cancellation);
                if (claimed is null)
                {
                    continue;
                }

                removed += await RemoveDataAsync(bucketId, Json.Read(value, RecordContext.Default.Garbage), cancellation);
                using var operation = new PooledOperation();
                operation.Value.Add(OperationCode.RemoveOmap, key: claimed);
                (await index.ExecuteAsync(shard, operation.Value, cancellation)).ThrowUnlessOk(shard);
            }
        }

        if (empty)
        {
            await RemoveClosedShardAsync(shard, cancellation);
        }

        return removed;
    }

    private async ValueTask<byte[]?> ClaimAsync(string shard, byte[] key, byte[] value, CancellationToken cancellation)
    {
        string text = Encoding.UTF8.GetString(key);
        string[] parts = text.Split(':');
        if (parts.Length != 3 || !long.TryParse(parts[1], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long due)
            || due > time.GetUtcNow().ToUnixTimeMilliseconds())
        {
            return null;
        }

        byte[] claimed = Encoding.UTF8.GetBytes("d:" + parts[2]);
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.CompareOmap, key: key, value: value)
            .Add(OperationCode.RemoveOmap, key: key)
            .Add(OperationCode.SetOmap, key: claimed, value: value);
        PoolResult result = await index.ExecuteAsync(shard, operation.Value, cancellation);
        if (result.Code == ResultCode.GuardFailed)
        {
            return null;
        }

        result.ThrowUnlessOk(shard);
        return claimed;
    }

    private async ValueTask<long> RemoveDataAsync(string bucketId, Garbage garbage, CancellationToken cancellation)
    {
        long removed = 0;
        foreach (Segment segment in garbage.Segments)
        {
            removed += await RemoveSegmentAsync(bucketId, segment, cancellation);
        }

        if (garbage.UploadId is not null)
        {
            string upload = Multipart.UploadName(bucketId, garbage.UploadId);
            if (!garbage.KeepsData)
            {
                await Multipart.CloseAsync(index, upload, cancellation);
                await foreach (Segment segment in Multipart.AllDataAsync(index, upload, cancellation))
                {
                    removed += await RemoveSegmentAsync(bucketId, segment, cancellation);
                }
            }

            PoolResult result = await index.RemoveAsync(upload, cancellation);
            if (result.Code != ResultCode.NotFound)
            {
                result.ThrowUnlessOk(upload);
            }
        }

        return removed;
    }

    private async ValueTask<long> RemoveSegmentAsync(string bucketId, Segment segment, CancellationToken cancellation)
    {
        long removed = 0;
        int misses = 0;

        // Of an upload that died the number of chunks is unknown; the few that were under way together may have left gaps.
        for (long chunk = 0; segment.Size >= 0 ? chunk < segment.Chunks : misses < ProbeMisses; chunk++)
        {
            string name = Chunks.Name(bucketId, segment.Id, chunk);
            PoolResult result = await data.RemoveAsync(name, cancellation);
            if (result.Code == ResultCode.NotFound)
            {
                misses++;
                continue;
            }

            result.ThrowUnlessOk(name);
            misses = 0;
            removed++;
        }

        return removed;
    }

    private async ValueTask RemoveClosedShardAsync(string shard, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.AddAttribute(OperationCode.CompareAttribute, BucketIndex.StateAttribute, BucketIndex.Closed).Add(OperationCode.Remove);
        PoolResult result = await index.ExecuteAsync(shard, operation.Value, cancellation);
        if (result.Code is not (ResultCode.GuardFailed or ResultCode.NotFound))
        {
            result.ThrowUnlessOk(shard);
        }
    }

    [LoggerMessage(1, LogLevel.Information, "Removed {Count} data objects of deleted or replaced S3 objects")]
    private static partial void LogCollected(ILogger logger, long count);

    [LoggerMessage(2, LogLevel.Warning, "Collecting garbage stopped; it goes on at the next round")]
    private static partial void LogFailed(ILogger logger, Exception error);
}
