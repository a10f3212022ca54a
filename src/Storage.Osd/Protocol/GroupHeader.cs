using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd.Protocol;

/// <summary>Begins every message about a PG: version u8, pool i64, seed u32, sender's map epoch u32, start of the sender's interval u32.</summary>
/// <param name="Group">The PG.</param>
/// <param name="Epoch">The sender's map.</param>
/// <param name="Interval">First epoch of the interval in which it was sent; a message from another interval is void.</param>
internal readonly record struct GroupHeader(PgId Group, Epoch Epoch, Epoch Interval)
{
    private const byte FormatVersion = 3; // 3: pieces of copied objects are numbered

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt64(Group.Pool);
        writer.WriteUInt32(Group.Seed);
        writer.WriteUInt32(Epoch.Value);
        writer.WriteUInt32(Interval.Value);
    }

    public static GroupHeader Decode(ref WireReader reader)
    {
        reader.ReadExactVersion(FormatVersion, "PG message");
        return new GroupHeader(new PgId(reader.ReadInt64(), reader.ReadUInt32()), new Epoch(reader.ReadUInt32()), new Epoch(reader.ReadUInt32()));
    }
}
