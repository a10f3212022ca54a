using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// What a mount makes of the database and of the journal: space in use, blocks still in the journal, and the transactions after the checkpoint.
public sealed partial class DiskObjectStore
{
    /// <summary>Reads collections and counts every reference to a unit; returns the objects with blocks still in the journal.</summary>
    private HashSet<ulong> LoadMaps()
    {
        using (MetadataIterator collections = _database.Iterate())
        {
            for (collections.Seek([MetadataKeys.CollectionPrefix]); collections.IsValid && collections.Key[0] == MetadataKeys.CollectionPrefix; collections.Next())
            {
                CollectionId id = MetadataKeys.ReadCollection(collections.Key);
                var collection = new DiskCollection(id) { Exists = true };
                CollectionFormat.Read(collections.Value, collection.Log);
                _collections.Add(id, collection);
            }
        }

        LoadLogs();

        var overlaid = new HashSet<ulong>();
        uint[] units = new uint[Chunk.Blocks];
        uint[] checksums = new uint[Chunk.Blocks];
        var blobs = new List<ChunkBlob>();
        using MetadataIterator chunks = _database.Iterate();
        for (chunks.Seek([MetadataKeys.ChunkPrefix]); chunks.IsValid && chunks.Key[0] == MetadataKeys.ChunkPrefix; chunks.Next())
        {
            Array.Clear(units);
            ulong number = System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(chunks.Key[1..]);
            blobs.Clear();
            ChunkFormat.Read(
                chunks.Value,
                units,
                checksums,
                (_, piece, _, _) =>
                {
                    overlaid.Add(number);
                    if (piece.Kind == PieceKind.Disk)
                    {
                        _space.AddReference(piece.Unit);
                    }
                    else if (piece.Kind == PieceKind.Blob)
                    {
                        RetainBlob(piece.Blob!);
                        _algorithmsFound.Add(piece.Blob!.Algorithm);
                    }
                },
                blobs);
            foreach (ChunkBlob slot in blobs)
            {
                RetainBlob(slot.Blob);
                _algorithmsFound.Add(slot.Blob.Algorithm);
            }

            foreach (uint unit in units)
            {
                if (unit != 0)
                {
                    _space.AddReference(unit);
                }
            }
        }

        return overlaid;
    }

    private void RestoreOverlays(HashSet<ulong> numbers)
    {
        var names = new List<(DiskCollection, ObjectId)>();
        using (MetadataIterator objects = _database.Iterate())
        {
            for (objects.Seek([MetadataKeys.ObjectPrefix]); objects.IsValid && objects.Key[0] == MetadataKeys.ObjectPrefix; objects.Next())
            {
                ulong number = System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(objects.Value[1..]);
                if (numbers.Contains(number))
                {
                    names.Add((_collections[MetadataKeys.ReadCollection(objects.Key)], MetadataKeys.ReadObject(objects.Key)));
                }
            }
        }

        foreach ((DiskCollection collection, ObjectId id) in names)
        {
            Onode onode = Load(collection, id);
            for (int i = 0; i < onode.PersistedChunks; i++)
            {
                GetChunk(onode, i, create: false);
            }
        }
    }

    private void LoadChunk(Chunk chunk, ReadOnlySpan<byte> value)
    {
        var overlays = new SortedDictionary<int, OverlayBlock>();
        _loadedBlobs.Clear();
        ChunkFormat.Read(value, chunk.Units, chunk.Checksums, OnPiece, _loadedBlobs);
        if (_loadedBlobs.Count > 0)
        {
            chunk.Blobs = [.. _loadedBlobs];
            foreach (ChunkBlob slot in _loadedBlobs)
            {
                chunk.BlobMask |= slot.Mask;
            }
        }

        void OnPiece(int block, Piece piece, long position, ReadOnlySpan<byte> bytes)
        {
            // Only a mount meets overlays in the database: a chunk that has some stays in memory.
            Invariant.Holds(_mountBatches is not null);
            if (!overlays.TryGetValue(block, out OverlayBlock? overlay))
            {
                overlay = RentOverlay();
                overlays.Add(block, overlay);
            }

            if (piece.Kind == PieceKind.Journal)
            {
                piece.Batch = FindMountBatch(position, piece.Length);
                piece.Source = (int)(position - piece.Batch.Position);
                piece.Batch.Retain();
            }
            else if (piece.Kind == PieceKind.Inline)
            {
                piece.Kind = PieceKind.Journal;
                piece.Batch = new JournalBatch(_pool.Rent(piece.Length)) { Durable = true, Length = piece.Length };
                bytes.CopyTo(piece.Batch.Span);
            }

            overlay.Add(in piece);
        }

        foreach ((int block, OverlayBlock overlay) in overlays)
        {
            InstallOverlay(chunk, block, overlay);
            MarkDirty(chunk);
        }
    }

    private JournalBatch FindMountBatch(long position, int length)
    {
        int low = 0;
        int high = _mountBatches!.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            JournalBatch batch = _mountBatches[middle];
            if (position < batch.Position)
            {
                high = middle - 1;
            }
            else if (position + length > batch.Position + batch.Length)
            {
                low = middle + 1;
            }
            else
            {
                return batch;
            }
        }

        throw new MalformedDataException($"the journal lacks {length} bytes at position {position} that the last checkpoint needs");
    }

    private void Replay(JournalBatch batch, ulong applied)
    {
        int at = JournalFormat.HeaderSize;
        for (int i = 0; i < batch.Transactions; i++)
        {
            ReadOnlySpan<byte> rest = batch.Span[at..batch.Length];
            var reader = new WireReader(rest);
            int metaLength = reader.ReadInt32();
            int dataLength = reader.ReadInt32();
            if (metaLength < 0 || dataLength < 0 || metaLength + (long)dataLength > reader.Remaining)
            {
                throw new MalformedDataException($"journal batch {batch.Sequence}: transaction of {metaLength} and {dataLength} bytes, {reader.Remaining} are left");
            }

            int dataAt = at + TransactionHeader + metaLength;
            if (batch.FirstTransaction + (ulong)i > applied)
            {
                ReplayTransaction(batch, rest.Slice(TransactionHeader, metaLength), dataAt);
                Invariant.Holds(batch.FirstTransaction + (ulong)i == _lastTransaction + 1);
                _durableTransaction = ++_lastTransaction;
            }

            at = dataAt + dataLength;
        }
    }

    private void ReplayTransaction(JournalBatch batch, ReadOnlySpan<byte> meta, int dataAt)
    {
        _directs.Clear();
        _runs.Clear();
        _checksums.Clear();
        var steps = new List<TransactionStep>();
        var reader = new WireReader(meta);
        int count = reader.ReadCount(13);
        for (int i = 0; i < count; i++)
        {
            TransactionStep step = Transaction.DecodeStep(ref reader);
            steps.Add(step);
            if (step.Code == TransactionCode.Write)
            {
                ReadDirect(ref reader);
            }
        }

        reader.ExpectEnd();
        var cursor = new ApplyCursor(batch, dataAt, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_directs));
        foreach (TransactionStep step in steps)
        {
            Apply(in step, ref cursor);
        }

        DissolveThinned();
    }

    private void ReadDirect(ref WireReader reader)
    {
        int blocks = reader.ReadInt32();
        bool packed = (blocks & HasBlobs) != 0;
        bool hasRoom = (blocks & HasRoom) != 0;
        blocks &= ~(HasBlobs | HasRoom);
        if (blocks == 0)
        {
            _directs.Add(default);
        }
        else if (hasRoom)
        {
            var room = new WireReader(reader.ReadBytes());
            ReadRuns(ref room, blocks, packed);
        }
        else
        {
            ReadRuns(ref reader, blocks, packed);
        }
    }

    private void ReadRuns(ref WireReader reader, int blocks, bool packed)
    {
        long first = reader.ReadInt64();
        int runs = reader.ReadCount(8);
        _directs.Add(new DirectWrite(first, blocks, _runs.Count, runs, _checksums.Count));
        long total = 0;
        long raw = 0;
        for (int i = 0; i < runs; i++)
        {
            uint start = reader.ReadUInt32();
            uint length = reader.ReadUInt32();
            var run = new DirectRun(start, length, packed && reader.ReadBoolean() ? Blob.Read(ref reader) : null);
            _runs.Add(run);
            if (run.Blob is { } blob)
            {
                _algorithmsFound.Add(blob.Algorithm);
            }

            total += run.Blocks;
            raw += run.Blob is null ? length : 0;
            for (uint u = 0; u < length; u++)
            {
                // Space freed after the last checkpoint is not given out before the next: whoever replays finds it free.
                Invariant.Holds(!_space.IsUsed(start + u));
                _space.AddReference(start + u);
            }
        }

        Invariant.Holds(total == blocks);
        for (long i = 0; i < raw; i++)
        {
            _checksums.Add(reader.ReadUInt32());
        }
    }
}
