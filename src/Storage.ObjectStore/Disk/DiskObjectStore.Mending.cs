using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

// Blocks that cannot be read get their bytes back from elsewhere.
public sealed partial class DiskObjectStore
{
    /// <inheritdoc/>
    public bool TryMend(CollectionId collection, ObjectId id, long offset, BufferSegment content, long unknownFrom, long unknownTo, Transaction transaction)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(offset % BlockSize, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(content.Length, BlockSize);
        if (FindBlock(collection, id, offset, out long size, out int index) is not { } chunk)
        {
            return false;
        }

        uint checksum = Crc32C.Compute(content.Span);
        bool fits = false;
        if (chunk.Overlay?[index] is { } overlay)
        {
            foreach (ref readonly Piece piece in overlay.Pieces)
            {
                bool known = IsKnown(piece.Start, piece.Length);
                if (known ? piece.Kind is PieceKind.Disk or PieceKind.Blob : piece.Kind == PieceKind.Disk && piece.Checksum == checksum)
                {
                    transaction.Write(collection, id, offset + piece.Start, content.Slice(known ? piece.Start : piece.Source, piece.Length));
                    fits = true;
                }
            }
        }
        else if (IsKnown(0, BlockSize) ? HasBlock(chunk, index) : chunk.Units[index] != 0 && chunk.Checksums[index] == checksum)
        {
            transaction.Write(collection, id, offset, content);
            fits = true;
        }

        if (fits && offset + BlockSize > size)
        {
            transaction.Truncate(collection, id, size);
        }

        return fits;

        bool IsKnown(int start, int length) => unknownFrom >= unknownTo || offset + start >= unknownTo || offset + start + length <= unknownFrom;
    }

    private Chunk? FindBlock(CollectionId collection, ObjectId id, long offset, out long size, out int index)
    {
        long block = offset / BlockSize;
        index = (int)(block % Chunk.Blocks);
        size = 0;
        if (Find(collection, id) is not { } onode || offset < 0 || offset >= onode.Size)
        {
            return null;
        }

        size = onode.Size;
        return GetChunk(onode, (int)(block / Chunk.Blocks), create: false);
    }

    /// <summary>
    /// A block of which a part lies on the disk and cannot be read: the rest goes on lying over it, in memory of its own, so that the journal need not
    /// keep it. With the two of them merged, nobody could tell any more which bytes are the right ones.
    /// </summary>
    private void KeepApart(OverlayBlock overlay)
    {
        for (int i = 0; i < overlay.Count; i++)
        {
            ref Piece piece = ref overlay[i];
            if (piece.Kind == PieceKind.Journal && piece.Batch!.Position >= 0)
            {
                var apart = new JournalBatch(_pool.Rent(piece.Length)) { Durable = true, Length = piece.Length };
                piece.Batch.Span.Slice(piece.Source, piece.Length).CopyTo(apart.Span);
                piece.Batch.Release();
                piece.Batch = apart;
                piece.Source = 0;
            }
        }
    }
}
