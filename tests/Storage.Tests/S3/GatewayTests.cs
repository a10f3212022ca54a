using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Amazon.S3;
using Amazon.S3.Model;
using Storage.Messaging;
using Xunit;

namespace Storage.Tests.S3;

public sealed class GatewayTests(GatewayFixture gateway) : IClassFixture<GatewayFixture>
{
    private readonly AmazonS3Client _client = gateway.Client;

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(1 << 20)]
    [InlineData((3 << 20) + 17)]
    public async Task An_object_comes_back_as_it_was_put(int size)
    {
        string bucket = await NewBucketAsync();
        byte[] data = RandomNumberGenerator.GetBytes(size);
        var put = new PutObjectRequest { BucketName = bucket, Key = "dir/ä key+with space", InputStream = new MemoryStream(data), ContentType = "text/x-test" };
        put.Metadata.Add("colour", "blue");
        PutObjectResponse answer = await _client.PutObjectAsync(put);
        Assert.Equal($"\"{Convert.ToHexStringLower(MD5.HashData(data))}\"", answer.ETag);
        using GetObjectResponse got = await _client.GetObjectAsync(bucket, "dir/ä key+with space");
        Assert.Equal(data, await ReadAsync(got.ResponseStream));
        Assert.Equal("text/x-test", got.Headers.ContentType);
        Assert.Equal("blue", got.Metadata["colour"]);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(5, 1_048_580)]
    [InlineData(1_048_575, 1_048_576)]
    [InlineData(2_000_000, 2_999_999)]
    public async Task A_range_is_cut_out_of_the_chunks(int first, int last)
    {
        string bucket = await NewBucketAsync();
        byte[] data = RandomNumberGenerator.GetBytes(3_000_000);
        await _client.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = "k", InputStream = new MemoryStream(data) });
        using GetObjectResponse got = await _client.GetObjectAsync(new GetObjectRequest { BucketName = bucket, Key = "k", ByteRange = new ByteRange(first, last) });
        Assert.Equal(HttpStatusCode.PartialContent, got.HttpStatusCode);
        Assert.Equal(data[first..(last + 1)], await ReadAsync(got.ResponseStream));
    }

    [Fact]
    public async Task A_range_beyond_the_end_is_refused()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "0123456789");
        AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() =>
            _client.GetObjectAsync(new GetObjectRequest { BucketName = bucket, Key = "k", ByteRange = new ByteRange(10, 20) }));
        Assert.Equal("InvalidRange", error.ErrorCode);
    }

    [Fact]
    public async Task A_listing_pages_through_all_keys_in_order()
    {
        string bucket = await NewBucketAsync();
        string[] keys = [.. Enumerable.Range(0, 57).Select(i => $"k{i:d3}").Append("z/ü"), "Z"];
        foreach (string key in keys)
        {
            await PutAsync(bucket, key, key);
        }

        var listed = new List<string>();
        var request = new ListObjectsV2Request { BucketName = bucket, MaxKeys = 7 };
        ListObjectsV2Response page;
        do
        {
            page = await _client.ListObjectsV2Async(request);
            listed.AddRange(page.S3Objects.Select(item => item.Key));
            request.ContinuationToken = page.NextContinuationToken;
        }
        while (page.IsTruncated == true);
        Assert.Equal(keys.Order(StringComparer.Ordinal), listed);
    }

    [Fact]
    public async Task A_delimiter_rolls_keys_up_and_never_repeats_a_prefix()
    {
        string bucket = await NewBucketAsync();
        foreach (string key in (string[])["a/1", "a/2", "b", "c/1/x", "c/2", "d"])
        {
            await PutAsync(bucket, key, "");
        }

        var keys = new List<string>();
        var prefixes = new List<string>();
        var request = new ListObjectsV2Request { BucketName = bucket, Delimiter = "/", MaxKeys = 1 };
        ListObjectsV2Response page;
        do
        {
            page = await _client.ListObjectsV2Async(request);
            keys.AddRange((page.S3Objects ?? []).Select(item => item.Key));
            prefixes.AddRange(page.CommonPrefixes ?? []);
            request.ContinuationToken = page.NextContinuationToken;
        }
        while (page.IsTruncated == true);
        Assert.Equal(["b", "d"], keys);
        Assert.Equal(["a/", "c/"], prefixes);
    }

    [Fact]
    public async Task A_multipart_upload_joins_its_parts_and_leaves_no_garbage()
    {
        string bucket = await NewBucketAsync();
        byte[] first = RandomNumberGenerator.GetBytes(5 << 20);
        byte[] replaced = RandomNumberGenerator.GetBytes(1000);
        byte[] second = RandomNumberGenerator.GetBytes(12_345);
        string upload = (await _client.InitiateMultipartUploadAsync(bucket, "big")).UploadId;
        var parts = new List<PartETag> { await PartAsync(bucket, upload, 1, first) };
        await PartAsync(bucket, upload, 2, replaced);
        parts.Add(await PartAsync(bucket, upload, 2, second));
        await PartAsync(bucket, upload, 9, replaced);
        Assert.Equal(3, (await _client.ListPartsAsync(bucket, "big", upload)).Parts.Count);
        CompleteMultipartUploadResponse done = await _client.CompleteMultipartUploadAsync(
            new CompleteMultipartUploadRequest { BucketName = bucket, Key = "big", UploadId = upload, PartETags = parts });
        Assert.EndsWith("-2\"", done.ETag, StringComparison.Ordinal);
        await CollectAsync();
        using GetObjectResponse got = await _client.GetObjectAsync(bucket, "big");
        byte[] whole = [.. first, .. second];
        Assert.Equal(whole, await ReadAsync(got.ResponseStream));
        await _client.DeleteObjectAsync(bucket, "big");
        await CollectAsync();
        Assert.DoesNotContain(gateway.Cluster.Names(DataPool), name => name.Contains(BucketIdOf(bucket), StringComparison.Ordinal));
    }

    [Fact]
    public async Task An_aborted_upload_leaves_nothing()
    {
        string bucket = await NewBucketAsync();
        string upload = (await _client.InitiateMultipartUploadAsync(bucket, "big")).UploadId;
        await PartAsync(bucket, upload, 1, RandomNumberGenerator.GetBytes(1000));
        await _client.AbortMultipartUploadAsync(bucket, "big", upload);
        AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => PartAsync(bucket, upload, 2, [1]));
        Assert.Equal("NoSuchUpload", error.ErrorCode);
        await CollectAsync();
        Assert.DoesNotContain(gateway.Cluster.Names(DataPool), name => name.Contains(BucketIdOf(bucket), StringComparison.Ordinal));
        await _client.DeleteBucketAsync(bucket);
    }

    [Fact]
    public async Task Replaced_and_deleted_data_is_collected()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        await PutAsync(bucket, "k", "two");
        await CollectAsync();
        string id = BucketIdOf(bucket);
        Assert.Single(gateway.Cluster.Names(DataPool), name => name.Contains(id, StringComparison.Ordinal));
        Assert.Equal("two", await GetAsync(bucket, "k"));
    }

    [Fact]
    public async Task Copying_keeps_data_and_metadata_even_after_the_source_is_gone()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "from", "content");
        await _client.CopyObjectAsync(bucket, "from", bucket, "to");
        await _client.DeleteObjectAsync(bucket, "from");
        await CollectAsync();
        Assert.Equal("content", await GetAsync(bucket, "to"));
    }

    [Fact]
    public async Task Conditions_guard_reads_and_writes()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() =>
            _client.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = "k", ContentBody = "two", IfNoneMatch = "*" }));
        Assert.Equal("PreconditionFailed", error.ErrorCode);
        Assert.Equal("one", await GetAsync(bucket, "k"));
    }

    [Fact]
    public async Task A_bucket_with_objects_cannot_be_removed_and_stays_usable()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => _client.DeleteBucketAsync(bucket));
        Assert.Equal("BucketNotEmpty", error.ErrorCode);
        await PutAsync(bucket, "k2", "two");
        await _client.DeleteObjectsAsync(new DeleteObjectsRequest { BucketName = bucket, Objects = [new KeyVersion { Key = "k" }, new KeyVersion { Key = "k2" }] });
        await _client.DeleteBucketAsync(bucket);
        Assert.DoesNotContain((await _client.ListBucketsAsync()).Buckets ?? [], item => item.BucketName == bucket);
    }

    [Fact]
    public async Task Wrong_secrets_and_unknown_keys_are_refused()
    {
        using AmazonS3Client wrongSecret = gateway.NewClient(gateway.User.Keys[0].AccessKey, "wrong");
        Assert.Equal("SignatureDoesNotMatch", (await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => wrongSecret.ListBucketsAsync())).ErrorCode);
        using AmazonS3Client unknown = gateway.NewClient("NOBODY", "wrong");
        Assert.Equal("InvalidAccessKeyId", (await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => unknown.ListBucketsAsync())).ErrorCode);
        using var http = new HttpClient();
        HttpResponseMessage anonymous = await http.GetAsync(gateway.Endpoint);
        Assert.Equal(HttpStatusCode.Forbidden, anonymous.StatusCode);
        Assert.Contains("AccessDenied", await anonymous.Content.ReadAsStringAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Buckets_of_others_are_closed()
    {
        string bucket = await NewBucketAsync();
        Storage.S3.Backend.S3User other = await gateway.Users.CreateAsync("other" + Guid.NewGuid().ToString("N")[..8], "", "", "", default);
        using AmazonS3Client client = gateway.NewClient(other.Keys[0].AccessKey, other.Keys[0].SecretKey);
        Assert.Equal("AccessDenied", (await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => client.GetObjectAsync(bucket, "k"))).ErrorCode);
        Assert.Equal("BucketAlreadyExists", (await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => client.PutBucketAsync(bucket))).ErrorCode);
    }

    [Fact]
    public async Task A_presigned_address_serves_until_it_expires()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        using var http = new HttpClient();
        string good = await _client.GetPreSignedURLAsync(new GetPreSignedUrlRequest { BucketName = bucket, Key = "k", Expires = DateTime.UtcNow.AddMinutes(5), Protocol = Protocol.HTTP });
        Assert.Equal("one", await http.GetStringAsync(good));
        HttpResponseMessage changed = await http.GetAsync(good.Replace("/k?", "/other?", StringComparison.Ordinal));
        Assert.Equal(HttpStatusCode.Forbidden, changed.StatusCode);
    }

    [Fact]
    public async Task A_body_that_is_not_what_was_signed_changes_nothing()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() =>
            _client.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = "k", ContentBody = "two", MD5Digest = Convert.ToBase64String(MD5.HashData("six"u8)) }));
        Assert.Equal("BadDigest", error.ErrorCode);
        Assert.Equal("one", await GetAsync(bucket, "k"));
    }

    [Fact]
    public async Task A_full_cluster_is_reported_and_keeps_the_old_object()
    {
        string bucket = await NewBucketAsync();
        await PutAsync(bucket, "k", "one");
        gateway.Cluster.Fault = (pool, _, operation) => pool == DataPool && operation.IsWrite ? ResultCode.NoSpace : ResultCode.Ok;
        try
        {
            AmazonS3Exception error = await Assert.ThrowsAnyAsync<AmazonS3Exception>(() => PutAsync(bucket, "k", "two"));
            Assert.Equal(HttpStatusCode.InsufficientStorage, error.StatusCode);
        }
        finally
        {
            gateway.Cluster.Fault = null;
        }

        Assert.Equal("one", await GetAsync(bucket, "k"));
    }

    [Fact]
    public async Task Garbage_on_the_port_is_refused_and_the_gateway_lives()
    {
        using (var socket = new TcpClient(gateway.Endpoint.Host, gateway.Endpoint.Port))
        {
            await socket.GetStream().WriteAsync(RandomNumberGenerator.GetBytes(4096));
            var answer = new byte[4096];
            Assert.Contains("400", Encoding.ASCII.GetString(answer, 0, await socket.GetStream().ReadAsync(answer)), StringComparison.Ordinal);
        }

        await _client.ListBucketsAsync();
    }

    private long DataPool => gateway.Cluster.Map!.FindPool("s3.data")!.Id;

    private long IndexPool => gateway.Cluster.Map!.FindPool("s3.index")!.Id;

    private string BucketIdOf(string bucket)
    {
        Storage.Tests.Kit.MemoryObject record = gateway.Cluster.Find(IndexPool, "bucket." + bucket)!;
        return System.Text.Json.JsonDocument.Parse(record.Blocks[0].AsMemory(0, (int)record.Size)).RootElement.GetProperty("id").GetString()!;
    }

    private Task<long> CollectAsync() => gateway.Gateway.CollectGarbageOnceAsync(default).AsTask();

    private async Task<string> NewBucketAsync()
    {
        string name = "b-" + Guid.NewGuid().ToString("N")[..12];
        await _client.PutBucketAsync(name);
        return name;
    }

    private Task PutAsync(string bucket, string key, string content) =>
        _client.PutObjectAsync(new PutObjectRequest { BucketName = bucket, Key = key, ContentBody = content });

    private async Task<string> GetAsync(string bucket, string key)
    {
        using GetObjectResponse got = await _client.GetObjectAsync(bucket, key);
        return Encoding.UTF8.GetString(await ReadAsync(got.ResponseStream));
    }

    private async Task<PartETag> PartAsync(string bucket, string upload, int number, byte[] data)
    {
        UploadPartResponse part = await _client.UploadPartAsync(new UploadPartRequest
        {
            BucketName = bucket,
            Key = "big",
            UploadId = upload,
            PartNumber = number,
            InputStream = new MemoryStream(data),
        });
        return new PartETag(number, part.ETag);
    }

    private static async Task<byte[]> ReadAsync(Stream stream)
    {
        using var copy = new MemoryStream();
        await stream.CopyToAsync(copy);
        return copy.ToArray();
    }
}
