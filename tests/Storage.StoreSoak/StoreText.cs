using System.Security.Cryptography;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Offline;
using Storage.Reactor;

namespace Storage.StoreSoak;

/// <summary>All that can be read from a store, a line per object: equal texts, equal stores.</summary>
internal static class StoreText
{
    private const int Piece = 1 << 20;

    /// <summary>Writes the text to a file.</summary>
    public static async Task WriteAsync(IObjectStore store, string path)
    {
        using var file = new StreamWriter(path);
        foreach (CollectionId collection in store.ListCollections())
        {
            LogRange range = store.GetLog(collection);
            var records = new List<ReadOnlyMemory<byte>>();
            store.ReadLog(collection, records);
            using var log = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            foreach (ReadOnlyMemory<byte> record in records)
            {
                log.AppendData(record.Span);
            }

            file.WriteLine($"{collection}: log {range.First}..{range.Next} {records.Count} {Hex(log)}");
            var names = new List<ObjectId>();
            store.ListObjects(collection, null, int.MaxValue, names);
            foreach (ObjectId id in names)
            {
                file.WriteLine(await DescribeAsync(store, collection, id));
            }
        }
    }

    private static async Task<string> DescribeAsync(IObjectStore store, CollectionId collection, ObjectId id)
    {
        _ = store.TryStat(collection, id, out long size);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach ((string name, ReadOnlyMemory<byte> value) in store.GetAttributes(collection, id))
        {
            hash.AppendData(System.Text.Encoding.UTF8.GetBytes(name));
            hash.AppendData(value.Span);
        }

        string attributes = Hex(hash);
        int entries = 0;
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in store.AllOmap(collection, id))
        {
            entries++;
            hash.AppendData(key.Span);
            hash.AppendData(value.Span);
        }

        string omap = Hex(hash);
        var extents = new List<DataExtent>();
        store.ListExtents(collection, id, 0, size, extents);
        foreach (DataExtent extent in extents)
        {
            hash.AppendData(BitConverter.GetBytes(extent.Offset));
            hash.AppendData(BitConverter.GetBytes(extent.Length));
        }

        string map = Hex(hash);
        ReadStatus worst = ReadStatus.Ok;
        for (long at = 0; at < size; at += Piece)
        {
            (ReadStatus status, BufferSegment data) = await store.ReadAsync(collection, id, at, Piece);
            worst = status == ReadStatus.Ok ? worst : status;
            hash.AppendData(data.Span);
            data.Buffer?.Release();
        }

        return $"{collection}/{id} size {size} attributes {attributes} omap {entries} {omap} extents {extents.Count} {map} data {worst} {Hex(hash)}";
    }

    private static string Hex(IncrementalHash hash) => Convert.ToHexString(hash.GetHashAndReset().AsSpan(0, 8));
}
