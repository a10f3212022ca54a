using Storage.Coding;

namespace Storage.Cluster;

/// <summary>What the map says of one OSD. Immutable; changes make a copy with <c>with</c>.</summary>
public sealed record OsdInfo
{
    private const byte FormatVersion = 1;

    /// <summary>Reweight of an OSD that is fully in.</summary>
    public const uint FullWeight = 0x10000;

    /// <summary>Its number.</summary>
    public required OsdId Id { get; init; }

    /// <summary>Identity of its disk.</summary>
    public Guid Uuid { get; init; }

    /// <summary>Whether it runs and is reachable.</summary>
    public bool IsUp { get; init; }

    /// <summary>Reweight in 16.16 fixed point: 0 is out, <see cref="FullWeight"/> fully in.</summary>
    public uint Weight { get; init; }

    /// <summary>Where it listens for OSDs and clients.</summary>
    public NodeAddress Address { get; init; }

    /// <summary>The process that is up, drawn at its start.</summary>
    public ulong Instance { get; init; }

    /// <summary>Epoch in which it was last marked up.</summary>
    public Epoch UpFrom { get; init; }

    /// <summary>Newest epoch of which the map knows that the OSD was alive and may have gone active in; at least
    /// <see cref="UpFrom"/>, or lower if it asked for none in this life.</summary>
    public Epoch UpThru { get; init; }

    /// <summary>Epoch in which it was last marked down.</summary>
    public Epoch DownAt { get; init; }

    /// <summary>Epoch in which an operator declared its data lost, or none.</summary>
    public Epoch LostAt { get; init; }

    /// <summary>The monitor marked it out by itself, and will mark it in when it boots.</summary>
    public bool AutoOut { get; init; }

    /// <summary>Whether it takes data.</summary>
    public bool IsIn => Weight > 0;

    internal void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Id.Value);
        Uuid.TryWriteBytes(writer.Reserve(16));
        writer.WriteBoolean(IsUp);
        writer.WriteUInt32(Weight);
        writer.WriteString(Address.Host ?? "");
        writer.WriteInt32(Address.Port);
        writer.WriteUInt64(Instance);
        writer.WriteUInt32(UpFrom.Value);
        writer.WriteUInt32(UpThru.Value);
        writer.WriteUInt32(DownAt.Value);
        writer.WriteUInt32(LostAt.Value);
        writer.WriteBoolean(AutoOut);
    }

    internal static OsdInfo Decode(ref WireReader reader)
    {
        reader.ReadVersion(FormatVersion, "OSD record");
        var osd = new OsdInfo
        {
            Id = new OsdId(reader.ReadInt32()),
            Uuid = new Guid(reader.ReadRaw(16)),
            IsUp = reader.ReadBoolean(),
            Weight = reader.ReadUInt32(),
            Address = new NodeAddress(reader.ReadString(), reader.ReadInt32()),
            Instance = reader.ReadUInt64(),
            UpFrom = new Epoch(reader.ReadUInt32()),
            UpThru = new Epoch(reader.ReadUInt32()),
            DownAt = new Epoch(reader.ReadUInt32()),
            LostAt = new Epoch(reader.ReadUInt32()),
            AutoOut = reader.ReadBoolean(),
        };
        if (osd.Id.Value is < 0 or > ClusterMap.LargestOsd)
        {
            throw new MalformedDataException($"OSD number {osd.Id.Value} is outside 0 to {ClusterMap.LargestOsd}");
        }

        return osd;
    }
}

/// <summary>A monitor's entry in the map.</summary>
/// <param name="Id">Number, as Raft knows it.</param>
/// <param name="Name">Name for operators.</param>
/// <param name="Address">Where it listens for messages.</param>
/// <param name="AdminAddress">Where it serves the admin API (gRPC).</param>
public sealed record MonitorInfo(ulong Id, string Name, NodeAddress Address, NodeAddress AdminAddress)
{
    /// <summary>Numbers from here on are of monitors that joined later: this plus the epoch that added them. Founders have lower ones.</summary>
    public const ulong FirstAddedId = 100;

    internal void Encode(WireWriter writer)
    {
        writer.WriteUInt64(Id);
        writer.WriteString(Name);
        writer.WriteString(Address.Host ?? "");
        writer.WriteInt32(Address.Port);
        writer.WriteString(AdminAddress.Host ?? "");
        writer.WriteInt32(AdminAddress.Port);
    }

    internal static MonitorInfo Decode(ref WireReader reader) => new(
        reader.ReadUInt64(),
        reader.ReadString(),
        new NodeAddress(reader.ReadString(), reader.ReadInt32()),
        new NodeAddress(reader.ReadString(), reader.ReadInt32()));
}

/// <summary>Cluster-wide switches, named as operators know them.</summary>
[Flags]
public enum ClusterFlags
{
    /// <summary>None is set.</summary>
    None = 0,

    /// <summary>OSDs are not marked up.</summary>
    NoUp = 1,

    /// <summary>OSDs are not marked down.</summary>
    NoDown = 2,

    /// <summary>OSDs are not marked out by themselves.</summary>
    NoOut = 4,

    /// <summary>OSDs are not marked in by themselves.</summary>
    NoIn = 8,

    /// <summary>No recovery.</summary>
    NoRecover = 16,

    /// <summary>No backfill.</summary>
    NoBackfill = 32,

    /// <summary>No scrub.</summary>
    NoScrub = 64,

    /// <summary>No deep scrub.</summary>
    NoDeepScrub = 128,

    /// <summary>Client I/O waits.</summary>
    Pause = 256,

    /// <summary>The cluster is full: client writes fail with NoSpace.</summary>
    Full = 512,

    /// <summary>Data that has all its copies is not moved to where CRUSH wants it.</summary>
    NoRebalance = 1024,
}
