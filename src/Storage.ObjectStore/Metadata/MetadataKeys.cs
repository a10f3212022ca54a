using System.Buffers.Binary;
using System.Text;
using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Metadata;

/// <summary>
/// Keys of the metadata database. Byte order is the order of ids: numbers are big-endian (the pool with its sign bit
/// turned), names are UTF-8 with 0 written as 00 FF and ended by 00 00.
/// <code>
/// S                                             store state
/// C pool(8) seed(4)                             collection
/// O pool(8) seed(4) sort hash(4) name snap(8)   object
/// D object number(8) chunk(4)                   block map of 64 blocks
/// M omap number(8) key                          omap entry
/// L log number(8) index(8)                      records of a collection's log, from that index on
/// </code>
/// </summary>
internal static class MetadataKeys
{
    public static ReadOnlySpan<byte> State => "S"u8;

    public const byte CollectionPrefix = (byte)'C';
    public const byte ObjectPrefix = (byte)'O';
    public const byte ChunkPrefix = (byte)'D';
    public const byte OmapPrefix = (byte)'M';
    public const byte LogPrefix = (byte)'L';
    private const int CollectionLength = 13;

    public static void WriteCollection(WireWriter key, CollectionId id, byte prefix = CollectionPrefix)
    {
        key.Clear();
        key.WriteByte(prefix);
        BinaryPrimitives.WriteUInt64BigEndian(key.Reserve(8), (ulong)id.Group.Pool ^ (1UL << 63));
        BinaryPrimitives.WriteUInt32BigEndian(key.Reserve(4), id.Group.Seed);
    }

    public static CollectionId ReadCollection(ReadOnlySpan<byte> key) => new(new PgId(
        (long)(BinaryPrimitives.ReadUInt64BigEndian(key[1..]) ^ (1UL << 63)),
        BinaryPrimitives.ReadUInt32BigEndian(key[9..])));

    public static void WriteObject(WireWriter key, CollectionId collection, ObjectId id)
    {
        WriteCollection(key, collection, ObjectPrefix);
        BinaryPrimitives.WriteUInt32BigEndian(key.Reserve(4), id.SortHash);
        Span<byte> name = stackalloc byte[ObjectId.LongestName * 3];
        int length = Encoding.UTF8.GetBytes(id.Name, name);
        foreach (byte b in name[..length])
        {
            key.WriteByte(b);
            if (b == 0)
            {
                key.WriteByte(0xFF);
            }
        }

        key.WriteUInt16(0);
        BinaryPrimitives.WriteUInt64BigEndian(key.Reserve(8), id.Snapshot);
    }

    public static ObjectId ReadObject(ReadOnlySpan<byte> key)
    {
        uint sort = BinaryPrimitives.ReadUInt32BigEndian(key[CollectionLength..]);
        ReadOnlySpan<byte> rest = key[(CollectionLength + 4)..];
        Span<byte> name = stackalloc byte[ObjectId.LongestName * 3];
        int length = 0;
        int at = 0;
        while (true)
        {
            if (rest[at] == 0)
            {
                if (rest[at + 1] == 0)
                {
                    break;
                }

                at++;
                name[length++] = 0;
            }
            else
            {
                name[length++] = rest[at];
            }

            at++;
        }

        ulong snapshot = BinaryPrimitives.ReadUInt64BigEndian(rest[(at + 2)..]);
        return new ObjectId(Encoding.UTF8.GetString(name[..length]), ReverseBits(sort), snapshot);
    }

    public static bool IsObjectOf(ReadOnlySpan<byte> key, CollectionId collection) =>
        key.Length > CollectionLength && key[0] == ObjectPrefix && ReadCollection(key) == collection;

    public static void WriteChunk(WireWriter key, ulong number, int chunk)
    {
        key.Clear();
        key.WriteByte(ChunkPrefix);
        BinaryPrimitives.WriteUInt64BigEndian(key.Reserve(8), number);
        BinaryPrimitives.WriteInt32BigEndian(key.Reserve(4), chunk);
    }

    public static void WriteOmap(WireWriter key, ulong omap, ReadOnlySpan<byte> name)
    {
        key.Clear();
        key.WriteByte(OmapPrefix);
        BinaryPrimitives.WriteUInt64BigEndian(key.Reserve(8), omap);
        key.WriteRaw(name);
    }

    public static void WriteLog(WireWriter key, ulong log, long index)
    {
        key.Clear();
        key.WriteByte(LogPrefix);
        BinaryPrimitives.WriteUInt64BigEndian(key.Reserve(8), log);
        BinaryPrimitives.WriteInt64BigEndian(key.Reserve(8), index);
    }

    public static (ulong Log, long Index) ReadLog(ReadOnlySpan<byte> key) =>
        (BinaryPrimitives.ReadUInt64BigEndian(key[1..]), BinaryPrimitives.ReadInt64BigEndian(key[9..]));

    public static bool IsOmapOf(ReadOnlySpan<byte> key, ulong omap) =>
        key.Length >= 9 && key[0] == OmapPrefix && BinaryPrimitives.ReadUInt64BigEndian(key[1..]) == omap;

    public static ReadOnlySpan<byte> OmapName(ReadOnlySpan<byte> key) => key[9..];

    private static uint ReverseBits(uint value)
    {
        value = ((value >> 1) & 0x55555555) | ((value & 0x55555555) << 1);
        value = ((value >> 2) & 0x33333333) | ((value & 0x33333333) << 2);
        value = ((value >> 4) & 0x0F0F0F0F) | ((value & 0x0F0F0F0F) << 4);
        return BinaryPrimitives.ReverseEndianness(value);
    }
}
