using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Storage.Client;
using Storage.Messaging;
using Storage.S3.Backend;
using Storage.S3.Buckets;
using Storage.S3.Protocol;

namespace Storage.S3.Objects;

/// <summary>
/// Multipart uploads. An upload is an omap object <c>upload.BUCKET.ID</c>: <c>p:NUMBER</c> a part, <c>i:DATA</c> data of a part being
/// written, <c>r:DATA</c> data of a part that was replaced; and an entry <c>u:KEY\0ID</c> in the index shard of its key, which decides
/// whether it exists. Whatever a crash leaves is listed in one of them.
/// </summary>
internal sealed class Multipart(Pool index, BucketIndex bucketIndex, TimeProvider time, S3Options options)
{
    /// <summary>The highest part number.</summary>
    internal const int MostParts = 10_000;

    private const long SmallestPart = 5 << 20;

    internal static string UploadName(string bucketId, string uploadId) => $"upload.{bucketId}.{uploadId}";

    internal async ValueTask<string> CreateAsync(BucketRecord bucket, UploadRecord record, CancellationToken cancellation)
    {
        string id = RandomNumberGenerator.GetHexString(32, lowercase: true);
        using (var operation = new PooledOperation())
        {
            operation.Value.AddAttribute(OperationCode.SetAttribute, BucketIndex.StateAttribute, BucketIndex.Open);
            (await index.ExecuteAsync(UploadName(bucket.Id, id), operation.Value, cancellation)).ThrowUnlessOk("upload");
        }

        using var entry = new PooledOperation();
        entry.Value.AddAttribute(OperationCode.CompareAttribute, BucketIndex.StateAttribute, BucketIndex.Open)
            .Add(OperationCode.SetOmap, key: BucketIndex.UploadKey(record.Key, id), value: Json.Write(record, RecordContext.Default.UploadRecord));
        PoolResult result = await index.ExecuteAsync(BucketIndex.ShardOf(bucket, record.Key), entry.Value, cancellation);
        if (result.Code is ResultCode.GuardFailed or ResultCode.NotFound)
        {
            throw new S3Exception(S3Error.NoSuchBucket);
        }

        result.ThrowUnlessOk("upload");
        return id;
    }

    /// <summary>Finds an upload.</summary>
    internal async ValueTask<(UploadRecord Record, byte[] Raw)> OpenAsync(BucketRecord bucket, string key, string uploadId, CancellationToken cancellation)
    {
        if (uploadId.Length != 32)
        {
            throw new S3Exception(S3Error.NoSuchUpload);
        }

        byte[] raw = await index.GetOmapAsync(BucketIndex.ShardOf(bucket, key), BucketIndex.UploadKey(key, uploadId), cancellation)
            ?? throw new S3Exception(S3Error.NoSuchUpload);
        return (Json.Read(raw, RecordContext.Default.UploadRecord), raw);
    }

    /// <summary>Notes that a part's data is about to be written.</summary>
    internal async ValueTask AddIntentAsync(BucketRecord bucket, string uploadId, Segment data, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.AddAttribute(OperationCode.CompareAttribute, BucketIndex.StateAttribute, BucketIndex.Open)
            .Add(OperationCode.SetOmap, key: DataKey('i', data.Id), value: Json.Write(data, RecordContext.Default.Segment));
        ExpectUpload(await index.ExecuteAsync(UploadName(bucket.Id, uploadId), operation.Value, cancellation));
    }

    /// <summary>Makes written data a part, replacing one of the same number.</summary>
    internal async ValueTask CommitPartAsync(BucketRecord bucket, string uploadId, int number, PartRecord part, CancellationToken cancellation)
    {
        string upload = UploadName(bucket.Id, uploadId);
        byte[] partKey = PartKey(number);
        while (true)
        {
            byte[]? previous = await index.GetOmapAsync(upload, partKey, cancellation);
            using var operation = new PooledOperation();
            operation.Value.AddAttribute(OperationCode.CompareAttribute, BucketIndex.StateAttribute, BucketIndex.Open)
                .Add(OperationCode.CompareOmap, key: partKey, value: previous ?? [])
                .Add(OperationCode.RemoveOmap, key: DataKey('i', part.Data.Id))
                .Add(OperationCode.SetOmap, key: partKey, value: Json.Write(part, RecordContext.Default.PartRecord));
            if (previous is not null)
            {
                Segment replaced = Json.Read(previous, RecordContext.Default.PartRecord).Data;
                operation.Value.Add(OperationCode.SetOmap, key: DataKey('r', replaced.Id), value: Json.Write(replaced, RecordContext.Default.Segment));
            }

            PoolResult result = await index.ExecuteAsync(upload, operation.Value, cancellation);
            if (result is { Code: ResultCode.GuardFailed, FailedStep: 1 })
            {
                continue;
            }

            ExpectUpload(result);
            return;
        }
    }

    /// <summary>Lists parts by number.</summary>
    internal async ValueTask<List<(int Number, PartRecord Part)>> ListPartsAsync(BucketRecord bucket, string uploadId, int after, int limit, CancellationToken cancellation)
    {
        var parts = new List<(int, PartRecord)>();
        byte[] from = PartKey(after + 1);
        OmapPage? page;
        do
        {
            page = await index.ListOmapAsync(UploadName(bucket.Id, uploadId), from, "p:"u8.ToArray(), Math.Min(limit - parts.Count, 1000), cancellation)
                ?? throw new S3Exception(S3Error.NoSuchUpload);
            for (int i = 0; i < page.Entries.Count; i++)
            {
                parts.Add((int.Parse(page.KeyText(i).AsSpan(2)), Json.Read(page.Entries[i].Value, RecordContext.Default.PartRecord)));
            }

            from = page.NextKey();
        }
        while (page.More && parts.Count < limit);
        return parts;
    }

    /// <summary>
    /// Makes the object out of the parts named, in one step. Repeating it after it succeeded succeeds again. The upload is closed
    /// to new parts first, so that the parts read here are those that the object gets.
    /// </summary>
    internal async ValueTask<ObjectEntry> CompleteAsync(BucketRecord bucket, string key, string uploadId, List<(int Number, string ETag)> wanted, CancellationToken cancellation)
    {
        (ObjectEntry? current, _) = await bucketIndex.FindAsync(bucket, key, cancellation);
        if (current?.UploadId == uploadId)
        {
            return current;
        }

        (UploadRecord record, byte[] uploadRaw) = await OpenAsync(bucket, key, uploadId, cancellation);
        string upload = UploadName(bucket.Id, uploadId);
        await CloseAsync(index, upload, cancellation);
        ObjectEntry entry;
        var unused = new List<Segment>();
        try
        {
            Dictionary<int, PartRecord> parts = (await ListPartsAsync(bucket, uploadId, 0, MostParts + 1, cancellation)).ToDictionary(part => part.Number, part => part.Part);
            entry = Assemble(record, uploadId, wanted, parts);
        }
        catch (S3Exception)
        {
            await ReopenAsync(upload, cancellation);
            throw;
        }

        var used = entry.Segments.Select(segment => segment.Id).ToHashSet(StringComparer.Ordinal);
        await foreach (Segment segment in AllDataAsync(index, upload, cancellation))
        {
            if (!used.Contains(segment.Id))
            {
                unused.Add(segment);
            }
        }

        while (true)
        {
            (ObjectEntry? previous, byte[] previousRaw) = await bucketIndex.FindWithRawAsync(bucket, key, cancellation);
            if (previous?.UploadId == uploadId)
            {
                return previous;
            }

            var garbage = new List<(byte[], Garbage)>
            {
                (BucketIndex.GarbageKey(Due(), uploadId), new Garbage { Segments = [.. unused], UploadId = uploadId, KeepsData = true }),
            };
            if (previous is { Segments.Length: > 0 })
            {
                garbage.Add((BucketIndex.GarbageKey(Due(), RandomNumberGenerator.GetHexString(24, true)), new Garbage { Segments = previous.Segments }));
            }

            var change = new EntryChange { Entry = entry, PreviousRaw = previousRaw, Guard = (BucketIndex.UploadKey(key, uploadId), uploadRaw), Garbage = garbage };
            if (await bucketIndex.TryCommitAsync(bucket, key, change, cancellation))
            {
                return entry;
            }

            // Either the object changed, and we try again, or the upload was aborted or completed by another request.
            await OpenAsync(bucket, key, uploadId, cancellation);
        }
    }

    /// <summary>Ends an upload; its data is removed later.</summary>
    internal async ValueTask AbortAsync(BucketRecord bucket, string key, string uploadId, CancellationToken cancellation)
    {
        (_, byte[] raw) = await OpenAsync(bucket, key, uploadId, cancellation);
        byte[] uploadKey = BucketIndex.UploadKey(key, uploadId);
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.CompareOmap, key: uploadKey, value: raw)
            .Add(OperationCode.RemoveOmap, key: uploadKey)
            .Add(OperationCode.SetOmap, key: BucketIndex.GarbageKey(time.GetUtcNow(), uploadId), value: Json.Write(new Garbage { UploadId = uploadId }, RecordContext.Default.Garbage));
        ExpectUpload(await index.ExecuteAsync(BucketIndex.ShardOf(bucket, key), operation.Value, cancellation));
        await CloseAsync(index, UploadName(bucket.Id, uploadId), cancellation);
    }

    /// <summary>Lists uploads by key.</summary>
    internal async ValueTask<List<(string Key, string UploadId, UploadRecord Record)>> ListAsync(BucketRecord bucket, string prefix, CancellationToken cancellation)
    {
        var uploads = new List<(string Key, string, UploadRecord)>();
        for (int shard = 0; shard < bucket.Shards; shard++)
        {
            await foreach ((byte[] key, byte[] value) in index.EnumerateOmapAsync(BucketIndex.ShardName(bucket, shard), "u:" + prefix, 1000, cancellation))
            {
                string[] name = Encoding.UTF8.GetString(key)[2..].Split('\0');
                uploads.Add((name[0], name[1], Json.Read(value, RecordContext.Default.UploadRecord)));
            }
        }

        uploads.Sort((a, b) => Encoding.UTF8.GetBytes(a.Key).AsSpan().SequenceCompareTo(Encoding.UTF8.GetBytes(b.Key)));
        return uploads;
    }

    internal static async ValueTask CloseAsync(Pool index, string upload, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertExists).AddAttribute(OperationCode.SetAttribute, BucketIndex.StateAttribute, BucketIndex.Closed);
        PoolResult result = await index.ExecuteAsync(upload, operation.Value, cancellation);
        if (result.Code != ResultCode.NotFound)
        {
            result.ThrowUnlessOk(upload);
        }
    }

    /// <summary>All data that an upload still refers to: parts, data being written, data replaced.</summary>
    internal static async IAsyncEnumerable<Segment> AllDataAsync(Pool index, string upload, [EnumeratorCancellation] CancellationToken cancellation)
    {
        await foreach ((byte[] key, byte[] value) in index.EnumerateOmapAsync(upload, "", 1000, cancellation))
        {
            yield return key[0] == (byte)'p'
                ? Json.Read(value, RecordContext.Default.PartRecord).Data
                : Json.Read(value, RecordContext.Default.Segment);
        }
    }

    private ObjectEntry Assemble(UploadRecord record, string uploadId, List<(int Number, string ETag)> wanted, Dictionary<int, PartRecord> parts)
    {
        var segments = new List<Segment>();
        using var md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
        for (int i = 0; i < wanted.Count; i++)
        {
            (int number, string etag) = wanted[i];
            if (i > 0 && number <= wanted[i - 1].Number)
            {
                throw new S3Exception(S3Error.InvalidPartOrder);
            }

            if (!parts.TryGetValue(number, out PartRecord? part) || part.ETag != etag.Trim('"'))
            {
                throw new S3Exception(S3Error.InvalidPart, $"Part {number} was not uploaded, or its ETag is not {etag}.");
            }

            if (i < wanted.Count - 1 && part.Data.Size < SmallestPart)
            {
                throw new S3Exception(S3Error.EntityTooSmall);
            }

            segments.Add(part.Data);
            md5.AppendData(Convert.FromHexString(part.ETag));
        }

        return new ObjectEntry
        {
            Size = segments.Sum(segment => segment.Size),
            ETag = $"{Convert.ToHexStringLower(md5.GetHashAndReset())}-{wanted.Count}",
            ModifiedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
            Owner = record.Owner,
            Headers = record.Headers,
            Segments = [.. segments],
            Parts = wanted.Count,
            UploadId = uploadId,
        };
    }

    private async ValueTask ReopenAsync(string upload, CancellationToken cancellation)
    {
        using var operation = new PooledOperation();
        operation.Value.Add(OperationCode.AssertExists).AddAttribute(OperationCode.SetAttribute, BucketIndex.StateAttribute, BucketIndex.Open);
        ExpectUpload(await index.ExecuteAsync(upload, operation.Value, cancellation));
    }

    private DateTimeOffset Due() => time.GetUtcNow() + options.GarbageDelay;

    private static void ExpectUpload(PoolResult result)
    {
        if (result.Code is ResultCode.GuardFailed or ResultCode.NotFound)
        {
            throw new S3Exception(S3Error.NoSuchUpload);
        }

        result.ThrowUnlessOk("upload");
    }

    private static byte[] PartKey(int number) => Encoding.UTF8.GetBytes($"p:{number:d5}");

    private static byte[] DataKey(char kind, string id) => Encoding.UTF8.GetBytes($"{kind}:{id}");
}
