using System.Numerics;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Database value of a chunk: <c>version(1) mapped(8, a bit per block) runs(1) { unit(4) count(1) } checksums(4 per mapped
/// block) overlays(1) { block(1) pieces(2) { kind(1) start(2) length(2) … } }</c>, where a Disk piece goes on with unit(4)
/// checksum(4) source(2), a Journal piece with the ring position of its bytes(8), an Inline piece with the bytes and a Blob piece with source(2)
/// and the <see cref="Blob"/>. Version 2, written where there is compressed data only, ends with <c>blobs(1) { first(2) mask(8) blob }</c>.
/// </summary>
internal static class ChunkFormat
{
    private const byte Version = 2;

    /// <summary>Writes a chunk; false if it holds nothing.</summary>
    public static bool Write(WireWriter writer, Chunk chunk)
    {
        writer.Clear();
        writer.WriteByte(1);
        bool blobs = chunk.Blobs is { Count: > 0 };
        ulong mapped = 0;
        for (int i = 0; i < Chunk.Blocks; i++)
        {
            mapped |= chunk.Units[i] != 0 ? 1UL << i : 0;
        }

        writer.WriteUInt64(mapped);
        int runsAt = writer.Length;
        writer.WriteByte(0);
        byte runs = 0;
        for (int i = 0; i < Chunk.Blocks;)
        {
            uint unit = chunk.Units[i];
            if (unit == 0)
            {
                i++;
                continue;
            }

            // Runs may span holes of the map: units go to mapped blocks one after the other.
            byte count = 0;
            uint next = unit;
            while (i < Chunk.Blocks && (chunk.Units[i] == 0 || chunk.Units[i] == next))
            {
                if (chunk.Units[i] == next)
                {
                    next++;
                    count++;
                }

                i++;
            }

            writer.WriteUInt32(unit);
            writer.WriteByte(count);
            runs++;
        }

        writer.PatchByte(runsAt, runs);
        for (ulong left = mapped; left != 0; left &= left - 1)
        {
            writer.WriteUInt32(chunk.Checksums[BitOperations.TrailingZeroCount(left)]);
        }

        writer.WriteByte((byte)chunk.OverlayCount);
        for (int i = 0; chunk.OverlayCount > 0 && i < Chunk.Blocks; i++)
        {
            if (chunk.Overlay![i] is { } overlay)
            {
                writer.WriteByte((byte)i);
                writer.WriteUInt16((ushort)overlay.Count);
                foreach (ref readonly Piece piece in overlay.Pieces)
                {
                    WritePiece(writer, in piece);
                    blobs |= piece.Kind == PieceKind.Blob;
                }
            }
        }

        if (blobs)
        {
            writer.PatchByte(0, Version);
            writer.WriteByte((byte)(chunk.Blobs?.Count ?? 0));
            for (int i = 0; i < (chunk.Blobs?.Count ?? 0); i++)
            {
                ChunkBlob slot = chunk.Blobs![i];
                writer.WriteUInt16((ushort)(short)slot.First);
                writer.WriteUInt64(slot.Mask);
                slot.Blob.Write(writer);
            }
        }

        return mapped != 0 || chunk.OverlayCount > 0 || blobs;
    }

    private static void WritePiece(WireWriter writer, in Piece piece)
    {
        bool inline = piece.Kind == PieceKind.Journal && piece.Batch!.Position < 0;
        writer.WriteByte((byte)(inline ? PieceKind.Inline : piece.Kind));
        writer.WriteUInt16((ushort)piece.Start);
        writer.WriteUInt16((ushort)piece.Length);
        switch (piece.Kind)
        {
            case PieceKind.Disk:
                writer.WriteUInt32(piece.Unit);
                writer.WriteUInt32(piece.Checksum);
                writer.WriteUInt16((ushort)piece.Source);
                break;
            case PieceKind.Blob:
                writer.WriteUInt16((ushort)piece.Source);
                piece.Blob!.Write(writer);
                break;
            case PieceKind.Journal when inline:
                writer.WriteRaw(piece.Batch!.Span.Slice(piece.Source, piece.Length));
                break;
            case PieceKind.Journal:
                writer.WriteInt64(piece.Batch!.Position + piece.Source);
                break;
            default:
                break;
        }
    }

    /// <summary>Reads a chunk into empty arrays.</summary>
    /// <param name="value">The database value.</param>
    /// <param name="units">Filled with the unit of each block.</param>
    /// <param name="checksums">Filled with the checksum of each mapped block.</param>
    /// <param name="onPiece">Called for each overlay piece with its block; for Journal pieces the position, for Inline the bytes.</param>
    /// <param name="blobs">Gets the compressed data that blocks are read from.</param>
    public static void Read(ReadOnlySpan<byte> value, Span<uint> units, Span<uint> checksums, PieceVisitor? onPiece, List<ChunkBlob> blobs)
    {
        var reader = new WireReader(value);
        byte version = reader.ReadVersion(Version, "block map");
        ulong mapped = reader.ReadUInt64();
        int runs = reader.ReadByte();
        ulong left = mapped;
        for (int r = 0; r < runs; r++)
        {
            uint unit = reader.ReadUInt32();
            int count = reader.ReadByte();
            for (int i = 0; i < count && left != 0; i++, left &= left - 1)
            {
                units[BitOperations.TrailingZeroCount(left)] = unit + (uint)i;
            }
        }

        for (left = mapped; left != 0; left &= left - 1)
        {
            checksums[BitOperations.TrailingZeroCount(left)] = reader.ReadUInt32();
        }

        int overlays = reader.ReadByte();
        for (int i = 0; i < overlays; i++)
        {
            int block = reader.ReadByte();
            int pieces = reader.ReadUInt16();
            for (int p = 0; p < pieces; p++)
            {
                var piece = new Piece { Kind = (PieceKind)reader.ReadByte(), Start = reader.ReadUInt16(), Length = reader.ReadUInt16() };
                long position = 0;
                ReadOnlySpan<byte> bytes = default;
                switch (piece.Kind)
                {
                    case PieceKind.Zero:
                        break;
                    case PieceKind.Disk:
                        piece.Unit = reader.ReadUInt32();
                        piece.Checksum = reader.ReadUInt32();
                        piece.Source = reader.ReadUInt16();
                        break;
                    case PieceKind.Blob:
                        piece.Source = reader.ReadUInt16();
                        piece.Blob = Blob.Read(ref reader);
                        break;
                    case PieceKind.Journal:
                        position = reader.ReadInt64();
                        break;
                    case PieceKind.Inline:
                        bytes = reader.ReadRaw(piece.Length);
                        break;
                    default:
                        throw new MalformedDataException($"overlay piece of kind {(byte)piece.Kind}");
                }

                onPiece?.Invoke(block, piece, position, bytes);
            }
        }

        int slots = version >= 2 ? reader.ReadByte() : 0;
        for (int i = 0; i < slots; i++)
        {
            int first = (short)reader.ReadUInt16();
            ulong mask = reader.ReadUInt64();
            var blob = Blob.Read(ref reader);
            ulong covers = BitsFrom(first, blob.Blocks);
            if (mask == 0 || (mask & ~covers) != 0 || (mask & mapped) != 0)
            {
                throw new MalformedDataException($"blocks {mask:x} of compressed data at block {first} with {blob.Blocks} blocks, among mapped blocks {mapped:x}");
            }

            blobs.Add(new ChunkBlob(blob, first, mask));
        }

        reader.ExpectEnd();
    }

    /// <summary>The bits of a chunk's blocks from one on, which may lie before it.</summary>
    private static ulong BitsFrom(int first, int count)
    {
        ulong bits = (1UL << count) - 1;
        return first <= -count || first >= Chunk.Blocks ? 0 : first < 0 ? bits >> -first : bits << first;
    }

    public delegate void PieceVisitor(int block, Piece piece, long position, ReadOnlySpan<byte> bytes);
}
