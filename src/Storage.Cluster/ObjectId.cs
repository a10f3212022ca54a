using System.Numerics;
using System.Text;
using Storage.Coding;

namespace Storage.Cluster;

/// <summary>
/// Names one object (or one snapshot clone of it) inside a pool. Immutable; ordered as backfill walks and stores list:
/// by bit-reversed hash, then name (ordinal, UTF-8), then snapshot, so that the objects of a PG stay together when it splits.
/// </summary>
public sealed class ObjectId : IEquatable<ObjectId>, IComparable<ObjectId>
{
    /// <summary>Snapshot id of the live object, which sorts after all its clones.</summary>
    public const ulong NoSnapshot = ulong.MaxValue - 1;

    /// <summary>The longest name, in UTF-8 bytes.</summary>
    public const int LongestName = 1024;

    private const int InternedIds = 1 << 13;

    // Objects are written again and again: decoding the id of one that was met lately allocates nothing. A cache of immutable
    // values, so it changes no outcome.
    [ThreadStatic]
    private static ObjectId?[]? s_interned;

    /// <summary>Creates an id.</summary>
    /// <param name="name">The object's name; at most <see cref="LongestName"/> bytes of UTF-8.</param>
    /// <param name="hash">rjenkins hash of the name (or of its locator key).</param>
    /// <param name="snapshot">A snapshot id for a clone, else <see cref="NoSnapshot"/>.</param>
    public ObjectId(string name, uint hash, ulong snapshot = NoSnapshot)
    {
        Name = name;
        Hash = hash;
        SortHash = ReverseBits(hash);
        Snapshot = snapshot;
    }

    /// <summary>The object's name.</summary>
    public string Name { get; }

    /// <summary>Hash that decides the PG.</summary>
    public uint Hash { get; }

    /// <summary>Clone's snapshot id, or <see cref="NoSnapshot"/> for the live object.</summary>
    public ulong Snapshot { get; }

    /// <summary>The first part of the order: the hash with its bits reversed.</summary>
    public uint SortHash { get; }

    /// <summary>The same object at a snapshot, or its live version.</summary>
    /// <param name="snapshot">A snapshot id or <see cref="NoSnapshot"/>.</param>
    /// <returns>The id.</returns>
    public ObjectId WithSnapshot(ulong snapshot) => new(Name, Hash, snapshot);

    /// <inheritdoc/>
    public int CompareTo(ObjectId? other)
    {
        if (other is null)
        {
            return 1;
        }

        if (ReferenceEquals(this, other))
        {
            return 0; // the same few ids are looked up again and again
        }

        int order = SortHash.CompareTo(other.SortHash);
        if (order == 0)
        {
            order = CompareNames(Name, other.Name);
        }

        return order == 0 ? Snapshot.CompareTo(other.Snapshot) : order;
    }

    /// <inheritdoc/>
    public bool Equals(ObjectId? other) =>
        ReferenceEquals(this, other)
        || (other is not null && Hash == other.Hash && Snapshot == other.Snapshot && string.Equals(Name, other.Name, StringComparison.Ordinal));

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as ObjectId);

    /// <inheritdoc/>
    public override int GetHashCode() => (int)(Hash ^ BitOperations.RotateLeft((uint)Snapshot, 7));

    /// <inheritdoc/>
    public override string ToString() => Snapshot == NoSnapshot ? Name : $"{Name}@{Snapshot}";

    /// <summary>Writes the id.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteUInt32(Hash);
        writer.WriteUInt64(Snapshot);
        writer.WriteString(Name);
    }

    /// <summary>Reads an id.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>The id.</returns>
    /// <exception cref="MalformedDataException">The bytes are no id, or the name is too long.</exception>
    public static ObjectId Decode(ref WireReader reader)
    {
        uint hash = reader.ReadUInt32();
        ulong snapshot = reader.ReadUInt64();
        ReadOnlySpan<byte> name = reader.ReadBytes();
        CheckName(name);
        return Intern(name, hash, snapshot);
    }

    /// <summary>Reads over an id.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>Its hash.</returns>
    /// <exception cref="MalformedDataException">The bytes are no id, or the name is too long.</exception>
    public static uint Skim(ref WireReader reader)
    {
        uint hash = reader.ReadUInt32();
        reader.ReadUInt64();
        CheckName(reader.ReadBytes());
        return hash;
    }

    private static void CheckName(ReadOnlySpan<byte> name)
    {
        if (name.Length > LongestName)
        {
            throw new MalformedDataException($"object name of {name.Length} bytes; the limit is {LongestName}");
        }
    }

    /// <summary>The id of these values: an equal one met lately on this thread, else a new one.</summary>
    /// <param name="name">The object's name in UTF-8.</param>
    /// <param name="hash">Its hash.</param>
    /// <param name="snapshot">A snapshot id for a clone, else <see cref="NoSnapshot"/>.</param>
    /// <returns>The id.</returns>
    public static ObjectId Intern(ReadOnlySpan<byte> name, uint hash, ulong snapshot = NoSnapshot)
    {
        ObjectId?[] interned = s_interned ??= new ObjectId?[InternedIds];
        uint mixed = hash ^ BitOperations.RotateLeft((uint)snapshot, 7);
        ref ObjectId? slot = ref interned[(mixed ^ (mixed >> 13)) & (InternedIds - 1)];
        if (slot is null || slot.Hash != hash || slot.Snapshot != snapshot || !IsNamed(slot.Name, name))
        {
            slot = new ObjectId(Encoding.UTF8.GetString(name), hash, snapshot);
        }

        return slot;
    }

    /// <summary>Order by <see cref="CompareTo"/>.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it sorts before.</returns>
    public static bool operator <(ObjectId left, ObjectId right) => left.CompareTo(right) < 0;

    /// <summary>Order by <see cref="CompareTo"/>.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it sorts after.</returns>
    public static bool operator >(ObjectId left, ObjectId right) => left.CompareTo(right) > 0;

    /// <summary>Order by <see cref="CompareTo"/>.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it does not sort after.</returns>
    public static bool operator <=(ObjectId left, ObjectId right) => left.CompareTo(right) <= 0;

    /// <summary>Order by <see cref="CompareTo"/>.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether it does not sort before.</returns>
    public static bool operator >=(ObjectId left, ObjectId right) => left.CompareTo(right) >= 0;

    /// <summary>Equality by value.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether they name the same object.</returns>
    public static bool operator ==(ObjectId? left, ObjectId? right) => left is null ? right is null : left.Equals(right);

    /// <summary>Equality by value.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>Whether they name different objects.</returns>
    public static bool operator !=(ObjectId? left, ObjectId? right) => !(left == right);

    // Ordinal order of UTF-16 and of UTF-8 differ where surrogates meet the code units above them; keys on disk are UTF-8.
    private static int CompareNames(string left, string right)
    {
        int shared = left.AsSpan().CommonPrefixLength(right);
        if (shared == left.Length || shared == right.Length)
        {
            return left.Length.CompareTo(right.Length);
        }

        return Rank(left[shared]).CompareTo(Rank(right[shared]));
        static int Rank(char c) => c < 0xD800 ? c : c < 0xE000 ? c + 0x2000 : c - 0x800;
    }

    // Names that are not ASCII only miss the cache.
    private static bool IsNamed(string known, ReadOnlySpan<byte> name) => Ascii.Equals(name, known);

    internal static uint ReverseBits(uint value)
    {
        value = ((value >> 1) & 0x55555555) | ((value & 0x55555555) << 1);
        value = ((value >> 2) & 0x33333333) | ((value & 0x33333333) << 2);
        value = ((value >> 4) & 0x0F0F0F0F) | ((value & 0x0F0F0F0F) << 4);
        return System.Buffers.Binary.BinaryPrimitives.ReverseEndianness(value);
    }
}
