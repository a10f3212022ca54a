using System.Buffers;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Microsoft.AspNetCore.Http;
using Storage.S3.Protocol;

namespace Storage.S3.Authentication;

/// <summary>How the body is vouched for by the signature.</summary>
public enum PayloadMode
{
    /// <summary>The SHA-256 of the whole body is signed.</summary>
    Signed,

    /// <summary>The body is not signed.</summary>
    Unsigned,

    /// <summary>aws-chunked; every chunk is signed.</summary>
    SignedChunks,

    /// <summary>aws-chunked; every chunk and the trailer are signed.</summary>
    SignedChunksWithTrailer,

    /// <summary>aws-chunked without signatures, with a trailer.</summary>
    UnsignedChunksWithTrailer,
}

/// <summary>A request whose signature was checked.</summary>
/// <param name="AccessKey">Who signed.</param>
/// <param name="Payload">How the body is vouched for.</param>
/// <param name="PayloadSha256">The signed SHA-256 in lower-case hex, for <see cref="PayloadMode.Signed"/>.</param>
/// <param name="SigningKey">Derived key, for chunk signatures.</param>
/// <param name="Timestamp">ISO 8601 basic time of the request.</param>
/// <param name="Scope">Credential scope.</param>
/// <param name="SeedSignature">The request's signature, which the first chunk's continues.</param>
public sealed record AuthenticatedRequest(
    string AccessKey,
    PayloadMode Payload,
    string PayloadSha256,
    byte[] SigningKey,
    string Timestamp,
    string Scope,
    string SeedSignature);

/// <summary>
/// AWS Signature Version 4, by header or query ("Authenticating Requests (AWS Signature Version 4)" of the S3 API reference).
/// Signatures are compared in constant time. All headers that the standard requires must be signed.
/// </summary>
public sealed class SignatureV4(string region, TimeProvider time, Func<string, CancellationToken, ValueTask<string?>> findSecret)
{
    private const string Algorithm = "AWS4-HMAC-SHA256";
    private static readonly TimeSpan s_skew = TimeSpan.FromMinutes(15);
    private static readonly SearchValues<char> s_hex = SearchValues.Create("0123456789abcdef");

    /// <summary>Checks a request's signature.</summary>
    /// <param name="request">The request; its body is not read.</param>
    /// <param name="cancellation">Ends the look-up of the key.</param>
    /// <returns>Who signed and how the body is vouched for.</returns>
    /// <exception cref="S3Exception">The request is not signed, wrongly signed, too old, or by an unknown key.</exception>
    public async ValueTask<AuthenticatedRequest> AuthenticateAsync(HttpRequest request, CancellationToken cancellation)
    {
        string authorization = request.Headers.Authorization.ToString();
        bool byQuery = request.Query.ContainsKey("X-Amz-Algorithm");
        if (authorization.Length > 0 && byQuery)
        {
            throw new S3Exception(S3Error.InvalidArgument, "Only one authentication mechanism is allowed: the header or the query, not both.");
        }

        if (byQuery)
        {
            return await CheckAsync(request, FromQuery(request), cancellation);
        }

        if (authorization.Length == 0)
        {
            throw new S3Exception(S3Error.AccessDenied, "Anonymous access is not allowed: sign the request.");
        }

        return await CheckAsync(request, FromHeader(request, authorization), cancellation);
    }

    /// <summary>Signature of data under a derived key.</summary>
    /// <param name="signingKey">The derived key.</param>
    /// <param name="text">What is signed.</param>
    /// <returns>Lower-case hex.</returns>
    public static string Sign(byte[] signingKey, string text) =>
        Convert.ToHexStringLower(HMACSHA256.HashData(signingKey, Encoding.UTF8.GetBytes(text)));

    /// <summary>Compares two signatures in constant time.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether they are equal.</returns>
    public static bool SignaturesEqual(string left, string right) =>
        CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(left), Encoding.UTF8.GetBytes(right));

    private sealed record Claim(
        string AccessKey, string Date, string Region, string Service, string[] SignedHeaders, string Signature, string Timestamp, string PayloadHash, bool ByQuery, TimeSpan Validity);

    private static Claim FromHeader(HttpRequest request, string authorization)
    {
        if (!authorization.StartsWith(Algorithm + " ", StringComparison.Ordinal))
        {
            throw new S3Exception(S3Error.InvalidRequest, "The authorization mechanism is not supported: use AWS4-HMAC-SHA256 (Signature Version 4).");
        }

        string? credential = null, headers = null, signature = null;
        foreach (string part in authorization[(Algorithm.Length + 1)..].Split(','))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string value = equals < 0 ? "" : part[(equals + 1)..].Trim();
            switch (equals < 0 ? part.Trim() : part[..equals].Trim())
            {
                case "Credential":
                    credential = value;
                    break;
                case "SignedHeaders":
                    headers = value;
                    break;
                case "Signature":
                    signature = value;
                    break;
                default:
                    throw new S3Exception(S3Error.AuthorizationHeaderMalformed, $"The authorization header has an unknown part: {part.Trim()}");
            }
        }

        string timestamp = request.Headers["x-amz-date"].ToString();
        if (timestamp.Length == 0 && DateTimeOffset.TryParse(request.Headers.Date.ToString(), CultureInfo.InvariantCulture, DateTimeStyles.None, out DateTimeOffset date))
        {
            timestamp = date.UtcDateTime.ToString("yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture);
        }

        string hash = request.Headers["x-amz-content-sha256"].ToString();
        if (hash.Length == 0)
        {
            throw new S3Exception(S3Error.InvalidRequest, "The header x-amz-content-sha256 is missing.");
        }

        return MakeClaim(credential, headers, signature, timestamp, hash, false, s_skew);
    }

    private static Claim FromQuery(HttpRequest request)
    {
        IQueryCollection query = request.Query;
        if (query["X-Amz-Algorithm"] != Algorithm)
        {
            throw new S3Exception(S3Error.InvalidArgument, "X-Amz-Algorithm must be AWS4-HMAC-SHA256.");
        }

        if (!int.TryParse(query["X-Amz-Expires"], NumberStyles.None, CultureInfo.InvariantCulture, out int seconds) || seconds is < 1 or > 604_800)
        {
            throw new S3Exception(S3Error.InvalidArgument, "X-Amz-Expires must be 1 to 604800 seconds.");
        }

        string hash = request.Headers["x-amz-content-sha256"].ToString();
        return MakeClaim(
            query["X-Amz-Credential"], query["X-Amz-SignedHeaders"], query["X-Amz-Signature"], query["X-Amz-Date"].ToString(),
            hash.Length > 0 ? hash : "UNSIGNED-PAYLOAD", true, TimeSpan.FromSeconds(seconds));
    }

    private static Claim MakeClaim(string? credential, string? headers, string? signature, string timestamp, string hash, bool byQuery, TimeSpan validity)
    {
        string[] scope = (credential ?? "").Split('/');
        if (scope.Length < 5 || string.IsNullOrEmpty(headers) || signature is not { Length: 64 } || signature.AsSpan().ContainsAnyExcept(s_hex) || scope[^1] != "aws4_request")
        {
            throw new S3Exception(S3Error.AuthorizationHeaderMalformed, "The credential must be KEY/DATE/REGION/s3/aws4_request, with SignedHeaders and a Signature of 64 hex digits.");
        }

        return new Claim(string.Join('/', scope[..^4]), scope[^4], scope[^3], scope[^2], headers.Split(';'), signature, timestamp, hash, byQuery, validity);
    }

    private async ValueTask<AuthenticatedRequest> CheckAsync(HttpRequest request, Claim claim, CancellationToken cancellation)
    {
        CheckTime(claim);
        if (claim.Service != "s3")
        {
            throw new S3Exception(S3Error.AuthorizationHeaderMalformed, $"The credential names the service '{claim.Service}'; 's3' is expected.");
        }

        if (claim.Region != region)
        {
            throw new S3Exception(S3Error.AuthorizationHeaderMalformed, $"The credential names the region '{claim.Region}'; '{region}' is expected.");
        }

        CheckSignedHeaders(request, claim);
        string secret = await findSecret(claim.AccessKey, cancellation) ?? throw new S3Exception(S3Error.InvalidAccessKeyId);
        byte[] key = HMACSHA256.HashData(Encoding.UTF8.GetBytes("AWS4" + secret), Encoding.UTF8.GetBytes(claim.Date));
        key = HMACSHA256.HashData(key, Encoding.UTF8.GetBytes(claim.Region));
        key = HMACSHA256.HashData(key, "s3"u8);
        key = HMACSHA256.HashData(key, "aws4_request"u8);
        string scope = $"{claim.Date}/{claim.Region}/s3/aws4_request";
        string canonical = CanonicalRequest(request, claim);
        string toSign = $"{Algorithm}\n{claim.Timestamp}\n{scope}\n{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical)))}";
        if (!SignaturesEqual(Sign(key, toSign), claim.Signature))
        {
            throw new S3Exception(S3Error.SignatureDoesNotMatch);
        }

        return new AuthenticatedRequest(claim.AccessKey, ModeOf(claim.PayloadHash), claim.PayloadHash, key, claim.Timestamp, scope, claim.Signature);
    }

    private static PayloadMode ModeOf(string hash) => hash switch
    {
        "UNSIGNED-PAYLOAD" => PayloadMode.Unsigned,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => PayloadMode.SignedChunks,
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => PayloadMode.SignedChunksWithTrailer,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => PayloadMode.UnsignedChunksWithTrailer,
        { Length: 64 } when !hash.AsSpan().ContainsAnyExcept(s_hex) => PayloadMode.Signed,
        _ => throw new S3Exception(S3Error.InvalidArgument, "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- mode, or a SHA-256 in lower-case hex."),
    };

    private void CheckTime(Claim claim)
    {
        if (!DateTimeOffset.TryParseExact(claim.Timestamp, "yyyyMMdd'T'HHmmss'Z'", CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset signedAt))
        {
            throw new S3Exception(S3Error.AccessDenied, "The request needs a date: X-Amz-Date as yyyyMMddTHHmmssZ.");
        }

        if (!claim.Timestamp.StartsWith(claim.Date, StringComparison.Ordinal))
        {
            throw new S3Exception(S3Error.AuthorizationHeaderMalformed, "The credential's date is not the request's.");
        }

        TimeSpan age = time.GetUtcNow() - signedAt;
        if (age < -s_skew || (!claim.ByQuery && age > s_skew))
        {
            throw new S3Exception(S3Error.RequestTimeTooSkewed);
        }

        if (claim.ByQuery && age > claim.Validity)
        {
            throw new S3Exception(S3Error.ExpiredToken);
        }
    }

    // What is not signed could be changed on the way; the host and every x-amz- header must be signed.
    private static void CheckSignedHeaders(HttpRequest request, Claim claim)
    {
        if (!claim.SignedHeaders.Contains("host", StringComparer.Ordinal))
        {
            throw new S3Exception(S3Error.AccessDenied, "The header 'host' must be signed.");
        }

        foreach (string name in request.Headers.Keys)
        {
            string lower = name.ToLowerInvariant();
            bool payloadOfPresigned = claim.ByQuery && lower == "x-amz-content-sha256";
            if (lower.StartsWith("x-amz-", StringComparison.Ordinal) && !payloadOfPresigned && !claim.SignedHeaders.Contains(lower, StringComparer.Ordinal))
            {
                throw new S3Exception(S3Error.AccessDenied, $"There were headers present in the request which were not signed: {lower}");
            }
        }
    }

    private static string CanonicalRequest(HttpRequest request, Claim claim)
    {
        var text = new StringBuilder();
        text.Append(request.Method).Append('\n');
        text.Append(CanonicalPath(request)).Append('\n');
        text.Append(CanonicalQuery(request, claim.ByQuery)).Append('\n');
        foreach (string name in claim.SignedHeaders)
        {
            text.Append(name).Append(':');
            if (name == "host")
            {
                text.Append(request.Host.Value);
            }
            else
            {
                text.AppendJoin(',', request.Headers[name].Select(value => CollapseSpaces(value ?? "")));
            }

            text.Append('\n');
        }

        text.Append('\n').AppendJoin(';', claim.SignedHeaders).Append('\n').Append(claim.PayloadHash);
        return text.ToString();
    }

    // The path as the client sent it, decoded and encoded again by the standard's rules; S3 does not normalize it.
    private static string CanonicalPath(HttpRequest request) => S3Uri.Encode(S3Uri.DecodedPath(request), keepSlash: true);

    private static string CanonicalQuery(HttpRequest request, bool byQuery)
    {
        string raw = request.QueryString.Value ?? "";
        var pairs = new List<(string Name, string Value)>();
        foreach (string part in raw.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            int equals = part.IndexOf('=', StringComparison.Ordinal);
            string name = S3Uri.Decode(equals < 0 ? part : part[..equals]);
            if (byQuery && name == "X-Amz-Signature")
            {
                continue;
            }

            pairs.Add((S3Uri.Encode(name, false), S3Uri.Encode(equals < 0 ? "" : S3Uri.Decode(part[(equals + 1)..]), false)));
        }

        pairs.Sort((a, b) => string.CompareOrdinal(a.Name, b.Name) is not 0 and var order ? order : string.CompareOrdinal(a.Value, b.Value));
        return string.Join('&', pairs.Select(pair => $"{pair.Name}={pair.Value}"));
    }

    private static string CollapseSpaces(string value)
    {
        value = value.Trim();
        while (value.Contains("  ", StringComparison.Ordinal))
        {
            value = value.Replace("  ", " ", StringComparison.Ordinal);
        }

        return value;
    }
}
