using System.Globalization;
using System.Security.Cryptography;
using Microsoft.AspNetCore.Http;
using Storage.S3.Backend;
using Storage.S3.Buckets;
using Storage.S3.Protocol;

namespace Storage.S3.Objects;

/// <summary>GET, HEAD, PUT, copy and DELETE of objects.</summary>
internal sealed class ObjectRequests(BucketIndex index, Pool data, S3Options options, TimeProvider time)
{
    private static readonly string[] s_keptHeaders = ["Content-Type", "Content-Encoding", "Content-Disposition", "Content-Language", "Cache-Control", "Expires"];
    private static readonly string[] s_unsupported = ["tagging", "retention", "legal-hold", "torrent", "restore", "select", "attributes"];

    internal async Task HandleAsync(S3Call call, BucketRecord bucket, string key, BucketStore buckets)
    {
        if (s_unsupported.FirstOrDefault(call.Asks) is { } sub)
        {
            throw new S3Exception(S3Error.NotImplemented, $"The sub-resource '{sub}' is not implemented.");
        }

        if (call.Asks("acl"))
        {
            await BucketRequests.WriteAclAsync(call, bucket.Owner);
            return;
        }

        if (call.Query("versionId") is { Length: > 0 } version && version != "null")
        {
            throw new S3Exception(S3Error.NotImplemented, "Versioning is not implemented.");
        }

        switch (call.Request.Method)
        {
            case "GET" or "HEAD":
                await ReadAsync(call, bucket, key);
                break;
            case "PUT" when call.Request.Headers.ContainsKey("x-amz-copy-source"):
                await CopyAsync(call, bucket, key, buckets);
                break;
            case "PUT":
                await PutAsync(call, bucket, key);
                break;
            case "DELETE":
                await DeleteAsync(bucket, key, call.Cancellation);
                call.Response.StatusCode = 204;
                break;
            default:
                throw new S3Exception(S3Error.MethodNotAllowed);
        }
    }

    /// <summary>Headers of a request that are kept with the object.</summary>
    internal static Dictionary<string, string> KeptHeaders(HttpRequest request)
    {
        var headers = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        foreach (string name in s_keptHeaders)
        {
            string value = request.Headers[name].ToString();
            if (name == "Content-Encoding")
            {
                // aws-chunked is the framing of this request, not an encoding of the object.
                value = string.Join(',', value.Split(',').Select(part => part.Trim()).Where(part => part.Length > 0 && part != "aws-chunked"));
            }

            if (value.Length > 0)
            {
                headers[name] = value;
            }
        }

        int metadataBytes = 0;
        foreach ((string name, Microsoft.Extensions.Primitives.StringValues value) in request.Headers)
        {
            if (name.StartsWith("x-amz-meta-", StringComparison.OrdinalIgnoreCase))
            {
                headers[name.ToLowerInvariant()] = value.ToString();
                metadataBytes += name.Length - "x-amz-meta-".Length + value.ToString().Length;
            }
        }

        return metadataBytes <= 2048 * 4 ? headers : throw new S3Exception(S3Error.InvalidRequest, "The user metadata is larger than 8 KiB.");
    }

    /// <summary>Removes an object if it exists; its data goes later.</summary>
    internal async ValueTask DeleteAsync(BucketRecord bucket, string key, CancellationToken cancellation)
    {
        while (true)
        {
            (ObjectEntry? previous, byte[] raw) = await index.FindWithRawAsync(bucket, key, cancellation);
            if (previous is null || await index.TryCommitAsync(bucket, key, new EntryChange { PreviousRaw = raw, Garbage = GarbageOf(previous) }, cancellation))
            {
                return;
            }
        }
    }

    private async Task ReadAsync(S3Call call, BucketRecord bucket, string key)
    {
        ObjectEntry entry = await index.FindWholeAsync(bucket, key, call.Cancellation) ?? throw new S3Exception(S3Error.NoSuchKey);
        HttpResponse response = call.Response;
        response.Headers.ETag = $"\"{entry.ETag}\"";
        DateTimeOffset modified = DateTimeOffset.FromUnixTimeMilliseconds(entry.ModifiedUnixMilliseconds);
        response.Headers.LastModified = modified.ToString("R", CultureInfo.InvariantCulture);
        response.Headers.AcceptRanges = "bytes";
        if (Conditions.Evaluate(call.Request, entry.ETag, modified) is { } status)
        {
            if (status == 412)
            {
                throw new S3Exception(S3Error.PreconditionFailed);
            }

            response.StatusCode = status;
            return;
        }

        response.ContentType = "binary/octet-stream";
        foreach ((string name, string value) in entry.Headers)
        {
            response.Headers[name] = value;
        }

        foreach ((string query, string header) in new[]
        {
            ("response-content-type", "Content-Type"), ("response-content-language", "Content-Language"), ("response-expires", "Expires"),
            ("response-cache-control", "Cache-Control"), ("response-content-disposition", "Content-Disposition"), ("response-content-encoding", "Content-Encoding"),
        })
        {
            if (call.Query(query) is { Length: > 0 } value)
            {
                response.Headers[header] = value;
            }
        }

        if (entry.Parts > 0)
        {
            response.Headers["x-amz-mp-parts-count"] = entry.Parts.ToString(CultureInfo.InvariantCulture);
        }

        (long offset, long length, bool partial) = RangeOf(call, entry);
        if (partial)
        {
            response.StatusCode = 206;
            response.Headers.ContentRange = $"bytes {offset}-{offset + length - 1}/{entry.Size}";
        }
        else if (entry.Checksum is not null && call.Request.Headers["x-amz-checksum-mode"].ToString().Equals("ENABLED", StringComparison.OrdinalIgnoreCase))
        {
            response.Headers["x-amz-checksum-" + entry.ChecksumAlgorithm!.ToLowerInvariant()] = entry.Checksum;
        }

        response.ContentLength = length;
        if (HttpMethods.IsHead(call.Request.Method))
        {
            return;
        }

        await new ObjectReader(data, bucket.Id, options).ReadAsync(entry.Segments, offset, length, (bytes, cancellation) => response.Body.WriteAsync(bytes, cancellation), call.Cancellation);
    }

    private static (long Offset, long Length, bool Partial) RangeOf(S3Call call, ObjectEntry entry)
    {
        if (call.Query("partNumber") is { Length: > 0 } partText)
        {
            if (!int.TryParse(partText, NumberStyles.None, CultureInfo.InvariantCulture, out int part) || part < 1 || part > Math.Max(1, entry.Segments.Length))
            {
                throw new S3Exception(S3Error.InvalidRange);
            }

            return entry.Parts == 0 ? (0, entry.Size, false) : (entry.Segments.Take(part - 1).Sum(segment => segment.Size), entry.Segments[part - 1].Size, true);
        }

        return HttpRange.Parse(call.Request.Headers.Range.ToString(), entry.Size) is { } range ? (range.Offset, range.Length, true) : (0, entry.Size, false);
    }

    private async Task PutAsync(S3Call call, BucketRecord bucket, string key)
    {
        if (call.Request.ContentLength is null && call.Request.Headers["x-amz-decoded-content-length"].Count == 0)
        {
            throw new S3Exception(S3Error.MissingContentLength);
        }

        var writer = new ObjectWriter(data, bucket.Id, options);
        Segment segment = writer.NewSegment();
        (byte[] Key, byte[] Value) intent = await index.AddIntentAsync(bucket, key, segment, time.GetUtcNow() + options.AbandonedUploadDelay, call.Cancellation);
        segment = await writer.WriteAsync(segment, call.Body, call.Cancellation);
        var entry = new ObjectEntry
        {
            Size = segment.Size,
            ETag = Convert.ToHexStringLower(call.Body.Md5),
            ModifiedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
            Owner = call.Owner,
            Headers = KeptHeaders(call.Request),
            Segments = segment.Size > 0 ? [segment] : [],
            ChecksumAlgorithm = call.Body.Checksum?.Algorithm,
            Checksum = call.Body.Checksum?.Expected,
        };
        await CommitAsync(call, bucket, key, entry, intent);
        call.Response.Headers.ETag = $"\"{entry.ETag}\"";
        if (call.Body.Checksum is { } checksum)
        {
            call.Response.Headers[checksum.HeaderName] = checksum.Expected;
        }
    }

    private async Task CopyAsync(S3Call call, BucketRecord bucket, string key, BucketStore buckets)
    {
        (BucketRecord sourceBucket, ObjectEntry source) = await OpenCopySourceAsync(call, index, buckets);
        bool replaceHeaders = call.Request.Headers["x-amz-metadata-directive"].ToString() == "REPLACE";
        if (sourceBucket.Id == bucket.Id && CopySource(call.Request).Key == key && !replaceHeaders)
        {
            throw new S3Exception(S3Error.InvalidRequest, "This copy request is illegal because it is trying to copy an object to itself without changing its metadata.");
        }

        // A full copy, also onto itself: no data is shared between objects, so removing one never harms another.
        var writer = new ObjectWriter(data, bucket.Id, options);
        Segment segment = writer.NewSegment();
        (byte[] Key, byte[] Value) intent = await index.AddIntentAsync(bucket, key, segment, time.GetUtcNow() + options.AbandonedUploadDelay, call.Cancellation);
        segment = await CopyDataAsync(writer, segment, data, options, sourceBucket, source, 0, source.Size, call.Cancellation);
        var entry = new ObjectEntry
        {
            Size = segment.Size,
            ETag = source.Parts == 0 ? source.ETag : await Md5OfAsync(data, options, bucket, segment, call.Cancellation),
            ModifiedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
            Owner = call.Owner,
            Headers = replaceHeaders ? KeptHeaders(call.Request) : source.Headers,
            Segments = segment.Size > 0 ? [segment] : [],
        };
        await CommitAsync(call, bucket, key, entry, intent);
        await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "CopyObjectResult",
            S3Xml.Element("LastModified", S3Xml.Time(entry.ModifiedUnixMilliseconds)),
            S3Xml.Element("ETag", $"\"{entry.ETag}\"")));
    }

    /// <summary>Finds the object that a copy request names and checks the request's conditions on it.</summary>
    internal static async ValueTask<(BucketRecord Bucket, ObjectEntry Entry)> OpenCopySourceAsync(S3Call call, BucketIndex index, BucketStore buckets)
    {
        (string bucketName, string key) = CopySource(call.Request);
        BucketRecord bucket = await buckets.OpenAsync(bucketName, call.Owner, call.Cancellation);
        ObjectEntry entry = await index.FindWholeAsync(bucket, key, call.Cancellation) ?? throw new S3Exception(S3Error.NoSuchKey);
        if (Conditions.EvaluateCopySource(call.Request, entry.ETag, DateTimeOffset.FromUnixTimeMilliseconds(entry.ModifiedUnixMilliseconds)))
        {
            return (bucket, entry);
        }

        throw new S3Exception(S3Error.PreconditionFailed);
    }

    /// <summary>Copies a range of an object to a new segment, by chunks, in bounded memory.</summary>
    internal static async ValueTask<Segment> CopyDataAsync(
        ObjectWriter writer, Segment target, Pool data, S3Options options, BucketRecord sourceBucket, ObjectEntry source, long offset, long length, CancellationToken cancellation)
    {
        var pipe = new System.IO.Pipelines.Pipe(new System.IO.Pipelines.PipeOptions(pauseWriterThreshold: options.ChunkBytes * 2, resumeWriterThreshold: options.ChunkBytes));
        async Task ReadSourceAsync()
        {
            Exception? failure = null;
            try
            {
                await new ObjectReader(data, sourceBucket.Id, options).ReadAsync(
                    source.Segments, offset, length, async (bytes, token) => await pipe.Writer.WriteAsync(bytes, token), cancellation);
            }
            catch (Exception error) when (error is not OutOfMemoryException)
            {
                failure = error; // handed to the writing side, which throws it
            }

            await pipe.Writer.CompleteAsync(failure);
        }

        Task reading = ReadSourceAsync();
        using Stream stream = pipe.Reader.AsStream();
        try
        {
            return await writer.WriteAsync(target, stream.ReadAsync, cancellation);
        }
        finally
        {
            await pipe.Reader.CompleteAsync();
            await reading;
        }
    }

    private static (string Bucket, string Key) CopySource(HttpRequest request)
    {
        string source = request.Headers["x-amz-copy-source"].ToString();
        int question = source.IndexOf('?', StringComparison.Ordinal);
        source = S3Uri.Decode(question < 0 ? source : source[..question]).TrimStart('/');
        int slash = source.IndexOf('/', StringComparison.Ordinal);
        return slash > 0 && slash < source.Length - 1
            ? (source[..slash], source[(slash + 1)..])
            : throw new S3Exception(S3Error.InvalidArgument, "x-amz-copy-source must be BUCKET/KEY.");
    }

    /// <summary>Reads a segment back for its MD5.</summary>
    internal static async ValueTask<string> Md5OfAsync(Pool data, S3Options options, BucketRecord bucket, Segment segment, CancellationToken cancellation)
    {
        using var md5 = IncrementalHash.CreateHash(HashAlgorithmName.MD5);
        await new ObjectReader(data, bucket.Id, options).ReadAsync(
            [segment],
            0,
            segment.Size,
            (bytes, _) =>
            {
                md5.AppendData(bytes.Span);
                return ValueTask.CompletedTask;
            },
            cancellation);
        return Convert.ToHexStringLower(md5.GetHashAndReset());
    }

    private async ValueTask CommitAsync(S3Call call, BucketRecord bucket, string key, ObjectEntry entry, (byte[] Key, byte[] Value) intent)
    {
        while (true)
        {
            (ObjectEntry? previous, byte[] raw) = await index.FindWithRawAsync(bucket, key, call.Cancellation);
            if (!Conditions.AllowsWrite(call.Request, previous?.ETag))
            {
                throw new S3Exception(S3Error.PreconditionFailed);
            }

            var change = new EntryChange { Entry = entry, PreviousRaw = raw, Guard = intent, Garbage = previous is null ? [] : GarbageOf(previous) };
            if (await index.TryCommitAsync(bucket, key, change, call.Cancellation))
            {
                return;
            }

            // A lost race for the entry is run again. If the intent is gone, either our own commit went through and its answer
            // was lost, or the upload took longer than an abandoned one may.
            (ObjectEntry? now, _) = await index.FindWithRawAsync(bucket, key, call.Cancellation);
            if (now is not null && entry.Segments.Length > 0 && now.Segments.Length > 0 && now.Segments[0].Id == entry.Segments[0].Id)
            {
                return;
            }

            if (!await index.HasAsync(bucket, key, intent.Key, call.Cancellation))
            {
                throw new S3Exception(S3Error.ServiceUnavailable, "The upload took too long and was taken for abandoned. Try again.");
            }
        }
    }

    private IReadOnlyList<(byte[], Garbage)> GarbageOf(ObjectEntry entry) => entry.Segments.Length == 0
        ? []
        : [(BucketIndex.GarbageKey(time.GetUtcNow() + options.GarbageDelay, RandomNumberGenerator.GetHexString(24, lowercase: true)), new Garbage { Segments = entry.Segments })];
}
