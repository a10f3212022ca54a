using Storage.Cluster;
using Storage.Reactor;

namespace Storage.ObjectStore;

/// <summary>
/// One disk. All members are called on the store's event loop and complete on it. Metadata calls answer at once
/// (from memory, or with a short read of the metadata database); data and commits complete later through callbacks.
/// </summary>
/// <remarks>
/// Order: transactions become visible to reads when submitted, all at once, in the order of submission; they become
/// durable in that order too, and <see cref="IStoreCompletion"/> is called after the sync. After a crash the store holds
/// a prefix of the submitted transactions that includes every one whose completion was called.
/// An I/O error on the write path is fatal: <see cref="Failed"/> is raised, no completion follows, and the daemon must die.
/// </remarks>
public interface IObjectStore
{
    /// <summary>Raised once when the disk can no longer be trusted with writes.</summary>
    event Action<Exception>? Failed;

    /// <summary>Space: what is used, and how much the disk holds.</summary>
    StoreUsage Usage { get; }

    /// <summary>Lists the collections.</summary>
    /// <returns>In order of id.</returns>
    IReadOnlyList<CollectionId> ListCollections();

    /// <summary>Applies a transaction, atomically. The store takes its own references on the data buffers and is done with
    /// the transaction object itself when the call returns.</summary>
    /// <param name="transaction">What to do.</param>
    /// <param name="completion">Told when the transaction is durable; may be null.</param>
    /// <param name="token">Handed to the completion.</param>
    /// <exception cref="StoreFullException">There is no room; nothing was applied. Removing always succeeds.</exception>
    /// <exception cref="ArgumentException">The transaction makes no sense, such as a write to a collection that does not exist; nothing was applied.</exception>
    void Submit(Transaction transaction, IStoreCompletion? completion, ulong token);

    /// <summary>Says whether an object exists and how long it is.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="size">Its length in bytes.</param>
    /// <returns>False if there is no such object.</returns>
    bool TryStat(CollectionId collection, ObjectId id, out long size);

    /// <summary>Reads a range of an object's data. Every 4 KiB block is checked against its checksum.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">First byte, any alignment.</param>
    /// <param name="length">Bytes; at most <see cref="BufferPool.LargestBuffer"/> less two pages.</param>
    /// <param name="completion">Told the outcome, possibly before this call returns.</param>
    /// <param name="token">Handed to the completion.</param>
    void Read(CollectionId collection, ObjectId id, long offset, int length, IReadCompletion completion, ulong token);

    /// <summary>
    /// Mends a block that cannot be read with bytes from elsewhere: those that come from the disk are replaced, those that were written since stay. They have
    /// to fit the checksum that the store keeps of what is on the disk, unless the caller knows of a part that it is right.
    /// </summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">The block's first byte; a multiple of <see cref="StoreLimits.BlockSize"/>.</param>
    /// <param name="content">The whole block; zeroes where it reaches beyond the end of the object that it comes from.</param>
    /// <param name="unknownFrom">Where in the object the bytes begin of which it is not known that they are what was there.</param>
    /// <param name="unknownTo">Where they end; not above <paramref name="unknownFrom"/> if all are known.</param>
    /// <param name="transaction">Gets the writes that put the bytes in place; the caller submits it.</param>
    /// <returns>False if they do not fit, or the store has no checksum of the block as it is read (compressed data): nothing was added.</returns>
    bool TryMend(CollectionId collection, ObjectId id, long offset, BufferSegment content, long unknownFrom, long unknownTo, Transaction transaction);

    /// <summary>Lists the ranges of an object that hold data; the rest are holes that read as zeroes.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="offset">First byte of interest.</param>
    /// <param name="length">Bytes of interest.</param>
    /// <param name="extents">Filled with ranges in ascending order, merged where they touch.</param>
    void ListExtents(CollectionId collection, ObjectId id, long offset, long length, List<DataExtent> extents);

    /// <summary>Reads one attribute.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="name">The attribute's name.</param>
    /// <param name="value">Its value; not to be changed, and valid until a transaction changes the object.</param>
    /// <returns>False if the object or the attribute does not exist.</returns>
    bool TryGetAttribute(CollectionId collection, ObjectId id, string name, out ReadOnlyMemory<byte> value);

    /// <summary>Reads all attributes.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <returns>Name and value, ordered by name (ordinal); empty if the object does not exist. Values are valid until a transaction changes
    /// the object.</returns>
    IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> GetAttributes(CollectionId collection, ObjectId id);

    /// <summary>Reads one omap value.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="key">The key.</param>
    /// <param name="value">Its value; not to be changed.</param>
    /// <returns>False if the object or the key does not exist.</returns>
    bool TryGetOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value);

    /// <summary>Lists omap entries in key order (bytewise).</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="from">The first key wanted, or empty for the first there is.</param>
    /// <param name="limit">The most entries to return; at least 1.</param>
    /// <param name="entries">Entries are added here.</param>
    /// <returns>True if there are more entries after the last one added.</returns>
    bool ListOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries);

    /// <summary>Lists a collection's objects in <see cref="ObjectId"/> order.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="from">The first id wanted (inclusive), or null to start at the beginning.</param>
    /// <param name="limit">The most objects to return; at least 1.</param>
    /// <param name="objects">Ids are added here.</param>
    /// <returns>True if there are more objects after the last one added.</returns>
    bool ListObjects(CollectionId collection, ObjectId? from, int limit, List<ObjectId> objects);

    /// <summary>Says which records a collection's log holds.</summary>
    /// <param name="collection">The collection.</param>
    /// <returns>The indexes; the default if there is no such collection.</returns>
    LogRange GetLog(CollectionId collection);

    /// <summary>Reads all records of a collection's log.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="records">The records are added here, in order; not to be changed.</param>
    void ReadLog(CollectionId collection, List<ReadOnlyMemory<byte>> records);
}

/// <summary>The records of a log, half-open.</summary>
/// <param name="First">Index of the oldest one kept.</param>
/// <param name="Next">Index that the next one will have.</param>
public readonly record struct LogRange(long First, long Next);

/// <summary>A range of an object that holds data.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct DataExtent(long Offset, long Length);

/// <summary>Space of one store.</summary>
/// <param name="TotalBytes">What the disk can hold.</param>
/// <param name="UsedBytes">What is allocated, metadata included.</param>
public readonly record struct StoreUsage(long TotalBytes, long UsedBytes);

/// <summary>Told when transactions are durable.</summary>
public interface IStoreCompletion
{
    /// <summary>The transaction with this token is on stable storage, and so is every one before it.</summary>
    /// <param name="token">The token it was submitted with.</param>
    void OnCommitted(ulong token);
}

/// <summary>Told the outcome of reads.</summary>
public interface IReadCompletion
{
    /// <summary>A read ended.</summary>
    /// <param name="token">The token it was started with.</param>
    /// <param name="status">How it went.</param>
    /// <param name="data">The bytes if <see cref="ReadStatus.Ok"/>; fewer than asked for only at the object's end, holes
    /// as zeroes. The receiver owns one reference on the buffer (none if the segment is empty).</param>
    void OnRead(ulong token, ReadStatus status, BufferSegment data);
}

/// <summary>Outcome of a read.</summary>
public enum ReadStatus
{
    /// <summary>The bytes are right.</summary>
    Ok,

    /// <summary>There is no such object.</summary>
    NotFound,

    /// <summary>A block's checksum did not match; nothing is returned.</summary>
    ChecksumMismatch,

    /// <summary>The disk reported an error.</summary>
    IoError,
}

/// <summary>The disk is full; the transaction was refused whole.</summary>
public sealed class StoreFullException : Exception
{
    /// <summary>Creates the exception.</summary>
    public StoreFullException() : this("the store is full")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">How much was wanted and how much is left.</param>
    public StoreFullException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">How much was wanted and how much is left.</param>
    /// <param name="inner">The cause.</param>
    public StoreFullException(string message, Exception inner) : base(message, inner)
    {
    }
}
