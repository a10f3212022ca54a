using System.Text;
using Storage.Coding;
using Storage.Messaging;
using Storage.S3.Backend;
using Storage.S3.Protocol;

namespace Storage.S3.Buckets;

/// <summary>
/// A bucket's index: omap objects <c>index.ID.SHARD</c>, a key's shard chosen by CRC-32C. Keys in a shard:
/// <c>o:KEY</c> the object, <c>m:KEY</c> its manifest where long, <c>u:KEY\0UPLOAD</c> a multipart upload,
/// <c>g:TIME:ID</c> data to remove after that time, <c>d:ID</c> data being removed. A change of an object is one operation on
/// one shard, guarded by the entry it replaces, so readers see the old object or the new one and no data is lost sight of.
/// </summary>
internal sealed class BucketIndex(Pool pool)
{
    internal const string StateAttribute = "state";
    internal static readonly byte[] Open = "open"u8.ToArray();
    internal static readonly byte[] Closed = "closed"u8.ToArray();
    private const int InlineSegments = 8;

    internal static string ShardName(BucketRecord bucket, int shard) => $"index.{bucket.Id}.{shard}";

    internal static string ShardOf(BucketRecord bucket, string key) =>
        ShardName(bucket, (int)(Crc32C.Compute(Encoding.UTF8.GetBytes(key)) % (uint)bucket.Shards));

    internal static byte[] ObjectKey(string key) => Encoding.UTF8.GetBytes("o:" + key);

    internal static byte[] UploadKey(string key, string uploadId) => Encoding.UTF8.GetBytes($"u:{key}\0{uploadId}");

    internal static byte[] GarbageKey(DateTimeOffset due, string id) =>
        Encoding.UTF8.GetBytes($"g:{due.ToUnixTimeMilliseconds():x16}:{id}");

    /// <summary>Finds an object's entry, with the bytes that a change must be guarded by.</summary>
    internal async ValueTask<(ObjectEntry? Entry, byte[] Raw)> FindAsync(BucketRecord bucket, string key, CancellationToken cancellation)
    {
        byte[]? raw = await pool.GetOmapAsync(ShardOf(bucket, key), ObjectKey(key), cancellation);
        return raw is null ? (null, []) : (Json.Read(raw, RecordContext.Default.ObjectEntry), raw);
    }

    /// <summary>Finds an object's entry with all its segments.</summary>
    internal async ValueTask<ObjectEntry?> FindWholeAsync(BucketRecord bucket, string key, CancellationToken cancellation) =>
        (await FindWithRawAsync(bucket, key, cancellation)).Entry;

    /// <summary>Finds an object's entry with all its segments and the bytes that guard a change. The manifest is read apart, so a
    /// replacement in between is noticed and the read repeated.</summary>
    internal async ValueTask<(ObjectEntry? Entry, byte[] Raw)> FindWithRawAsync(BucketRecord bucket, string key, CancellationToken cancellation)
    {
        while (true)
        {
            (ObjectEntry? entry, byte[] raw) = await FindAsync(bucket, key, cancellation);
            if (entry is not { Apart: true })
            {
                return (entry, raw);
            }

            string shard = ShardOf(bucket, key);
            byte[]? manifest = await pool.GetOmapAsync(shard, ManifestKey(key), cancellation);
            byte[]? again = await pool.GetOmapAsync(shard, ObjectKey(key), cancellation);
            if (manifest is not null && again is not null && again.AsSpan().SequenceEqual(raw))
            {
                return (entry with { Segments = Json.Read(manifest, RecordContext.Default.Manifest).Segments }, raw);
            }
        }
    }

    /// <summary>Notes that data under an id is about to be written, so that it is removed if the upload never ends.</summary>
    internal async ValueTask<(byte[] Key, byte[] Value)> AddIntentAsync(BucketRecord bucket, string key, Segment data, DateTimeOffset due, CancellationToken cancellation)
    {
        byte[] name = GarbageKey(due, data.Id);
        byte[] value = Json.Write(new Garbage { Segments = [data] }, RecordContext.Default.Garbage);
        using var operation = new PooledOperation();
        operation.Value.AddAttribute(OperationCode.CompareAttribute, StateAttribute, Open).Add(OperationCode.SetOmap, key: name, value: value);
        await ExpectOpenAsync(await pool.ExecuteAsync(ShardOf(bucket, key), operation.Value, cancellation));
        return (name, value);
    }

    /// <summary>Whether an entry is in the shard of a key.</summary>
    internal async ValueTask<bool> HasAsync(BucketRecord bucket, string key, byte[] name, CancellationToken cancellation) =>
        await pool.GetOmapAsync(ShardOf(bucket, key), name, cancellation) is not null;

    /// <summary>Replaces, creates or removes an object in one step.</summary>
    /// <param name="bucket">The bucket.</param>
    /// <param name="key">The object's key.</param>
    /// <param name="change">The new entry, and what it replaces.</param>
    /// <param name="cancellation">Ends the wait.</param>
    /// <returns>False if the entry has changed since <see cref="FindAsync"/>, or the intent or upload is gone; nothing was done.</returns>
    internal async ValueTask<bool> TryCommitAsync(BucketRecord bucket, string key, EntryChange change, CancellationToken cancellation)
    {
        using var pooled = new PooledOperation();
        ObjectOperation operation = pooled.Value;
        operation.AddAttribute(OperationCode.CompareAttribute, StateAttribute, Open);
        operation.Add(OperationCode.CompareOmap, key: ObjectKey(key), value: change.PreviousRaw);
        if (change.Guard is { } guard)
        {
            operation.Add(OperationCode.CompareOmap, key: guard.Key, value: guard.Value);
            operation.Add(OperationCode.RemoveOmap, key: guard.Key);
        }

        if (change.Entry is null)
        {
            operation.Add(OperationCode.RemoveOmap, key: ObjectKey(key));
            operation.Add(OperationCode.RemoveOmap, key: ManifestKey(key));
        }
        else
        {
            bool apart = change.Entry.Segments.Length > InlineSegments;
            ObjectEntry entry = apart ? change.Entry with { Apart = true, Segments = [] } : change.Entry;
            operation.Add(OperationCode.SetOmap, key: ObjectKey(key), value: Json.Write(entry, RecordContext.Default.ObjectEntry));
            if (apart)
            {
                byte[] manifest = Json.Write(new Manifest { Segments = change.Entry.Segments }, RecordContext.Default.Manifest);
                operation.Add(OperationCode.SetOmap, key: ManifestKey(key), value: manifest);
            }
            else if (change.PreviousRaw.Length > 0)
            {
                operation.Add(OperationCode.RemoveOmap, key: ManifestKey(key));
            }
        }

        foreach ((byte[] name, Garbage garbage) in change.Garbage)
        {
            operation.Add(OperationCode.SetOmap, key: name, value: Json.Write(garbage, RecordContext.Default.Garbage));
        }

        PoolResult result = await pool.ExecuteAsync(ShardOf(bucket, key), operation, cancellation);
        if (result.Code == ResultCode.GuardFailed && result.FailedStep > 0)
        {
            return false;
        }

        await ExpectOpenAsync(result);
        return true;
    }

    internal static byte[] ManifestKey(string key) => Encoding.UTF8.GetBytes("m:" + key);

    private static ValueTask ExpectOpenAsync(PoolResult result)
    {
        if (result.Code is ResultCode.NotFound or ResultCode.GuardFailed)
        {
            throw new S3Exception(S3Error.NoSuchBucket);
        }

        result.ThrowUnlessOk("bucket index");
        return ValueTask.CompletedTask;
    }
}

/// <summary>A change of one object's entry.</summary>
internal sealed record EntryChange
{
    /// <summary>The new entry, or null to remove the object.</summary>
    public ObjectEntry? Entry { get; init; }

    /// <summary>The entry that must still be there; empty if there must be none.</summary>
    public required byte[] PreviousRaw { get; init; }

    /// <summary>An omap entry (intent or upload) that must still be there and goes with the change.</summary>
    public (byte[] Key, byte[] Value)? Guard { get; init; }

    /// <summary>Data to remove later.</summary>
    public IReadOnlyList<(byte[] Key, Garbage Garbage)> Garbage { get; init; } = [];
}
