using Storage.Coding;

namespace Storage.Block;

/// <summary>Where a snapshot stands.</summary>
public enum SnapshotState : byte
{
    /// <summary>It is being taken, or that was interrupted: take it again, or remove it.</summary>
    Creating = 0,

    /// <summary>It holds everything that was acknowledged before it was taken, and nothing that was written after.</summary>
    Ready = 1,

    /// <summary>It is being removed, or that was interrupted: remove it again.</summary>
    Removing = 2,
}

/// <summary>A snapshot of a volume.</summary>
/// <param name="Id">Its id in the pool.</param>
/// <param name="Name">Its name, unique in the volume.</param>
/// <param name="Size">The volume's size when it was taken.</param>
/// <param name="CreatedUnixMilliseconds">When it was taken.</param>
/// <param name="State">Where it stands.</param>
public sealed record VolumeSnapshot(ulong Id, string Name, long Size, long CreatedUnixMilliseconds, SnapshotState State);

/// <summary>
/// A volume's snapshots. The header object keeps them in the attribute <c>snapshots</c>: version u8, newest id u64, count i32 and per snapshot,
/// oldest first: id u64, state u8, size i64, created i64, name. Immutable.
/// </summary>
/// <param name="Newest">The newest id that ever was in the list: a snapshot that is added has a larger one, because writers who name a snapshot
/// take it that they know all older ones.</param>
/// <param name="All">The snapshots, oldest first.</param>
public sealed record VolumeSnapshots(ulong Newest, IReadOnlyList<VolumeSnapshot> All)
{
    internal const string Attribute = "snapshots";
    private const byte FormatVersion = 1;

    /// <summary>None.</summary>
    public static VolumeSnapshots None { get; } = new(0, []);

    /// <summary>Finds a snapshot.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The snapshot, or null.</returns>
    public VolumeSnapshot? Find(string name) => All.FirstOrDefault(snapshot => string.Equals(snapshot.Name, name, StringComparison.Ordinal));

    /// <summary>Ids that writes have to name, newest first.</summary>
    /// <returns>The ids.</returns>
    public ulong[] Named() => [.. All.Where(snapshot => snapshot.State != SnapshotState.Removing).Select(snapshot => snapshot.Id).OrderDescending()];

    internal VolumeSnapshots Add(VolumeSnapshot snapshot)
    {
        Invariant.Holds(snapshot.Id > Newest);
        return new VolumeSnapshots(snapshot.Id, [.. All, snapshot]);
    }

    internal VolumeSnapshots With(VolumeSnapshot changed) => this with { All = [.. All.Select(snapshot => snapshot.Id == changed.Id ? changed : snapshot)] };

    internal VolumeSnapshots Without(ulong id) => this with { All = [.. All.Where(snapshot => snapshot.Id != id)] };

    internal byte[] Encode()
    {
        var writer = new WireWriter(64);
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Newest);
        writer.WriteInt32(All.Count);
        foreach (VolumeSnapshot snapshot in All)
        {
            writer.WriteUInt64(snapshot.Id);
            writer.WriteByte((byte)snapshot.State);
            writer.WriteInt64(snapshot.Size);
            writer.WriteInt64(snapshot.CreatedUnixMilliseconds);
            writer.WriteString(snapshot.Name);
        }

        return writer.ToArray();
    }

    internal static VolumeSnapshots Decode(VolumeName volume, ReadOnlySpan<byte> packed)
    {
        var reader = new WireReader(packed);
        reader.ReadVersion(FormatVersion, $"snapshots of volume {volume}");
        ulong newest = reader.ReadUInt64();
        var all = new VolumeSnapshot[reader.ReadCount(29)];
        ulong before = 0;
        for (int i = 0; i < all.Length; i++)
        {
            ulong id = reader.ReadUInt64();
            var state = (SnapshotState)reader.ReadByte();
            all[i] = new VolumeSnapshot(id, "", reader.ReadInt64(), reader.ReadInt64(), state) with { Name = reader.ReadString() };
            if (id <= before || id > newest || state > SnapshotState.Removing || all[i].Size < 0)
            {
                throw new MalformedDataException($"volume {volume} has snapshot {id} in state {(byte)state}, {all[i].Size} bytes, after {before}");
            }

            before = id;
        }

        reader.ExpectEnd();
        return new VolumeSnapshots(newest, all);
    }
}
