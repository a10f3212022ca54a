using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>What an object was at some snapshots, kept as an object of its own: the object's name with snapshot number <paramref name="Id"/>.</summary>
/// <param name="Id">The newest of the snapshots it was made for.</param>
/// <param name="Size">Length in bytes.</param>
/// <param name="Snapshots">Snapshots that it shows and that are not removed, newest first; none above the id.</param>
internal sealed record SnapClone(ulong Id, long Size, ulong[] Snapshots);

/// <summary>
/// What is kept of an object for snapshots; an attribute of the live object. Where that is removed while clones are left, an empty object
/// stays in its place as a tombstone. Immutable. Packed: version u8, flags u8 (1: tombstone), sequence u64, count i32 and per clone, oldest
/// first: id u64, size i64, count i32, snapshots u64 each.
/// </summary>
internal sealed class SnapSet(ulong sequence, bool isTombstone, SnapClone[] clones)
{
    /// <summary>Name of the attribute; clients' attributes have a prefix.</summary>
    public const string Attribute = "ss";

    private const byte FormatVersion = 1;
    private const byte TombstoneFlag = 1;
    private const int SequenceOffset = 2;
    private const int CountOffset = 10;

    public static SnapSet Empty { get; } = new(0, false, []);

    /// <summary>The newest snapshot that a write to the object has taken account of: up to here clones tell what the object was.</summary>
    public ulong Sequence => sequence;

    /// <summary>There is no live object.</summary>
    public bool IsTombstone => isTombstone;

    /// <summary>The clones, oldest first. None has an id above <see cref="Sequence"/>.</summary>
    public SnapClone[] Clones => clones;

    /// <summary>Which object shows a snapshot.</summary>
    /// <param name="snapshot">The snapshot's id.</param>
    /// <returns>A clone's id, <see cref="ObjectId.NoSnapshot"/> for the live object, or 0 if the object was missing then.</returns>
    public ulong Resolve(ulong snapshot)
    {
        if (snapshot > sequence)
        {
            return isTombstone ? 0 : ObjectId.NoSnapshot;
        }

        foreach (SnapClone clone in clones)
        {
            if (clone.Id >= snapshot)
            {
                return Array.IndexOf(clone.Snapshots, snapshot) >= 0 ? clone.Id : 0;
            }
        }

        return 0;
    }

    /// <summary>After a write that took account of newer snapshots; the live object, where there was one, was cloned before.</summary>
    public SnapSet Advance(ulong newest, SnapClone? clone)
    {
        Invariant.Holds(newest > sequence && (clone is null || (clone.Id == newest && clone.Snapshots.Length > 0)));
        return new SnapSet(newest, isTombstone, clone is null ? clones : [.. clones, clone]);
    }

    public SnapSet WithTombstone(bool tombstone) => tombstone == isTombstone ? this : new SnapSet(sequence, tombstone, clones);

    /// <summary>Without removed snapshots, and without the clones that show no others.</summary>
    /// <param name="removed">The removed ones.</param>
    /// <param name="dropped">Takes the ids of clones that go.</param>
    /// <returns>The set; this one if nothing changes.</returns>
    public SnapSet Trim(SnapshotIntervals removed, List<ulong> dropped)
    {
        var left = new List<SnapClone>(clones.Length);
        bool changed = false;
        foreach (SnapClone clone in clones)
        {
            ulong[] snapshots = Array.FindAll(clone.Snapshots, snapshot => !removed.Contains(snapshot));
            changed |= snapshots.Length != clone.Snapshots.Length;
            if (snapshots.Length > 0)
            {
                left.Add(snapshots.Length == clone.Snapshots.Length ? clone : clone with { Snapshots = snapshots });
            }
            else
            {
                dropped.Add(clone.Id);
            }
        }

        return changed ? new SnapSet(sequence, isTombstone, [.. left]) : this;
    }

    public byte[] Encode()
    {
        var writer = new WireWriter(64);
        writer.WriteByte(FormatVersion);
        writer.WriteByte(isTombstone ? TombstoneFlag : (byte)0);
        writer.WriteUInt64(sequence);
        writer.WriteInt32(clones.Length);
        foreach (SnapClone clone in clones)
        {
            writer.WriteUInt64(clone.Id);
            writer.WriteInt64(clone.Size);
            writer.WriteInt32(clone.Snapshots.Length);
            foreach (ulong snapshot in clone.Snapshots)
            {
                writer.WriteUInt64(snapshot);
            }
        }

        return writer.ToArray();
    }

    public static SnapSet Decode(ReadOnlySpan<byte> packed)
    {
        var reader = new WireReader(packed);
        reader.ReadVersion(FormatVersion, "snapshot set");
        bool tombstone = (reader.ReadByte() & TombstoneFlag) != 0;
        ulong sequence = reader.ReadUInt64();
        var clones = new SnapClone[reader.ReadCount(20)];
        ulong before = 0;
        for (int i = 0; i < clones.Length; i++)
        {
            ulong id = reader.ReadUInt64();
            long size = reader.ReadInt64();
            var snapshots = new ulong[reader.ReadCount(8)];
            for (int j = 0; j < snapshots.Length; j++)
            {
                snapshots[j] = reader.ReadUInt64();
            }

            if (id <= before || id > sequence || size < 0 || snapshots.Length == 0)
            {
                throw new MalformedDataException($"clone {id} of {size} bytes with {snapshots.Length} snapshots after {before}, in a snapshot set up to {sequence}");
            }

            before = id;
            clones[i] = new SnapClone(id, size, snapshots);
        }

        reader.ExpectEnd();
        return new SnapSet(sequence, tombstone, clones);
    }

    /// <summary>Reads what every write wants to know, without making objects.</summary>
    public static SnapHead Peek(ReadOnlyMemory<byte> packed)
    {
        if (packed.IsEmpty)
        {
            return default;
        }

        ReadOnlySpan<byte> span = packed.Span;
        if (span.Length < CountOffset + 4 || span[0] != FormatVersion)
        {
            throw new MalformedDataException($"snapshot set of version {span[0]}, {span.Length} bytes");
        }

        return new SnapHead(packed, System.Buffers.Binary.BinaryPrimitives.ReadUInt64LittleEndian(span[SequenceOffset..]), (span[1] & TombstoneFlag) != 0);
    }
}

/// <summary>The head of an object's snapshot set; the default where it has none.</summary>
/// <param name="Packed">The packed set.</param>
/// <param name="Sequence">See <see cref="SnapSet.Sequence"/>.</param>
/// <param name="IsTombstone">See <see cref="SnapSet.IsTombstone"/>.</param>
internal readonly record struct SnapHead(ReadOnlyMemory<byte> Packed, ulong Sequence, bool IsTombstone)
{
    public SnapSet ToSet() => Packed.IsEmpty ? SnapSet.Empty : SnapSet.Decode(Packed.Span);
}
