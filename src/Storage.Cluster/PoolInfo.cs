using Storage.Coding;

namespace Storage.Cluster;

/// <summary>How a pool keeps its objects safe.</summary>
public enum PoolKind : byte
{
    /// <summary>Whole copies.</summary>
    Replicated = 1,

    /// <summary>Reed–Solomon; reserved.</summary>
    Erasure = 3,
}

/// <summary>Who minds a pool's number of PGs.</summary>
public enum PgAutoscale : byte
{
    /// <summary>The operator alone.</summary>
    Off = 0,

    /// <summary>The operator, whom health warns when it should be more.</summary>
    Warn = 1,

    /// <summary>The monitors raise it with what the pool holds.</summary>
    On = 2,
}

/// <summary>How OSDs keep a pool's data on their disks. The numbers stand in maps and on disks.</summary>
public enum PoolCompression : byte
{
    /// <summary>As it is.</summary>
    None = 0,

    /// <summary>LZ4: fast, saves less.</summary>
    Lz4 = 1,

    /// <summary>Zstandard: slower, saves more.</summary>
    Zstd = 2,
}

/// <summary>A pool. Immutable; changes make a copy with <c>with</c>.</summary>
public sealed record PoolInfo
{
    private const byte FormatVersion = 7; // 3 lacks autoscaling, 4 compression, 5 its ratio and level, 6 purged snapshots

    /// <summary>What <see cref="CompressionRequiredRatio"/> is in a new pool.</summary>
    public const double DefaultCompressionRatio = 0.875;

    /// <summary>What <see cref="CompressionLevel"/> is in a new pool.</summary>
    public const int DefaultCompressionLevel = 1;

    /// <summary>The highest <see cref="CompressionLevel"/>; those above take memory without end and gain nothing in pieces of 64 KiB.</summary>
    public const int MostCompressionLevel = 19;

    /// <summary>Allocations of snapshot ids that <see cref="SnapshotAllocations"/> remembers.</summary>
    public const int MostAllocations = 32;

    /// <summary>Number, 1 and up, never used again.</summary>
    public required long Id { get; init; }

    /// <summary>Name, unique among pools.</summary>
    public required string Name { get; init; }

    /// <summary>Kind of redundancy.</summary>
    public PoolKind Kind { get; init; } = PoolKind.Replicated;

    /// <summary>Copies wanted.</summary>
    public int Size { get; init; } = 3;

    /// <summary>Copies below which the PGs wait instead of serving.</summary>
    public int MinSize { get; init; } = 2;

    /// <summary>Number of placement groups, 1 and up (pg_num). Only ever grows; PGs split then.</summary>
    public int PgCount { get; init; } = 32;

    /// <summary>How many of the PGs CRUSH places by their own seed (pgp_num), at most <see cref="PgCount"/>. The others lie where the
    /// PG lies that they came out of, so that a split moves no data; 0 stands for all.</summary>
    public int PlacedPgCount { get; init; }

    /// <summary>What <see cref="PlacedPgCount"/> comes to: pgp_num, from 1 to pg_num.</summary>
    public int EffectivePlacedPgCount => PlacedPgCount == 0 ? PgCount : PlacedPgCount;

    /// <summary>Who minds <see cref="PgCount"/>.</summary>
    public PgAutoscale Autoscale { get; init; }

    /// <summary>Share of the space that the pool is expected to fill, relative to other pools' (target_size_ratio); 0 for what it fills now.</summary>
    public double TargetRatio { get; init; }

    /// <summary>How large writes are stored from now on; each OSD does so for itself.</summary>
    public PoolCompression Compression { get; init; }

    /// <summary>The most that a compressed piece may take of what it takes plain, above 0 to 1; else it stays plain.</summary>
    public double CompressionRequiredRatio { get; init; } = DefaultCompressionRatio;

    /// <summary>Zstandard's level, 1 (fastest) to <see cref="MostCompressionLevel"/>; LZ4 has none.</summary>
    public int CompressionLevel { get; init; } = DefaultCompressionLevel;

    /// <summary>CRUSH rule.</summary>
    public int RuleId { get; init; }

    /// <summary>Bytes the pool may hold, 0 for no limit.</summary>
    public long QuotaBytes { get; init; }

    /// <summary>Objects the pool may hold, 0 for no limit.</summary>
    public long QuotaObjects { get; init; }

    /// <summary>The monitors found it at a quota: writes that need room fail, removals go on.</summary>
    public bool IsFull { get; init; }

    /// <summary>What it is for: <c>block</c>, <c>s3</c> or free text.</summary>
    public string Application { get; init; } = "";

    /// <summary>Epoch in which it was made.</summary>
    public Epoch Created { get; init; }

    /// <summary>The newest snapshot id given out for volumes in this pool.</summary>
    public ulong SnapshotSequence { get; init; }

    /// <summary>Counts the times that some volume's set of snapshots changed. A write with snapshots names the count up to which its sender
    /// knows its own volume's set; OSDs refuse one that is behind.</summary>
    public ulong SnapshotBarrier { get; init; }

    /// <summary>Snapshot ids that are removed and whose clones OSDs are to trim; an id leaves the set when every PG has done so.</summary>
    public SnapshotIntervals RemovedSnapshots { get; init; } = SnapshotIntervals.Empty;

    /// <summary>Snapshot ids that were removed and of which no PG holds anything any more: as many runs as there are snapshots, and one more, at most.</summary>
    public SnapshotIntervals PurgedSnapshots { get; init; } = SnapshotIntervals.Empty;

    /// <summary>The newest requests for snapshot ids with what they were given, oldest first: the same request again gets the same id.</summary>
    public IReadOnlyList<SnapshotAllocation> SnapshotAllocations { get; init; } = [];

    /// <summary>Mask of the smallest power of two that holds <see cref="PgCount"/>, less one.</summary>
    public uint PgMask => Crush.CrushHash.StableModMask((uint)PgCount);

    /// <summary>Whether a number can be a <see cref="CompressionRequiredRatio"/>.</summary>
    /// <param name="ratio">The number.</param>
    public static bool IsCompressionRatio(double ratio) => ratio is > 0 and <= 1;

    /// <summary>Whether a number can be a <see cref="CompressionLevel"/>.</summary>
    /// <param name="level">The number.</param>
    public static bool IsCompressionLevel(int level) => level is >= 1 and <= MostCompressionLevel;

    internal void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteInt64(Id);
        writer.WriteString(Name);
        writer.WriteByte((byte)Kind);
        writer.WriteInt32(Size);
        writer.WriteInt32(MinSize);
        writer.WriteInt32(PgCount);
        writer.WriteInt32(PlacedPgCount);
        writer.WriteInt32(RuleId);
        writer.WriteInt64(QuotaBytes);
        writer.WriteInt64(QuotaObjects);
        writer.WriteBoolean(IsFull);
        writer.WriteString(Application);
        writer.WriteUInt32(Created.Value);
        writer.WriteUInt64(SnapshotSequence);
        writer.WriteUInt64(SnapshotBarrier);
        RemovedSnapshots.Encode(writer);
        writer.WriteInt32(SnapshotAllocations.Count);
        foreach (SnapshotAllocation allocation in SnapshotAllocations)
        {
            writer.WriteUInt64(allocation.Request);
            writer.WriteUInt64(allocation.Snapshot);
        }

        writer.WriteByte((byte)Autoscale);
        writer.WriteInt64(BitConverter.DoubleToInt64Bits(TargetRatio));
        writer.WriteByte((byte)Compression);
        writer.WriteInt64(BitConverter.DoubleToInt64Bits(CompressionRequiredRatio));
        writer.WriteByte((byte)CompressionLevel);
        PurgedSnapshots.Encode(writer);
    }

    internal static PoolInfo Decode(ref WireReader reader)
    {
        byte version = reader.ReadVersion(FormatVersion, "pool");
        var pool = new PoolInfo
        {
            Id = reader.ReadInt64(),
            Name = reader.ReadString(),
            Kind = (PoolKind)reader.ReadByte(),
            Size = reader.ReadInt32(),
            MinSize = reader.ReadInt32(),
            PgCount = reader.ReadInt32(),
            PlacedPgCount = reader.ReadInt32(),
            RuleId = reader.ReadInt32(),
            QuotaBytes = reader.ReadInt64(),
            QuotaObjects = reader.ReadInt64(),
            IsFull = reader.ReadBoolean(),
            Application = reader.ReadString(),
            Created = new Epoch(reader.ReadUInt32()),
            SnapshotSequence = reader.ReadUInt64(),
            SnapshotBarrier = reader.ReadUInt64(),
            RemovedSnapshots = SnapshotIntervals.Decode(ref reader),
        };
        var allocations = new SnapshotAllocation[reader.ReadCount(16)];
        for (int i = 0; i < allocations.Length; i++)
        {
            allocations[i] = new SnapshotAllocation(reader.ReadUInt64(), reader.ReadUInt64());
        }

        if (version >= 4)
        {
            pool = pool with { Autoscale = (PgAutoscale)reader.ReadByte(), TargetRatio = BitConverter.Int64BitsToDouble(reader.ReadInt64()) };
            if (pool.Autoscale > PgAutoscale.On || !double.IsFinite(pool.TargetRatio) || pool.TargetRatio < 0)
            {
                throw new MalformedDataException($"pool {pool.Id} has pg_autoscale_mode {pool.Autoscale}, target_size_ratio {pool.TargetRatio}");
            }
        }

        if (version >= 5)
        {
            pool = pool with { Compression = (PoolCompression)reader.ReadByte() };
            if (pool.Compression > PoolCompression.Zstd)
            {
                throw new MalformedDataException($"pool {pool.Id} has compression {(byte)pool.Compression}");
            }
        }

        if (version >= 6)
        {
            pool = pool with { CompressionRequiredRatio = BitConverter.Int64BitsToDouble(reader.ReadInt64()), CompressionLevel = reader.ReadByte() };
            if (!IsCompressionRatio(pool.CompressionRequiredRatio) || !IsCompressionLevel(pool.CompressionLevel))
            {
                throw new MalformedDataException($"pool {pool.Id} has compression_required_ratio {pool.CompressionRequiredRatio}, compression_level {pool.CompressionLevel}");
            }
        }

        if (version >= 7)
        {
            pool = pool with { PurgedSnapshots = SnapshotIntervals.Decode(ref reader) };
        }

        if (pool.PgCount is < 1 or > 1 << 24 || pool.PlacedPgCount < 0 || pool.PlacedPgCount > pool.PgCount || pool.Size is < 1 or > 64 || pool.MinSize < 1)
        {
            throw new MalformedDataException($"pool {pool.Id} has pg_num {pool.PgCount}, pgp_num {pool.PlacedPgCount}, size {pool.Size}, min_size {pool.MinSize}");
        }

        return allocations.Length == 0 ? pool : pool with { SnapshotAllocations = allocations };
    }
}

/// <summary>A snapshot id that was given out.</summary>
/// <param name="Request">The request's number, drawn at random by its sender.</param>
/// <param name="Snapshot">The id.</param>
public readonly record struct SnapshotAllocation(ulong Request, ulong Snapshot);
