using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Text;
using System.Xml.Linq;
using Storage.Cli.Configuration;

namespace Storage.Cli.Faults.Workloads;

/// <summary>The gateway answered with a status that is no success.</summary>
internal sealed class S3ErrorException(HttpStatusCode status, string code) : Exception(string.Create(CultureInfo.InvariantCulture, $"{(int)status} {code}"))
{
    public HttpStatusCode Status => status;
}

/// <summary>A small S3 client: path style, Signature V4 with the body's SHA-256, no retries of its own.</summary>
internal sealed class S3Link : IDisposable
{
    private readonly HttpClient _http = new(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(5), UseProxy = false }) { Timeout = TimeSpan.FromSeconds(60) };
    private readonly string _host;
    private readonly string _region;
    private readonly S3Credentials _keys;

    public S3Link(string host, string region, S3Credentials keys)
    {
        _host = host;
        _region = region;
        _keys = keys;
    }

    public Task CreateBucketAsync(string bucket, CancellationToken cancellation) => SendAsync(HttpMethod.Put, bucket, null, [], [], cancellation);

    public Task DeleteBucketAsync(string bucket, CancellationToken cancellation) => SendAsync(HttpMethod.Delete, bucket, null, [], [], cancellation);

    public Task PutAsync(string bucket, string key, byte[] content, CancellationToken cancellation) => SendAsync(HttpMethod.Put, bucket, key, [], content, cancellation);

    public Task DeleteAsync(string bucket, string key, CancellationToken cancellation) => SendAsync(HttpMethod.Delete, bucket, key, [], [], cancellation);

    /// <summary>An object's content; null if there is none.</summary>
    public async Task<byte[]?> GetAsync(string bucket, string key, CancellationToken cancellation)
    {
        try
        {
            return await SendAsync(HttpMethod.Get, bucket, key, [], [], cancellation).ConfigureAwait(false);
        }
        catch (S3ErrorException e) when (e.Status == HttpStatusCode.NotFound && e.Message.Contains("NoSuchKey", StringComparison.Ordinal))
        {
            return null;
        }
    }

    /// <summary>All keys of a bucket, which has fewer than a page holds.</summary>
    public async Task<IReadOnlyList<string>> ListAsync(string bucket, CancellationToken cancellation)
    {
        byte[] xml = await SendAsync(HttpMethod.Get, bucket, null, [("list-type", "2")], [], cancellation).ConfigureAwait(false);
        XElement root = XDocument.Parse(Encoding.UTF8.GetString(xml)).Root!;
        return root.Element(root.Name.Namespace + "IsTruncated")?.Value == "true"
            ? throw new InvalidDataException("the bucket has more keys than a page holds")
            : [.. root.Elements(root.Name.Namespace + "Contents").Select(entry => entry.Element(root.Name.Namespace + "Key")!.Value)];
    }

    public void Dispose() => _http.Dispose();

    private async Task<byte[]> SendAsync(HttpMethod method, string bucket, string? key, (string Name, string Value)[] query, byte[] body, CancellationToken cancellation)
    {
        string path = key is null ? $"/{bucket}" : $"/{bucket}/{key}"; // names made of what needs no encoding
        string parameters = string.Join('&', query.OrderBy(pair => pair.Name, StringComparer.Ordinal).Select(pair => $"{pair.Name}={pair.Value}"));
        using var request = new HttpRequestMessage(method, $"http://{_host}{path}{(parameters.Length > 0 ? "?" + parameters : "")}");
        if (method == HttpMethod.Put)
        {
            request.Content = new ByteArrayContent(body);
        }

        Sign(request, path, parameters, body);
        using HttpResponseMessage response = await _http.SendAsync(request, HttpCompletionOption.ResponseContentRead, cancellation).ConfigureAwait(false);
        byte[] content = await response.Content.ReadAsByteArrayAsync(cancellation).ConfigureAwait(false);
        return response.IsSuccessStatusCode ? content : throw new S3ErrorException(response.StatusCode, CodeOf(Encoding.UTF8.GetString(content)));
    }

    /// <summary>The code in an error's XML, which says the same each time, unlike the rest.</summary>
    private static string CodeOf(string error)
    {
        int start = error.IndexOf("<Code>", StringComparison.Ordinal);
        int end = error.IndexOf("</Code>", StringComparison.Ordinal);
        return start >= 0 && end > start ? error[(start + 6)..end] : error[..Math.Min(error.Length, 100)];
    }

    private void Sign(HttpRequestMessage request, string path, string query, byte[] body)
    {
        string time = TimeProvider.System.GetUtcNow().ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        string date = time[..8];
        string hash = Convert.ToHexStringLower(SHA256.HashData(body));
        const string headers = "host;x-amz-content-sha256;x-amz-date";
        string canonical = $"{request.Method}\n{path}\n{query}\nhost:{_host}\nx-amz-content-sha256:{hash}\nx-amz-date:{time}\n\n{headers}\n{hash}";
        string scope = $"{date}/{_region}/s3/aws4_request";
        string toSign = $"AWS4-HMAC-SHA256\n{time}\n{scope}\n{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical)))}";
        byte[] signingKey = Encoding.UTF8.GetBytes("AWS4" + _keys.SecretKey);
        foreach (string part in (string[])[date, _region, "s3", "aws4_request", toSign])
        {
            signingKey = HMACSHA256.HashData(signingKey, Encoding.UTF8.GetBytes(part));
        }

        request.Headers.TryAddWithoutValidation("x-amz-content-sha256", hash);
        request.Headers.TryAddWithoutValidation("x-amz-date", time);
        request.Headers.TryAddWithoutValidation(
            "Authorization", $"AWS4-HMAC-SHA256 Credential={_keys.AccessKey}/{scope},SignedHeaders={headers},Signature={Convert.ToHexStringLower(signingKey)}");
    }
}

/// <summary>What an object holds: the number of the write, then bytes that follow from it, the key and the run.</summary>
internal sealed class ObjectPattern(ulong run)
{
    private const int Header = 16;

    public byte[] Make(string key, ulong value, int length)
    {
        byte[] content = new byte[Math.Max(length, Header)];
        BinaryPrimitives.WriteUInt64LittleEndian(content, value);
        BinaryPrimitives.WriteInt64LittleEndian(content.AsSpan(8), content.Length);
        Fill(content.AsSpan(Header), key, value);
        return content;
    }

    /// <summary>The number of the write whose content this is.</summary>
    public ulong Read(string key, byte[] content)
    {
        if (content.Length < Header || BinaryPrimitives.ReadInt64LittleEndian(content.AsSpan(8)) != content.Length)
        {
            return Simulation.Histories.Recorded.RecordedValue.Damaged;
        }

        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(content);
        byte[] expected = new byte[content.Length - Header];
        Fill(expected, key, value);
        return content.AsSpan(Header).SequenceEqual(expected) ? value : Simulation.Histories.Recorded.RecordedValue.Damaged;
    }

    private void Fill(Span<byte> bytes, string key, ulong value)
    {
        ulong state = (run ^ value * 0x9E3779B97F4A7C15) + Coding.Crc32C.Compute(Encoding.UTF8.GetBytes(key)) | 1;
        for (int i = 0; i < bytes.Length; i++)
        {
            if (i % 8 == 0)
            {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
            }

            bytes[i] = (byte)(state >> (i % 8 * 8));
        }
    }
}
