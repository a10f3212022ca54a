using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>An interval that is over and may have accepted writes.</summary>
/// <param name="First">Its first epoch.</param>
/// <param name="Last">Its last epoch.</param>
/// <param name="Acting">Who served, the primary first.</param>
/// <param name="PrimaryUpFrom">The primary's life: its up_from then.</param>
internal sealed record PastInterval(Epoch First, Epoch Last, OsdId[] Acting, Epoch PrimaryUpFrom)
{
    public OsdId Primary => Acting[0];

    public void Encode(WireWriter writer)
    {
        writer.WriteUInt32(First.Value);
        writer.WriteUInt32(Last.Value);
        writer.WriteUInt32(PrimaryUpFrom.Value);
        writer.WriteOsds(Acting);
    }

    public static PastInterval Decode(ref WireReader reader)
    {
        Epoch first = reader.ReadEpoch();
        Epoch last = reader.ReadEpoch();
        Epoch upFrom = reader.ReadEpoch();
        OsdId[] acting = reader.ReadOsds();
        return acting.Length == 0
            ? throw new MalformedDataException($"past interval {first}-{last} without members")
            : new PastInterval(first, last, acting, upFrom);
    }
}

/// <summary>
/// What is known of a PG's past from the maps: persisted, and exchanged while peering, so that it survives the trimming of maps.
/// </summary>
internal sealed class PgHistory
{
    private const byte FormatVersion = 1;

    /// <summary>Epoch of the pool's creation.</summary>
    public Epoch Created;

    /// <summary>The past is known from this epoch on: every interval since that may have accepted writes is in <see cref="Past"/>.</summary>
    public Epoch KnownFrom;

    /// <summary>Newest interval that every acting member is known to have activated.</summary>
    public Epoch LastEpochStarted;

    /// <summary>Newest interval in which all copies were complete; nothing before it matters.</summary>
    public Epoch LastEpochClean;

    /// <summary>First epoch of the present interval.</summary>
    public Epoch SameIntervalSince;

    /// <summary>The present interval may have begun before <see cref="SameIntervalSince"/>: maps were skipped.</summary>
    public bool IntervalUncertain;

    /// <summary>Newest map that this record takes account of.</summary>
    public Epoch MapEpoch;

    /// <summary>Intervals since <see cref="LastEpochClean"/> that may have accepted writes, oldest first.</summary>
    public List<PastInterval> Past = [];

    /// <summary>Some of the past that matters is unknown; peers must tell.</summary>
    public bool HasGap => KnownFrom > GapStart;

    /// <summary>Where a gap begins: intervals from before are known, or no longer matter.</summary>
    public Epoch GapStart => LastEpochClean > Created ? LastEpochClean : Created;

    /// <summary>Takes over what a peer knows better. Both describe the same PG; the result is the union.</summary>
    /// <returns>Whether anything changed.</returns>
    public bool Merge(PgHistory other)
    {
        bool changed = false;
        if (other.LastEpochStarted > LastEpochStarted)
        {
            LastEpochStarted = other.LastEpochStarted;
            changed = true;
        }

        if (other.KnownFrom < KnownFrom && other.MapEpoch.Next >= KnownFrom)
        {
            // Of the intervals that both know, the peer knows the ends; ours may be cut off where we skipped maps.
            Epoch from = KnownFrom;
            Past.RemoveAll(interval => interval.First >= other.KnownFrom && interval.First < from);
            Past.AddRange(other.Past.Where(interval => interval.First < from));
            Past.Sort(static (a, b) => a.First.CompareTo(b.First));
            KnownFrom = other.KnownFrom;
            changed = true;
        }

        if (other.LastEpochClean > LastEpochClean)
        {
            LastEpochClean = other.LastEpochClean;
            changed = true;
        }

        Prune();
        return changed;
    }

    /// <summary>Forgets intervals from before the last clean one.</summary>
    public void Prune()
    {
        Epoch clean = LastEpochClean;
        Past.RemoveAll(interval => interval.Last < clean);
    }

    public PgHistory Copy()
    {
        var copy = (PgHistory)MemberwiseClone();
        copy.Past = [.. Past];
        return copy;
    }

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt32(Created.Value);
        writer.WriteUInt32(KnownFrom.Value);
        writer.WriteUInt32(LastEpochStarted.Value);
        writer.WriteUInt32(LastEpochClean.Value);
        writer.WriteUInt32(SameIntervalSince.Value);
        writer.WriteBoolean(IntervalUncertain);
        writer.WriteUInt32(MapEpoch.Value);
        writer.WriteInt32(Past.Count);
        foreach (PastInterval interval in Past)
        {
            interval.Encode(writer);
        }
    }

    public static PgHistory Decode(ref WireReader reader)
    {
        reader.ReadVersion(FormatVersion, "PG history");
        var history = new PgHistory
        {
            Created = reader.ReadEpoch(),
            KnownFrom = reader.ReadEpoch(),
            LastEpochStarted = reader.ReadEpoch(),
            LastEpochClean = reader.ReadEpoch(),
            SameIntervalSince = reader.ReadEpoch(),
            IntervalUncertain = reader.ReadBoolean(),
            MapEpoch = reader.ReadEpoch(),
        };
        for (int i = reader.ReadCount(20); i > 0; i--)
        {
            history.Past.Add(PastInterval.Decode(ref reader));
        }

        return history;
    }
}
