using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>
/// Which objects of a PG have a clone that shows a snapshot: the work list of trimming. On every OSD it follows from the snapshot sets of the
/// objects in the collection, and changes in the transactions that change those. Kept in the omap of an object of its own: key snapshot u64
/// big-endian, encoded id of the live object; empty value.
/// </summary>
internal static class SnapshotIndex
{
    /// <summary>Holds the index; absent while that is empty. No client's object has an empty name.</summary>
    public static readonly ObjectId Object = new("", 0, 1);

    /// <summary>Changes the index as an object's snapshot set changes.</summary>
    /// <param name="transaction">Takes the changes.</param>
    /// <param name="collection">The PG's collection.</param>
    /// <param name="id">The live object.</param>
    /// <param name="before">Its packed set before, empty for none.</param>
    /// <param name="after">Its packed set afterwards, empty for none.</param>
    public static void Update(Transaction transaction, CollectionId collection, ObjectId id, ReadOnlySpan<byte> before, ReadOnlySpan<byte> after)
    {
        if (before.SequenceEqual(after))
        {
            return;
        }

        SnapClone[] old = before.IsEmpty ? [] : SnapSet.Decode(before).Clones;
        SnapClone[] now = after.IsEmpty ? [] : SnapSet.Decode(after).Clones;
        foreach (SnapClone clone in old)
        {
            foreach (ulong snapshot in clone.Snapshots)
            {
                if (!Shows(now, snapshot))
                {
                    transaction.RemoveOmap(collection, Object, Key(snapshot, id));
                }
            }
        }

        foreach (SnapClone clone in now)
        {
            foreach (ulong snapshot in clone.Snapshots)
            {
                if (!Shows(old, snapshot))
                {
                    transaction.SetOmap(collection, Object, Key(snapshot, id), ReadOnlyMemory<byte>.Empty);
                }
            }
        }
    }

    /// <summary>Takes the changes that a transaction makes to an object's snapshot set over into the index.</summary>
    /// <param name="store">The store, which does not have the transaction yet.</param>
    /// <param name="transaction">Takes the changes of the index; must come to the store together with <paramref name="changes"/>.</param>
    /// <param name="collection">The PG's collection.</param>
    /// <param name="id">The live object.</param>
    /// <param name="changes">What is done to the object.</param>
    public static void Follow(IObjectStore store, Transaction transaction, CollectionId collection, ObjectId id, Transaction changes)
    {
        bool touched = false;
        ReadOnlyMemory<byte> after = default;
        foreach (ref readonly TransactionStep step in changes.Steps)
        {
            switch (step.Code)
            {
                case TransactionCode.SetAttribute when step.Name == SnapSet.Attribute && step.Object! == id:
                    touched = true;
                    after = step.Value;
                    break;
                case TransactionCode.Remove when step.Object! == id:
                case TransactionCode.Clone when step.Destination! == id: // a clone has no set of its own
                    touched = true;
                    after = default;
                    break;
                default:
                    break;
            }
        }

        if (touched)
        {
            store.TryGetAttribute(collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> before);
            Update(transaction, collection, id, before.Span, after.Span);
        }
    }

    /// <summary>Lists objects with a clone that shows a snapshot.</summary>
    /// <param name="store">The store.</param>
    /// <param name="collection">The PG's collection.</param>
    /// <param name="snapshot">The snapshot.</param>
    /// <param name="limit">The most objects wanted.</param>
    /// <param name="objects">Live objects are added to it, in the index's order.</param>
    public static void List(IObjectStore store, CollectionId collection, ulong snapshot, int limit, List<ObjectId> objects)
    {
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        var prefix = new byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(prefix, snapshot);
        store.ListOmap(collection, Object, prefix, limit, entries);
        foreach ((ReadOnlyMemory<byte> key, _) in entries)
        {
            if (!key.Span.StartsWith(prefix))
            {
                break;
            }

            objects.Add(IdOf(key.Span));
        }
    }

    /// <summary>An entry's live object.</summary>
    public static ObjectId IdOf(ReadOnlySpan<byte> key)
    {
        var reader = new WireReader(key[8..]);
        return ObjectId.Decode(ref reader);
    }

    /// <summary>The key of an entry.</summary>
    public static byte[] Key(ulong snapshot, ObjectId id)
    {
        var writer = new WireWriter(32);
        BinaryPrimitives.WriteUInt64BigEndian(writer.Reserve(8), snapshot);
        id.Encode(writer);
        return writer.ToArray();
    }

    private static bool Shows(SnapClone[] clones, ulong snapshot)
    {
        foreach (SnapClone clone in clones)
        {
            if (Array.IndexOf(clone.Snapshots, snapshot) >= 0)
            {
                return true;
            }
        }

        return false;
    }
}
