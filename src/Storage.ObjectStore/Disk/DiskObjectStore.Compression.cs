using System.Runtime.InteropServices;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Compression;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Blobs: parts of large writes that lie compressed. What is written over later leaves the blob block by block; a blob is dissolved once what is
// left of it would take less room as it is.
public sealed partial class DiskObjectStore : ICompressingStore
{
    private readonly Dictionary<long, CompressionSettings> _compressions = []; // pools that have any
    private readonly Dictionary<long, CompressionFigures> _compressed = [];
    private readonly List<ChunkBlob> _loadedBlobs = [];
    private readonly List<Chunk> _thinned = []; // chunks with blobs that lost blocks in this transaction
    private readonly HashSet<PoolCompression> _algorithmsFound = []; // by the mount
    private readonly Packer _packer = new(); // for what is too little to be worth a thread's while
    private readonly byte[] _unpacked = new byte[Blob.MostBlocks * BlockSize];

    /// <inheritdoc/>
    public IReadOnlyDictionary<long, CompressionFigures> Compression => _compressed;

    /// <inheritdoc/>
    public bool SetCompression(long pool, CompressionSettings settings)
    {
        if (settings.Algorithm != PoolCompression.None && (!PoolInfo.IsCompressionRatio(settings.RequiredRatio) || !PoolInfo.IsCompressionLevel(settings.Level)))
        {
            throw new ArgumentOutOfRangeException(nameof(settings), settings, $"the ratio is above 0 to 1, the level 1 to {PoolInfo.MostCompressionLevel}");
        }

        bool available = Packer.IsAvailable(settings.Algorithm);
        if (settings.Algorithm == PoolCompression.None || !available)
        {
            _compressions.Remove(pool);
        }
        else
        {
            _compressions[pool] = settings;
        }

        return available;
    }

    /// <summary>Makes blocks of an object those of a new blob, whose first reference is taken over.</summary>
    private void InstallBlob(Onode onode, long firstBlock, Blob blob)
    {
        Chunk chunk = GetChunk(onode, (int)(firstBlock / Chunk.Blocks), create: true)!;
        int first = (int)(firstBlock % Chunk.Blocks);
        for (int i = 0; i < blob.Blocks; i++)
        {
            DropBlock(chunk, first + i);
        }

        AddSlot(chunk, new ChunkBlob(blob, first, ((1UL << blob.Blocks) - 1) << first));
        Account(blob, 1);
        MarkDirty(chunk);
    }

    private static void AddSlot(Chunk chunk, ChunkBlob slot)
    {
        Invariant.Holds((chunk.BlobMask & slot.Mask) == 0);
        (chunk.Blobs ??= new List<ChunkBlob>(Chunk.Blocks / Blob.MostBlocks)).Add(slot);
        chunk.BlobMask |= slot.Mask;
    }

    /// <summary>Makes one block a part of a blob and takes over a reference on it.</summary>
    private void AddToBlob(Chunk chunk, int block, Blob blob, int first)
    {
        for (int i = 0; i < (chunk.Blobs?.Count ?? 0); i++)
        {
            ChunkBlob slot = chunk.Blobs![i];
            if (slot.Blob.Unit == blob.Unit && slot.First == first)
            {
                chunk.Blobs[i] = slot with { Mask = slot.Mask | (1UL << block) };
                chunk.BlobMask |= 1UL << block;
                ReleaseBlob(blob);
                return;
            }
        }

        AddSlot(chunk, new ChunkBlob(blob, first, 1UL << block));
    }

    /// <summary>Gives an object that has nothing there the compressed blocks of another one's chunk.</summary>
    private void CloneBlobs(Chunk source, Onode target)
    {
        if (source.BlobMask == 0)
        {
            return;
        }

        Chunk chunk = GetChunk(target, source.Index, create: true)!;
        foreach (ChunkBlob slot in source.Blobs!)
        {
            RetainBlob(slot.Blob);
            AddSlot(chunk, slot);
        }

        MarkDirty(chunk);
    }

    private static Piece BlobPiece(in ChunkBlob slot, int block) =>
        new() { Kind = PieceKind.Blob, Length = BlockSize, Blob = slot.Blob, Source = (block - slot.First) * BlockSize };

    private void DropFromBlob(Chunk chunk, int block)
    {
        int index = chunk.FindBlob(block);
        ChunkBlob slot = chunk.Blobs![index];
        slot = slot with { Mask = slot.Mask & ~(1UL << block) };
        chunk.BlobMask &= ~(1UL << block);
        if (slot.Mask == 0)
        {
            chunk.Blobs.RemoveAt(index);
            ReleaseBlob(slot.Blob);
            return;
        }

        chunk.Blobs[index] = slot;
        if (_thinned.Count == 0 || !ReferenceEquals(_thinned[^1], chunk))
        {
            _thinned.Add(chunk);
        }
    }

    private void RetainBlob(Blob blob)
    {
        bool isNew = false;
        for (uint i = 0; i < blob.Units; i++)
        {
            isNew = _space.AddReference(blob.Unit + i);
        }

        if (isNew)
        {
            Account(blob, 1);
        }
    }

    private void ReleaseBlob(Blob blob)
    {
        bool isLast = false;
        for (uint i = 0; i < blob.Units; i++)
        {
            isLast = _space.DropReference(blob.Unit + i);
            if (isLast)
            {
                _freed.Add(blob.Unit + i);
            }
        }

        if (isLast)
        {
            Account(blob, -1);
        }
    }

    private void Account(Blob blob, int sign)
    {
        ref CompressionFigures figures = ref CollectionsMarshal.GetValueRefOrAddDefault(_compressed, blob.Pool, out _);
        figures = new CompressionFigures(
            figures.OriginalBytes + ((long)sign * blob.Blocks * BlockSize), figures.StoredBytes + ((long)sign * blob.Units * BlockSize));
        if (figures.StoredBytes == 0)
        {
            _compressed.Remove(blob.Pool);
        }
    }

    /// <summary>At a transaction's end: what is left of blobs that lost blocks goes back to memory, and from there to places of its own, if that takes less room.</summary>
    private void DissolveThinned()
    {
        if (_thinned.Count == 0)
        {
            return;
        }

        foreach (Chunk chunk in _thinned)
        {
            for (int i = (chunk.Owner is null ? 0 : chunk.Blobs!.Count) - 1; i >= 0; i--)
            {
                ChunkBlob slot = chunk.Blobs![i];
                if (System.Numerics.BitOperations.PopCount(slot.Mask) < slot.Blob.Units && _space.IsExclusive(slot.Blob.Unit))
                {
                    Dissolve(chunk, i);
                }
            }
        }

        _thinned.Clear();
    }

    private void Dissolve(Chunk chunk, int index)
    {
        ChunkBlob slot = chunk.Blobs![index];
        chunk.Blobs.RemoveAt(index);
        chunk.BlobMask &= ~slot.Mask;
        for (ulong left = slot.Mask; left != 0; left &= left - 1)
        {
            int block = System.Numerics.BitOperations.TrailingZeroCount(left);
            OverlayBlock overlay = RentOverlay();
            overlay.Add(BlobPiece(in slot, block));
            RetainBlob(slot.Blob);
            InstallOverlay(chunk, block, overlay);
        }

        ReleaseBlob(slot.Blob);
        MarkDirty(chunk);
    }

    /// <summary>Verifies and decompresses a blob.</summary>
    /// <param name="blob">The blob.</param>
    /// <param name="stored">Its units.</param>
    /// <param name="content">What it holds, until the next call.</param>
    /// <returns>False if it is damaged.</returns>
    private bool TryUnpack(Blob blob, ReadOnlySpan<byte> stored, out ReadOnlySpan<byte> content)
    {
        Span<byte> target = _unpacked.AsSpan(0, blob.Blocks * BlockSize);
        content = target;
        return blob.HasChecksums(stored) && _packer.Unpack(blob.Algorithm, stored[..blob.Length], target);
    }

    private bool TryCopyCached(Blob blob, Span<byte> stored)
    {
        for (int i = 0; i < blob.Units; i++)
        {
            if (!_cache.TryCopy(blob.Unit + (uint)i, blob.Checksums[i], stored.Slice(i * BlockSize, BlockSize)))
            {
                return false;
            }
        }

        return true;
    }

    private void AddToCache(Blob blob, ReadOnlySpan<byte> stored)
    {
        for (int i = 0; i < blob.Units; i++)
        {
            _cache.Add(blob.Unit + (uint)i, blob.Checksums[i], stored.Slice(i * BlockSize, BlockSize));
        }
    }

    /// <summary>A store whose data nobody here can decompress is not opened: its OSD would pass for one with a broken disk.</summary>
    private void RequireLibraries()
    {
        foreach (PoolCompression algorithm in _algorithmsFound)
        {
            if (!Packer.IsAvailable(algorithm))
            {
                throw new IOException(
                    $"the store holds data compressed with {algorithm}, but {Packer.LibraryOf(algorithm)} cannot be loaded: install Debian's {(algorithm == PoolCompression.Lz4 ? "liblz4-1" : "libzstd1")}");
            }
        }
    }
}
