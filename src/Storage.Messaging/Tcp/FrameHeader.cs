using System.Buffers.Binary;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.Messaging.Tcp;

/// <summary>Result of looking for a frame at the start of some bytes.</summary>
public enum FrameStatus
{
    /// <summary>Nothing wrong so far; more bytes are needed.</summary>
    NeedMore,

    /// <summary>It is there and sound.</summary>
    Complete,

    /// <summary>These bytes are no frame; the connection cannot go on.</summary>
    Malformed,
}

/// <summary>
/// The header before each message on a TCP connection. Little-endian, 48 bytes; then the body, then the data.
/// <code>
///  0 u32 magic 0x31575453 ("STW1")   16 u64 sequence, from 1, per direction
///  4 u8  version 1                   24 u32 CRC-32C of the body
///  5 u8  flags, 0                    28 u32 CRC-32C of the data
///  6 u16 message type                32 12 bytes, 0
///  8 u32 body length                 44 u32 CRC-32C of bytes 0..43
/// 12 u32 data length
/// </code>
/// </summary>
/// <param name="Type">Message type; below 0x100 for the transport's own.</param>
/// <param name="BodyLength">Bytes of body.</param>
/// <param name="DataLength">Bytes of data.</param>
/// <param name="Sequence">Number of the frame on its connection and direction, from 1.</param>
/// <param name="BodyChecksum">CRC-32C of the body.</param>
/// <param name="DataChecksum">CRC-32C of the data.</param>
public readonly record struct FrameHeader(
    ushort Type, int BodyLength, int DataLength, ulong Sequence, uint BodyChecksum, uint DataChecksum)
{
    /// <summary>Bytes of a header.</summary>
    public const int Size = 48;

    /// <summary>Longest body of most messages, in bytes.</summary>
    public const int LongestBody = 4 << 20;

    /// <summary>Longest body of messages that carry maps, Raft snapshots or admin documents, in bytes.</summary>
    public const int LongestMapBody = 64 << 20;

    /// <summary>Longest data segment, in bytes.</summary>
    public const int LongestData = BufferPool.LargestBuffer;

    /// <summary>Type of the frame that says who dials or answers; first on each direction.</summary>
    public const ushort HelloType = 1;

    private const uint Magic = 0x31575453;
    private const byte Version = 1;
    private const int ChecksumOffset = 44;

    /// <summary>Longest body a message of some type may have.</summary>
    /// <param name="type">The type.</param>
    /// <returns>Bytes.</returns>
    public static int BodyLimit(ushort type) => (MessageType)type switch
    {
        MessageType.MapUpdate or MessageType.Raft or MessageType.MonitorForward or MessageType.AdminRequest or MessageType.AdminReply => LongestMapBody,
        _ => LongestBody,
    };

    /// <summary>Writes the header.</summary>
    /// <param name="destination">At least <see cref="Size"/> bytes.</param>
    public void Write(Span<byte> destination)
    {
        destination = destination[..Size];
        BinaryPrimitives.WriteUInt32LittleEndian(destination, Magic);
        destination[4] = Version;
        destination[5] = 0;
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], Type);
        BinaryPrimitives.WriteInt32LittleEndian(destination[8..], BodyLength);
        BinaryPrimitives.WriteInt32LittleEndian(destination[12..], DataLength);
        BinaryPrimitives.WriteUInt64LittleEndian(destination[16..], Sequence);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[24..], BodyChecksum);
        BinaryPrimitives.WriteUInt32LittleEndian(destination[28..], DataChecksum);
        destination[32..ChecksumOffset].Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(destination[ChecksumOffset..], Crc32C.Compute(destination[..ChecksumOffset]));
    }

    /// <summary>Reads and checks a header; the lengths it gives are within the limits of its type.</summary>
    /// <param name="source">What has arrived.</param>
    /// <param name="header">The header.</param>
    /// <param name="error">What is wrong, when malformed.</param>
    /// <returns>Whether it is there.</returns>
    public static FrameStatus TryRead(ReadOnlySpan<byte> source, out FrameHeader header, out string error)
    {
        header = default;
        error = string.Empty;

        // A wrong start is told at once, so that a stranger's half a line does not sit there until the timeout.
        for (int i = 0; i < Math.Min(source.Length, 4); i++)
        {
            if (source[i] != (byte)(Magic >> (8 * i)))
            {
                error = $"not a frame: byte {i} is 0x{source[i]:x2}";
                return FrameStatus.Malformed;
            }
        }

        if (source.Length > 4 && source[4] != Version)
        {
            error = $"frame version {source[4]}; this build speaks {Version}";
            return FrameStatus.Malformed;
        }

        if (source.Length < Size)
        {
            return FrameStatus.NeedMore;
        }

        uint stored = BinaryPrimitives.ReadUInt32LittleEndian(source[ChecksumOffset..]);
        uint computed = Crc32C.Compute(source[..ChecksumOffset]);
        if (stored != computed)
        {
            error = $"header checksum 0x{stored:x8}, computed 0x{computed:x8}";
            return FrameStatus.Malformed;
        }

        ushort type = BinaryPrimitives.ReadUInt16LittleEndian(source[6..]);
        uint body = BinaryPrimitives.ReadUInt32LittleEndian(source[8..]);
        uint data = BinaryPrimitives.ReadUInt32LittleEndian(source[12..]);
        if (body > BodyLimit(type) || data > LongestData)
        {
            error = $"message 0x{type:x} announces {body} bytes of body and {data} of data; {BodyLimit(type)} and {LongestData} are allowed";
            return FrameStatus.Malformed;
        }

        if (source[5] != 0 || source[32..ChecksumOffset].ContainsAnyExcept((byte)0))
        {
            error = "reserved header bytes are not zero";
            return FrameStatus.Malformed;
        }

        header = new FrameHeader(
            type,
            (int)body,
            (int)data,
            BinaryPrimitives.ReadUInt64LittleEndian(source[16..]),
            BinaryPrimitives.ReadUInt32LittleEndian(source[24..]),
            BinaryPrimitives.ReadUInt32LittleEndian(source[28..]));
        return FrameStatus.Complete;
    }
}
