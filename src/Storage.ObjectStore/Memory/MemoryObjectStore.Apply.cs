using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Memory;

public sealed partial class MemoryObjectStore
{
    private void Apply(in TransactionStep step, List<Action> undo)
    {
        switch (step.Code)
        {
            case TransactionCode.CreateCollection:
                CreateCollection(step.Collection, undo);
                return;
            case TransactionCode.RemoveCollection:
                RemoveCollection(step.Collection, undo);
                return;
            case TransactionCode.SplitCollection:
                SplitCollection(in step, undo);
                return;
            case TransactionCode.AppendLog:
                AppendLog(FindCollection(step.Collection), step.Value.ToArray(), undo);
                return;
            case TransactionCode.TrimLog:
                TrimLog(FindCollection(step.Collection), step.Offset, undo);
                return;
            default:
                break;
        }

        ObjectId id = step.Object!;
        switch (step.Code)
        {
            case TransactionCode.Touch:
                _ = Ensure(step.Collection, id, undo);
                break;
            case TransactionCode.Write:
                Write(Ensure(step.Collection, id, undo), step.Offset, step.Data.Span, undo);
                break;
            case TransactionCode.Zero:
                MemoryObject zeroed = Ensure(step.Collection, id, undo);
                ZeroRange(zeroed, step.Offset, step.Length, undo);
                Lengthen(zeroed, step.Offset, step.Length, undo);
                break;
            case TransactionCode.Truncate:
                Truncate(Ensure(step.Collection, id, undo), step.Offset, undo);
                break;
            case TransactionCode.Remove:
                Replace(step.Collection, id, null, undo);
                break;
            case TransactionCode.Clone:
                if (id != step.Destination)
                {
                    Replace(step.Collection, step.Destination!, Find(step.Collection, id)!.Copy(), undo);
                }

                break;
            case TransactionCode.CloneRange:
                CloneRange(in step, undo);
                break;
            case TransactionCode.Move:
                if (step.Collection != step.DestinationCollection || id != step.Destination)
                {
                    Move(step.Collection, id, step.DestinationCollection, step.Destination!, undo);
                }

                break;
            case TransactionCode.SetAttribute:
                Set(Ensure(step.Collection, id, undo).Attributes, step.Name!, step.Value.ToArray(), undo);
                break;
            case TransactionCode.RemoveAttribute:
                if (Find(step.Collection, id) is { } bare)
                {
                    Unset(bare.Attributes, step.Name!, undo);
                }

                break;
            case TransactionCode.SetOmap:
                Set(Ensure(step.Collection, id, undo).Omap, step.Key, step.Value, undo);
                break;
            case TransactionCode.RemoveOmap:
                if (Find(step.Collection, id) is { } holder)
                {
                    Unset(holder.Omap, step.Key, undo);
                }

                break;
            case TransactionCode.RemoveOmapRange:
                if (Find(step.Collection, id) is { } ranged)
                {
                    RemoveOmapRange(ranged, step.Key, step.Value, undo);
                }

                break;
            case TransactionCode.ClearOmap:
                if (Find(step.Collection, id) is { } cleared)
                {
                    SortedMap<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>, KeyOrder> old = cleared.Omap;
                    cleared.Omap = new();
                    undo.Add(() => cleared.Omap = old);
                }

                break;
            default:
                throw new ArgumentException($"transaction step {step.Code} is unknown");
        }
    }

    private void CreateCollection(CollectionId id, List<Action> undo)
    {
        if (!_disk.Collections.TryGet(id, out _))
        {
            _disk.Collections.Set(id, new MemoryCollection());
            undo.Add(() => _disk.Collections.Remove(id));
        }
    }

    private void RemoveCollection(CollectionId id, List<Action> undo)
    {
        if (!_disk.Collections.TryGet(id, out MemoryCollection collection))
        {
            return;
        }

        while (collection.Objects.Count > 0)
        {
            Replace(id, collection.Objects.KeyAt(collection.Objects.Count - 1), null, undo);
        }

        _disk.Collections.Remove(id);
        undo.Add(() => _disk.Collections.Set(id, collection));
    }

    private static void AppendLog(MemoryCollection collection, byte[] record, List<Action> undo)
    {
        collection.Log.Add(record);
        undo.Add(() => collection.Log.RemoveAt(collection.Log.Count - 1));
    }

    private static void TrimLog(MemoryCollection collection, long keepFrom, List<Action> undo)
    {
        int count = (int)Math.Clamp(keepFrom - collection.LogFirst, 0, collection.Log.Count);
        List<ReadOnlyMemory<byte>> trimmed = collection.Log.GetRange(0, count);
        collection.Log.RemoveRange(0, count);
        collection.LogFirst += count;
        undo.Add(() =>
        {
            collection.Log.InsertRange(0, trimmed);
            collection.LogFirst -= trimmed.Count;
        });
    }

    private MemoryCollection FindCollection(CollectionId id)
    {
        Invariant.Holds(_disk.Collections.TryGet(id, out MemoryCollection collection));
        return collection;
    }

    private void Move(CollectionId collection, ObjectId id, CollectionId destinationCollection, ObjectId destination, List<Action> undo)
    {
        // The copy takes references before the source gives its own back, so nothing is freed between.
        MemoryObject moved = Find(collection, id)!.Copy();
        Replace(destinationCollection, destination, moved, undo);
        Replace(collection, id, null, undo);
    }

    private void SplitCollection(in TransactionStep step, List<Action> undo)
    {
        int bitCount = (int)step.Offset;
        uint bits = (uint)step.Length;
        if (!_disk.Collections.TryGet(step.Collection, out MemoryCollection collection))
        {
            return;
        }

        var moving = new List<ObjectId>();
        for (int i = 0; i < collection.Objects.Count; i++)
        {
            ObjectId id = collection.Objects.KeyAt(i);
            if (id.Name.Length > 0 && PgSplit.Holds(id.Hash, bits, bitCount))
            {
                moving.Add(id);
            }
        }

        foreach (ObjectId id in moving)
        {
            Move(step.Collection, id, step.DestinationCollection, id, undo);
        }
    }

    private MemoryObject Ensure(CollectionId collection, ObjectId id, List<Action> undo)
    {
        MemoryObject? found = Find(collection, id);
        if (found is null)
        {
            found = new MemoryObject();
            Replace(collection, id, found, undo);
        }

        return found;
    }

    private void Replace(CollectionId collection, ObjectId id, MemoryObject? value, List<Action> undo)
    {
        _disk.Collections.TryGet(collection, out MemoryCollection objects);
        if (!objects.Objects.TryGet(id, out MemoryObject? old))
        {
            old = null;
        }

        Put(objects, id, old, value);
        undo.Add(() => Put(objects, id, value, old));
    }

    private void Put(MemoryCollection objects, ObjectId id, MemoryObject? old, MemoryObject? value)
    {
        if (value is null)
        {
            objects.Objects.Remove(id);
        }
        else
        {
            objects.Objects.Set(id, value);
            CountBlocks(value, 1);
        }

        if (old is not null)
        {
            CountBlocks(old, -1);
        }
    }

    private void CountBlocks(MemoryObject value, int change)
    {
        for (int i = 0; i < value.Blocks.Count; i++)
        {
            CountBlock(value.Blocks.ValueAt(i), change);
        }
    }

    private void CountBlock(MemoryBlock block, int change)
    {
        int before = block.References;
        block.References += change;
        if (before == 0)
        {
            _disk.UsedBytes += StoreLimits.BlockSize;
        }
        else if (block.References == 0)
        {
            _disk.UsedBytes -= StoreLimits.BlockSize;
            if (_applying is { } pending)
            {
                block.DroppedBy = pending.Number;
                pending.Dropped.Add(block);
            }
        }
    }

    private void SetBlock(MemoryObject target, long index, MemoryBlock? value, List<Action> undo)
    {
        if (!target.Blocks.TryGet(index, out MemoryBlock? old))
        {
            old = null;
        }

        PutBlock(target, index, old, value);
        undo.Add(() => PutBlock(target, index, value, old));
    }

    private void PutBlock(MemoryObject target, long index, MemoryBlock? old, MemoryBlock? value)
    {
        if (value is null)
        {
            target.Blocks.Remove(index);
        }
        else
        {
            target.Blocks.Set(index, value);
            CountBlock(value, 1);
        }

        if (old is not null)
        {
            CountBlock(old, -1);
        }
    }

    private void Write(MemoryObject target, long offset, ReadOnlySpan<byte> data, List<Action> undo)
    {
        Lengthen(target, offset, data.Length, undo);
        while (!data.IsEmpty)
        {
            int within = (int)(offset % StoreLimits.BlockSize);
            int count = Math.Min(data.Length, StoreLimits.BlockSize - within);
            Patch(target, offset / StoreLimits.BlockSize, within, data[..count], count, undo);
            offset += count;
            data = data[count..];
        }
    }

    // Puts bytes (or zeroes, with no data) into one block.
    private void Patch(MemoryObject target, long index, int within, ReadOnlySpan<byte> data, int count, List<Action> undo)
    {
        byte[] bytes = MemoryBlock.Rent();
        var patched = new MemoryBlock(bytes);
        if (count < StoreLimits.BlockSize)
        {
            if (target.Blocks.TryGet(index, out MemoryBlock old))
            {
                old.Data.CopyTo(bytes, 0);
                patched.Inherit(old, within, count);
            }
            else
            {
                Array.Clear(bytes);
            }
        }

        if (data.IsEmpty)
        {
            bytes.AsSpan(within, count).Clear();
        }
        else
        {
            data.CopyTo(bytes.AsSpan(within));
        }

        SetBlock(target, index, patched, undo);
    }

    private static void Lengthen(MemoryObject target, long offset, long length, List<Action> undo)
    {
        if (length > 0 && offset + length > target.Size)
        {
            SetSize(target, offset + length, undo);
        }
    }

    private static void SetSize(MemoryObject target, long size, List<Action> undo)
    {
        long old = target.Size;
        target.Size = size;
        undo.Add(() => target.Size = old);
    }

    private void ZeroRange(MemoryObject target, long offset, long length, List<Action> undo)
    {
        long end = offset + length;
        int at = target.Blocks.LowerBound(offset / StoreLimits.BlockSize);
        while (length > 0 && at < target.Blocks.Count && target.Blocks.KeyAt(at) * StoreLimits.BlockSize < end)
        {
            long index = target.Blocks.KeyAt(at);
            long start = Math.Max(offset, index * StoreLimits.BlockSize);
            int count = (int)(Math.Min(end, (index + 1) * StoreLimits.BlockSize) - start);
            if (count == StoreLimits.BlockSize)
            {
                SetBlock(target, index, null, undo);
            }
            else
            {
                Patch(target, index, (int)(start % StoreLimits.BlockSize), default, count, undo);
                at++;
            }
        }
    }

    private void Truncate(MemoryObject target, long size, List<Action> undo)
    {
        if (size < target.Size)
        {
            // Up to the end of the last block: what is beyond the length is always zero, and whole blocks are given back.
            long end = (target.Size + StoreLimits.BlockSize - 1) / StoreLimits.BlockSize * StoreLimits.BlockSize;
            ZeroRange(target, size, end - size, undo);
        }

        if (size != target.Size)
        {
            SetSize(target, size, undo);
        }
    }

    private void CloneRange(in TransactionStep step, List<Action> undo)
    {
        // A copy of the source's map first: source and destination may be the same object, with overlapping ranges.
        MemoryObject origin = Find(step.Collection, step.Object!)!;
        SortedMap<long, MemoryBlock, NaturalOrder<long>> source = origin.Blocks.Copy();
        long length = Math.Min(step.Length, origin.Size - step.Offset);
        MemoryObject target = Ensure(step.Collection, step.Destination!, undo);
        if (length <= 0)
        {
            return;
        }

        Lengthen(target, step.DestinationOffset, length, undo);
        long from = step.Offset;
        long to = step.DestinationOffset;
        long end = from + length;
        while (from < end)
        {
            int within = (int)(from % StoreLimits.BlockSize);
            int count = (int)Math.Min(end - from, StoreLimits.BlockSize - within);
            bool present = source.TryGet(from / StoreLimits.BlockSize, out MemoryBlock block);
            if (count == StoreLimits.BlockSize && to % StoreLimits.BlockSize == 0)
            {
                SetBlock(target, to / StoreLimits.BlockSize, present ? block : null, undo);
            }
            else if (present)
            {
                CopyPiece(target, to, block, within, count, undo);
            }
            else
            {
                ZeroRange(target, to, count, undo);
            }

            from += count;
            to += count;
        }
    }

    private void CopyPiece(MemoryObject target, long to, MemoryBlock block, int within, int count, List<Action> undo)
    {
        while (count > 0)
        {
            int at = (int)(to % StoreLimits.BlockSize);
            int part = Math.Min(count, StoreLimits.BlockSize - at);
            long index = to / StoreLimits.BlockSize;
            Patch(target, index, at, block.Data.AsSpan(within, part), part, undo);
            if (block.Damage != BlockDamage.None && target.Blocks.TryGet(index, out MemoryBlock patched))
            {
                patched.SpoilForGood(block.Damage); // a copy of damaged data must not pass for good
            }

            within += part;
            to += part;
            count -= part;
        }
    }

    private static void Set<TKey, TOrder>(SortedMap<TKey, ReadOnlyMemory<byte>, TOrder> map, TKey key, ReadOnlyMemory<byte> value, List<Action> undo)
        where TOrder : struct, IComparer<TKey>
    {
        if (map.TryGet(key, out ReadOnlyMemory<byte> old))
        {
            undo.Add(() => map.Set(key, old));
        }
        else
        {
            undo.Add(() => map.Remove(key));
        }

        map.Set(key, value);
    }

    private static void Unset<TKey, TOrder>(SortedMap<TKey, ReadOnlyMemory<byte>, TOrder> map, TKey key, List<Action> undo)
        where TOrder : struct, IComparer<TKey>
    {
        if (map.TryGet(key, out ReadOnlyMemory<byte> old))
        {
            map.Remove(key);
            undo.Add(() => map.Set(key, old));
        }
    }

    private static void RemoveOmapRange(MemoryObject target, ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> to, List<Action> undo)
    {
        int at = target.Omap.LowerBound(from);
        while (at < target.Omap.Count && target.Omap.KeyAt(at).Span.SequenceCompareTo(to.Span) < 0)
        {
            Unset(target.Omap, target.Omap.KeyAt(at), undo);
        }
    }
}
