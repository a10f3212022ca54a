using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// What each step does to the state in memory; the same code runs when the journal is replayed.
public sealed partial class DiskObjectStore
{
    private readonly List<OverlayBlock?> _snapshots = [];

    private void Apply(in TransactionStep step, ref ApplyCursor cursor)
    {
        switch (step.Code)
        {
            case TransactionCode.CreateCollection:
                CreateCollection(step.Collection);
                return;
            case TransactionCode.RemoveCollection:
                RemoveCollection(step.Collection);
                return;
            case TransactionCode.SplitCollection:
                SplitCollection(in step);
                return;
            case TransactionCode.AppendLog:
                AppendLog(FindCollection(step.Collection)!, step.Value.Span);
                return;
            case TransactionCode.TrimLog:
                TrimLog(FindCollection(step.Collection)!, step.Offset);
                return;
            default:
                break;
        }

        DiskCollection collection = FindCollection(step.Collection)!;
        Onode onode = LoadToChange(collection, step.Object!);
        switch (step.Code)
        {
            case TransactionCode.Touch:
                Ensure(onode);
                break;
            case TransactionCode.Write:
                Ensure(onode);
                ApplyWrite(onode, in step, ref cursor);
                break;
            case TransactionCode.Zero:
                Ensure(onode);
                ZeroRange(onode, step.Offset, step.Length);
                Lengthen(onode, step.Offset, step.Length);
                break;
            case TransactionCode.Truncate:
                Ensure(onode);
                Truncate(onode, step.Offset);
                break;
            case TransactionCode.Remove:
                if (onode.Exists)
                {
                    Bury(onode);
                }

                break;
            case TransactionCode.Clone:
                if (step.Object != step.Destination)
                {
                    CloneObject(onode, LoadToChange(collection, step.Destination!));
                }

                break;
            case TransactionCode.CloneRange:
                CloneRange(onode, LoadToChange(collection, step.Destination!), step.Offset, step.Length, step.DestinationOffset);
                break;
            case TransactionCode.Move:
                if (step.Collection != step.DestinationCollection || step.Object != step.Destination)
                {
                    MoveObject(onode, LoadToChange(FindCollection(step.DestinationCollection)!, step.Destination!));
                }

                break;
            case TransactionCode.SetAttribute:
                Ensure(onode);
                SetAttribute(onode.Attributes ??= new SortedList<string, ReadOnlyMemory<byte>>(StringComparer.Ordinal), step.Name!, step.Value.Span);
                MarkDirty(onode);
                break;
            case TransactionCode.RemoveAttribute:
                if (onode.Exists && onode.Attributes is not null && onode.Attributes.Remove(step.Name!))
                {
                    MarkDirty(onode);
                }

                break;
            case TransactionCode.SetOmap:
                Ensure(onode);
                SetOmap(onode, step.Key, step.Value);
                break;
            case TransactionCode.RemoveOmap:
                if (onode.Exists)
                {
                    RemoveOmap(onode, step.Key);
                }

                break;
            case TransactionCode.RemoveOmapRange:
                if (onode.Exists)
                {
                    RemoveOmapRange(onode, step.Key, step.Value);
                }

                break;
            case TransactionCode.ClearOmap:
                if (onode.Exists)
                {
                    ClearOmap(onode);
                }

                break;
            default:
                Invariant.Fail($"transaction step {step.Code} has no meaning");
                break;
        }
    }

    // The memory of a value is its onode's alone, so that the version of an object, which changes with every write, stays where it is.
    private static void SetAttribute(SortedList<string, ReadOnlyMemory<byte>> attributes, string name, ReadOnlySpan<byte> value)
    {
        int at = attributes.IndexOfKey(name);
        if (at >= 0 && attributes.GetValueAtIndex(at) is var known && known.Length == value.Length)
        {
            value.CopyTo(System.Runtime.InteropServices.MemoryMarshal.AsMemory(known).Span);
        }
        else
        {
            attributes[name] = value.ToArray();
        }
    }

    private void CreateCollection(CollectionId id)
    {
        if (!_collections.TryGetValue(id, out DiskCollection? collection))
        {
            collection = new DiskCollection(id);
            _collections.Add(id, collection);
        }

        if (!collection.Exists)
        {
            collection.Exists = true;
            _dirtyCollections.Add(collection);
            ScheduleCheckpoint();
        }
    }

    private void RemoveCollection(CollectionId id)
    {
        if (FindCollection(id) is not { } collection)
        {
            return;
        }

        var objects = new List<ObjectId>();
        ListObjects(id, null, int.MaxValue, objects);
        foreach (ObjectId name in objects)
        {
            Bury(LoadToChange(collection, name));
        }

        ForgetLog(collection);
        collection.Exists = false;
        _dirtyCollections.Add(collection);
        ScheduleCheckpoint();
    }

    // One key of the database per object: its blocks and its omap are stored under numbers that do not change. The objects are one run in the
    // order of ids, and the same run when the journal is replayed.
    private void SplitCollection(in TransactionStep step)
    {
        const int Page = 1024;
        int bitCount = (int)step.Offset;
        uint bits = (uint)step.Length;
        DiskCollection destination = FindCollection(step.DestinationCollection)!;
        DiskCollection source = FindCollection(step.Collection)!;
        var names = new List<ObjectId>();
        var from = new ObjectId("", bitCount == 32 ? bits : bits & ((1u << bitCount) - 1), 0);
        bool more = true;
        while (more)
        {
            names.Clear();
            more = ListObjects(step.Collection, from, Page, names);
            foreach (ObjectId id in names)
            {
                if (!PgSplit.Holds(id.Hash, bits, bitCount))
                {
                    return;
                }

                if (id.Name.Length > 0)
                {
                    MoveObject(LoadToChange(source, id), LoadToChange(destination, id));
                }
            }

            from = more ? names[^1] : from;
        }
    }

    private void Ensure(Onode onode)
    {
        if (!onode.Exists)
        {
            onode.Exists = true;
            onode.Number = ++_lastNumber;
            Unsettle(onode);
        }
    }

    private void ApplyWrite(Onode onode, in TransactionStep step, ref ApplyCursor cursor)
    {
        Lengthen(onode, step.Offset, step.Length);
        long offset = step.Offset;
        long end = offset + step.Length;
        DirectWrite direct = cursor.TakeDirect();
        if (direct.Blocks > 0)
        {
            InlineWrite(onode, offset, direct.FirstBlock * BlockSize, ref cursor);
            ApplyDirect(onode, in direct);
            offset = (direct.FirstBlock + direct.Blocks) * BlockSize;
        }

        InlineWrite(onode, offset, end, ref cursor);
    }

    private void InlineWrite(Onode onode, long offset, long end, ref ApplyCursor cursor)
    {
        while (offset < end)
        {
            int within = (int)(offset % BlockSize);
            int count = (int)Math.Min(end - offset, BlockSize - within);
            var piece = new Piece { Kind = PieceKind.Journal, Start = within, Length = count, Batch = cursor.Batch, Source = cursor.DataOffset };
            SetPiece(onode, offset / BlockSize, in piece);
            cursor.DataOffset += count;
            offset += count;
        }
    }

    private void ApplyDirect(Onode onode, in DirectWrite direct)
    {
        int done = 0;
        int checksum = direct.ChecksumStart;
        for (int r = 0; r < direct.RunCount; r++)
        {
            DirectRun run = _runs[direct.RunStart + r];
            if (run.Blob is { } blob)
            {
                InstallBlob(onode, direct.FirstBlock + done, blob);
                done += blob.Blocks;
                continue;
            }

            for (uint i = 0; i < run.Count; i++, done++)
            {
                long block = direct.FirstBlock + done;
                Chunk chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: true)!;
                int index = (int)(block % Chunk.Blocks);
                DropBlock(chunk, index);
                chunk.Units[index] = run.Start + i;
                chunk.Checksums[index] = _checksums[checksum++];
                MarkDirty(chunk);
            }
        }

        if (direct.Job is { } job)
        {
            for (long chunk = direct.FirstBlock / Chunk.Blocks; chunk <= (direct.FirstBlock + done - 1) / Chunk.Blocks; chunk++)
            {
                job.Chunks.Add(GetChunk(onode, (int)chunk, create: false)!);
            }
        }
    }

    private void Lengthen(Onode onode, long offset, long length)
    {
        if (length > 0 && offset + length > onode.Size)
        {
            onode.Size = offset + length;
            MarkDirty(onode);
        }
    }

    private void ZeroRange(Onode onode, long offset, long length)
    {
        long end = Math.Min(offset + length, (long)ChunkCount(onode) * Chunk.Blocks * BlockSize);
        while (offset < end)
        {
            long block = offset / BlockSize;
            int within = (int)(offset % BlockSize);
            int count = (int)Math.Min(end - offset, BlockSize - within);
            Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
            if (chunk is null)
            {
                offset = (block / Chunk.Blocks + 1) * Chunk.Blocks * BlockSize;
                continue;
            }

            if (HasBlock(chunk, (int)(block % Chunk.Blocks)))
            {
                if (count == BlockSize)
                {
                    DropBlock(chunk, (int)(block % Chunk.Blocks));
                    MarkDirty(chunk);
                }
                else
                {
                    var piece = new Piece { Kind = PieceKind.Zero, Start = within, Length = count };
                    SetPiece(onode, block, in piece);
                }
            }

            offset += count;
        }
    }

    private void Truncate(Onode onode, long size)
    {
        if (size < onode.Size)
        {
            long end = (onode.Size + BlockSize - 1) / BlockSize * BlockSize;
            ZeroRange(onode, size, end - size);
        }

        if (size != onode.Size)
        {
            onode.Size = size;
            MarkDirty(onode);
        }
    }

    private void CloneObject(Onode source, Onode target)
    {
        if (target.Exists)
        {
            Bury(target);
        }

        Ensure(target);
        target.Size = source.Size;
        if (source.Attributes is not null)
        {
            target.Attributes = new SortedList<string, ReadOnlyMemory<byte>>(source.Attributes.Count, StringComparer.Ordinal);
            foreach ((string name, ReadOnlyMemory<byte> attribute) in source.Attributes)
            {
                target.Attributes.Add(name, attribute.ToArray());
            }
        }

        for (int i = 0; i < ChunkCount(source); i++)
        {
            if (GetChunk(source, i, create: false) is not { } chunk)
            {
                continue;
            }

            CloneBlobs(chunk, target);
            for (int block = 0; block < Chunk.Blocks; block++)
            {
                if (HasBlock(chunk, block) && !chunk.IsInBlob(block))
                {
                    long number = (long)i * Chunk.Blocks + block;
                    InstallSnapshot(target, number, Snapshot(source, number));
                }
            }
        }

        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        ListOmap(source, default, int.MaxValue, entries);
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in entries)
        {
            SetOmap(target, key, value);
        }
    }

    private void CloneRange(Onode source, Onode target, long offset, long length, long destination)
    {
        // All of the source first: source and target may be the same object, with overlapping ranges.
        length = Math.Min(length, source.Size - offset);
        _snapshots.Clear();
        long firstBlock = offset / BlockSize;
        for (long block = firstBlock; length > 0 && block * BlockSize < offset + length; block++)
        {
            _snapshots.Add(Snapshot(source, block));
        }

        Ensure(target);
        Lengthen(target, destination, length);
        long end = offset + length;
        while (offset < end)
        {
            int within = (int)(offset % BlockSize);
            int count = (int)Math.Min(end - offset, BlockSize - within);
            int index = (int)(offset / BlockSize - firstBlock);
            OverlayBlock? snapshot = _snapshots[index];
            if (count == BlockSize && destination % BlockSize == 0)
            {
                InstallSnapshot(target, destination / BlockSize, snapshot);
                _snapshots[index] = null;
            }
            else if (snapshot is null)
            {
                ZeroRange(target, destination, count);
            }
            else
            {
                CopyPieces(target, destination, snapshot, within, count);
            }

            offset += count;
            destination += count;
        }

        foreach (OverlayBlock? left in _snapshots)
        {
            if (left is not null)
            {
                RecycleOverlay(left);
            }
        }

        _snapshots.Clear();
    }

    private void CopyPieces(Onode target, long destination, OverlayBlock source, int within, int count)
    {
        foreach (ref readonly Piece piece in source.Pieces)
        {
            int start = Math.Max(piece.Start, within);
            int end = Math.Min(piece.Start + piece.Length, within + count);
            while (start < end)
            {
                long to = destination + (start - within);
                int at = (int)(to % BlockSize);
                int part = Math.Min(end - start, BlockSize - at);
                Piece copy = piece.Slice(start, part);
                copy.Start = at;
                SetPiece(target, to / BlockSize, in copy);
                start += part;
            }
        }
    }

    private void MoveObject(Onode source, Onode target)
    {
        if (target.Exists)
        {
            Bury(target);
        }

        Invariant.Holds(source.Exists);
        target.Exists = true;
        target.Number = source.Number;
        target.OmapNumber = source.OmapNumber;
        target.Size = source.Size;
        target.Attributes = source.Attributes;
        target.Chunks = source.Chunks;
        target.PersistedChunks = source.PersistedChunks;
        target.Omap = source.Omap;
        target.OmapPersisted = source.OmapPersisted;
        target.OverlayBlocks = source.OverlayBlocks;
        foreach (Chunk? chunk in target.Chunks)
        {
            if (chunk is not null)
            {
                chunk.Owner = target;
            }
        }

        source.OverlayBlocks = 0;
        Empty(source);
        Unsettle(target);
    }
}
