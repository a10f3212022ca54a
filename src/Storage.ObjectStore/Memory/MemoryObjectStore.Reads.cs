using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Memory;

public sealed partial class MemoryObjectStore
{
    /// <inheritdoc/>
    public IReadOnlyList<CollectionId> ListCollections()
    {
        var list = new CollectionId[_disk.Collections.Count];
        for (int i = 0; i < list.Length; i++)
        {
            list[i] = _disk.Collections.KeyAt(i);
        }

        return list;
    }

    /// <inheritdoc/>
    public LogRange GetLog(CollectionId collection) =>
        _disk.Collections.TryGet(collection, out MemoryCollection found) ? new LogRange(found.LogFirst, found.LogFirst + found.Log.Count) : default;

    /// <inheritdoc/>
    public void ReadLog(CollectionId collection, List<ReadOnlyMemory<byte>> records)
    {
        if (_disk.Collections.TryGet(collection, out MemoryCollection found))
        {
            records.AddRange(found.Log);
        }
    }

    /// <inheritdoc/>
    public bool TryStat(CollectionId collection, ObjectId id, out long size)
    {
        MemoryObject? found = Find(collection, id);
        size = found?.Size ?? 0;
        return found is not null;
    }

    /// <inheritdoc/>
    public void Read(CollectionId collection, ObjectId id, long offset, int length, IReadCompletion completion, ulong token)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ReadStatus status = ReadNow(collection, id, offset, length, out BufferSegment data);
        TimeSpan latency = Draw(_options.ReadLatencyMin, _options.ReadLatencyMax);
        if (latency <= TimeSpan.Zero)
        {
            completion.OnRead(token, status, data);
            return;
        }

        _ = _loop.Schedule(
            latency,
            _ =>
            {
                if (_stopped)
                {
                    data.Buffer?.Release();
                }
                else
                {
                    completion.OnRead(token, status, data);
                }
            },
            null);
    }

    /// <inheritdoc/>
    public bool TryMend(CollectionId collection, ObjectId id, long offset, BufferSegment content, long unknownFrom, long unknownTo, Transaction transaction)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(offset % StoreLimits.BlockSize, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(content.Length, StoreLimits.BlockSize);
        if (Find(collection, id) is not { } found || offset < 0 || offset >= found.Size || !found.Blocks.TryGet(offset / StoreLimits.BlockSize, out MemoryBlock block))
        {
            return false;
        }

        bool fits = false;
        bool matches = block.WasOnDisk(content.Span);
        foreach ((int start, int end) in block.Damaged)
        {
            if (matches || unknownFrom >= unknownTo || offset + start >= unknownTo || offset + end <= unknownFrom)
            {
                transaction.Write(collection, id, offset + start, content.Slice(start, end - start));
                fits = true;
            }
        }

        if (fits && offset + StoreLimits.BlockSize > found.Size)
        {
            transaction.Truncate(collection, id, found.Size);
        }

        return fits;
    }

    /// <inheritdoc/>
    public void ListExtents(CollectionId collection, ObjectId id, long offset, long length, List<DataExtent> extents)
    {
        extents.Clear();
        if (Find(collection, id) is not { } found)
        {
            return;
        }

        long end = Math.Min(offset + length, found.Size);
        for (int i = found.Blocks.LowerBound(offset / StoreLimits.BlockSize); i < found.Blocks.Count; i++)
        {
            long start = Math.Max(offset, found.Blocks.KeyAt(i) * StoreLimits.BlockSize);
            long stop = Math.Min(end, (found.Blocks.KeyAt(i) + 1) * StoreLimits.BlockSize);
            if (start >= stop)
            {
                break;
            }

            if (extents.Count > 0 && extents[^1].Offset + extents[^1].Length == start)
            {
                extents[^1] = new DataExtent(extents[^1].Offset, stop - extents[^1].Offset);
            }
            else
            {
                extents.Add(new DataExtent(start, stop - start));
            }
        }
    }

    /// <inheritdoc/>
    public bool TryGetAttribute(CollectionId collection, ObjectId id, string name, out ReadOnlyMemory<byte> value)
    {
        value = default;
        return Find(collection, id) is { } found && found.Attributes.TryGet(name, out value);
    }

    /// <inheritdoc/>
    public IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> GetAttributes(CollectionId collection, ObjectId id)
    {
        if (Find(collection, id) is not { } found)
        {
            return [];
        }

        var list = new KeyValuePair<string, ReadOnlyMemory<byte>>[found.Attributes.Count];
        for (int i = 0; i < list.Length; i++)
        {
            list[i] = new(found.Attributes.KeyAt(i), found.Attributes.ValueAt(i));
        }

        return list;
    }

    /// <inheritdoc/>
    public bool TryGetOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value)
    {
        value = default;
        return Find(collection, id) is { } found && found.Omap.TryGet(key.ToArray(), out value);
    }

    /// <inheritdoc/>
    public bool ListOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        if (Find(collection, id) is not { } found)
        {
            return false;
        }

        int at = found.Omap.LowerBound(from.ToArray());
        for (; at < found.Omap.Count && limit > 0; at++, limit--)
        {
            entries.Add(new(found.Omap.KeyAt(at), found.Omap.ValueAt(at)));
        }

        return at < found.Omap.Count;
    }

    /// <inheritdoc/>
    public bool ListObjects(CollectionId collection, ObjectId? from, int limit, List<ObjectId> objects)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        if (!_disk.Collections.TryGet(collection, out MemoryCollection found))
        {
            return false;
        }

        int at = from is null ? 0 : found.Objects.LowerBound(from);
        for (; at < found.Objects.Count && limit > 0; at++, limit--)
        {
            objects.Add(found.Objects.KeyAt(at));
        }

        return at < found.Objects.Count;
    }

    private ReadStatus ReadNow(CollectionId collection, ObjectId id, long offset, int length, out BufferSegment data)
    {
        data = default;
        if (Find(collection, id) is not { } found)
        {
            return ReadStatus.NotFound;
        }

        if (_readErrors.Contains((collection, id)))
        {
            return ReadStatus.IoError;
        }

        length = (int)Math.Min(length, found.Size - offset);
        if (length <= 0)
        {
            return ReadStatus.Ok;
        }

        int within = (int)(offset % StoreLimits.BlockSize);
        PageBuffer buffer = _options.Pool.Rent(within + length);
        Span<byte> target = buffer.Span.Slice(within, length);
        target.Clear();
        for (int i = found.Blocks.LowerBound(offset / StoreLimits.BlockSize); i < found.Blocks.Count; i++)
        {
            long start = found.Blocks.KeyAt(i) * StoreLimits.BlockSize;
            if (start >= offset + length)
            {
                break;
            }

            MemoryBlock block = found.Blocks.ValueAt(i);
            if (block.Damage != BlockDamage.None && !(block.Damage == BlockDamage.Flipped && Mutations.Active(Mutation.StoreIgnoresChecksums)))
            {
                buffer.Release();
                return block.Damage == BlockDamage.Flipped ? ReadStatus.ChecksumMismatch : ReadStatus.IoError;
            }

            int skip = (int)Math.Max(0, offset - start);
            int count = (int)Math.Min(StoreLimits.BlockSize, offset + length - start) - skip;
            block.Data.AsSpan(skip, count).CopyTo(target[(int)(start + skip - offset)..]);
        }

        data = new BufferSegment(buffer, within, length);
        return ReadStatus.Ok;
    }
}
