using System.Text;
using System.Xml.Linq;
using Storage.S3.Backend;
using Storage.S3.Objects;
using Storage.S3.Protocol;

namespace Storage.S3.Buckets;

/// <summary>Requests on buckets: create, head, remove, list, multi-delete, and the sub-resources clients ask for.</summary>
internal sealed class BucketRequests(BucketStore buckets, Pool pool, ObjectRequests objects, S3Options options)
{
    private const int LargestPage = 1000;
    private static readonly string[] s_unsupported =
    [
        "accelerate", "analytics", "cors", "encryption", "intelligent-tiering", "inventory", "lifecycle", "logging", "metrics", "notification",
        "object-lock", "ownershipControls", "policy", "policyStatus", "publicAccessBlock", "replication", "requestPayment", "tagging", "website", "versions",
    ];

    internal async Task ListBucketsAsync(S3Call call)
    {
        if (call.Request.Method is not ("GET" or "HEAD"))
        {
            throw new S3Exception(S3Error.MethodNotAllowed);
        }

        List<(string Name, DateTimeOffset Created)> list = await buckets.ListAsync(call.Owner, call.Cancellation);
        await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "ListAllMyBucketsResult",
            Owner(call.Owner),
            S3Xml.Element("Buckets", list.Select(bucket => S3Xml.Element(
                "Bucket", S3Xml.Element("Name", bucket.Name), S3Xml.Element("CreationDate", S3Xml.Time(bucket.Created)))))));
    }

    internal async Task HandleAsync(S3Call call, string name, MultipartRequests multipart)
    {
        if (call.Request.Method == "PUT" && call.Request.Query.Count == 0)
        {
            await call.Body.ReadAllAsync(64 << 10, call.Cancellation);
            await buckets.CreateAsync(name, call.Owner, call.Cancellation);
            call.Response.Headers.Location = "/" + name;
            return;
        }

        BucketRecord bucket = await buckets.OpenAsync(name, call.Owner, call.Cancellation);
        if (s_unsupported.FirstOrDefault(call.Asks) is { } sub)
        {
            throw MissingConfiguration(call, sub);
        }

        switch (call.Request.Method)
        {
            case "HEAD":
                call.Response.Headers["x-amz-bucket-region"] = options.Region;
                break;
            case "DELETE":
                await buckets.RemoveAsync(bucket, call.Cancellation);
                call.Response.StatusCode = 204;
                break;
            case "POST" when call.Asks("delete"):
                await MultiDeleteAsync(call, bucket);
                break;
            case "GET" when call.Asks("location"):
                await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element("LocationConstraint", options.Region == "us-east-1" ? null : options.Region));
                break;
            case "GET" when call.Asks("versioning"):
                await S3Xml.WriteAsync(call.Context, 200, S3Xml.Element("VersioningConfiguration"));
                break;
            case "GET" when call.Asks("acl"):
                await WriteAclAsync(call, bucket.Owner);
                break;
            case "GET" when call.Asks("uploads"):
                await multipart.ListUploadsAsync(call, bucket);
                break;
            case "GET":
                await ListObjectsAsync(call, bucket);
                break;
            default:
                throw new S3Exception(S3Error.NotImplemented);
        }
    }

    internal static Task WriteAclAsync(S3Call call, string owner)
    {
        if (call.Request.Method != "GET")
        {
            throw new S3Exception(S3Error.NotImplemented, "Access control lists cannot be changed yet: owners have full control, others none.");
        }

        XNamespace xsi = "http://www.w3.org/2001/XMLSchema-instance";
        XElement grantee = S3Xml.Element("Grantee", new XAttribute(XNamespace.Xmlns + "xsi", xsi), new XAttribute(xsi + "type", "CanonicalUser"), S3Xml.Element("ID", owner), S3Xml.Element("DisplayName", owner));
        return S3Xml.WriteAsync(call.Context, 200, S3Xml.Element(
            "AccessControlPolicy", Owner(owner), S3Xml.Element("AccessControlList", S3Xml.Element("Grant", grantee, S3Xml.Element("Permission", "FULL_CONTROL")))));
    }

    internal static XElement Owner(string id, string name = "Owner") => S3Xml.Element(name, S3Xml.Element("ID", id), S3Xml.Element("DisplayName", id));

    // Clients that look for a configuration take these codes for "there is none".
    private static S3Exception MissingConfiguration(S3Call call, string sub)
    {
        if (call.Request.Method != "GET")
        {
            return new S3Exception(S3Error.NotImplemented, $"The sub-resource '{sub}' is not implemented.");
        }

        string? code = sub switch
        {
            "cors" => "NoSuchCORSConfiguration",
            "encryption" => "ServerSideEncryptionConfigurationNotFoundError",
            "lifecycle" => "NoSuchLifecycleConfiguration",
            "object-lock" => "ObjectLockConfigurationNotFoundError",
            "ownershipControls" => "OwnershipControlsNotFoundError",
            "policy" => "NoSuchBucketPolicy",
            "publicAccessBlock" => "NoSuchPublicAccessBlockConfiguration",
            "replication" => "ReplicationConfigurationNotFoundError",
            "tagging" => "NoSuchTagSet",
            "website" => "NoSuchWebsiteConfiguration",
            _ => null,
        };
        return code is null
            ? new S3Exception(S3Error.NotImplemented, $"The sub-resource '{sub}' is not implemented.")
            : new S3Exception(new S3Error(code, 404, "The bucket has no such configuration."));
    }

    private async Task ListObjectsAsync(S3Call call, BucketRecord bucket)
    {
        bool second = call.Query("list-type") == "2";
        string prefix = call.Query("prefix");
        string delimiter = call.Query("delimiter");
        int limit = call.Limit("max-keys", LargestPage);
        bool encoded = call.Query("encoding-type") == "url";
        string token = call.Query("continuation-token");
        string after = !second ? call.Query("marker") : token.Length > 0 ? FromToken(token) : call.Query("start-after");
        ListingPage page = await new BucketListing(pool, bucket).ListAsync(prefix, delimiter, after, limit, call.Cancellation);
        XElement result = S3Xml.Element("ListBucketResult", S3Xml.Element("Name", bucket.Name), S3Xml.Element("Prefix", S3Xml.Text(prefix, encoded)));
        if (second)
        {
            result.Add(S3Xml.Element("KeyCount", page.Objects.Count + page.Prefixes.Count));
            AddUnlessEmpty(result, "StartAfter", S3Xml.Text(call.Query("start-after"), encoded));
            AddUnlessEmpty(result, "ContinuationToken", token);
            AddUnlessEmpty(result, "NextContinuationToken", page.More ? Convert.ToBase64String(Encoding.UTF8.GetBytes(page.Last)) : "");
        }
        else
        {
            result.Add(S3Xml.Element("Marker", S3Xml.Text(after, encoded)));
            AddUnlessEmpty(result, "NextMarker", page.More ? S3Xml.Text(page.Last, encoded) : "");
        }

        AddUnlessEmpty(result, "Delimiter", S3Xml.Text(delimiter, encoded));
        AddUnlessEmpty(result, "EncodingType", encoded ? "url" : "");
        result.Add(S3Xml.Element("MaxKeys", limit), S3Xml.Element("IsTruncated", page.More ? "true" : "false"));
        bool owners = !second || call.Query("fetch-owner") == "true";
        foreach ((string key, ObjectEntry entry) in page.Objects)
        {
            result.Add(S3Xml.Element(
                "Contents",
                S3Xml.Element("Key", S3Xml.Text(key, encoded)),
                S3Xml.Element("LastModified", S3Xml.Time(entry.ModifiedUnixMilliseconds)),
                S3Xml.Element("ETag", $"\"{entry.ETag}\""),
                S3Xml.Element("Size", entry.Size),
                owners ? Owner(entry.Owner) : null,
                S3Xml.Element("StorageClass", "STANDARD")));
        }

        foreach (string common in page.Prefixes)
        {
            result.Add(S3Xml.Element("CommonPrefixes", S3Xml.Element("Prefix", S3Xml.Text(common, encoded))));
        }

        await S3Xml.WriteAsync(call.Context, 200, result);
    }

    private async Task MultiDeleteAsync(S3Call call, BucketRecord bucket)
    {
        XElement document = S3Xml.Parse(await call.Body.ReadAllAsync(4 << 20, call.Cancellation));
        bool quiet = S3Xml.Child(document, "Quiet") == "true";
        List<string> keys = [.. S3Xml.Children(document, "Object").Select(item => S3Xml.Child(item, "Key") ?? throw new S3Exception(S3Error.MalformedXml))];
        if (keys.Count is 0 or > 1000)
        {
            throw new S3Exception(S3Error.MalformedXml, "A multi-delete names 1 to 1000 objects.");
        }

        XElement result = S3Xml.Element("DeleteResult");
        foreach (string[] batch in keys.Chunk(16))
        {
            var removals = batch.Select(key => (Key: key, Task: objects.DeleteAsync(bucket, key, call.Cancellation).AsTask())).ToList();
            foreach ((string key, Task task) in removals)
            {
                try
                {
                    await task;
                    if (!quiet)
                    {
                        result.Add(S3Xml.Element("Deleted", S3Xml.Element("Key", key)));
                    }
                }
                catch (S3Exception error)
                {
                    result.Add(S3Xml.Element("Error", S3Xml.Element("Key", key), S3Xml.Element("Code", error.Error.Code), S3Xml.Element("Message", error.Message)));
                }
            }
        }

        await S3Xml.WriteAsync(call.Context, 200, result);
    }

    private static string FromToken(string token)
    {
        var bytes = new byte[token.Length];
        return Convert.TryFromBase64String(token, bytes, out int length)
            ? Encoding.UTF8.GetString(bytes, 0, length)
            : throw new S3Exception(S3Error.InvalidArgument, "The continuation token provided is incorrect.");
    }

    private static void AddUnlessEmpty(XElement parent, string name, string value)
    {
        if (value.Length > 0)
        {
            parent.Add(S3Xml.Element(name, value));
        }
    }
}
