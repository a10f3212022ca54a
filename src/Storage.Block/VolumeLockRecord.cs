using System.Text;
using Storage.Coding;

namespace Storage.Block;

/// <summary>
/// Who holds a volume's exclusive lock. Attribute <c>lock</c> of the header object, missing while nobody does: version u8, owner u64, renewals
/// u64, since i64 (milliseconds since 1970 UTC), holder (length-prefixed UTF-8).
/// </summary>
/// <param name="Owner">A number drawn for each taking of the lock; writes name it, and the blocklist fences it.</param>
/// <param name="Renewals">Goes up while the owner is alive.</param>
/// <param name="SinceUnixMilliseconds">When it was taken, by the owner's clock.</param>
/// <param name="Holder">What the owner is called, for people; a process that starts anew under the same name takes the place of the one before.</param>
public sealed record VolumeLockRecord(ulong Owner, ulong Renewals, long SinceUnixMilliseconds, string Holder)
{
    internal const string Attribute = "lock";

    /// <summary>Set by who wants the lock; the owner removes it when it lets go.</summary>
    internal const string WantedAttribute = "lock_wanted";

    /// <summary>The longest <see cref="Holder"/> in bytes of UTF-8.</summary>
    public const int LongestHolder = 256;

    private const byte FormatVersion = 1;

    /// <summary>Packs the attribute.</summary>
    /// <returns>Its value.</returns>
    public byte[] Encode()
    {
        var writer = new WireWriter(64);
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Owner);
        writer.WriteUInt64(Renewals);
        writer.WriteInt64(SinceUnixMilliseconds);
        writer.WriteBytes(Encoding.UTF8.GetBytes(Holder));
        return writer.ToArray();
    }

    /// <summary>Reads the attribute.</summary>
    /// <param name="volume">For messages.</param>
    /// <param name="attribute">Its value; empty for none.</param>
    /// <returns>The record, or null if nobody holds the lock.</returns>
    /// <exception cref="MalformedDataException">It is damaged, or of a later version.</exception>
    public static VolumeLockRecord? Decode(VolumeName volume, ReadOnlySpan<byte> attribute)
    {
        if (attribute.IsEmpty)
        {
            return null;
        }

        var reader = new WireReader(attribute);
        reader.ReadVersion(FormatVersion, $"lock of volume {volume}");
        ulong owner = reader.ReadUInt64();
        ulong renewals = reader.ReadUInt64();
        long since = reader.ReadInt64();
        ReadOnlySpan<byte> holder = reader.ReadBytes();
        reader.ExpectEnd();
        return holder.Length <= LongestHolder
            ? new VolumeLockRecord(owner, renewals, since, Encoding.UTF8.GetString(holder))
            : throw new MalformedDataException($"the holder of volume {volume}'s lock has a name of {holder.Length} bytes; the limit is {LongestHolder}");
    }
}
