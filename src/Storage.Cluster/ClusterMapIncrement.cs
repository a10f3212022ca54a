using Storage.Coding;

namespace Storage.Cluster;

/// <summary>One change of the cluster map: epoch n → n+1. Small, whatever the cluster's size. Lists that are empty change nothing.</summary>
public sealed class ClusterMapIncrement
{
    private const byte FormatVersion = 1;

    /// <summary>The epoch this makes; applies only to the epoch before.</summary>
    public required Epoch Epoch { get; init; }

    /// <summary>When it was made, milliseconds since 1970 UTC.</summary>
    public long ModifiedUnixMilliseconds { get; init; }

    /// <summary>New flags, if they change.</summary>
    public ClusterFlags? Flags { get; set; }

    /// <summary>New CRUSH map in Ceph's binary form, if it changes.</summary>
    public byte[]? Crush { get; set; }

    /// <summary>New list of monitors, if it changes.</summary>
    public IReadOnlyList<MonitorInfo>? Monitors { get; set; }

    /// <summary>OSDs added or changed.</summary>
    public List<OsdInfo> Osds { get; } = [];

    /// <summary>OSDs removed from the map.</summary>
    public List<OsdId> RemovedOsds { get; } = [];

    /// <summary>Pools added or changed.</summary>
    public List<PoolInfo> Pools { get; } = [];

    /// <summary>Pools removed.</summary>
    public List<long> RemovedPools { get; } = [];

    /// <summary>Acting sets set for the time being; an empty array ends it.</summary>
    public Dictionary<PgId, OsdId[]> PgTemp { get; } = [];

    /// <summary>Exceptions to CRUSH: pairs (from, to); an empty array ends them.</summary>
    public Dictionary<PgId, (OsdId From, OsdId To)[]> UpmapItems { get; } = [];

    /// <summary>Clients fenced, with the time the entry expires, in milliseconds since 1970 UTC.</summary>
    public Dictionary<ulong, long> Blocklisted { get; } = [];

    /// <summary>Clients no longer fenced.</summary>
    public List<ulong> Unblocklisted { get; } = [];

    /// <summary>Settings changed; null removes one.</summary>
    public SortedDictionary<string, string?> Configuration { get; } = new(StringComparer.Ordinal);

    /// <summary>Writes the increment.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt32(Epoch.Value);
        writer.WriteInt64(ModifiedUnixMilliseconds);
        writer.WriteBoolean(Flags.HasValue);
        if (Flags.HasValue)
        {
            writer.WriteInt32((int)Flags.Value);
        }

        writer.WriteBytes(Crush);
        writer.WriteBoolean(Monitors is not null);
        if (Monitors is not null)
        {
            writer.WriteInt32(Monitors.Count);
            foreach (MonitorInfo monitor in Monitors)
            {
                monitor.Encode(writer);
            }
        }

        writer.WriteInt32(Osds.Count);
        Osds.ForEach(osd => osd.Encode(writer));
        writer.WriteInt32(RemovedOsds.Count);
        RemovedOsds.ForEach(osd => writer.WriteInt32(osd.Value));
        writer.WriteInt32(Pools.Count);
        Pools.ForEach(pool => pool.Encode(writer));
        writer.WriteInt32(RemovedPools.Count);
        RemovedPools.ForEach(writer.WriteInt64);
        MapCodec.WritePgTemp(writer, PgTemp);
        MapCodec.WriteUpmap(writer, UpmapItems);
        writer.WriteInt32(Blocklisted.Count);
        foreach ((ulong client, long expires) in Blocklisted.OrderBy(entry => entry.Key))
        {
            writer.WriteUInt64(client);
            writer.WriteInt64(expires);
        }

        writer.WriteInt32(Unblocklisted.Count);
        Unblocklisted.ForEach(writer.WriteUInt64);
        writer.WriteInt32(Configuration.Count);
        foreach ((string name, string? value) in Configuration)
        {
            writer.WriteString(name);
            writer.WriteBoolean(value is not null);
            writer.WriteString(value ?? "");
        }
    }

    /// <summary>Packs the increment.</summary>
    /// <returns>What <see cref="Encode"/> writes.</returns>
    public byte[] ToArray()
    {
        var writer = new WireWriter();
        Encode(writer);
        return writer.ToArray();
    }

    /// <summary>Reads an increment.</summary>
    /// <param name="data">The packed increment.</param>
    /// <returns>The increment.</returns>
    /// <exception cref="MalformedDataException">The bytes are no increment.</exception>
    public static ClusterMapIncrement Decode(ReadOnlySpan<byte> data)
    {
        var reader = new WireReader(data);
        reader.ReadVersion(FormatVersion, "cluster map increment");
        var increment = new ClusterMapIncrement
        {
            Epoch = new Epoch(reader.ReadUInt32()),
            ModifiedUnixMilliseconds = reader.ReadInt64(),
        };
        if (reader.ReadBoolean())
        {
            increment.Flags = (ClusterFlags)reader.ReadInt32();
        }

        ReadOnlySpan<byte> crush = reader.ReadBytes();
        increment.Crush = crush.IsEmpty ? null : crush.ToArray();
        if (reader.ReadBoolean())
        {
            increment.Monitors = MapCodec.ReadMonitors(ref reader);
        }

        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            increment.Osds.Add(OsdInfo.Decode(ref reader));
        }

        for (int i = reader.ReadCount(4); i > 0; i--)
        {
            increment.RemovedOsds.Add(new OsdId(reader.ReadInt32()));
        }

        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            increment.Pools.Add(PoolInfo.Decode(ref reader));
        }

        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            increment.RemovedPools.Add(reader.ReadInt64());
        }

        MapCodec.ReadPgTemp(ref reader, increment.PgTemp);
        MapCodec.ReadUpmap(ref reader, increment.UpmapItems);
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            increment.Blocklisted[reader.ReadUInt64()] = reader.ReadInt64();
        }

        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            increment.Unblocklisted.Add(reader.ReadUInt64());
        }

        for (int i = reader.ReadCount(9); i > 0; i--)
        {
            string name = reader.ReadString();
            bool present = reader.ReadBoolean();
            string value = reader.ReadString();
            increment.Configuration[name] = present ? value : null;
        }

        reader.ExpectEnd();
        return increment;
    }
}
