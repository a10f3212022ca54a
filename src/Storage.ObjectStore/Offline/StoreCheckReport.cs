namespace Storage.ObjectStore.Offline;

/// <summary>What a check of a whole store found.</summary>
public sealed class StoreCheckReport
{
    /// <summary>Collections.</summary>
    public int Collections { get; internal set; }

    /// <summary>Objects.</summary>
    public long Objects { get; internal set; }

    /// <summary>Blocks of 4 KiB that objects refer to; shared ones count for each.</summary>
    public long Blocks { get; internal set; }

    /// <summary>Of <see cref="Blocks"/>, those that lie compressed.</summary>
    public long CompressedBlocks { get; internal set; }

    /// <summary>Blocks whose data was read and matched its checksum.</summary>
    public long BlocksVerified { get; internal set; }

    /// <summary>Blocks whose data does not match its checksum or cannot be read. Only another copy can repair these.</summary>
    public long BlocksDamaged { get; internal set; }

    /// <summary>Omap entries.</summary>
    public long OmapEntries { get; internal set; }

    /// <summary>Records in the logs of collections.</summary>
    public long LogRecords { get; internal set; }

    /// <summary>Block maps, omap entries and log records that belong to nothing.</summary>
    public long Orphans { get; internal set; }

    /// <summary>Of <see cref="Orphans"/>, those that were removed.</summary>
    public long OrphansRemoved { get; internal set; }

    /// <summary>Other contradictions: records that cannot be read, units beyond the disk, wrong counts.</summary>
    public long Errors { get; internal set; }

    /// <summary>True if nothing is wrong (any more).</summary>
    public bool IsClean => BlocksDamaged == 0 && Orphans == OrphansRemoved && Errors == 0;
}
