using Storage.Coding;

namespace Storage.ObjectStore.Disk;

// Changes to block maps, and the reference counts that go with them.
public sealed partial class DiskObjectStore
{
    private const int BlockSize = StoreLimits.BlockSize;
    private const int KeptOverlays = 1 << 16; // some 100 bytes each; as many as small writes wait for a checkpoint under load
    private readonly Stack<OverlayBlock> _overlayPool = new();
    private readonly List<Piece> _splice = [];
    private List<Chunk> _overlayChunks = [];
    private long _version;
    private long _homes; // overlay blocks that keep a unit to go back to

    private void Retain(in Piece piece)
    {
        if (piece.Kind == PieceKind.Disk)
        {
            _space.AddReference(piece.Unit);
        }
        else if (piece.Kind == PieceKind.Journal)
        {
            piece.Batch!.Retain();
        }
        else if (piece.Kind == PieceKind.Blob)
        {
            RetainBlob(piece.Blob!);
        }
    }

    private void Release(in Piece piece)
    {
        if (piece.Kind == PieceKind.Disk)
        {
            ReleaseUnit(piece.Unit);
        }
        else if (piece.Kind == PieceKind.Journal)
        {
            piece.Batch!.Release();
        }
        else if (piece.Kind == PieceKind.Blob)
        {
            ReleaseBlob(piece.Blob!);
        }
    }

    private void ReleaseUnit(uint unit)
    {
        if (_space.DropReference(unit))
        {
            _freed.Add(unit);
        }
    }

    private OverlayBlock RentOverlay() => _overlayPool.TryPop(out OverlayBlock? block) ? block : new OverlayBlock();

    private void RecycleOverlay(OverlayBlock block)
    {
        foreach (ref readonly Piece piece in block.Pieces)
        {
            Release(in piece);
        }

        if (block.Home != 0)
        {
            ReleaseUnit(block.Home);
            block.Home = 0;
        }

        block.Clear();
        block.Version = ++_version;
        if (_overlayPool.Count < KeptOverlays)
        {
            _overlayPool.Push(block);
        }
    }

    private void InstallOverlay(Chunk chunk, int block, OverlayBlock overlay)
    {
        chunk.Overlay ??= new OverlayBlock?[Chunk.Blocks];
        Invariant.Holds(chunk.Overlay[block] is null && chunk.Units[block] == 0 && !chunk.IsInBlob(block));
        chunk.Overlay[block] = overlay;
        chunk.OverlayMask |= 1UL << block;
        chunk.Owner!.OverlayBlocks++;
        _overlayBlocks++;
        _homes += overlay.Home != 0 ? 1 : 0;
        overlay.Version = ++_version;
        if (!chunk.InOverlayList)
        {
            chunk.InOverlayList = true;
            _overlayChunks.Add(chunk);
        }
    }

    private OverlayBlock? DetachOverlay(Chunk chunk, int block)
    {
        if (chunk.Overlay?[block] is not { } overlay)
        {
            return null;
        }

        chunk.Overlay[block] = null;
        chunk.OverlayMask &= ~(1UL << block);
        chunk.Owner!.OverlayBlocks--;
        _overlayBlocks--;
        _homes -= overlay.Home != 0 ? 1 : 0;
        return overlay;
    }

    /// <summary>Makes a block a hole.</summary>
    private void DropBlock(Chunk chunk, int block)
    {
        if (DetachOverlay(chunk, block) is { } overlay)
        {
            RecycleOverlay(overlay);
        }
        else if (chunk.Units[block] != 0)
        {
            ReleaseUnit(chunk.Units[block]);
            chunk.Units[block] = 0;
        }
        else if (chunk.IsInBlob(block))
        {
            DropFromBlob(chunk, block);
        }
    }

    private static bool HasBlock(Chunk chunk, int block) => chunk.Units[block] != 0 || chunk.Overlay?[block] is not null || chunk.IsInBlob(block);

    /// <summary>Lays a piece over a block; takes its own reference.</summary>
    private void SetPiece(Onode onode, long block, in Piece piece)
    {
        Chunk chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: true)!;
        int index = (int)(block % Chunk.Blocks);
        Retain(in piece);
        if (piece.Length == BlockSize)
        {
            OverlayBlock whole = RentOverlay();
            whole.Home = TakeHome(chunk, index);
            DropBlock(chunk, index);
            whole.Add(in piece);
            InstallOverlay(chunk, index, whole);
        }
        else
        {
            OverlayBlock? overlay = chunk.Overlay?[index];
            if (overlay is null)
            {
                overlay = RentOverlay();
                Piece below = BasePiece(chunk, index);
                overlay.Add(in below);
                if (below.Kind == PieceKind.Blob)
                {
                    Retain(in below);
                    DropFromBlob(chunk, index);
                }

                chunk.Units[index] = 0; // its reference is the piece's now
                InstallOverlay(chunk, index, overlay);
            }

            Splice(overlay, in piece);
            overlay.Version = ++_version;
        }

        MarkDirty(chunk);
    }

    /// <summary>The unit of a block that is about to be written over whole, if nothing else refers to it; the caller's from now on.</summary>
    private uint TakeHome(Chunk chunk, int block)
    {
        uint home = 0;
        if (chunk.Overlay?[block] is { } overlay)
        {
            home = overlay.Home;
            _homes -= home != 0 ? 1 : 0;
            overlay.Home = 0;
        }
        else if (chunk.Units[block] != 0 && _space.IsExclusive(chunk.Units[block]))
        {
            home = chunk.Units[block];
            chunk.Units[block] = 0;
        }

        return home;
    }

    private static Piece BasePiece(Chunk chunk, int block) => chunk.Units[block] != 0
        ? new Piece { Kind = PieceKind.Disk, Length = BlockSize, Unit = chunk.Units[block], Checksum = chunk.Checksums[block] }
        : chunk.IsInBlob(block) ? BlobPiece(chunk.Blobs![chunk.FindBlob(block)], block)
        : new Piece { Kind = PieceKind.Zero, Length = BlockSize };

    private void Splice(OverlayBlock overlay, in Piece piece)
    {
        int end = piece.Start + piece.Length;
        _splice.Clear();
        bool placed = false;
        foreach (ref readonly Piece old in overlay.Pieces)
        {
            int oldEnd = old.Start + old.Length;
            bool left = old.Start < piece.Start;
            bool right = oldEnd > end;
            if (left)
            {
                _splice.Add(old.Slice(old.Start, Math.Min(oldEnd, piece.Start) - old.Start));
            }

            if (!placed && oldEnd >= end)
            {
                _splice.Add(piece);
                placed = true;
            }

            if (right)
            {
                int start = Math.Max(old.Start, end);
                _splice.Add(old.Slice(start, oldEnd - start));
            }

            if (left && right && old.Start < piece.Start && oldEnd > end)
            {
                Retain(in old);
            }
            else if (!left && !right)
            {
                Release(in old);
            }
        }

        overlay.Clear();
        foreach (ref readonly Piece part in System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_splice))
        {
            overlay.Add(in part);
        }
    }

    /// <summary>A copy of what a block holds, with references of its own; null for a hole.</summary>
    private OverlayBlock? Snapshot(Onode onode, long block)
    {
        Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
        int index = (int)(block % Chunk.Blocks);
        if (chunk is null || !HasBlock(chunk, index))
        {
            return null;
        }

        OverlayBlock copy = RentOverlay();
        if (chunk.Overlay?[index] is { } overlay)
        {
            foreach (ref readonly Piece piece in overlay.Pieces)
            {
                Retain(in piece);
                copy.Add(in piece);
            }
        }
        else
        {
            Piece piece = BasePiece(chunk, index);
            Retain(in piece);
            copy.Add(in piece);
        }

        return copy;
    }

    /// <summary>Makes a block hold what a snapshot holds, and takes over the snapshot's references.</summary>
    private void InstallSnapshot(Onode onode, long block, OverlayBlock? snapshot)
    {
        Chunk? chunk = GetChunk(onode, (int)(block / Chunk.Blocks), create: snapshot is not null);
        if (chunk is null)
        {
            return;
        }

        int index = (int)(block % Chunk.Blocks);
        DropBlock(chunk, index);
        MarkDirty(chunk);
        if (snapshot is null)
        {
            return;
        }

        ref Piece first = ref snapshot[0];
        if (snapshot.Count == 1 && first.Kind == PieceKind.Disk && first.Source == 0)
        {
            chunk.Units[index] = first.Unit;
            chunk.Checksums[index] = first.Checksum;
            snapshot.Clear();
            RecycleOverlay(snapshot);
        }
        else if (snapshot.Count == 1 && first.Kind == PieceKind.Blob && first.Source % BlockSize == 0)
        {
            AddToBlob(chunk, index, first.Blob!, index - (first.Source / BlockSize));
            snapshot.Clear();
            RecycleOverlay(snapshot);
        }
        else
        {
            InstallOverlay(chunk, index, snapshot);
        }
    }

    /// <summary>Drops everything an object holds and what the database has of it; the name remains, without an object.</summary>
    private void Bury(Onode onode)
    {
        for (int i = 0; i < ChunkCount(onode); i++)
        {
            if (GetChunk(onode, i, create: false) is { } chunk)
            {
                for (int block = 0; block < Chunk.Blocks; block++)
                {
                    DropBlock(chunk, block);
                }

                chunk.Owner = null;
                _cachedChunks--;
            }
        }

        if (onode.PersistedChunks > 0 || onode.OmapPersisted)
        {
            _graveyard.Add((onode.Number, onode.PersistedChunks, onode.OmapPersisted ? onode.OmapNumber : 0));
        }

        Empty(onode);
    }

    private void Empty(Onode onode)
    {
        Invariant.Holds(onode.OverlayBlocks == 0);
        onode.Exists = false;
        onode.Number = 0;
        onode.OmapNumber = 0;
        onode.Size = 0;
        onode.Attributes = null;
        onode.Chunks = [];
        onode.PersistedChunks = 0;
        onode.Omap = null;
        onode.OmapPersisted = false;
        Unsettle(onode);
    }

    private void Unsettle(Onode onode)
    {
        onode.UnsettledGeneration = _generation;
        onode.Collection.Unsettled.Add(onode.Id);
        MarkDirty(onode);
    }
}
