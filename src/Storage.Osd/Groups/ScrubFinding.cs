using System.Text.Json;
using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>How a copy differs from the copy that counts, or from the primary's where none does.</summary>
[Flags]
internal enum ScrubErrors : ushort
{
    None = 0,

    /// <summary>The copy lacks the object.</summary>
    Missing = 1,

    /// <summary>The copy has an object that should not exist.</summary>
    Extra = 2,

    /// <summary>The data fails its checksum or cannot be read.</summary>
    ReadError = 4,

    /// <summary>The version is absent or garbled.</summary>
    NoVersion = 8,

    /// <summary>Another version.</summary>
    Version = 16,

    /// <summary>Another length.</summary>
    Size = 32,

    /// <summary>Other attributes.</summary>
    Attributes = 64,

    /// <summary>Other omap entries.</summary>
    Omap = 128,

    /// <summary>Other data, though each block's checksum holds.</summary>
    Data = 256,

    /// <summary>Another version than the PG log has.</summary>
    Log = 512,

    /// <summary>Its snapshots do not fit its clones.</summary>
    Snapshots = 1024,
}

/// <summary>One copy of an object with errors.</summary>
internal readonly record struct BadCopy(OsdId Osd, ScrubErrors Errors);

/// <summary>An object whose copies are not all right; kept with the PG until they are. Immutable.</summary>
/// <param name="Object">The object.</param>
/// <param name="Good">An OSD with a copy that is certainly right, or none.</param>
/// <param name="Version">That copy's version; Zero: certainly the object should not exist.</param>
/// <param name="IsCertain">Whether it is known what is right.</param>
/// <param name="Deep">Whether only a deep scrub can tell that it is gone.</param>
/// <param name="Bad">Copies with errors, in order of OSD.</param>
internal sealed record ScrubFinding(ObjectId Object, OsdId Good, PgVersion Version, bool IsCertain, bool Deep, IReadOnlyList<BadCopy> Bad)
{
    private const byte FormatVersion = 1;

    /// <summary>Fewest bytes of an encoded finding.</summary>
    public const int SmallestLength = 39;

    private const ScrubErrors DeepErrors = ScrubErrors.ReadError | ScrubErrors.Omap | ScrubErrors.Data;

    /// <summary>Whether a shallow scrub of this object sees everything that is wrong with it.</summary>
    public static bool NeedsDeep(IReadOnlyList<BadCopy> bad)
    {
        foreach (BadCopy copy in bad)
        {
            if ((copy.Errors & DeepErrors) != 0)
            {
                return true;
            }
        }

        return false;
    }

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        Object.Encode(writer);
        writer.WriteInt32(Good.Value);
        writer.WriteVersion(Version);
        writer.WriteBoolean(IsCertain);
        writer.WriteBoolean(Deep);
        writer.WriteInt32(Bad.Count);
        foreach (BadCopy copy in Bad)
        {
            writer.WriteInt32(copy.Osd.Value);
            writer.WriteUInt16((ushort)copy.Errors);
        }
    }

    public static ScrubFinding Decode(ref WireReader reader)
    {
        reader.ReadVersion(FormatVersion, "scrub finding");
        ObjectId id = ObjectId.Decode(ref reader);
        var good = new OsdId(reader.ReadInt32());
        PgVersion version = reader.ReadPgVersion();
        bool certain = reader.ReadBoolean();
        bool deep = reader.ReadBoolean();
        var bad = new BadCopy[reader.ReadCount(6)];
        for (int i = 0; i < bad.Length; i++)
        {
            bad[i] = new BadCopy(new OsdId(reader.ReadInt32()), (ScrubErrors)reader.ReadUInt16());
        }

        return new ScrubFinding(id, good, version, certain, deep, bad);
    }

    public void WriteJson(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("object", Object.Name);
        if (Object.Snapshot != ObjectId.NoSnapshot)
        {
            json.WriteNumber("snapshot", Object.Snapshot);
        }

        json.WriteBoolean("certain", IsCertain);
        if (IsCertain)
        {
            json.WriteString("should_be", Version == PgVersion.Zero ? "absent" : Version.ToString());
        }

        if (Good.IsSome)
        {
            json.WriteNumber("good_copy", Good.Value);
        }

        json.WriteStartArray("bad_copies");
        foreach (BadCopy copy in Bad)
        {
            json.WriteStartObject();
            json.WriteNumber("osd", copy.Osd.Value);
            json.WriteStartArray("errors");
            foreach (string name in NamesOf(copy.Errors))
            {
                json.WriteStringValue(name);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    public override string ToString() => $"{Object}: {string.Join("; ", Bad.Select(copy => $"{copy.Osd} {string.Join(',', NamesOf(copy.Errors))}"))}";

    private static IEnumerable<string> NamesOf(ScrubErrors errors)
    {
        foreach ((ScrubErrors flag, string name) in s_names)
        {
            if ((errors & flag) != 0)
            {
                yield return name;
            }
        }
    }

    private static readonly (ScrubErrors Flag, string Name)[] s_names =
    [
        (ScrubErrors.Missing, "missing"),
        (ScrubErrors.Extra, "extra"),
        (ScrubErrors.ReadError, "read_error"),
        (ScrubErrors.NoVersion, "no_version"),
        (ScrubErrors.Version, "version_mismatch"),
        (ScrubErrors.Size, "size_mismatch"),
        (ScrubErrors.Attributes, "attr_mismatch"),
        (ScrubErrors.Omap, "omap_mismatch"),
        (ScrubErrors.Data, "data_mismatch"),
        (ScrubErrors.Log, "log_mismatch"),
        (ScrubErrors.Snapshots, "snapshot_mismatch"),
    ];
}
