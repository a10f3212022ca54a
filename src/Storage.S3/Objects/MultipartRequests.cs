using System.Globalization;
using System.Security.Cryptography;
using System.Xml.Linq;
using Microsoft.AspNetCore.Http;
using Storage.S3.Backend;
using Storage.S3.Buckets;
using Storage.S3.Protocol;

namespace Storage.S3.Objects;

/// <summary>Requests on multipart uploads.</summary>
internal sealed class MultipartRequests(Multipart uploads, BucketIndex index, Pool data, S3Options options, TimeProvider time)
{
    internal static bool Concerns(HttpRequest request) => request.Query.ContainsKey("uploads") || request.Query.ContainsKey("uploadId");

    internal async Task HandleAsync(S3Call call, BucketRecord bucket, string key, BucketStore buckets)
    {
        string uploadId = call.Query("uploadId");
        switch (call.Request.Method)
        {
            case "POST" when call.Asks("uploads"):
                await CreateAsync(call, bucket, key);
                break;
            case "POST":
                await CompleteAsync(call, bucket, key, uploadId);
                break;
            case "PUT":
                await PutPartAsync(call, bucket, key, uploadId, buckets);
                break;
            case "GET":
                await ListPartsAsync(call, bucket, key, uploadId);
                break;
            case "DELETE":
                await uploads.AbortAsync(bucket, key, uploadId, call.Cancellation);
                call.Response.StatusCode = 204;
                break;
            default:
                throw new S3Exception(S3Error.MethodNotAllowed);
        }
    }

    internal async Task ListUploadsAsync(S3Call call, BucketRecord bucket)
    {
        int limit = call.Limit("max-uploads", 1000);
        string prefix = call.Query("prefix");
        bool encoded = call.Query("encoding-type") == "url";
        string keyMarker = call.Query("key-marker");
        string idMarker = call.Query("upload-id-marker");
        List<(string Key, string UploadId, UploadRecord Record)> list = await uploads.ListAsync(bucket, prefix, call.Cancellation);
        list.RemoveAll(upload => string.CompareOrdinal(upload.Key, keyMarker) < 0 || (upload.Key == keyMarker && string.CompareOrdinal(upload.UploadId, idMarker) <= 0 && keyMarker.Length > 0));
        bool more = list.Count > limit;
        list = more ? list[..limit] : list;
        XElement result = S3Xml.Element(
            "ListMultipartUploadsResult",
            S3Xml.Element("Bucket", bucket.Name),
            S3Xml.Element("KeyMarker", S3Xml.Text(keyMarker, encoded)),
            S3Xml.Element("UploadIdMarker", idMarker),
            more ? S3Xml.Element("NextKeyMarker", S3Xml.Text(list[^1].Key, encoded)) : null,
            more ? S3Xml.Element("NextUploadIdMarker", list[^1].UploadId) : null,
            encoded ? S3Xml.Element("EncodingType", "url") : null,
            S3Xml.Element("Prefix", S3Xml.Text(prefix, encoded)),
            S3Xml.Element("MaxUploads", limit),
            S3Xml.Element("IsTruncated", more ? "true" : "false"),
            list.Select(upload => S3Xml.Element(
                "Upload",
                S3Xml.Element("Key", S3Xml.Text(upload.Key, encoded)),
                S3Xml.Element("UploadId", upload.UploadId),
                BucketRequests.Owner(upload.Record.Owner, "Initiator"),
                BucketRequests.Owner(upload.Record.Owner),
                S3Xml.Element("StorageClass", "STANDARD"),
                S3Xml.Element("Initiated", S3Xml.Time(upload.Record.CreatedUnixMilliseconds)))));
        await S3Xml.WriteAsync(call.Context, 200, result);
    }

    private async Task CreateAsync(S3Call call, BucketRecord bucket, string key)
    {
        var record = new UploadRecord
        {
            Key = key,
            Owner = call.Owner,
            CreatedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(),
            Headers = ObjectRequests.KeptHeaders(call.Request),
        };
        string id = await uploads.CreateAsync(bucket, record, call.Cancellation);
        await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "InitiateMultipartUploadResult", S3Xml.Element("Bucket", bucket.Name), S3Xml.Element("Key", key), S3Xml.Element("UploadId", id)));
    }

    private async Task PutPartAsync(S3Call call, BucketRecord bucket, string key, string uploadId, BucketStore buckets)
    {
        if (!int.TryParse(call.Query("partNumber"), NumberStyles.None, CultureInfo.InvariantCulture, out int number) || number is < 1 or > Multipart.MostParts)
        {
            throw new S3Exception(S3Error.InvalidArgument, $"Part number must be an integer between 1 and {Multipart.MostParts}, inclusive.");
        }

        await uploads.OpenAsync(bucket, key, uploadId, call.Cancellation);
        bool copy = call.Request.Headers.ContainsKey("x-amz-copy-source");
        (BucketRecord Bucket, ObjectEntry Entry)? source = copy ? await ObjectRequests.OpenCopySourceAsync(call, index, buckets) : null;
        var writer = new ObjectWriter(data, bucket.Id, options);
        Segment segment = writer.NewSegment();
        await uploads.AddIntentAsync(bucket, uploadId, segment, call.Cancellation);
        string etag;
        if (source is { } from)
        {
            (long offset, long length) = HttpRange.Parse(call.Request.Headers["x-amz-copy-source-range"].ToString(), from.Entry.Size) ?? (0, from.Entry.Size);
            segment = await ObjectRequests.CopyDataAsync(writer, segment, data, options, from.Bucket, from.Entry, offset, length, call.Cancellation);
            etag = await ObjectRequests.Md5OfAsync(data, options, bucket, segment, call.Cancellation);
        }
        else
        {
            segment = await writer.WriteAsync(segment, call.Body, call.Cancellation);
            etag = Convert.ToHexStringLower(call.Body.Md5);
        }

        var part = new PartRecord { ETag = etag, ModifiedUnixMilliseconds = time.GetUtcNow().ToUnixTimeMilliseconds(), Data = segment };
        await uploads.CommitPartAsync(bucket, uploadId, number, part, call.Cancellation);
        if (copy)
        {
            await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
                "CopyPartResult", S3Xml.Element("LastModified", S3Xml.Time(part.ModifiedUnixMilliseconds)), S3Xml.Element("ETag", $"\"{etag}\"")));
            return;
        }

        call.Response.Headers.ETag = $"\"{etag}\"";
        if (call.Body.Checksum is { } checksum)
        {
            call.Response.Headers[checksum.HeaderName] = checksum.Expected;
        }
    }

    private async Task CompleteAsync(S3Call call, BucketRecord bucket, string key, string uploadId)
    {
        XElement document = S3Xml.Parse(await call.Body.ReadAllAsync(4 << 20, call.Cancellation));
        var wanted = new List<(int, string)>();
        foreach (XElement part in S3Xml.Children(document, "Part"))
        {
            if (!int.TryParse(S3Xml.Child(part, "PartNumber"), NumberStyles.None, CultureInfo.InvariantCulture, out int number) || S3Xml.Child(part, "ETag") is not { } etag)
            {
                throw new S3Exception(S3Error.MalformedXml);
            }

            wanted.Add((number, etag));
        }

        if (wanted.Count is 0 or > Multipart.MostParts)
        {
            throw new S3Exception(S3Error.MalformedXml, $"An upload is completed from 1 to {Multipart.MostParts} parts.");
        }

        ObjectEntry entry = await uploads.CompleteAsync(bucket, key, uploadId, wanted, call.Cancellation);
        await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "CompleteMultipartUploadResult",
            S3Xml.Element("Location", $"{call.Request.Scheme}://{call.Request.Host}/{bucket.Name}/{S3Uri.Encode(key, true)}"),
            S3Xml.Element("Bucket", bucket.Name),
            S3Xml.Element("Key", key),
            S3Xml.Element("ETag", $"\"{entry.ETag}\"")));
    }

    private async Task ListPartsAsync(S3Call call, BucketRecord bucket, string key, string uploadId)
    {
        (UploadRecord record, _) = await uploads.OpenAsync(bucket, key, uploadId, call.Cancellation);
        int limit = call.Limit("max-parts", 1000);
        int marker = call.Limit("part-number-marker", int.MaxValue);
        marker = marker == int.MaxValue ? 0 : marker;
        List<(int Number, PartRecord Part)> parts = await uploads.ListPartsAsync(bucket, uploadId, marker, limit + 1, call.Cancellation);
        bool more = parts.Count > limit;
        parts = more ? parts[..limit] : parts;
        await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "ListPartsResult",
            S3Xml.Element("Bucket", bucket.Name),
            S3Xml.Element("Key", key),
            S3Xml.Element("UploadId", uploadId),
            BucketRequests.Owner(record.Owner, "Initiator"),
            BucketRequests.Owner(record.Owner),
            S3Xml.Element("StorageClass", "STANDARD"),
            S3Xml.Element("PartNumberMarker", marker),
            more ? S3Xml.Element("NextPartNumberMarker", parts[^1].Number) : null,
            S3Xml.Element("MaxParts", limit),
            S3Xml.Element("IsTruncated", more ? "true" : "false"),
            parts.Select(part => S3Xml.Element(
                "Part",
                S3Xml.Element("PartNumber", part.Number),
                S3Xml.Element("LastModified", S3Xml.Time(part.Part.ModifiedUnixMilliseconds)),
                S3Xml.Element("ETag", $"\"{part.Part.ETag}\""),
                S3Xml.Element("Size", part.Part.Data.Size)))));
    }
}
