using System.Runtime.InteropServices;
using Storage.Reactor;

namespace Storage.Block;

/// <summary>What a read returned, in the buffers it arrived in. To be used again after <see cref="Clear"/>, which gives them back.</summary>
public sealed class VolumeRead
{
    private readonly List<VolumePiece> _pieces = [];

    /// <summary>The pieces, in order; together they have the length asked for.</summary>
    public ReadOnlySpan<VolumePiece> Pieces => CollectionsMarshal.AsSpan(_pieces);

    /// <summary>Copies everything to memory.</summary>
    /// <param name="destination">At least as long as what was asked for.</param>
    public void CopyTo(Span<byte> destination)
    {
        foreach (VolumePiece piece in _pieces)
        {
            piece.Data.Span.CopyTo(destination);
            destination[piece.Data.Length..piece.Length].Clear();
            destination = destination[piece.Length..];
        }
    }

    /// <summary>Gives the buffers back and forgets the pieces.</summary>
    public void Clear()
    {
        foreach (VolumePiece piece in _pieces)
        {
            piece.Data.Buffer?.Release();
        }

        _pieces.Clear();
    }

    /// <summary>Adds a piece; takes over the reference that the caller holds on its buffer.</summary>
    internal void Add(BufferSegment data, int length) => _pieces.Add(new VolumePiece(data, length));
}

/// <summary>A piece of what was read.</summary>
/// <param name="Data">Bytes from a buffer; may be empty. What is missing up to the length is zeroes.</param>
/// <param name="Length">Bytes in the volume.</param>
public readonly record struct VolumePiece(BufferSegment Data, int Length);

/// <summary>A range of a volume of one kind.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
/// <param name="IsAllocated">Whether it holds data; otherwise it is a hole, which reads as zeroes.</param>
public readonly record struct VolumeExtent(long Offset, long Length, bool IsAllocated);
