using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd.Protocol;

/// <summary>Small values that many messages and records share.</summary>
internal static class WireExtensions
{
    public static void WriteVersion(this WireWriter writer, PgVersion version)
    {
        writer.WriteUInt32(version.Epoch.Value);
        writer.WriteUInt64(version.Number);
    }

    public static PgVersion ReadPgVersion(this ref WireReader reader) => new(new Epoch(reader.ReadUInt32()), reader.ReadUInt64());

    /// <summary>Reads a version byte of a body whose older versions nobody has any more.</summary>
    public static void ReadExactVersion(this ref WireReader reader, byte version, string what)
    {
        byte found = reader.ReadByte();
        if (found != version)
        {
            throw new MalformedDataException($"{what} has format version {found}; this build knows {version}");
        }
    }

    public static Epoch ReadEpoch(this ref WireReader reader) => new(reader.ReadUInt32());

    public static void WriteOsds(this WireWriter writer, OsdId[] osds)
    {
        writer.WriteInt32(osds.Length);
        foreach (OsdId osd in osds)
        {
            writer.WriteInt32(osd.Value);
        }
    }

    public static OsdId[] ReadOsds(this ref WireReader reader)
    {
        var osds = new OsdId[reader.ReadCount(4)];
        for (int i = 0; i < osds.Length; i++)
        {
            osds[i] = new OsdId(reader.ReadInt32());
        }

        return osds;
    }

    public static void WriteMissing(this WireWriter writer, Dictionary<ObjectId, PgVersion> missing)
    {
        writer.WriteInt32(missing.Count);
        foreach ((ObjectId id, PgVersion version) in missing)
        {
            id.Encode(writer);
            writer.WriteVersion(version);
        }
    }

    public static Dictionary<ObjectId, PgVersion> ReadMissing(this ref WireReader reader)
    {
        int count = reader.ReadCount(28);
        var missing = new Dictionary<ObjectId, PgVersion>(count);
        for (int i = 0; i < count; i++)
        {
            ObjectId id = ObjectId.Decode(ref reader);
            missing[id] = reader.ReadPgVersion();
        }

        return missing;
    }
}
