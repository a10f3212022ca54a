using Storage.Coding;

namespace Storage.Cluster;

// Parts that the whole map and its increments write alike. Dictionaries are written in key order: equal maps, equal bytes.
internal static class MapCodec
{
    internal static MonitorInfo[] ReadMonitors(ref WireReader reader)
    {
        var monitors = new MonitorInfo[reader.ReadCount(24)];
        for (int i = 0; i < monitors.Length; i++)
        {
            monitors[i] = MonitorInfo.Decode(ref reader);
        }

        return monitors;
    }

    internal static void WritePgTemp(WireWriter writer, IEnumerable<KeyValuePair<PgId, OsdId[]>> entries)
    {
        KeyValuePair<PgId, OsdId[]>[] ordered = [.. entries.OrderBy(entry => entry.Key)];
        writer.WriteInt32(ordered.Length);
        foreach ((PgId group, OsdId[] osds) in ordered)
        {
            writer.WriteInt64(group.Pool);
            writer.WriteUInt32(group.Seed);
            writer.WriteInt32(osds.Length);
            foreach (OsdId osd in osds)
            {
                writer.WriteInt32(osd.Value);
            }
        }
    }

    internal static void ReadPgTemp(ref WireReader reader, Dictionary<PgId, OsdId[]> entries)
    {
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            var group = new PgId(reader.ReadInt64(), reader.ReadUInt32());
            var osds = new OsdId[reader.ReadCount(4)];
            for (int j = 0; j < osds.Length; j++)
            {
                osds[j] = new OsdId(reader.ReadInt32());
            }

            entries[group] = osds;
        }
    }

    internal static void WriteUpmap(WireWriter writer, IEnumerable<KeyValuePair<PgId, (OsdId From, OsdId To)[]>> entries)
    {
        KeyValuePair<PgId, (OsdId From, OsdId To)[]>[] ordered = [.. entries.OrderBy(entry => entry.Key)];
        writer.WriteInt32(ordered.Length);
        foreach ((PgId group, (OsdId From, OsdId To)[] pairs) in ordered)
        {
            writer.WriteInt64(group.Pool);
            writer.WriteUInt32(group.Seed);
            writer.WriteInt32(pairs.Length);
            foreach ((OsdId from, OsdId to) in pairs)
            {
                writer.WriteInt32(from.Value);
                writer.WriteInt32(to.Value);
            }
        }
    }

    internal static void ReadUpmap(ref WireReader reader, Dictionary<PgId, (OsdId From, OsdId To)[]> entries)
    {
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            var group = new PgId(reader.ReadInt64(), reader.ReadUInt32());
            var pairs = new (OsdId, OsdId)[reader.ReadCount(8)];
            for (int j = 0; j < pairs.Length; j++)
            {
                pairs[j] = (new OsdId(reader.ReadInt32()), new OsdId(reader.ReadInt32()));
            }

            entries[group] = pairs;
        }
    }
}
