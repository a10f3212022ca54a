using System.Globalization;
using Storage.Coding;

namespace Storage.Block;

/// <summary>
/// What is known of a volume. Its header object <c>volume_header.ID</c> keeps it in the attribute <c>volume</c>: version u8,
/// state u8, object order u8, features u64, size i64, created i64 (milliseconds since 1970 UTC). The attribute <c>snapshots</c>
/// holds its <see cref="VolumeSnapshots"/>; <c>lock</c> belongs to the exclusive lock's owner.
/// </summary>
/// <param name="Name">Its name.</param>
/// <param name="Id">Names its objects; 16 hexadecimal digits.</param>
/// <param name="PoolId">Its pool.</param>
/// <param name="Size">Bytes.</param>
/// <param name="ObjectOrder">Its data objects have two to this power bytes.</param>
/// <param name="CreatedUnixMilliseconds">When it was made.</param>
/// <param name="IsRemoving">Its removal has begun: its data is no longer whole.</param>
public sealed record VolumeInfo(VolumeName Name, string Id, long PoolId, long Size, int ObjectOrder, long CreatedUnixMilliseconds, bool IsRemoving)
{
    internal const string HeaderAttribute = "volume";

    /// <summary>Its snapshots.</summary>
    public VolumeSnapshots Snapshots { get; init; } = VolumeSnapshots.None;

    /// <summary>The snapshot that this is about, whose size <see cref="Size"/> then is; null for the volume itself.</summary>
    public VolumeSnapshot? Snapshot { get; init; }

    private const byte FormatVersion = 1;

    /// <summary>Default <see cref="ObjectOrder"/>: 4 MiB.</summary>
    public const int DefaultObjectOrder = 22;

    /// <summary>The smallest <see cref="ObjectOrder"/>: 64 KiB.</summary>
    public const int SmallestObjectOrder = 16;

    /// <summary>The largest <see cref="ObjectOrder"/>: 8 MiB, which one read can return.</summary>
    public const int LargestObjectOrder = 23;

    /// <summary>The largest volume: 1 PiB.</summary>
    public const long LargestSize = 1L << 50;

    /// <summary>Bytes of a data object.</summary>
    public long ObjectSize => 1L << ObjectOrder;

    /// <summary>Data objects that the volume may have.</summary>
    public long ObjectCount => (Size + ObjectSize - 1) >> ObjectOrder;

    /// <summary>Name of the header object.</summary>
    public string HeaderObject => HeaderObjectOf(Id);

    internal static string HeaderObjectOf(string id) => "volume_header." + id;

    /// <summary>Name of a data object.</summary>
    /// <param name="index">Its index, from 0.</param>
    /// <returns><c>volume_data.ID.INDEX</c> with 16 hexadecimal digits.</returns>
    public string DataObject(long index) => string.Create(CultureInfo.InvariantCulture, $"volume_data.{Id}.{index:x16}");

    internal byte[] EncodeHeader()
    {
        var writer = new WireWriter(32);
        writer.WriteByte(FormatVersion);
        writer.WriteByte(IsRemoving ? (byte)1 : (byte)0);
        writer.WriteByte((byte)ObjectOrder);
        writer.WriteUInt64(0); // features: none yet
        writer.WriteInt64(Size);
        writer.WriteInt64(CreatedUnixMilliseconds);
        return writer.ToArray();
    }

    internal static VolumeInfo DecodeHeader(VolumeName name, string id, long pool, ReadOnlySpan<byte> header)
    {
        var reader = new WireReader(header);
        reader.ReadVersion(FormatVersion, $"header of volume {name}");
        byte state = reader.ReadByte();
        int order = reader.ReadByte();
        ulong features = reader.ReadUInt64();
        long size = reader.ReadInt64();
        long created = reader.ReadInt64();
        reader.ExpectEnd();
        if (features != 0)
        {
            throw new MalformedDataException($"volume {name} uses features 0x{features:x} that this build does not know");
        }

        if (state > 1 || order is < SmallestObjectOrder or > LargestObjectOrder || size is < 0 or > LargestSize)
        {
            throw new MalformedDataException($"header of volume {name} has state {state}, object order {order}, size {size}");
        }

        return new VolumeInfo(name, id, pool, size, order, created, state == 1);
    }
}
