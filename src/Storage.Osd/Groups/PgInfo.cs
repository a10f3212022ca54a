using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>
/// What one OSD holds of a PG; persisted with every write, exchanged while peering.
/// LogTail ≤ LastUpdate; the log has every entry in (LogTail, LastUpdate].
/// </summary>
internal sealed class PgInfo
{
    private const byte FormatVersion = 3;

    /// <summary>Newest log entry, or <see cref="LogTail"/> if the log is empty.</summary>
    public PgVersion LastUpdate;

    /// <summary>The log holds what came after this.</summary>
    public PgVersion LogTail;

    /// <summary>First epoch of the newest interval in which this copy was activated; durable before any write of that interval.</summary>
    public Epoch LastEpochStarted;

    /// <summary>False while this copy is being backfilled: objects after <see cref="BackfillCursor"/> may be absent or old.</summary>
    public bool IsComplete = true;

    /// <summary>While not complete: objects up to this one are as the log says; null for none.</summary>
    public ObjectId? BackfillCursor;

    /// <summary>Objects, as the primary counts them.</summary>
    public long Objects;

    /// <summary>Logical bytes, as the primary counts them.</summary>
    public long Bytes;

    /// <summary>The counts are not certain: shares of what a parent counted before it was split, or from before objects were given up. A primary counts anew.</summary>
    public bool CountsEstimated;

    /// <summary>Damage found and not repaired.</summary>
    public long ScrubErrors;

    /// <summary>When the last scrub ended, in milliseconds since the Unix epoch; of a PG that never was, when it first became active; 0 if this copy does not know.</summary>
    public long LastScrub;

    /// <summary>The same for deep scrub.</summary>
    public long LastDeepScrub;

    /// <summary>Whether this copy answers for an object (leaving the missing set aside).</summary>
    public bool Covers(ObjectId id) => IsComplete || (BackfillCursor is not null && id <= BackfillCursor);

    public PgInfo Copy() => (PgInfo)MemberwiseClone();

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteVersion(LastUpdate);
        writer.WriteVersion(LogTail);
        writer.WriteUInt32(LastEpochStarted.Value);
        writer.WriteInt64(Objects);
        writer.WriteInt64(Bytes);
        writer.WriteInt64(ScrubErrors);
        writer.WriteInt64(LastScrub);
        writer.WriteInt64(LastDeepScrub);
        writer.WriteBoolean(CountsEstimated);
        writer.WriteBoolean(IsComplete);
        writer.WriteBoolean(BackfillCursor is not null);
        BackfillCursor?.Encode(writer);
    }

    public static PgInfo Decode(ref WireReader reader)
    {
        reader.ReadExactVersion(FormatVersion, "PG info");
        var info = new PgInfo
        {
            LastUpdate = reader.ReadPgVersion(),
            LogTail = reader.ReadPgVersion(),
            LastEpochStarted = reader.ReadEpoch(),
            Objects = reader.ReadInt64(),
            Bytes = reader.ReadInt64(),
            ScrubErrors = reader.ReadInt64(),
            LastScrub = reader.ReadInt64(),
            LastDeepScrub = reader.ReadInt64(),
            CountsEstimated = reader.ReadBoolean(),
            IsComplete = reader.ReadBoolean(),
        };
        if (reader.ReadBoolean())
        {
            info.BackfillCursor = ObjectId.Decode(ref reader);
        }

        if (info.LogTail > info.LastUpdate)
        {
            throw new MalformedDataException($"PG info with log tail {info.LogTail} after last update {info.LastUpdate}");
        }

        return info;
    }
}
