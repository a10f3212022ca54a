using System.Buffers.Binary;
using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Offline;

/// <summary>
/// A placement group in a file, to be moved between stopped OSDs. Records, little-endian:
/// <code>
/// length(4)  CRC-32C of the body(4)  body: version(1) kind(1) …
/// kind 1 start: "STRGPG01"(8) pool(8) seed(4)      kind 2 object: id, size(8)          kind 3 attribute: name, value
/// kind 4 omap entry: key, value                    kind 5 data: offset(8), bytes       kind 6 end: objects(8), data bytes(8)
/// kind 7 record of the collection's log: bytes, before the first object
/// </code>
/// Records after an object's belong to it. A file without its end, or with a record that fails its checksum, is refused whole.
/// </summary>
public static class CollectionArchive
{
    private const byte Version = 1;
    private const int LargestRecord = 8 << 20;
    private const int Piece = 1 << 20;
    private const ulong Magic = 0x3130475047525453; // "STRGPG01"

    private enum Kind : byte
    {
        Start = 1,
        Object = 2,
        Attribute = 3,
        Omap = 4,
        Data = 5,
        End = 6,
        Log = 7,
    }

    /// <summary>Writes a collection.</summary>
    /// <param name="store">The store.</param>
    /// <param name="collection">The collection.</param>
    /// <param name="file">Where to.</param>
    /// <returns>Objects and bytes of data written.</returns>
    /// <exception cref="IOException">A block cannot be read or fails its checksum; what was written has no end and will be refused.</exception>
    public static async Task<(long Objects, long Bytes)> ExportAsync(IObjectStore store, CollectionId collection, Stream file)
    {
        ArgumentNullException.ThrowIfNull(store);
        ArgumentNullException.ThrowIfNull(file);
        var body = new WireWriter();
        Begin(body, Kind.Start);
        body.WriteUInt64(Magic);
        body.WriteInt64(collection.Group.Pool);
        body.WriteUInt32(collection.Group.Seed);
        Finish(file, body);
        var log = new List<ReadOnlyMemory<byte>>();
        store.ReadLog(collection, log);
        foreach (ReadOnlyMemory<byte> record in log)
        {
            Begin(body, Kind.Log);
            body.WriteBytes(record.Span);
            Finish(file, body);
        }

        long objects = 0;
        long bytes = 0;
        var names = new List<ObjectId>();
        ObjectId? from = null;
        bool more = true;
        while (more)
        {
            names.Clear();
            more = store.ListObjects(collection, from, 513, names);
            int count = more ? names.Count - 1 : names.Count; // the last one of a page begins the next
            from = more ? names[^1] : null;
            for (int i = 0; i < count; i++)
            {
                bytes += await ExportObjectAsync(store, collection, names[i], file, body);
                objects++;
            }
        }

        Begin(body, Kind.End);
        body.WriteInt64(objects);
        body.WriteInt64(bytes);
        Finish(file, body);
        file.Flush();
        return (objects, bytes);
    }

    /// <summary>Checks a whole file without changing anything.</summary>
    /// <param name="file">The file, at its start; left there.</param>
    /// <returns>The collection, and what it holds.</returns>
    /// <exception cref="MalformedDataException">Foreign, damaged, cut off or of another version.</exception>
    public static (CollectionId Collection, long Objects, long Bytes) Check(Stream file)
    {
        ArgumentNullException.ThrowIfNull(file);
        CollectionId collection = ReadStart(file);
        long objects = 0;
        long bytes = 0;
        while (true)
        {
            byte[] body = ReadRecord(file);
            var reader = new WireReader(body);
            switch (ReadKind(ref reader))
            {
                case Kind.Object:
                    objects++;
                    break;
                case Kind.Data:
                    bytes += body.Length - 10;
                    break;
                case Kind.Attribute or Kind.Omap when objects > 0:
                case Kind.Log when objects == 0:
                    break;
                case Kind.End:
                    (long wantedObjects, long wantedBytes) = (reader.ReadInt64(), reader.ReadInt64());
                    if (wantedObjects != objects || wantedBytes != bytes)
                    {
                        throw new MalformedDataException($"the file ends with {objects} objects and {bytes} bytes of data; it says {wantedObjects} and {wantedBytes}");
                    }

                    file.Position = 0;
                    return (collection, objects, bytes);
                default:
                    throw new MalformedDataException($"record kind {body[1]} at this place");
            }
        }
    }

    /// <summary>Makes the collection of a file in a store that does not have it. All or nothing as far as the store stays up.</summary>
    /// <param name="store">The store.</param>
    /// <param name="file">The file, at its start.</param>
    /// <returns>The collection, and what was written.</returns>
    /// <exception cref="MalformedDataException">See <see cref="Check"/>; nothing was changed.</exception>
    /// <exception cref="InvalidOperationException">The store has this collection; nothing was changed.</exception>
    public static async Task<(CollectionId Collection, long Objects, long Bytes)> ImportAsync(IObjectStore store, Stream file)
    {
        ArgumentNullException.ThrowIfNull(store);
        (CollectionId Collection, long Objects, long Bytes) summary = Check(file);
        CollectionId collection = ReadStart(file);
        if (store.ListCollections().Contains(collection))
        {
            throw new InvalidOperationException($"the store holds {collection} already; remove it first");
        }

        var transaction = new Transaction();
        transaction.CreateCollection(collection);
        try
        {
            await ImportRecordsAsync(store, collection, transaction, file);
        }
        catch
        {
            transaction.Clear();
            transaction.RemoveCollection(collection);
            if (store.ListCollections().Contains(collection))
            {
                await store.CommitAsync(transaction);
            }

            throw;
        }

        return summary;
    }

    private static async Task ImportRecordsAsync(IObjectStore store, CollectionId collection, Transaction transaction, Stream file)
    {
        ObjectId? current = null;
        long pending = 0;
        while (true)
        {
            byte[] body = ReadRecord(file);
            Kind kind = Apply(body, collection, ref current, transaction);
            pending += body.Length;
            if (kind == Kind.End || pending >= LargestRecord / 2)
            {
                await store.CommitAsync(transaction);
                transaction.Clear();
                pending = 0;
                if (kind == Kind.End)
                {
                    return;
                }
            }
        }
    }

    private static Kind Apply(byte[] body, CollectionId collection, ref ObjectId? current, Transaction transaction)
    {
        var reader = new WireReader(body);
        Kind kind = ReadKind(ref reader);
        switch (kind)
        {
            case Kind.Object:
                current = ObjectId.Decode(ref reader);
                transaction.Touch(collection, current);
                transaction.Truncate(collection, current, reader.ReadInt64());
                break;
            case Kind.Log:
                transaction.AppendLog(collection, reader.ReadBytes().ToArray());
                break;
            case Kind.Attribute:
                transaction.SetAttribute(collection, current!, reader.ReadString(), reader.ReadBytes().ToArray());
                break;
            case Kind.Omap:
                transaction.SetOmap(collection, current!, reader.ReadBytes().ToArray(), reader.ReadBytes().ToArray());
                break;
            case Kind.Data:
                long offset = reader.ReadInt64();
                ReadOnlySpan<byte> bytes = reader.ReadRaw(reader.Remaining);
                PageBuffer buffer = BufferPool.Shared.Rent(bytes.Length);
                bytes.CopyTo(buffer.Span);
                transaction.Write(collection, current!, offset, buffer.Slice(0, bytes.Length));
                buffer.Release();
                break;
            default:
                break;
        }

        return kind;
    }

    private static async Task<long> ExportObjectAsync(IObjectStore store, CollectionId collection, ObjectId id, Stream file, WireWriter body)
    {
        Invariant.Holds(store.TryStat(collection, id, out long size));
        Begin(body, Kind.Object);
        id.Encode(body);
        body.WriteInt64(size);
        Finish(file, body);
        foreach ((string name, ReadOnlyMemory<byte> value) in store.GetAttributes(collection, id))
        {
            Begin(body, Kind.Attribute);
            body.WriteString(name);
            body.WriteBytes(value.Span);
            Finish(file, body);
        }

        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in store.AllOmap(collection, id))
        {
            Begin(body, Kind.Omap);
            body.WriteBytes(key.Span);
            body.WriteBytes(value.Span);
            Finish(file, body);
        }

        long written = 0;
        var extents = new List<DataExtent>();
        store.ListExtents(collection, id, 0, size, extents);
        foreach (DataExtent extent in extents)
        {
            for (long at = extent.Offset; at < extent.Offset + extent.Length; at += Piece)
            {
                int length = (int)Math.Min(Piece, extent.Offset + extent.Length - at);
                (ReadStatus status, BufferSegment data) = await store.ReadAsync(collection, id, at, length);
                if (status != ReadStatus.Ok)
                {
                    throw new IOException($"{collection}/{id}: bytes {at} to {at + length} cannot be read ({status})");
                }

                Begin(body, Kind.Data);
                body.WriteInt64(at);
                body.WriteRaw(data.Span);
                data.Buffer?.Release();
                Finish(file, body);
                written += length;
            }
        }

        return written;
    }

    private static CollectionId ReadStart(Stream file)
    {
        byte[] body = ReadRecord(file);
        var reader = new WireReader(body);
        if (ReadKind(ref reader) != Kind.Start || reader.ReadUInt64() != Magic)
        {
            throw new MalformedDataException("the file is no exported placement group");
        }

        return new CollectionId(new PgId(reader.ReadInt64(), reader.ReadUInt32()));
    }

    private static Kind ReadKind(ref WireReader reader)
    {
        reader.ReadVersion(Version, "placement group file");
        return (Kind)reader.ReadByte();
    }

    private static void Begin(WireWriter body, Kind kind)
    {
        body.Clear();
        body.WriteByte(Version);
        body.WriteByte((byte)kind);
    }

    private static void Finish(Stream file, WireWriter body)
    {
        Span<byte> head = stackalloc byte[8];
        BinaryPrimitives.WriteInt32LittleEndian(head, body.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(head[4..], Crc32C.Compute(body.WrittenSpan));
        file.Write(head);
        file.Write(body.WrittenSpan);
    }

    private static byte[] ReadRecord(Stream file)
    {
        Span<byte> head = stackalloc byte[8];
        int got = file.ReadAtLeast(head, head.Length, throwOnEndOfStream: false);
        int length = BinaryPrimitives.ReadInt32LittleEndian(head);
        if (got < head.Length || length < 2 || length > LargestRecord * 2)
        {
            throw new MalformedDataException(got < head.Length ? "the file is cut off" : $"a record of {length} bytes at {file.Position - head.Length}");
        }

        byte[] body = new byte[length];
        if (file.ReadAtLeast(body, length, throwOnEndOfStream: false) < length)
        {
            throw new MalformedDataException("the file is cut off");
        }

        if (Crc32C.Compute(body) != BinaryPrimitives.ReadUInt32LittleEndian(head[4..]))
        {
            throw new MalformedDataException($"the record that ends at {file.Position} fails its checksum");
        }

        return body;
    }
}
