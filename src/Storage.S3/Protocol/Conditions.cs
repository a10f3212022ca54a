using System.Globalization;
using Microsoft.AspNetCore.Http;

namespace Storage.S3.Protocol;

/// <summary>Conditional requests (RFC 9110 §13) as S3 applies them.</summary>
internal static class Conditions
{
    /// <summary>Evaluates the conditions of a read.</summary>
    /// <returns>304 or 412 if the request must not be carried out, else null.</returns>
    internal static int? Evaluate(HttpRequest request, string etag, DateTimeOffset modified)
    {
        string ifMatch = request.Headers.IfMatch.ToString();
        string ifNoneMatch = request.Headers.IfNoneMatch.ToString();
        if (ifMatch.Length > 0)
        {
            if (!Matches(ifMatch, etag))
            {
                return 412;
            }
        }
        else if (Date(request.Headers.IfUnmodifiedSince.ToString()) is { } unmodified && Whole(modified) > unmodified)
        {
            return 412;
        }

        if (ifNoneMatch.Length > 0)
        {
            return Matches(ifNoneMatch, etag) ? 304 : null;
        }

        return Date(request.Headers.IfModifiedSince.ToString()) is { } since && Whole(modified) <= since ? 304 : null;
    }

    /// <summary>Evaluates the x-amz-copy-source-if- conditions.</summary>
    internal static bool EvaluateCopySource(HttpRequest request, string etag, DateTimeOffset modified)
    {
        string ifMatch = request.Headers["x-amz-copy-source-if-match"].ToString();
        string ifNoneMatch = request.Headers["x-amz-copy-source-if-none-match"].ToString();
        if (ifMatch.Length > 0 ? !Matches(ifMatch, etag) : Date(request.Headers["x-amz-copy-source-if-unmodified-since"].ToString()) is { } unmodified && Whole(modified) > unmodified)
        {
            return false;
        }

        return ifNoneMatch.Length > 0
            ? !Matches(ifNoneMatch, etag)
            : !(Date(request.Headers["x-amz-copy-source-if-modified-since"].ToString()) is { } since && Whole(modified) <= since);
    }

    /// <summary>Evaluates the conditions of a write.</summary>
    internal static bool AllowsWrite(HttpRequest request, string? currentETag)
    {
        string ifMatch = request.Headers.IfMatch.ToString();
        string ifNoneMatch = request.Headers.IfNoneMatch.ToString();
        return (ifMatch.Length == 0 || (currentETag is not null && Matches(ifMatch, currentETag)))
            && (ifNoneMatch.Length == 0 || currentETag is null || !Matches(ifNoneMatch, currentETag));
    }

    private static bool Matches(string header, string etag) =>
        header.Split(',').Any(part => part.Trim() is "*" || part.Trim().Trim('"') == etag);

    private static DateTimeOffset? Date(string text) =>
        DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out DateTimeOffset date) ? date : null;

    // HTTP dates have whole seconds.
    private static DateTimeOffset Whole(DateTimeOffset time) => DateTimeOffset.FromUnixTimeSeconds(time.ToUnixTimeSeconds());
}

/// <summary>The Range header (RFC 9110 §14.2), one range of bytes.</summary>
internal static class HttpRange
{
    /// <summary>Finds the range wanted.</summary>
    /// <returns>The range clipped to the object, or null if the header is missing, malformed or names several, which means the whole.</returns>
    /// <exception cref="S3Exception">The range lies outside of the object.</exception>
    internal static (long Offset, long Length)? Parse(string header, long size)
    {
        if (!header.StartsWith("bytes=", StringComparison.Ordinal) || header.Contains(',', StringComparison.Ordinal))
        {
            return null;
        }

        string[] ends = header["bytes=".Length..].Split('-');
        if (ends.Length != 2)
        {
            return null;
        }

        bool hasFirst = long.TryParse(ends[0], NumberStyles.None, CultureInfo.InvariantCulture, out long first);
        bool hasLast = long.TryParse(ends[1], NumberStyles.None, CultureInfo.InvariantCulture, out long last);
        if (ends[0].Length == 0 && hasLast)
        {
            long count = Math.Min(last, size);
            return count > 0 ? (size - count, count) : throw new S3Exception(S3Error.InvalidRange);
        }

        if (!hasFirst || (ends[1].Length > 0 && (!hasLast || last < first)))
        {
            return null;
        }

        if (first >= size)
        {
            throw new S3Exception(S3Error.InvalidRange);
        }

        long end = ends[1].Length == 0 ? size - 1 : Math.Min(last, size - 1);
        return (first, end - first + 1);
    }
}
