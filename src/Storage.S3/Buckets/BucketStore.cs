using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using Storage.Client;
using Storage.Messaging;
using Storage.S3.Backend;
using Storage.S3.Protocol;
using Storage.S3.Users;

namespace Storage.S3.Buckets;

/// <summary>Buckets: <c>bucket.NAME</c> the record, an omap entry <c>b:NAME</c> at the owner, and the index shards.</summary>
internal sealed class BucketStore(Pool pool, S3Options options, TimeProvider time)
{
    private static readonly TimeSpan s_cacheLife = TimeSpan.FromSeconds(5);
    private readonly ConcurrentDictionary<string, (BucketRecord Bucket, long Expires)> _cache = new(StringComparer.Ordinal);

    internal static bool IsValidName(string name) =>
        name.Length is >= 3 and <= 63
        && name.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '.' or '-')
        && char.IsAsciiLetterOrDigit(name[0]) && char.IsAsciiLetterOrDigit(name[^1])
        && !name.Contains("..", StringComparison.Ordinal)
        && !System.Net.IPAddress.TryParse(name, out _);

    /// <summary>Finds a bucket that the caller owns.</summary>
    internal async ValueTask<BucketRecord> OpenAsync(string name, string owner, CancellationToken cancellation)
    {
        BucketRecord bucket = await FindAsync(name, cancellation) ?? throw new S3Exception(S3Error.NoSuchBucket);
        return bucket.Owner == owner ? bucket : throw new S3Exception(S3Error.AccessDenied);
    }

    internal async ValueTask CreateAsync(string name, string owner, CancellationToken cancellation)
    {
        if (!IsValidName(name))
        {
            throw new S3Exception(S3Error.InvalidBucketName);
        }

        _cache.TryRemove(name, out _);
        BucketRecord? existing = await FindAsync(name, cancellation);
        if (existing is null)
        {
            existing = await CreateNewAsync(name, owner, cancellation);
        }

        if (existing.Owner != owner)
        {
            throw new S3Exception(S3Error.BucketAlreadyExists);
        }

        // Also when it existed: a creation that stopped half-way is finished by its repetition.
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertExists)
            .Add(OperationCode.SetOmap, key: ListKey(name), value: Encoding.UTF8.GetBytes($"{existing.CreatedUnixMilliseconds}"));
        (await pool.ExecuteAsync(UserStore.UserName(owner), operation.Value, cancellation)).ThrowUnlessOk("user " + owner);
    }

    /// <summary>Lists a user's buckets.</summary>
    internal async ValueTask<List<(string Name, DateTimeOffset Created)>> ListAsync(string owner, CancellationToken cancellation)
    {
        var buckets = new List<(string, DateTimeOffset)>();
        await foreach ((byte[] key, byte[] value) in pool.EnumerateOmapAsync(UserStore.UserName(owner), "b:", 1000, cancellation))
        {
            long created = long.Parse(Encoding.UTF8.GetString(value));
            buckets.Add((Encoding.UTF8.GetString(key)[2..], DateTimeOffset.FromUnixTimeMilliseconds(created)));
        }

        return buckets;
    }

    /// <summary>
    /// Removes an empty bucket. The shards are closed first, so that no object can be committed between the check and the removal.
    /// </summary>
    internal async ValueTask RemoveAsync(BucketRecord bucket, CancellationToken cancellation)
    {
        _cache.TryRemove(bucket.Name, out _);
        await SetStateAsync(bucket, BucketIndex.Closed, cancellation);
        for (int shard = 0; shard < bucket.Shards; shard++)
        {
            string name = BucketIndex.ShardName(bucket, shard);
            foreach (string prefix in (string[])["o:", "u:"])
            {
                OmapPage? page = await pool.ListOmapAsync(name, default, Encoding.UTF8.GetBytes(prefix), 1, cancellation);
                if (page is { Entries.Count: > 0 })
                {
                    await SetStateAsync(bucket, BucketIndex.Open, cancellation);
                    throw new S3Exception(S3Error.BucketNotEmpty, prefix == "o:" ? null : "The bucket has multipart uploads in progress: abort them first.");
                }
            }
        }

        // The garbage that is left in the shards keeps them: the collector removes closed shards once they are empty.
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.RemoveOmap, key: ListKey(bucket.Name));
        (await pool.RemoveAsync("bucket." + bucket.Name, cancellation)).ThrowUnlessOk("bucket " + bucket.Name);
        (await pool.ExecuteAsync(UserStore.UserName(bucket.Owner), operation.Value, cancellation)).ThrowUnlessOk("user " + bucket.Owner);
        _cache.TryRemove(bucket.Name, out _);
    }

    private async ValueTask<BucketRecord?> FindAsync(string name, CancellationToken cancellation)
    {
        if (!IsValidName(name))
        {
            throw new S3Exception(S3Error.InvalidBucketName);
        }

        long now = time.GetTimestamp();
        if (_cache.TryGetValue(name, out (BucketRecord Bucket, long Expires) cached) && now < cached.Expires)
        {
            return cached.Bucket;
        }

        byte[]? data = await pool.ReadWholeAsync("bucket." + name, cancellation);
        if (data is null)
        {
            _cache.TryRemove(name, out _);
            return null;
        }

        BucketRecord bucket = Json.Read(data, RecordContext.Default.BucketRecord);
        _cache[name] = (bucket, now + (long)(s_cacheLife.TotalSeconds * time.TimestampFrequency));
        return bucket;
    }

    private async ValueTask<BucketRecord> CreateNewAsync(string name, string owner, CancellationToken cancellation)
    {
        var bucket = new BucketRecord
        {
            Name = name,
            Id = RandomNumberGenerator.GetHexString(16, lowercase: true),
            Owner = owner,
            CreatedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
            Shards = options.IndexShards,
        };
        await SetStateAsync(bucket, BucketIndex.Open, cancellation);
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertMissing).AddData(OperationCode.WriteFull, 0, Json.Write(bucket, RecordContext.Default.BucketRecord));
        PoolResult result = await pool.ExecuteAsync("bucket." + name, operation.Value, cancellation);
        if (result.Code == ResultCode.Exists)
        {
            await SetStateAsync(bucket, BucketIndex.Closed, cancellation);
            return await FindAsync(name, cancellation) ?? throw new S3Exception(S3Error.ServiceUnavailable, "The bucket is being created or removed by another request. Try again.");
        }

        result.ThrowUnlessOk("bucket " + name);
        return bucket;
    }

    private async ValueTask SetStateAsync(BucketRecord bucket, byte[] state, CancellationToken cancellation)
    {
        var writes = new Task<PoolResult>[bucket.Shards];
        for (int shard = 0; shard < bucket.Shards; shard++)
        {
            writes[shard] = SetShardStateAsync(BucketIndex.ShardName(bucket, shard), state, cancellation);
        }

        foreach (Task<PoolResult> write in writes)
        {
            (await write).ThrowUnlessOk("index of bucket " + bucket.Name);
        }
    }

    private async Task<PoolResult> SetShardStateAsync(string shard, byte[] state, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.AddAttribute(OperationCode.SetAttribute, BucketIndex.StateAttribute, state);
        return await pool.ExecuteAsync(shard, operation.Value, cancellation);
    }

    private static byte[] ListKey(string name) => Encoding.UTF8.GetBytes("b:" + name);
}
