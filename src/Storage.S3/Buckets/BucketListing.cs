using System.Text;
using Storage.Client;
using Storage.S3.Backend;
using Storage.S3.Protocol;

namespace Storage.S3.Buckets;

/// <summary>A page of a bucket's listing.</summary>
/// <param name="Objects">Keys and entries, ascending.</param>
/// <param name="Prefixes">Common prefixes, ascending.</param>
/// <param name="More">There is more after <paramref name="Last"/>.</param>
/// <param name="Last">The last key or prefix on the page.</param>
internal sealed record ListingPage(List<(string Key, ObjectEntry Entry)> Objects, List<string> Prefixes, bool More, string Last);

/// <summary>Lists a bucket in key order (UTF-8 bytes) by merging its shards.</summary>
internal sealed class BucketListing(Pool pool, BucketRecord bucket)
{
    internal async ValueTask<ListingPage> ListAsync(string prefix, string delimiter, string after, int limit, CancellationToken cancellation)
    {
        var objects = new List<(string, ObjectEntry)>();
        var prefixes = new List<string>();
        string last = "";
        if (limit == 0)
        {
            return new ListingPage(objects, prefixes, false, last);
        }

        byte[] prefixBytes = Encoding.UTF8.GetBytes("o:" + prefix);
        byte[] from = Start(prefix, delimiter, after, prefixBytes);
        var cursors = new ShardCursor[bucket.Shards];
        for (int i = 0; i < cursors.Length; i++)
        {
            cursors[i] = new ShardCursor(pool, BucketIndex.ShardName(bucket, i), prefixBytes, Math.Clamp((limit / bucket.Shards * 2) + 16, 16, 1000));
        }

        while (true)
        {
            await Task.WhenAll(cursors.Select(cursor => cursor.SeekAsync(from, cancellation).AsTask()));
            ShardCursor? smallest = null;
            foreach (ShardCursor cursor in cursors)
            {
                if (cursor.Key is not null && (smallest is null || cursor.Key.AsSpan().SequenceCompareTo(smallest.Key) < 0))
                {
                    smallest = cursor;
                }
            }

            if (smallest is null)
            {
                return new ListingPage(objects, prefixes, false, last);
            }

            if (objects.Count + prefixes.Count == limit)
            {
                return new ListingPage(objects, prefixes, true, last);
            }

            string key = Encoding.UTF8.GetString(smallest.Key.AsSpan(2));
            string? common = CommonPrefix(key, prefix, delimiter);
            if (common is not null)
            {
                prefixes.Add(common);
                last = common;
                from = Beyond(common);
            }
            else
            {
                objects.Add((key, Json.Read(smallest.Value, RecordContext.Default.ObjectEntry)));
                last = key;
                from = [.. smallest.Key!, 0];
            }
        }
    }

    private static byte[] Start(string prefix, string delimiter, string after, byte[] prefixBytes)
    {
        if (after.Length == 0)
        {
            return prefixBytes;
        }

        // A group of keys under a common prefix is named by that prefix; it was listed if its name is not above the marker.
        string? common = after.StartsWith(prefix, StringComparison.Ordinal) ? CommonPrefix(after, prefix, delimiter) : null;
        byte[] start = common is not null ? Beyond(common) : [.. Encoding.UTF8.GetBytes("o:" + after), 0];
        return start.AsSpan().SequenceCompareTo(prefixBytes) > 0 ? start : prefixBytes;
    }

    private static string? CommonPrefix(string key, string prefix, string delimiter)
    {
        if (delimiter.Length == 0)
        {
            return null;
        }

        int at = key.IndexOf(delimiter, Math.Min(prefix.Length, key.Length), StringComparison.Ordinal);
        return at < 0 ? null : key[..(at + delimiter.Length)];
    }

    // 0xFF occurs in no UTF-8 text, so this sorts after every key with the prefix.
    private static byte[] Beyond(string common) => [.. Encoding.UTF8.GetBytes("o:" + common), 0xFF];

    private sealed class ShardCursor(Pool pool, string shard, byte[] prefix, int pageSize)
    {
        private OmapPage? _page;
        private int _index;

        internal byte[]? Key => _page is not null && _index < _page.Entries.Count ? _page.Entries[_index].Key : null;

        internal byte[] Value => _page!.Entries[_index].Value;

        internal async ValueTask SeekAsync(byte[] from, CancellationToken cancellation)
        {
            while (true)
            {
                if (_page is not null)
                {
                    while (_index < _page.Entries.Count && _page.Entries[_index].Key.AsSpan().SequenceCompareTo(from) < 0)
                    {
                        _index++;
                    }

                    if (_index < _page.Entries.Count || !_page.More)
                    {
                        return;
                    }
                }

                _page = await pool.ListOmapAsync(shard, from, prefix, pageSize, cancellation)
                    ?? throw new S3Exception(S3Error.NoSuchBucket);
                _index = 0;
                if (_page.Entries.Count == 0)
                {
                    return;
                }
            }
        }
    }
}
