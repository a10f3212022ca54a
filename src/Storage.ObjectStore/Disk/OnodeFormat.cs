using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Database value of an object: <c>version(1) number(8) omap number(8) omap persisted(1) size(8) chunks(4) attributes(4)
/// { name, value }</c>; and of the store's state.
/// </summary>
internal static class OnodeFormat
{
    private const byte Version = 1;

    public static void Write(WireWriter writer, Onode onode)
    {
        writer.Clear();
        writer.WriteByte(Version);
        writer.WriteUInt64(onode.Number);
        writer.WriteUInt64(onode.OmapNumber);
        writer.WriteBoolean(onode.OmapPersisted);
        writer.WriteInt64(onode.Size);
        writer.WriteInt32(onode.PersistedChunks);
        writer.WriteInt32(onode.Attributes?.Count ?? 0);
        for (int i = 0; i < (onode.Attributes?.Count ?? 0); i++)
        {
            writer.WriteString(onode.Attributes!.GetKeyAtIndex(i));
            writer.WriteBytes(onode.Attributes.GetValueAtIndex(i).Span);
        }
    }

    public static void Read(ReadOnlySpan<byte> value, Onode onode)
    {
        var reader = new WireReader(value);
        reader.ReadVersion(Version, "object metadata");
        onode.Exists = true;
        onode.Number = reader.ReadUInt64();
        onode.OmapNumber = reader.ReadUInt64();
        onode.OmapPersisted = reader.ReadBoolean();
        onode.Size = reader.ReadInt64();
        onode.PersistedChunks = reader.ReadInt32();
        int attributes = reader.ReadCount(8);
        if (attributes > 0)
        {
            onode.Attributes = new SortedList<string, ReadOnlyMemory<byte>>(attributes, StringComparer.Ordinal);
            for (int i = 0; i < attributes; i++)
            {
                string name = reader.ReadString();
                onode.Attributes.Add(name, reader.ReadBytes().ToArray());
            }
        }
    }
}

/// <summary>What a checkpoint says about the journal. Little-endian with a version byte, under the key <c>S</c>.</summary>
internal readonly record struct StoreState(
    Guid Store,
    ulong LastTransaction,
    ulong LastNumber,
    ulong Epoch,
    ulong EpochStart,
    long TailPosition,
    ulong TailSequence)
{
    // 2: collections have logs, which a build that knows only 1 would lose. 3: block maps and the journal may tell of compressed data.
    // 4: in the journal, room is left over where compressed data was made after its transaction.
    private const byte Version = 4;

    public void Write(WireWriter writer)
    {
        writer.Clear();
        writer.WriteByte(Version);
        Store.TryWriteBytes(writer.Reserve(16));
        writer.WriteUInt64(LastTransaction);
        writer.WriteUInt64(LastNumber);
        writer.WriteUInt64(Epoch);
        writer.WriteUInt64(EpochStart);
        writer.WriteInt64(TailPosition);
        writer.WriteUInt64(TailSequence);
    }

    public static StoreState Read(ReadOnlySpan<byte> value)
    {
        var reader = new WireReader(value);
        reader.ReadVersion(Version, "store state");
        return new StoreState(
            new Guid(reader.ReadRaw(16)),
            reader.ReadUInt64(),
            reader.ReadUInt64(),
            reader.ReadUInt64(),
            reader.ReadUInt64(),
            reader.ReadInt64(),
            reader.ReadUInt64());
    }
}
