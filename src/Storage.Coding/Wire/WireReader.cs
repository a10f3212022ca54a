using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Storage.Coding;

/// <summary>
/// Reads the project's little-endian formats. Every length is checked against what is left before anything is
/// allocated, so hostile input costs no more than its own size.
/// </summary>
public ref struct WireReader
{
    private readonly ReadOnlySpan<byte> _data;
    private int _position;

    /// <summary>Reads from the start of <paramref name="data"/>.</summary>
    /// <param name="data">The bytes.</param>
    public WireReader(ReadOnlySpan<byte> data) => _data = data;

    /// <summary>Offset of the next byte.</summary>
    public readonly int Position => _position;

    /// <summary>Bytes left.</summary>
    public readonly int Remaining => _data.Length - _position;

    /// <summary>Reads one byte.</summary>
    /// <returns>The value.</returns>
    /// <exception cref="MalformedDataException">Fewer bytes are left than asked for (as for every method here).</exception>
    public byte ReadByte()
    {
        int at = _position;
        if ((uint)at >= (uint)_data.Length)
        {
            TooShort(1);
        }

        _position = at + 1;
        return _data[at];
    }

    /// <summary>Reads a byte that must be 0 or 1.</summary>
    /// <returns>The value.</returns>
    public bool ReadBoolean()
    {
        byte value = ReadByte();
        if (value > 1)
        {
            WrongBoolean(value);
        }

        return value == 1;
    }

    /// <summary>Reads two bytes.</summary>
    /// <returns>The value.</returns>
    public ushort ReadUInt16() => BinaryPrimitives.ReadUInt16LittleEndian(ReadRaw(2));

    /// <summary>Reads four bytes.</summary>
    /// <returns>The value.</returns>
    public uint ReadUInt32() => BinaryPrimitives.ReadUInt32LittleEndian(ReadRaw(4));

    /// <summary>Reads four bytes.</summary>
    /// <returns>The value.</returns>
    public int ReadInt32() => BinaryPrimitives.ReadInt32LittleEndian(ReadRaw(4));

    /// <summary>Reads eight bytes.</summary>
    /// <returns>The value.</returns>
    public ulong ReadUInt64() => BinaryPrimitives.ReadUInt64LittleEndian(ReadRaw(8));

    /// <summary>Reads eight bytes.</summary>
    /// <returns>The value.</returns>
    public long ReadInt64() => BinaryPrimitives.ReadInt64LittleEndian(ReadRaw(8));

    /// <summary>Reads bytes without a length before them; no copy.</summary>
    /// <param name="count">How many bytes.</param>
    /// <returns>A view of the input.</returns>
    public ReadOnlySpan<byte> ReadRaw(int count)
    {
        if ((uint)count > (uint)Remaining)
        {
            TooShort(count); // the text is made elsewhere, so that this is small enough to be put into its callers
        }

        ReadOnlySpan<byte> value = _data.Slice(_position, count);
        _position += count;
        return value;
    }

    /// <summary>Reads a 32-bit length and that many bytes; no copy.</summary>
    /// <returns>A view of the input.</returns>
    public ReadOnlySpan<byte> ReadBytes() => ReadRaw(ReadInt32());

    /// <summary>Reads a 32-bit byte length and text in UTF-8.</summary>
    /// <returns>The text.</returns>
    public string ReadString() => Encoding.UTF8.GetString(ReadBytes());

    /// <summary>Reads a 32-bit count of elements that follow, each of at least <paramref name="minimumSize"/> bytes.</summary>
    /// <param name="minimumSize">The least an element can take, in bytes; at least 1.</param>
    /// <returns>The count, which the rest of the input can hold.</returns>
    public int ReadCount(int minimumSize)
    {
        int count = ReadInt32();
        if (count < 0 || count > Remaining / minimumSize)
        {
            WrongCount(count, minimumSize);
        }

        return count;
    }

    /// <summary>Reads a version byte and refuses one that this build does not know.</summary>
    /// <param name="newest">The newest version understood.</param>
    /// <param name="what">What is being read, for the message.</param>
    /// <returns>The version, from 1 to <paramref name="newest"/>.</returns>
    public byte ReadVersion(byte newest, string what)
    {
        byte version = ReadByte();
        if (version == 0 || version > newest)
        {
            WrongVersion(version, newest, what);
        }

        return version;
    }

    /// <summary>Checks that nothing is left.</summary>
    public readonly void ExpectEnd()
    {
        if (Remaining != 0)
        {
            Malformed($"{Remaining} bytes too many at offset {_position}");
        }
    }

    [DoesNotReturn]
    private readonly void TooShort(int count) => Malformed($"{count} bytes wanted at offset {_position}, {Remaining} left");

    [DoesNotReturn]
    private readonly void WrongBoolean(byte value) => Malformed($"byte {_position - 1} is {value} where a boolean (0 or 1) belongs");

    [DoesNotReturn]
    private readonly void WrongCount(int count, int minimumSize) =>
        Malformed($"{count} elements announced at offset {_position - 4}, room for {Remaining / minimumSize}");

    [DoesNotReturn]
    private static void WrongVersion(byte version, byte newest, string what) =>
        Malformed($"{what} has format version {version}; this build knows 1 to {newest}");

    [DoesNotReturn]
    private static void Malformed(string message) => throw new MalformedDataException(message);
}

/// <summary>Bytes from the wire or a disk are not of the form they should have. The sender or the file is at fault.</summary>
public sealed class MalformedDataException : Exception
{
    /// <summary>Creates the exception.</summary>
    public MalformedDataException() : this("malformed data")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found, where, and what belongs there.</param>
    public MalformedDataException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found, where, and what belongs there.</param>
    /// <param name="inner">The cause.</param>
    public MalformedDataException(string message, Exception inner) : base(message, inner)
    {
    }
}
