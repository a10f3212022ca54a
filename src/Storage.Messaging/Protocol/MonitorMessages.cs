using Storage.Cluster;
using Storage.Coding;

namespace Storage.Messaging;

/// <summary>Node → monitor: send me the map changes after this epoch, now and as they come, until the connection ends.</summary>
/// <param name="Have">The newest epoch the node has; <see cref="Epoch.None"/> asks for the whole map.</param>
public readonly record struct MapSubscribe(Epoch Have)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt32(Have.Value);
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static MapSubscribe Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "map subscription");
        return new MapSubscribe(new Epoch(reader.ReadUInt32()));
    }
}

/// <summary>Map changes: either a whole map followed by increments, or increments only. Epochs ascend without a gap.</summary>
/// <param name="Full">An encoded <see cref="ClusterMap"/>, or empty.</param>
/// <param name="Increments">Encoded <see cref="ClusterMapIncrement"/>s, in order.</param>
public sealed record MapUpdate(ReadOnlyMemory<byte> Full, IReadOnlyList<ReadOnlyMemory<byte>> Increments)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteBytes(Full.Span);
        writer.WriteInt32(Increments.Count);
        foreach (ReadOnlyMemory<byte> increment in Increments)
        {
            writer.WriteBytes(increment.Span);
        }
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body; copied.</param>
    /// <returns>The message.</returns>
    public static MapUpdate Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "map update");
        byte[] full = reader.ReadBytes().ToArray();
        int count = reader.ReadCount(4);
        var increments = new ReadOnlyMemory<byte>[count];
        for (int i = 0; i < count; i++)
        {
            increments[i] = reader.ReadBytes().ToArray();
        }

        return new MapUpdate(full, increments);
    }
}

/// <summary>OSD → monitor: I am up. The monitor answers by a map in which the OSD is up with this instance.</summary>
/// <param name="Osd">Its number.</param>
/// <param name="Uuid">Identity of its disk; an OSD number belongs to one disk.</param>
/// <param name="Instance">Drawn at this start of the process.</param>
/// <param name="Address">Where it listens for OSDs and clients.</param>
/// <param name="NewestMap">The newest map it has.</param>
public readonly record struct OsdBoot(OsdId Osd, Guid Uuid, ulong Instance, NodeAddress Address, Epoch NewestMap)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Osd.Value);
        Uuid.TryWriteBytes(writer.Reserve(16));
        writer.WriteUInt64(Instance);
        writer.WriteString(Address.Host);
        writer.WriteInt32(Address.Port);
        writer.WriteUInt32(NewestMap.Value);
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static OsdBoot Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "OSD boot");
        return new OsdBoot(
            new OsdId(reader.ReadInt32()),
            new Guid(reader.ReadRaw(16)),
            reader.ReadUInt64(),
            new NodeAddress(reader.ReadString(), reader.ReadInt32()),
            new Epoch(reader.ReadUInt32()));
    }
}

/// <summary>OSD → monitor: another OSD does not answer me, or (with <see cref="Withdrawn"/>) it does again.</summary>
/// <param name="Target">The OSD that fails.</param>
/// <param name="TargetUpFrom">Its up_from in the reporter's map: a report on an earlier life is ignored.</param>
/// <param name="Epoch">The reporter's map.</param>
/// <param name="Refused">Its port refuses connections: proof that the process is dead.</param>
/// <param name="SilentMilliseconds">For how long it has been silent.</param>
/// <param name="Withdrawn">The report is taken back.</param>
public readonly record struct OsdFailure(OsdId Target, Epoch TargetUpFrom, Epoch Epoch, bool Refused, int SilentMilliseconds, bool Withdrawn)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Target.Value);
        writer.WriteUInt32(TargetUpFrom.Value);
        writer.WriteUInt32(Epoch.Value);
        writer.WriteBoolean(Refused);
        writer.WriteInt32(SilentMilliseconds);
        writer.WriteBoolean(Withdrawn);
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static OsdFailure Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "OSD failure report");
        return new OsdFailure(
            new OsdId(reader.ReadInt32()),
            new Epoch(reader.ReadUInt32()),
            new Epoch(reader.ReadUInt32()),
            reader.ReadBoolean(),
            reader.ReadInt32(),
            reader.ReadBoolean());
    }
}

/// <summary>OSD → monitor: record my up_thru, because a PG of mine cannot go active before.</summary>
/// <param name="Osd">The OSD.</param>
/// <param name="UpFrom">Its up_from in its map; a request of an earlier life is ignored.</param>
/// <param name="Want">The epoch that up_thru must reach at least; it is set to the map's current epoch.</param>
public readonly record struct OsdAlive(OsdId Osd, Epoch UpFrom, Epoch Want)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Osd.Value);
        writer.WriteUInt32(UpFrom.Value);
        writer.WriteUInt32(Want.Value);
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static OsdAlive Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "up_thru request");
        return new OsdAlive(new OsdId(reader.ReadInt32()), new Epoch(reader.ReadUInt32()), new Epoch(reader.ReadUInt32()));
    }
}

/// <summary>Primary OSD → monitor: let these OSDs act for a PG for the time being; an empty list ends it.</summary>
/// <param name="Osd">The sender.</param>
/// <param name="Group">The PG.</param>
/// <param name="Acting">OSDs in order, the primary first.</param>
/// <param name="Epoch">The sender's map; a request from before the PG's present interval is ignored.</param>
public sealed record PgTempRequest(OsdId Osd, PgId Group, IReadOnlyList<OsdId> Acting, Epoch Epoch)
{
    private const byte FormatVersion = 1;

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Osd.Value);
        writer.WriteInt64(Group.Pool);
        writer.WriteUInt32(Group.Seed);
        writer.WriteUInt32(Epoch.Value);
        writer.WriteInt32(Acting.Count);
        foreach (OsdId osd in Acting)
        {
            writer.WriteInt32(osd.Value);
        }
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static PgTempRequest Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "pg_temp request");
        var osd = new OsdId(reader.ReadInt32());
        var group = new PgId(reader.ReadInt64(), reader.ReadUInt32());
        var epoch = new Epoch(reader.ReadUInt32());
        var acting = new OsdId[reader.ReadCount(4)];
        for (int i = 0; i < acting.Length; i++)
        {
            acting[i] = new OsdId(reader.ReadInt32());
        }

        return new PgTempRequest(osd, group, acting, epoch);
    }
}

/// <summary>What a primary knows of one PG; soft state on the leading monitor.</summary>
/// <param name="Group">The PG.</param>
/// <param name="State">State words joined by '+', as operators know them: <c>active+clean</c>, <c>peering</c>, …</param>
/// <param name="Up">Up set.</param>
/// <param name="Acting">Acting set.</param>
/// <param name="LastUpdate">Newest log entry.</param>
/// <param name="Objects">Objects in the PG.</param>
/// <param name="Bytes">Logical bytes in the PG.</param>
/// <param name="MissingCopies">Copies of objects that are missing on members of the acting set.</param>
/// <param name="MisplacedCopies">Copies that are not where CRUSH wants them.</param>
/// <param name="UnfoundObjects">Objects of which no copy was found.</param>
/// <param name="ScrubErrors">Inconsistencies found and not repaired.</param>
public sealed record PgStatistics(
    PgId Group,
    string State,
    IReadOnlyList<OsdId> Up,
    IReadOnlyList<OsdId> Acting,
    PgVersion LastUpdate,
    long Objects,
    long Bytes,
    long MissingCopies,
    long MisplacedCopies,
    long UnfoundObjects,
    long ScrubErrors)
{
    /// <summary>Removed snapshots of the pool of which this PG holds no clone any more, on any member.</summary>
    public SnapshotIntervals PurgedSnapshots { get; init; } = SnapshotIntervals.Empty;

    /// <summary>Removed snapshots of which it still holds clones.</summary>
    public long SnapshotsToTrim { get; init; }

    /// <summary>When the last scrub ended, in milliseconds since the Unix epoch.</summary>
    public long LastScrub { get; init; }

    /// <summary>When the last deep scrub ended, in milliseconds since the Unix epoch.</summary>
    public long LastDeepScrub { get; init; }

    internal void Encode(WireWriter writer)
    {
        writer.WriteInt64(Group.Pool);
        writer.WriteUInt32(Group.Seed);
        writer.WriteString(State);
        EncodeSet(writer, Up);
        EncodeSet(writer, Acting);
        writer.WriteUInt32(LastUpdate.Epoch.Value);
        writer.WriteUInt64(LastUpdate.Number);
        writer.WriteInt64(Objects);
        writer.WriteInt64(Bytes);
        writer.WriteInt64(MissingCopies);
        writer.WriteInt64(MisplacedCopies);
        writer.WriteInt64(UnfoundObjects);
        writer.WriteInt64(ScrubErrors);
        PurgedSnapshots.Encode(writer);
        writer.WriteInt64(SnapshotsToTrim);
        writer.WriteInt64(LastScrub);
        writer.WriteInt64(LastDeepScrub);
    }

    internal static PgStatistics Decode(ref WireReader reader) => new(
        new PgId(reader.ReadInt64(), reader.ReadUInt32()),
        reader.ReadString(),
        DecodeSet(ref reader),
        DecodeSet(ref reader),
        new PgVersion(new Epoch(reader.ReadUInt32()), reader.ReadUInt64()),
        reader.ReadInt64(),
        reader.ReadInt64(),
        reader.ReadInt64(),
        reader.ReadInt64(),
        reader.ReadInt64(),
        reader.ReadInt64())
    {
        PurgedSnapshots = SnapshotIntervals.Decode(ref reader),
        SnapshotsToTrim = reader.ReadInt64(),
        LastScrub = reader.ReadInt64(),
        LastDeepScrub = reader.ReadInt64(),
    };

    private static void EncodeSet(WireWriter writer, IReadOnlyList<OsdId> osds)
    {
        writer.WriteInt32(osds.Count);
        foreach (OsdId osd in osds)
        {
            writer.WriteInt32(osd.Value);
        }
    }

    private static OsdId[] DecodeSet(ref WireReader reader)
    {
        var osds = new OsdId[reader.ReadCount(4)];
        for (int i = 0; i < osds.Length; i++)
        {
            osds[i] = new OsdId(reader.ReadInt32());
        }

        return osds;
    }
}

/// <summary>OSD → monitor, every few seconds and when a PG changes state: sign of life, space, rates, the PGs it is primary of.</summary>
/// <param name="Osd">The OSD.</param>
/// <param name="Epoch">Its map.</param>
/// <param name="TotalBytes">What its disk holds.</param>
/// <param name="UsedBytes">What is used.</param>
/// <param name="ClientReadBytes">Bytes that clients read since its start.</param>
/// <param name="ClientWriteBytes">Bytes that clients wrote since its start.</param>
/// <param name="ClientReads">Read operations since its start.</param>
/// <param name="ClientWrites">Write operations since its start.</param>
/// <param name="RecoveryBytes">Bytes recovered or backfilled since its start.</param>
/// <param name="ReadErrors">Checksum and disk errors met on reads since its start, repaired or not.</param>
/// <param name="RepairedErrors">Those that were repaired from another copy.</param>
/// <param name="Groups">PGs of which it is the primary.</param>
/// <param name="SlowOperations">Client operations that have waited for long.</param>
/// <param name="SlowestOperation">The oldest of them: what, for how long, and what it waits for; empty if there is none.</param>
public sealed record OsdStatistics(
    OsdId Osd,
    Epoch Epoch,
    long TotalBytes,
    long UsedBytes,
    long ClientReadBytes,
    long ClientWriteBytes,
    long ClientReads,
    long ClientWrites,
    long RecoveryBytes,
    long ReadErrors,
    long RepairedErrors,
    IReadOnlyList<PgStatistics> Groups,
    int SlowOperations = 0,
    string SlowestOperation = "")
{
    private const byte FormatVersion = 4; // 3 lacks compression

    /// <summary>Per pool with compressed data on this OSD: the data as it was written, and what it takes, in bytes.</summary>
    public IReadOnlyList<(long Pool, long OriginalBytes, long StoredBytes)> Compression { get; init; } = [];

    /// <summary>Writes the message.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt32(Osd.Value);
        writer.WriteUInt32(Epoch.Value);
        writer.WriteInt64(TotalBytes);
        writer.WriteInt64(UsedBytes);
        writer.WriteInt64(ClientReadBytes);
        writer.WriteInt64(ClientWriteBytes);
        writer.WriteInt64(ClientReads);
        writer.WriteInt64(ClientWrites);
        writer.WriteInt64(RecoveryBytes);
        writer.WriteInt64(ReadErrors);
        writer.WriteInt64(RepairedErrors);
        writer.WriteInt32(SlowOperations);
        writer.WriteString(SlowestOperation);
        writer.WriteInt32(Groups.Count);
        foreach (PgStatistics group in Groups)
        {
            group.Encode(writer);
        }

        writer.WriteInt32(Compression.Count);
        foreach ((long pool, long original, long stored) in Compression)
        {
            writer.WriteInt64(pool);
            writer.WriteInt64(original);
            writer.WriteInt64(stored);
        }
    }

    /// <summary>Reads the message.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The message.</returns>
    public static OsdStatistics Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        byte version = reader.ReadVersion(FormatVersion, "OSD statistics");
        var osd = new OsdId(reader.ReadInt32());
        var epoch = new Epoch(reader.ReadUInt32());
        long total = reader.ReadInt64();
        long used = reader.ReadInt64();
        long readBytes = reader.ReadInt64();
        long writeBytes = reader.ReadInt64();
        long reads = reader.ReadInt64();
        long writes = reader.ReadInt64();
        long recovered = reader.ReadInt64();
        long errors = reader.ReadInt64();
        long repaired = reader.ReadInt64();
        int slow = reader.ReadInt32();
        string slowest = reader.ReadString();
        var groups = new PgStatistics[reader.ReadCount(96)];
        for (int i = 0; i < groups.Length; i++)
        {
            groups[i] = PgStatistics.Decode(ref reader);
        }

        var compression = new (long, long, long)[version >= 4 ? reader.ReadCount(24) : 0];
        for (int i = 0; i < compression.Length; i++)
        {
            compression[i] = (reader.ReadInt64(), reader.ReadInt64(), reader.ReadInt64());
        }

        return new OsdStatistics(osd, epoch, total, used, readBytes, writeBytes, reads, writes, recovered, errors, repaired, groups, slow, slowest) { Compression = compression };
    }
}
