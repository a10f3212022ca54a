using Storage.Cluster;

namespace Storage.ObjectStore;

/// <summary>Reads that take several calls of a store.</summary>
public static class ObjectStoreReading
{
    private const int OmapPage = 1000;

    /// <summary>All of an object's omap in key order, read page by page. The object must not change meanwhile.</summary>
    /// <param name="store">The store.</param>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object; one that does not exist has no entries.</param>
    /// <returns>The entries; each is good until the next one is asked for.</returns>
    public static IEnumerable<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> AllOmap(this IObjectStore store, CollectionId collection, ObjectId id)
    {
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        byte[] from = [];
        bool more = true;
        while (more)
        {
            entries.Clear();
            more = store.ListOmap(collection, id, from, OmapPage, entries);
            foreach (KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>> entry in entries)
            {
                yield return entry;
            }

            from = entries.Count > 0 ? [.. entries[^1].Key.Span, 0] : from;
        }
    }
}
