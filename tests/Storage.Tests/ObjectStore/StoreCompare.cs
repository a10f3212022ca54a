using Storage.Cluster;
using Storage.ObjectStore;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>Everything that can be read from a store, as text: equal texts, equal stores.</summary>
internal static class StoreCompare
{
    public static string Describe(StoreKit kit, IObjectStore store)
    {
        var text = new System.Text.StringBuilder();
        foreach (CollectionId collection in store.ListCollections())
        {
            text.AppendLine($"collection {collection}");
            LogRange log = store.GetLog(collection);
            var records = new List<ReadOnlyMemory<byte>>();
            store.ReadLog(collection, records);
            Assert.Equal(log.Next - log.First, records.Count);
            text.AppendLine($" log {log.First}..{log.Next} {string.Join(' ', records.Select(record => $"{record.Length}:{Convert.ToHexString(System.Security.Cryptography.MD5.HashData(record.Span))}"))}");
            var objects = new List<ObjectId>();
            ObjectId? from = null;
            while (true)
            {
                int before = objects.Count;
                bool more = store.ListObjects(collection, from, 2, objects);
                if (!more)
                {
                    break;
                }

                from = objects[^1];
                objects.RemoveAt(objects.Count - 1);
                Assert.True(objects.Count > before);
            }

            foreach (ObjectId id in objects)
            {
                Assert.True(store.TryStat(collection, id, out long size));
                (ReadStatus status, byte[] data) = kit.Read(store, collection, id, 0, 4 << 20);
                text.AppendLine($" {id}/{id.Hash:x} size {size} {status} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(data))}");
                if (size > 5000)
                {
                    (_, byte[] part) = kit.Read(store, collection, id, 4097, 4500);
                    Assert.Equal(data.AsSpan(4097, Math.Min(4500, data.Length - 4097)).ToArray(), part);
                }

                var extents = new List<DataExtent>();
                store.ListExtents(collection, id, 100, 700_000, extents);
                text.AppendLine("  " + string.Join(' ', extents.Select(e => $"{e.Offset}+{e.Length}")));
                foreach ((string name, ReadOnlyMemory<byte> value) in store.GetAttributes(collection, id))
                {
                    text.AppendLine($"  {name}={Convert.ToHexString(value.Span)}");
                }

                var omap = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
                bool truncated = store.ListOmap(collection, id, [(byte)'k', 5], 10, omap);
                text.AppendLine($"  omap more={truncated}");
                store.ListOmap(collection, id, default, 1000, omap);
                foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in omap)
                {
                    text.AppendLine($"  {Convert.ToHexString(key.Span)}={Convert.ToHexString(value.Span)}");
                    Assert.True(store.TryGetOmap(collection, id, key.Span, out ReadOnlyMemory<byte> single));
                    Assert.Equal(value.ToArray(), single.ToArray());
                }
            }
        }

        return text.ToString();
    }
}
