using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// What is known in memory about one name in a collection, whether an object is there or not. Stays cached while
/// anything about it has not reached the metadata database.
/// </summary>
internal sealed class Onode(DiskCollection collection, ObjectId id) : ILinked<Onode>
{
    public DiskCollection Collection { get; } = collection;

    public ObjectId Id { get; } = id;

    public bool Exists { get; set; }

    /// <summary>The object's number: its chunks are stored under it, so a move changes one key only.</summary>
    public ulong Number { get; set; }

    /// <summary>The omap's number; clearing the omap takes a new one.</summary>
    public ulong OmapNumber { get; set; }

    public long Size { get; set; }

    public SortedList<string, ReadOnlyMemory<byte>>? Attributes { get; set; }

    public Chunk?[] Chunks { get; set; } = [];

    /// <summary>Chunks below this index may be in the database under <see cref="Number"/>.</summary>
    public int PersistedChunks { get; set; }

    public OmapOverlay? Omap { get; set; }

    /// <summary>The database may hold entries of <see cref="OmapNumber"/>.</summary>
    public bool OmapPersisted { get; set; }

    /// <summary>The checkpoint that is to write it down; 0 if it holds nothing new.</summary>
    public long DirtyGeneration { get; set; }

    /// <summary>Checkpoints under way that hold a change of it.</summary>
    public int Flushing { get; set; }

    public int OverlayBlocks { get; set; }

    /// <summary>The checkpoint that takes along its last coming or going.</summary>
    public long UnsettledGeneration { get; set; }

    /// <summary>Looked up again since it came into the cache, or since it came by for eviction.</summary>
    public bool WasUsed { get; set; }

    // Order in which the cache's entries come by for eviction.
    public Onode? Previous { get; set; }

    public Onode? Next { get; set; }

    public bool IsEvictable => DirtyGeneration == 0 && Flushing == 0 && OverlayBlocks == 0 && (Omap is null || Omap.IsEmpty);
}

/// <summary>A collection: its cached names, and which of them exist otherwise than the database says.</summary>
internal sealed class DiskCollection(CollectionId id)
{
    public CollectionId Id { get; } = id;

    /// <summary>False once removed; kept, because the database still holds its objects until the next checkpoint.</summary>
    public bool Exists { get; set; }

    public Dictionary<ObjectId, Onode> Onodes { get; } = [];

    /// <summary>Its log.</summary>
    public CollectionLog Log { get; set; } = new();

    /// <summary>Names whose existence may differ from the database; looked up in <see cref="Onodes"/> when listing.</summary>
    public SortedSet<ObjectId> Unsettled { get; } = [];
}

/// <summary>Map of 64 blocks of an object: where each is on the disk with its checksum, or what lies over it in memory.</summary>
internal sealed class Chunk(Onode owner, int index)
{
    public const int Blocks = 64;
    private PerBlock _units; // in the object itself: a million small objects are few things for the collector to walk
    private PerBlock _checksums;

    /// <summary>The object it belongs to; null once it was dropped.</summary>
    public Onode? Owner { get; set; } = owner;

    public int Index { get; } = index;

    /// <summary>Unit of each block; 0 for a hole or a block that is in the overlay or compressed.</summary>
    public Span<uint> Units => _units;

    public Span<uint> Checksums => _checksums;

    public OverlayBlock?[]? Overlay { get; set; }

    /// <summary>A bit for each block that is in the overlay.</summary>
    public ulong OverlayMask { get; set; }

    /// <summary>The compressed data that blocks are read from; null if there is none.</summary>
    public List<ChunkBlob>? Blobs { get; set; }

    /// <summary>A bit for each block that lies in one of <see cref="Blobs"/>.</summary>
    public ulong BlobMask { get; set; }

    public bool IsInBlob(int block) => (BlobMask >> block & 1) != 0;

    /// <summary>Which of <see cref="Blobs"/> a block lies in that lies in one.</summary>
    public int FindBlob(int block)
    {
        for (int i = 0; i < Blobs!.Count; i++)
        {
            if ((Blobs[i].Mask >> block & 1) != 0)
            {
                return i;
            }
        }

        Invariant.Fail($"block {block} lies in none of {Blobs.Count} blobs");
        return -1;
    }

    public bool RefersTo(Blob blob)
    {
        foreach (ChunkBlob slot in Blobs ?? [])
        {
            if (ReferenceEquals(slot.Blob, blob))
            {
                return true;
            }
        }

        return false;
    }

    public int OverlayCount => System.Numerics.BitOperations.PopCount(OverlayMask);

    public bool InOverlayList { get; set; }

    public bool Dirty { get; set; }

    [System.Runtime.CompilerServices.InlineArray(Blocks)]
    private struct PerBlock
    {
        private uint _first;
    }
}

internal enum PieceKind : byte
{
    Zero = 0,
    Disk = 1,
    Journal = 2,

    /// <summary>On disk only: the bytes themselves, for data that never got a place in the ring.</summary>
    Inline = 3,

    /// <summary>Bytes of a blob.</summary>
    Blob = 4,
}

/// <summary>Where some bytes of an overlay block come from. Holds a reference on its unit, batch or blob.</summary>
internal struct Piece
{
    public PieceKind Kind;
    public int Start;
    public int Length;
    public JournalBatch? Batch;
    public Blob? Blob;
    public int Source; // offset in the batch's buffer, in the unit, or in what the blob holds
    public uint Unit;
    public uint Checksum;

    public readonly Piece Slice(int start, int length)
    {
        Piece part = this;
        part.Source += start - Start;
        part.Start = start;
        part.Length = length;
        return part;
    }
}

/// <summary>A block whose newest content is not (all) in its place on the disk. The pieces cover it without overlap, in order.</summary>
internal sealed class OverlayBlock
{
    private Piece _only; // most have one piece: it lies in the object itself
    private Piece[]? _pieces; // once it had more

    public int Count { get; private set; }

    /// <summary>Grows with every change; never the same for two states of any block.</summary>
    public long Version { get; set; }

    /// <summary>
    /// The unit that the block lay in and that nothing else refers to, or 0: it is written there again if the journal holds all
    /// of the new content. Holds the unit's reference.
    /// </summary>
    public uint Home { get; set; }

    /// <summary>True if no part of the block is on the disk only.</summary>
    public bool IsInMemory
    {
        get
        {
            foreach (ref readonly Piece piece in Pieces)
            {
                if (piece.Kind is PieceKind.Disk or PieceKind.Blob)
                {
                    return false;
                }
            }

            return true;
        }
    }

    /// <summary>True if a part of the block lies compressed.</summary>
    public bool IsInBlob
    {
        get
        {
            foreach (ref readonly Piece piece in Pieces)
            {
                if (piece.Kind == PieceKind.Blob)
                {
                    return true;
                }
            }

            return false;
        }
    }

    public ref Piece this[int index] => ref All[index];

    public ReadOnlySpan<Piece> Pieces => All[..Count];

    private Span<Piece> All => _pieces ?? System.Runtime.InteropServices.MemoryMarshal.CreateSpan(ref _only, 1);

    public void Add(in Piece piece)
    {
        if (Count == All.Length)
        {
            var more = new Piece[Count * 2 + 1];
            All.CopyTo(more);
            _only = default;
            _pieces = more;
        }

        All[Count++] = piece;
    }

    public void Clear()
    {
        All[..Count].Clear();
        Count = 0;
    }
}
