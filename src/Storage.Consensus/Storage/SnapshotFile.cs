using System.Buffers.Binary;
using System.Globalization;
using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// The form of a snapshot file, written under a temporary name, synced and renamed:
/// <code>
///  0 magic "RAFTSNP\n" | 8 version u8, 7 zero bytes | 16 node u64 | 24 payload length u64 | 32 CRC-32C of the payload u32
/// 36 CRC-32C of [0, 36) u32 | 40 payload: index u64, term u64, configuration, length i32, data
/// </code>
/// </summary>
internal static class SnapshotFile
{
    public const byte FormatVersion = 1;
    private const int HeaderBytes = 40;
    private const string Prefix = "snapshot-";

    private static ReadOnlySpan<byte> Magic => "RAFTSNP\n"u8;

    public static string Name(RaftSnapshot snapshot) => $"{Prefix}{snapshot.Index:x16}-{snapshot.Term:x16}.raft";

    public static bool TryParseIndex(string path, out ulong index)
    {
        string name = Path.GetFileName(path);
        index = 0;
        return name.Length == Prefix.Length + 16 + 1 + 16 + 5
            && name.StartsWith(Prefix, StringComparison.Ordinal) && name.EndsWith(".raft", StringComparison.Ordinal)
            && ulong.TryParse(name.AsSpan(Prefix.Length, 16), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out index);
    }

    public static byte[] Encode(NodeId node, RaftSnapshot snapshot)
    {
        var writer = new WireWriter(HeaderBytes + 64 + snapshot.Data.Length);
        writer.Reserve(HeaderBytes);
        RaftMessageCodec.WriteSnapshot(writer, snapshot);
        byte[] file = writer.ToArray();
        Magic.CopyTo(file);
        file.AsSpan(8, 8).Clear();
        file[8] = FormatVersion;
        BinaryPrimitives.WriteUInt64LittleEndian(file.AsSpan(16), node.Value);
        BinaryPrimitives.WriteInt64LittleEndian(file.AsSpan(24), file.Length - HeaderBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(32), Crc32C.Compute(file.AsSpan(HeaderBytes)));
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(36), Crc32C.Compute(file.AsSpan(0, 36)));
        return file;
    }

    public static RaftSnapshot Decode(string path, NodeId node, ReadOnlySpan<byte> file)
    {
        if (file.Length < HeaderBytes || !file[..8].SequenceEqual(Magic))
        {
            throw new RaftStorageCorruptException(path, 0, "not a Raft snapshot");
        }

        if (file[8] != FormatVersion)
        {
            throw new RaftStorageCorruptException(path, 8, $"snapshot of format version {file[8]}; this build knows {FormatVersion}");
        }

        if (BinaryPrimitives.ReadUInt32LittleEndian(file[36..]) != Crc32C.Compute(file[..36]))
        {
            throw new RaftStorageCorruptException(path, 0, "the snapshot header fails its checksum");
        }

        ulong owner = BinaryPrimitives.ReadUInt64LittleEndian(file[16..]);
        if (owner != node.Value)
        {
            throw new RaftStorageCorruptException(path, 16, $"the snapshot belongs to node {owner}, this is node {node}");
        }

        long length = BinaryPrimitives.ReadInt64LittleEndian(file[24..]);
        if (length != file.Length - HeaderBytes)
        {
            throw new RaftStorageCorruptException(path, file.Length, $"the snapshot was made {HeaderBytes + length} bytes long and has {file.Length}");
        }

        ReadOnlySpan<byte> payload = file[HeaderBytes..];
        if (BinaryPrimitives.ReadUInt32LittleEndian(file[32..]) != Crc32C.Compute(payload))
        {
            throw new RaftStorageCorruptException(path, HeaderBytes, "the snapshot fails its checksum");
        }

        try
        {
            var reader = new WireReader(payload);
            RaftSnapshot snapshot = RaftMessageCodec.ReadSnapshot(ref reader);
            reader.ExpectEnd();
            return snapshot;
        }
        catch (MalformedDataException e)
        {
            throw new RaftStorageCorruptException(path, HeaderBytes, e.Message, e);
        }
    }
}
