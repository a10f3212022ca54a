using System.Buffers.Binary;
using System.Text;

namespace Storage.Coding;

/// <summary>
/// Writes the project's little-endian formats into a buffer that grows and is used again. Not thread-safe.
/// </summary>
public sealed class WireWriter
{
    private byte[] _buffer;
    private int _length;

    /// <summary>Creates a writer.</summary>
    /// <param name="capacity">Initial capacity in bytes.</param>
    public WireWriter(int capacity = 256) => _buffer = new byte[capacity];

    /// <summary>Bytes written so far.</summary>
    public int Length => _length;

    /// <summary>What was written; valid until the next write or <see cref="Clear"/>.</summary>
    public ReadOnlySpan<byte> WrittenSpan => _buffer.AsSpan(0, _length);

    /// <summary>What was written; valid until the next write or <see cref="Clear"/>.</summary>
    public ReadOnlyMemory<byte> WrittenMemory => _buffer.AsMemory(0, _length);

    /// <summary>Forgets what was written and keeps the memory.</summary>
    public void Clear() => _length = 0;

    /// <summary>Copies what was written.</summary>
    /// <returns>A new array.</returns>
    public byte[] ToArray() => WrittenSpan.ToArray();

    /// <summary>Writes one byte.</summary>
    /// <param name="value">The value.</param>
    public void WriteByte(byte value) => Reserve(1)[0] = value;

    /// <summary>Writes a byte, 1 for true and 0 for false.</summary>
    /// <param name="value">The value.</param>
    public void WriteBoolean(bool value) => Reserve(1)[0] = value ? (byte)1 : (byte)0;

    /// <summary>Writes two bytes.</summary>
    /// <param name="value">The value.</param>
    public void WriteUInt16(ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(Reserve(2), value);

    /// <summary>Writes four bytes.</summary>
    /// <param name="value">The value.</param>
    public void WriteUInt32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Reserve(4), value);

    /// <summary>Writes four bytes.</summary>
    /// <param name="value">The value.</param>
    public void WriteInt32(int value) => BinaryPrimitives.WriteInt32LittleEndian(Reserve(4), value);

    /// <summary>Writes eight bytes.</summary>
    /// <param name="value">The value.</param>
    public void WriteUInt64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Reserve(8), value);

    /// <summary>Writes eight bytes.</summary>
    /// <param name="value">The value.</param>
    public void WriteInt64(long value) => BinaryPrimitives.WriteInt64LittleEndian(Reserve(8), value);

    /// <summary>Writes the bytes as they are, without a length.</summary>
    /// <param name="value">The bytes.</param>
    public void WriteRaw(ReadOnlySpan<byte> value) => value.CopyTo(Reserve(value.Length));

    /// <summary>Writes a 32-bit length and the bytes.</summary>
    /// <param name="value">The bytes.</param>
    public void WriteBytes(ReadOnlySpan<byte> value)
    {
        WriteInt32(value.Length);
        WriteRaw(value);
    }

    /// <summary>Writes a 32-bit byte length and the text in UTF-8.</summary>
    /// <param name="value">The text.</param>
    public void WriteString(string value)
    {
        int bytes = Encoding.UTF8.GetByteCount(value);
        WriteInt32(bytes);
        Encoding.UTF8.GetBytes(value, Reserve(bytes));
    }

    /// <summary>Reserves bytes to be filled in by the caller.</summary>
    /// <param name="count">How many bytes.</param>
    /// <returns>The reserved span; valid until the next write.</returns>
    public Span<byte> Reserve(int count)
    {
        int start = _length;
        if (_buffer.Length - start < count)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, checked(start + count)));
        }

        _length = start + count;
        return _buffer.AsSpan(start, count);
    }

    /// <summary>Overwrites a byte written before.</summary>
    /// <param name="position">Its offset.</param>
    /// <param name="value">The value.</param>
    public void PatchByte(int position, byte value)
    {
        Invariant.Holds(position >= 0 && position < _length);
        _buffer[position] = value;
    }

    /// <summary>Overwrites four bytes written before, such as a length known only afterwards.</summary>
    /// <param name="position">Offset of the first byte.</param>
    /// <param name="value">The value.</param>
    public void PatchInt32(int position, int value)
    {
        Invariant.Holds(position >= 0 && position + 4 <= _length);
        BinaryPrimitives.WriteInt32LittleEndian(_buffer.AsSpan(position, 4), value);
    }
}
