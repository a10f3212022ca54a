using System.Runtime.InteropServices;
using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore;

/// <summary>What one step of a transaction does. The numbers are on the wire and in journals: never reuse one.</summary>
public enum TransactionCode : byte
{
    /// <summary>Create the object, empty, unless it exists.</summary>
    Touch = 1,

    /// <summary>Write data; creates and lengthens the object as needed.</summary>
    Write = 2,

    /// <summary>Make a range read as zeroes and give its space back; lengthens the object as a write would.</summary>
    Zero = 3,

    /// <summary>Set the length; creates the object if missing.</summary>
    Truncate = 4,

    /// <summary>Remove the object with its attributes and omap; nothing happens if it is missing.</summary>
    Remove = 5,

    /// <summary>Replace the destination by a copy of data, attributes and omap; space is shared.</summary>
    Clone = 6,

    /// <summary>Copy a range of data to the same or another offset of the destination, sharing space where aligned.</summary>
    CloneRange = 7,

    /// <summary>Set an attribute; creates the object if missing.</summary>
    SetAttribute = 8,

    /// <summary>Remove an attribute if there is one.</summary>
    RemoveAttribute = 9,

    /// <summary>Set an omap entry; creates the object if missing.</summary>
    SetOmap = 10,

    /// <summary>Remove an omap entry if there is one.</summary>
    RemoveOmap = 11,

    /// <summary>Remove the omap entries with keys in [from, to).</summary>
    RemoveOmapRange = 12,

    /// <summary>Remove all omap entries.</summary>
    ClearOmap = 13,

    /// <summary>Create a collection unless it exists.</summary>
    CreateCollection = 14,

    /// <summary>Remove a collection with all its objects.</summary>
    RemoveCollection = 15,

    /// <summary>Move an object to another name or collection, replacing what is there.</summary>
    Move = 16,

    /// <summary>Move the named objects whose hash ends in given bits to another collection, under the same names.</summary>
    SplitCollection = 17,

    /// <summary>Add a record to the end of the collection's log.</summary>
    AppendLog = 18,

    /// <summary>Forget the records of the collection's log before an index.</summary>
    TrimLog = 19,
}

/// <summary>One step of a transaction. Which fields count depends on <see cref="Code"/>.</summary>
public struct TransactionStep
{
    /// <summary>What to do.</summary>
    public TransactionCode Code;

    /// <summary>Collection of the object.</summary>
    public CollectionId Collection;

    /// <summary>The object (the source of a clone or move); null for steps on collections.</summary>
    public ObjectId? Object;

    /// <summary>Destination of Clone, CloneRange and Move.</summary>
    public ObjectId? Destination;

    /// <summary>Destination collection of Move and SplitCollection.</summary>
    public CollectionId DestinationCollection;

    /// <summary>First byte of the range, the new length of Truncate, the number of bits that SplitCollection compares, or the first index that TrimLog keeps.</summary>
    public long Offset;

    /// <summary>Bytes of the range, or the bits that SplitCollection looks for.</summary>
    public long Length;

    /// <summary>Destination offset of CloneRange.</summary>
    public long DestinationOffset;

    /// <summary>Attribute name.</summary>
    public string? Name;

    /// <summary>Omap key, or the start of a range of keys.</summary>
    public ReadOnlyMemory<byte> Key;

    /// <summary>Attribute or omap value, the end of a range of keys, or a record of a log. An attribute's is the transaction's memory: a store
    /// copies it.</summary>
    public ReadOnlyMemory<byte> Value;

    /// <summary>Data of Write.</summary>
    public BufferSegment Data;
}

/// <summary>
/// Steps that a store applies all or nothing, in order. Not thread-safe; may be cleared and used again. Holds a
/// reference on each data buffer from <see cref="Write"/> until <see cref="Clear"/>.
/// </summary>
public sealed class Transaction
{
    private const byte FormatVersion = 1;
    private static readonly string[] s_letters = [.. Enumerable.Range(0, 128).Select(letter => ((char)letter).ToString())];
    private const int KeptValueBytes = 4 << 10;
    private readonly List<TransactionStep> _steps = [];
    private int _dataLength;

    // Attributes' values, for as long as the steps stand. One that is outgrown stays with the steps that point to it.
    private byte[] _values = [];
    private int _valuesLength;

    /// <summary>The steps in order.</summary>
    public ReadOnlySpan<TransactionStep> Steps => CollectionsMarshal.AsSpan(_steps);

    /// <summary>Number of steps.</summary>
    public int Count => _steps.Count;

    /// <summary>Bytes of data in all Write steps.</summary>
    public int DataLength => _dataLength;

    /// <summary>Creates an object if it does not exist.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    public void Touch(CollectionId collection, ObjectId id) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Touch, Collection = collection, Object = id });

    /// <summary>Writes data. Takes a reference on the buffer.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">First byte, any alignment.</param>
    /// <param name="data">The bytes; not to be changed until the transaction is durable.</param>
    public void Write(CollectionId collection, ObjectId id, long offset, BufferSegment data)
    {
        data.Buffer?.Retain();
        _dataLength = checked(_dataLength + data.Length);
        _steps.Add(new TransactionStep { Code = TransactionCode.Write, Collection = collection, Object = id, Offset = offset, Length = data.Length, Data = data });
    }

    /// <summary>Makes a range read as zeroes.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    public void Zero(CollectionId collection, ObjectId id, long offset, long length) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Zero, Collection = collection, Object = id, Offset = offset, Length = length });

    /// <summary>Sets an object's length.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="size">The new length in bytes.</param>
    public void Truncate(CollectionId collection, ObjectId id, long size) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Truncate, Collection = collection, Object = id, Offset = size });

    /// <summary>Removes an object.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    public void Remove(CollectionId collection, ObjectId id) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Remove, Collection = collection, Object = id });

    /// <summary>Copies an object, replacing the destination.</summary>
    /// <param name="collection">The collection of both.</param>
    /// <param name="source">The object to copy.</param>
    /// <param name="destination">The copy.</param>
    public void Clone(CollectionId collection, ObjectId source, ObjectId destination) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Clone, Collection = collection, Object = source, Destination = destination });

    /// <summary>Copies a range of data.</summary>
    /// <param name="collection">The collection of both.</param>
    /// <param name="source">The object to copy from.</param>
    /// <param name="destination">The object to copy to, created if missing.</param>
    /// <param name="offset">First byte in the source.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="destinationOffset">First byte in the destination.</param>
    public void CloneRange(CollectionId collection, ObjectId source, ObjectId destination, long offset, long length, long destinationOffset) =>
        _steps.Add(new TransactionStep
        {
            Code = TransactionCode.CloneRange,
            Collection = collection,
            Object = source,
            Destination = destination,
            Offset = offset,
            Length = length,
            DestinationOffset = destinationOffset,
        });

    /// <summary>Moves an object, replacing what has the new name.</summary>
    /// <param name="collection">The collection it is in.</param>
    /// <param name="source">The object.</param>
    /// <param name="destinationCollection">The collection it goes to.</param>
    /// <param name="destination">Its new id.</param>
    public void Move(CollectionId collection, ObjectId source, CollectionId destinationCollection, ObjectId destination) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.Move, Collection = collection, Object = source, DestinationCollection = destinationCollection, Destination = destination });

    /// <summary>Sets an attribute.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="name">The attribute's name.</param>
    /// <param name="value">Its value, which is copied.</param>
    public void SetAttribute(CollectionId collection, ObjectId id, string name, ReadOnlySpan<byte> value) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.SetAttribute, Collection = collection, Object = id, Name = name, Value = Keep(value) });

    /// <summary>Removes an attribute.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="name">The attribute's name.</param>
    public void RemoveAttribute(CollectionId collection, ObjectId id, string name) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.RemoveAttribute, Collection = collection, Object = id, Name = name });

    /// <summary>Sets an omap entry.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="key">The key; not to be changed afterwards.</param>
    /// <param name="value">The value; not to be changed afterwards.</param>
    public void SetOmap(CollectionId collection, ObjectId id, ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.SetOmap, Collection = collection, Object = id, Key = key, Value = value });

    /// <summary>Removes an omap entry.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="key">The key; not to be changed afterwards.</param>
    public void RemoveOmap(CollectionId collection, ObjectId id, ReadOnlyMemory<byte> key) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.RemoveOmap, Collection = collection, Object = id, Key = key });

    /// <summary>Removes the omap entries with keys in [from, to).</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="from">The first key.</param>
    /// <param name="to">The key after the last.</param>
    public void RemoveOmapRange(CollectionId collection, ObjectId id, ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> to) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.RemoveOmapRange, Collection = collection, Object = id, Key = from, Value = to });

    /// <summary>Removes all omap entries of an object.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    public void ClearOmap(CollectionId collection, ObjectId id) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.ClearOmap, Collection = collection, Object = id });

    /// <summary>Creates a collection if it does not exist.</summary>
    /// <param name="collection">The collection.</param>
    public void CreateCollection(CollectionId collection) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.CreateCollection, Collection = collection });

    /// <summary>Removes a collection and everything in it.</summary>
    /// <param name="collection">The collection.</param>
    public void RemoveCollection(CollectionId collection) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.RemoveCollection, Collection = collection });

    /// <summary>Moves the objects whose hash ends in <paramref name="bits"/> to another collection, under the same names, replacing what has
    /// one of them there. Objects without a name belong to the collection itself and stay. Costs metadata only.</summary>
    /// <param name="collection">The collection that is split.</param>
    /// <param name="bitCount">How many low bits of the hash are compared, 0 to 32.</param>
    /// <param name="bits">What they have to be.</param>
    /// <param name="destination">Where the objects go; it must exist.</param>
    public void SplitCollection(CollectionId collection, int bitCount, uint bits, CollectionId destination) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.SplitCollection, Collection = collection, Offset = bitCount, Length = bits, DestinationCollection = destination });

    /// <summary>Adds a record to the end of a collection's log. Its index is the number of records that were added before it since the
    /// collection was created.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="record">The record, at most <see cref="StoreLimits.LargestLogRecord"/> bytes; the caller's again once the transaction was submitted.</param>
    public void AppendLog(CollectionId collection, ReadOnlyMemory<byte> record) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.AppendLog, Collection = collection, Value = record });

    /// <summary>Forgets the oldest records of a collection's log.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="keepFrom">Index of the first record to keep. What is already forgotten stays so; beyond the end means all.</param>
    public void TrimLog(CollectionId collection, long keepFrom) =>
        _steps.Add(new TransactionStep { Code = TransactionCode.TrimLog, Collection = collection, Offset = keepFrom });

    /// <summary>Adds another transaction's steps after these; takes its own references on their data.</summary>
    /// <param name="other">The steps to add; stays as it is.</param>
    public void Append(Transaction other)
    {
        foreach (ref readonly TransactionStep step in other.Steps)
        {
            step.Data.Buffer?.Retain();
            TransactionStep copy = step;
            if (step.Code == TransactionCode.SetAttribute)
            {
                copy.Value = Keep(step.Value.Span); // the other may be cleared, and used again, before this one
            }

            _steps.Add(copy);
        }

        _dataLength = checked(_dataLength + other._dataLength);
    }

    /// <summary>Forgets the steps and gives the data references back.</summary>
    public void Clear()
    {
        foreach (ref readonly TransactionStep step in Steps)
        {
            step.Data.Buffer?.Release();
        }

        _steps.Clear();
        _dataLength = 0;
        _valuesLength = 0;
        _values = _values.Length > KeptValueBytes ? [] : _values;
    }

    /// <summary>Writes the steps without the data, which travels beside them: the Write steps' data, one after the other.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(_steps.Count);
        foreach (ref readonly TransactionStep step in Steps)
        {
            EncodeStep(writer, in step);
        }
    }

    /// <summary>Adds the steps that <see cref="Encode"/> wrote, with data taken from <paramref name="data"/> in order.</summary>
    /// <param name="reader">Where from.</param>
    /// <param name="data">The Write steps' data, one after the other; references are added.</param>
    /// <exception cref="MalformedDataException">The bytes are no transaction, or their data is missing.</exception>
    public void Decode(ref WireReader reader, BufferSegment data)
    {
        reader.ReadVersion(FormatVersion, "transaction");
        int count = reader.ReadCount(13);
        int used = 0;
        for (int i = 0; i < count; i++)
        {
            TransactionStep step = DecodeStep(ref reader, this);
            if (step.Code == TransactionCode.Write)
            {
                if (step.Length < 0 || step.Length > data.Length - used)
                {
                    throw new MalformedDataException($"a write of {step.Length} bytes, but {data.Length - used} bytes of data are left");
                }

                step.Data = data.Slice(used, (int)step.Length);
                step.Data.Buffer?.Retain();
                used += (int)step.Length;
                _dataLength += (int)step.Length;
            }

            _steps.Add(step);
        }

        if (used != data.Length)
        {
            throw new MalformedDataException($"{data.Length - used} bytes of data belong to no write");
        }
    }

    internal static void EncodeStep(WireWriter writer, in TransactionStep step)
    {
        writer.WriteByte((byte)step.Code);
        writer.WriteInt64(step.Collection.Group.Pool);
        writer.WriteUInt32(step.Collection.Group.Seed);
        step.Object?.Encode(writer);
        switch (step.Code)
        {
            case TransactionCode.Write or TransactionCode.Zero:
                writer.WriteInt64(step.Offset);
                writer.WriteInt64(step.Length);
                break;
            case TransactionCode.Truncate or TransactionCode.TrimLog:
                writer.WriteInt64(step.Offset);
                break;
            case TransactionCode.AppendLog:
                writer.WriteBytes(step.Value.Span);
                break;
            case TransactionCode.Clone:
                step.Destination!.Encode(writer);
                break;
            case TransactionCode.CloneRange:
                step.Destination!.Encode(writer);
                writer.WriteInt64(step.Offset);
                writer.WriteInt64(step.Length);
                writer.WriteInt64(step.DestinationOffset);
                break;
            case TransactionCode.Move:
                writer.WriteInt64(step.DestinationCollection.Group.Pool);
                writer.WriteUInt32(step.DestinationCollection.Group.Seed);
                step.Destination!.Encode(writer);
                break;
            case TransactionCode.SplitCollection:
                writer.WriteInt64(step.DestinationCollection.Group.Pool);
                writer.WriteUInt32(step.DestinationCollection.Group.Seed);
                writer.WriteByte((byte)step.Offset);
                writer.WriteUInt32((uint)step.Length);
                break;
            case TransactionCode.SetAttribute:
                writer.WriteString(step.Name!);
                writer.WriteBytes(step.Value.Span);
                break;
            case TransactionCode.RemoveAttribute:
                writer.WriteString(step.Name!);
                break;
            case TransactionCode.SetOmap or TransactionCode.RemoveOmapRange:
                writer.WriteBytes(step.Key.Span);
                writer.WriteBytes(step.Value.Span);
                break;
            case TransactionCode.RemoveOmap:
                writer.WriteBytes(step.Key.Span);
                break;
            default:
                break;
        }
    }

    // Every write sets an attribute with a name of one letter.
    private static string ReadName(ref WireReader reader)
    {
        ReadOnlySpan<byte> name = reader.ReadBytes();
        return name.Length == 1 && name[0] < s_letters.Length ? s_letters[name[0]] : System.Text.Encoding.UTF8.GetString(name);
    }

    private ReadOnlyMemory<byte> Keep(ReadOnlySpan<byte> value)
    {
        if (value.Length > _values.Length - _valuesLength)
        {
            _values = new byte[Math.Max(Math.Max(64, value.Length), Math.Min(_values.Length * 2, KeptValueBytes))];
            _valuesLength = 0;
        }

        Memory<byte> kept = _values.AsMemory(_valuesLength, value.Length);
        value.CopyTo(kept.Span);
        _valuesLength += value.Length;
        return kept;
    }

    /// <summary>Reads one step, without the data of a write.</summary>
    /// <param name="reader">Where from.</param>
    /// <param name="keeper">The transaction that it becomes part of, which keeps the value of an attribute; null: that has memory of its own.</param>
    internal static TransactionStep DecodeStep(ref WireReader reader, Transaction? keeper = null)
    {
        var step = new TransactionStep
        {
            Code = (TransactionCode)reader.ReadByte(),
            Collection = new CollectionId(new PgId(reader.ReadInt64(), reader.ReadUInt32())),
        };
        if (step.Code is not (TransactionCode.CreateCollection or TransactionCode.RemoveCollection or TransactionCode.SplitCollection
            or TransactionCode.AppendLog or TransactionCode.TrimLog))
        {
            step.Object = ObjectId.Decode(ref reader);
        }

        switch (step.Code)
        {
            case TransactionCode.Write or TransactionCode.Zero:
                step.Offset = reader.ReadInt64();
                step.Length = reader.ReadInt64();
                break;
            case TransactionCode.Truncate or TransactionCode.TrimLog:
                step.Offset = reader.ReadInt64();
                break;
            case TransactionCode.AppendLog:
                step.Value = reader.ReadBytes().ToArray();
                break;
            case TransactionCode.Clone:
                step.Destination = ObjectId.Decode(ref reader);
                break;
            case TransactionCode.CloneRange:
                step.Destination = ObjectId.Decode(ref reader);
                step.Offset = reader.ReadInt64();
                step.Length = reader.ReadInt64();
                step.DestinationOffset = reader.ReadInt64();
                break;
            case TransactionCode.Move:
                step.DestinationCollection = new CollectionId(new PgId(reader.ReadInt64(), reader.ReadUInt32()));
                step.Destination = ObjectId.Decode(ref reader);
                break;
            case TransactionCode.SplitCollection:
                step.DestinationCollection = new CollectionId(new PgId(reader.ReadInt64(), reader.ReadUInt32()));
                step.Offset = reader.ReadByte();
                step.Length = reader.ReadUInt32();
                break;
            case TransactionCode.SetAttribute:
                step.Name = ReadName(ref reader);
                ReadOnlySpan<byte> value = reader.ReadBytes();
                step.Value = keeper is null ? value.ToArray() : keeper.Keep(value);
                break;
            case TransactionCode.RemoveAttribute:
                step.Name = ReadName(ref reader);
                break;
            case TransactionCode.SetOmap or TransactionCode.RemoveOmapRange:
                step.Key = reader.ReadBytes().ToArray();
                step.Value = reader.ReadBytes().ToArray();
                break;
            case TransactionCode.RemoveOmap:
                step.Key = reader.ReadBytes().ToArray();
                break;
            case TransactionCode.Touch or TransactionCode.Remove or TransactionCode.ClearOmap
                or TransactionCode.CreateCollection or TransactionCode.RemoveCollection:
                break;
            default:
                throw new MalformedDataException($"transaction step {(byte)step.Code} is unknown");
        }

        return step;
    }
}
