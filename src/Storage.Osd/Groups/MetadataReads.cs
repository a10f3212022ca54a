using System.Text;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>Answers to the steps that read an object's metadata, or the names of objects.</summary>
internal static class MetadataReads
{
    /// <summary>Before the names of clients' attributes, which so cannot collide with the group's own.</summary>
    public const string UserPrefix = "u.";

    private const long ListBytes = 1 << 20;

    internal static string AttributeName(ReadOnlySpan<byte> name) => UserPrefix + Encoding.UTF8.GetString(name);

    internal static void EncodeStat(Span<byte> destination, long size, PgVersion version)
    {
        System.Buffers.Binary.BinaryPrimitives.WriteInt64LittleEndian(destination, size);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(destination[8..], version.Epoch.Value);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(destination[12..], version.Number);
    }

    /// <summary>Runs a step that only reads metadata, outside of a write.</summary>
    internal static ResultCode Read(IObjectStore store, CollectionId collection, ObjectId id, PgVersion version, in OperationStep step, WireWriter reply)
    {
        bool exists = store.TryStat(collection, id, out long size);
        switch (step.Code)
        {
            case OperationCode.AssertMissing:
                return exists ? ResultCode.Exists : ResultCode.Ok;
            case OperationCode.AssertVersion:
                return (ulong)step.Offset == (exists ? version.Number : 0) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.CompareAttribute:
                store.TryGetAttribute(collection, id, AttributeName(step.Key), out ReadOnlyMemory<byte> attribute);
                return attribute.Span.SequenceEqual(step.Value) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.CompareOmap:
                store.TryGetOmap(collection, id, step.Key, out ReadOnlyMemory<byte> omap);
                return omap.Span.SequenceEqual(step.Value) ? ResultCode.Ok : ResultCode.GuardFailed;
            default:
                break;
        }

        if (!exists)
        {
            return ResultCode.NotFound;
        }

        switch (step.Code)
        {
            case OperationCode.AssertExists:
                return ResultCode.Ok;
            case OperationCode.Stat:
                Span<byte> stat = stackalloc byte[20];
                EncodeStat(stat, size, version);
                OperationReply.EncodeStep(reply, ResultCode.Ok, 0, stat);
                return ResultCode.Ok;
            case OperationCode.GetAttribute:
                return Reply(store.TryGetAttribute(collection, id, AttributeName(step.Key), out ReadOnlyMemory<byte> one), one, reply);
            case OperationCode.GetOmap:
                return Reply(store.TryGetOmap(collection, id, step.Key, out ReadOnlyMemory<byte> entry), entry, reply);
            case OperationCode.GetAttributes:
                ListAttributes(store, collection, id, reply);
                return ResultCode.Ok;
            case OperationCode.ListOmap:
                return ListOmap(store, collection, id, in step, reply);
            case OperationCode.ListExtents:
                return ListExtents(store, collection, id, in step, reply);
            default:
                return ResultCode.NotSupported;
        }
    }

    private static ResultCode Reply(bool found, ReadOnlyMemory<byte> value, WireWriter reply)
    {
        if (!found)
        {
            return ResultCode.NotFound;
        }

        OperationReply.EncodeStep(reply, ResultCode.Ok, 0, value.Span);
        return ResultCode.Ok;
    }

    // A step's answer whose length is known only afterwards.
    private static int BeginInline(WireWriter reply)
    {
        reply.WriteInt32((int)ResultCode.Ok);
        reply.WriteInt32(0);
        reply.WriteInt32(0);
        return reply.Length;
    }

    private static void ListAttributes(IObjectStore store, CollectionId collection, ObjectId id, WireWriter reply)
    {
        int start = BeginInline(reply);
        reply.WriteInt32(0);
        int count = 0;
        foreach ((string name, ReadOnlyMemory<byte> value) in store.GetAttributes(collection, id))
        {
            if (name.StartsWith(UserPrefix, StringComparison.Ordinal))
            {
                reply.WriteString(name[UserPrefix.Length..]);
                reply.WriteBytes(value.Span);
                count++;
            }
        }

        reply.PatchInt32(start, count);
        reply.PatchInt32(start - 4, reply.Length - start);
    }

    private static ResultCode ListOmap(IObjectStore store, CollectionId collection, ObjectId id, in OperationStep step, WireWriter reply)
    {
        if (step.Length < 1)
        {
            return ResultCode.Invalid;
        }

        ReadOnlySpan<byte> prefix = step.Value;
        ReadOnlySpan<byte> from = step.Key.SequenceCompareTo(prefix) < 0 ? prefix : step.Key;
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        int start = BeginInline(reply);
        reply.WriteBoolean(false);
        reply.WriteInt32(0);
        int count = 0;
        bool storeHasMore = true, more = false;
        while (storeHasMore && !more)
        {
            entries.Clear();
            storeHasMore = store.ListOmap(collection, id, from, (int)Math.Min(step.Length - count + 1, 256), entries);
            foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in entries)
            {
                if (!key.Span.StartsWith(prefix))
                {
                    storeHasMore = false;
                    break;
                }

                if (count >= step.Length || reply.Length - start > ListBytes)
                {
                    more = true;
                    break;
                }

                reply.WriteBytes(key.Span);
                reply.WriteBytes(value.Span);
                count++;
            }

            if (entries.Count == 0)
            {
                break;
            }

            from = (byte[])[.. entries[^1].Key.Span, 0];
        }

        reply.PatchByte(start, more ? (byte)1 : (byte)0);
        reply.PatchInt32(start + 1, count);
        reply.PatchInt32(start - 4, reply.Length - start);
        return ResultCode.Ok;
    }

    private static ResultCode ListExtents(IObjectStore store, CollectionId collection, ObjectId id, in OperationStep step, WireWriter reply)
    {
        if (step.Offset < 0 || step.Length < 0)
        {
            return ResultCode.Invalid;
        }

        var extents = new List<DataExtent>();
        store.ListExtents(collection, id, step.Offset, step.Length, extents);
        int start = BeginInline(reply);
        reply.WriteInt32(extents.Count);
        foreach (DataExtent extent in extents)
        {
            reply.WriteInt64(extent.Offset);
            reply.WriteInt64(extent.Length);
        }

        reply.PatchInt32(start - 4, reply.Length - start);
        return ResultCode.Ok;
    }

    /// <summary>Lists live objects; tombstones are looked for if there may be some.</summary>
    internal static ResultCode ListObjects(IObjectStore store, CollectionId collection, bool mayHaveTombstones, in OperationStep step, WireWriter reply)
    {
        if (step.Length < 1)
        {
            return ResultCode.Invalid;
        }

        ObjectId? from = null;
        if (!step.Key.IsEmpty)
        {
            var reader = new WireReader(step.Key);
            from = ObjectId.Decode(ref reader);
        }

        int limit = (int)Math.Min(step.Length, 4096);
        int start = BeginInline(reply);
        reply.WriteBoolean(false);
        reply.WriteInt32(0);
        int count = 0;
        bool more = true;
        var ids = new List<ObjectId>();
        while (more && count < limit)
        {
            ids.Clear();
            more = store.ListObjects(collection, from, limit - count + 1, ids);
            foreach (ObjectId id in ids)
            {
                if (id.Snapshot != ObjectId.NoSnapshot)
                {
                    continue; // clones, and what is not the client's
                }

                if (mayHaveTombstones && store.TryGetAttribute(collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> packed) && SnapSet.Peek(packed).IsTombstone)
                {
                    continue;
                }

                if (count == limit)
                {
                    more = true;
                    break;
                }

                id.Encode(reply);
                count++;
            }

            if (ids.Count == 0)
            {
                break;
            }

            // The id after the last one: nothing sorts between an id and the same with the next snapshot number.
            ObjectId last = ids[^1];
            from = last.Snapshot == ulong.MaxValue ? new ObjectId(last.Name + "\0", last.Hash, 0) : last.WithSnapshot(last.Snapshot + 1);
        }

        reply.PatchByte(start, more ? (byte)1 : (byte)0);
        reply.PatchInt32(start + 1, count);
        reply.PatchInt32(start - 4, reply.Length - start);
        return ResultCode.Ok;
    }
}
