using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Metadata;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Reads: memory for what is in the overlay, the disk for the rest, each block against its checksum.
public sealed partial class DiskObjectStore
{
    private static readonly SortedSet<ObjectId> s_noNames = [];
    private const int LargestCachedRead = 32; // blocks: long reads are for the disk, and would wash the cache out
    private readonly Stack<ReadOperation> _readPool = new();
    private readonly Queue<WaitingRead> _waitingReads = new();

    // Units that were freed may be written again only once no read that may still be looking at them is under way.
    private readonly Queue<(long Period, List<uint> Units)> _releases = new();
    private readonly ReadPeriods _reads = new();
    private long _releasing;

    /// <inheritdoc/>
    public IReadOnlyList<CollectionId> ListCollections()
    {
        var list = new List<CollectionId>();
        foreach (DiskCollection collection in _collections.Values)
        {
            if (collection.Exists)
            {
                list.Add(collection.Id);
            }
        }

        list.Sort();
        return list;
    }

    /// <inheritdoc/>
    public bool TryStat(CollectionId collection, ObjectId id, out long size)
    {
        Onode? onode = Find(collection, id);
        size = onode?.Size ?? 0;
        return onode is not null;
    }

    /// <inheritdoc/>
    public bool TryGetAttribute(CollectionId collection, ObjectId id, string name, out ReadOnlyMemory<byte> value)
    {
        value = default;
        return Find(collection, id) is { Attributes: { } attributes } && attributes.TryGetValue(name, out value);
    }

    /// <inheritdoc/>
    public IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> GetAttributes(CollectionId collection, ObjectId id) =>
        Find(collection, id) is { Attributes: { } attributes } ? [.. attributes] : [];

    /// <inheritdoc/>
    public void ListExtents(CollectionId collection, ObjectId id, long offset, long length, List<DataExtent> extents)
    {
        extents.Clear();
        if (Find(collection, id) is not { } onode)
        {
            return;
        }

        long end = Math.Min(offset + length, onode.Size);
        end = Math.Min(end, (long)ChunkCount(onode) * Chunk.Blocks * BlockSize);
        while (offset < end)
        {
            long block = offset / BlockSize;
            long stop = Math.Min(end, (block + 1) * BlockSize);
            Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
            if (chunk is null)
            {
                offset = (block / Chunk.Blocks + 1) * Chunk.Blocks * BlockSize;
                continue;
            }

            if (HasBlock(chunk, (int)(block % Chunk.Blocks)))
            {
                if (extents.Count > 0 && extents[^1].Offset + extents[^1].Length == offset)
                {
                    extents[^1] = new DataExtent(extents[^1].Offset, stop - extents[^1].Offset);
                }
                else
                {
                    extents.Add(new DataExtent(offset, stop - offset));
                }
            }

            offset = stop;
        }
    }

    /// <inheritdoc/>
    public bool ListObjects(CollectionId collection, ObjectId? from, int limit, List<ObjectId> objects)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        if (FindCollection(collection) is not { } found)
        {
            return false;
        }

        SortedSet<ObjectId>.Enumerator unsettled = (UnsettledFrom(found, from) ?? s_noNames).GetEnumerator();
        bool hasUnsettled = unsettled.MoveNext();
        using MetadataIterator stored = _database.Iterate();
        if (from is null)
        {
            MetadataKeys.WriteCollection(_key, collection, MetadataKeys.ObjectPrefix);
        }
        else
        {
            MetadataKeys.WriteObject(_key, collection, from);
        }

        stored.Seek(_key.WrittenSpan);
        int added = 0;
        while (true)
        {
            ObjectId? next = stored.IsValid && MetadataKeys.IsObjectOf(stored.Key, collection) ? MetadataKeys.ReadObject(stored.Key) : null;
            if (next is null && !hasUnsettled)
            {
                return false;
            }

            int order = next is null ? 1 : !hasUnsettled ? -1 : next.CompareTo(unsettled.Current);
            ObjectId id = order < 0 ? next! : unsettled.Current;
            if (order < 0 || found.Onodes[id].Exists)
            {
                if (added++ == limit)
                {
                    return true;
                }

                objects.Add(id);
            }

            if (order <= 0)
            {
                stored.Next();
            }

            if (order >= 0)
            {
                hasUnsettled = unsettled.MoveNext();
            }
        }
    }

    private static SortedSet<ObjectId>? UnsettledFrom(DiskCollection collection, ObjectId? from)
    {
        ObjectId? last = collection.Unsettled.Max;
        return last is null ? null
            : from is null ? collection.Unsettled
            : last < from ? null
            : collection.Unsettled.GetViewBetween(from, last);
    }

    /// <inheritdoc/>
    public void Read(CollectionId collection, ObjectId id, long offset, int length, IReadCompletion completion, ulong token)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        if (Find(collection, id) is not { } onode)
        {
            completion.OnRead(token, ReadStatus.NotFound, default);
            return;
        }

        length = (int)Math.Min(length, onode.Size - offset);
        if (length <= 0)
        {
            completion.OnRead(token, ReadStatus.Ok, default);
            return;
        }

        if (_directInFlight.Count + _packing.Count > 0 && TouchesDirectInFlight(onode, offset, length))
        {
            _waitingReads.Enqueue(new WaitingRead(collection, id, offset, length, completion, token));
            return;
        }

        ReadOperation operation = _readPool.TryPop(out ReadOperation? pooled) ? pooled : new ReadOperation(this);
        long first = offset / BlockSize;
        int blocks = (int)((offset + length - 1) / BlockSize - first + 1);
        operation.Begin(_pool.Rent(blocks * BlockSize), (int)(offset % BlockSize), length, completion, token, _reads.Begin());
        bool mayCache = blocks <= LargestCachedRead && _cache.Budget > 0;
        operation.MayCache = mayCache;
        for (int i = 0; i < blocks; i++)
        {
            long block = first + i;
            Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
            int index = (int)(block % Chunk.Blocks);
            if (chunk?.Overlay?[index] is { } overlay)
            {
                operation.AddPieces(i, overlay);
            }
            else if (chunk is null || chunk.Units[index] == 0)
            {
                if (chunk is not null && chunk.IsInBlob(index))
                {
                    operation.AddBlob(i, chunk, index);
                }
                else
                {
                    operation.AddHole(i);
                }
            }
            else if (!mayCache || !_cache.TryCopy(chunk.Units[index], chunk.Checksums[index], operation.Block(i)))
            {
                operation.AddUnit(i, chunk, index);
            }
        }

        operation.Go();
    }

    private bool TouchesDirectInFlight(Onode onode, long offset, int length)
    {
        for (long block = offset / BlockSize; block * BlockSize < offset + length; block++)
        {
            Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
            int index = (int)(block % Chunk.Blocks);
            if (chunk is null)
            {
                continue;
            }

            if (chunk.Units[index] != 0 ? IsInFlight(chunk.Units[index])
                : chunk.IsInBlob(index) ? IsInFlight(chunk.Blobs![chunk.FindBlob(index)].Blob.Unit)
                : chunk.Overlay?[index] is { } overlay && IsInFlight(overlay))
            {
                return true;
            }
        }

        return false;
    }

    private bool IsInFlight(OverlayBlock overlay)
    {
        foreach (ref readonly Piece piece in overlay.Pieces)
        {
            if (IsInFlight(in piece))
            {
                return true;
            }
        }

        return false;
    }

    // A blob goes to the disk whole, with the others of its write.
    private bool IsInFlight(in Piece piece) => piece.Kind switch
    {
        PieceKind.Disk => IsInFlight(piece.Unit),
        PieceKind.Blob => IsInFlight(piece.Blob!.Unit),
        _ => false,
    };

    private bool IsInFlight(uint unit)
    {
        foreach (DirectCompletion io in _directInFlight)
        {
            if (unit - io.First < io.Count)
            {
                return true;
            }
        }

        return IsBeingPacked(unit);
    }

    private void RetryWaitingReads()
    {
        for (int count = _waitingReads.Count; count > 0; count--)
        {
            WaitingRead read = _waitingReads.Dequeue();
            Read(read.Collection, read.Object, read.Offset, read.Length, read.Completion, read.Token);
        }
    }

    private void EndRead(ReadOperation operation, long period)
    {
        _readPool.Push(operation);
        if (_reads.End(period))
        {
            ReleaseUnits();
            ContinueWriteBack();
        }
    }

    /// <summary>Units no durable state refers to any more: free once the reads of this and earlier periods are over.</summary>
    private void ReleaseLater(List<uint> units)
    {
        if (units.Count > 0)
        {
            _releases.Enqueue((_reads.Advance(), units));
            _releasing += units.Count;
        }

        ReleaseUnits();
    }

    private readonly record struct WaitingRead(CollectionId Collection, ObjectId Object, long Offset, int Length, IReadCompletion Completion, ulong Token);
}
