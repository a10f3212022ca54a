using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>What scrub found out about one copy of an object without looking at the others.</summary>
[Flags]
internal enum ScrubEntryFlags : byte
{
    None = 0,

    /// <summary>A block failed its checksum, or the disk could not read it.</summary>
    ReadError = 1,

    /// <summary>The version is absent or garbled.</summary>
    NoVersion = 2,

    /// <summary>Nothing wrong: it stands for an object that is gone while clones of it are left.</summary>
    Tombstone = 4,
}

/// <summary>One copy of an object as scrub sees it. Digests are CRC-32C; those of omap and data are 0 unless the scrub is deep.</summary>
/// <param name="Object">The object, or one of its clones.</param>
/// <param name="Version">Its version; Zero with <see cref="ScrubEntryFlags.NoVersion"/>.</param>
/// <param name="Size">Length in bytes.</param>
/// <param name="Attributes">Of all attributes but the version, in order.</param>
/// <param name="Omap">Of all omap entries, in order.</param>
/// <param name="Data">Of the data, holes as zeroes.</param>
/// <param name="Flags">What is wrong with it by itself.</param>
internal readonly record struct ScrubEntry(ObjectId Object, PgVersion Version, long Size, uint Attributes, uint Omap, uint Data, ScrubEntryFlags Flags)
{
    /// <summary>Fewest bytes of an encoded entry: that of an object without a name.</summary>
    public const int SmallestLength = 49;

    public bool IsReadable => (Flags & (ScrubEntryFlags.ReadError | ScrubEntryFlags.NoVersion)) == 0;

    /// <summary>Whether two copies are the same as far as this scrub looked.</summary>
    public bool Agrees(in ScrubEntry other) =>
        Version == other.Version && Size == other.Size && Attributes == other.Attributes && Omap == other.Omap && Data == other.Data && Flags == other.Flags;

    public void Encode(WireWriter writer)
    {
        Object.Encode(writer);
        writer.WriteVersion(Version);
        writer.WriteInt64(Size);
        writer.WriteUInt32(Attributes);
        writer.WriteUInt32(Omap);
        writer.WriteUInt32(Data);
        writer.WriteByte((byte)Flags);
    }

    public static ScrubEntry Decode(ref WireReader reader) => new(
        ObjectId.Decode(ref reader), reader.ReadPgVersion(), reader.ReadInt64(), reader.ReadUInt32(), reader.ReadUInt32(), reader.ReadUInt32(), (ScrubEntryFlags)reader.ReadByte());
}

/// <summary>A member's copies of the objects in a range.</summary>
/// <param name="Entries">In order.</param>
/// <param name="End">The range ends with this id, inclusive; null if it reaches to the end of the PG. Never after the end that was asked for.</param>
internal sealed record ScrubMap(List<ScrubEntry> Entries, ObjectId? End)
{
    private const byte FormatVersion = 1;

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteBoolean(End is not null);
        End?.Encode(writer);
        writer.WriteInt32(Entries.Count);
        foreach (ScrubEntry entry in Entries)
        {
            entry.Encode(writer);
        }
    }

    public static ScrubMap Decode(ref WireReader reader)
    {
        reader.ReadVersion(FormatVersion, "scrub map");
        ObjectId? end = reader.ReadBoolean() ? ObjectId.Decode(ref reader) : null;
        int count = reader.ReadCount(ScrubEntry.SmallestLength);
        var entries = new List<ScrubEntry>(count);
        for (int i = 0; i < count; i++)
        {
            ScrubEntry entry = ScrubEntry.Decode(ref reader);
            if ((i > 0 && entry.Object <= entries[^1].Object) || (end is not null && entry.Object > end))
            {
                throw new MalformedDataException($"scrub map with {entry.Object} out of order");
            }

            entries.Add(entry);
        }

        return new ScrubMap(entries, end);
    }
}
