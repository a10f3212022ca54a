using Storage.Coding;

namespace Storage.Messaging.Tcp;

/// <summary>First frame of each direction: who speaks, and in which cluster.</summary>
/// <param name="Identity">Who it is.</param>
/// <param name="Fsid">Its cluster; empty if it does not know yet.</param>
internal readonly record struct Hello(PeerIdentity Identity, Guid Fsid)
{
    public const int LongestBody = 256;
    private const byte FormatVersion = 1;

    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteByte((byte)Identity.Kind);
        writer.WriteUInt64(Identity.Id);
        writer.WriteUInt64(Identity.Instance);
        Fsid.TryWriteBytes(writer.Reserve(16));
    }

    public static Hello Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "hello");
        var kind = (EntityKind)reader.ReadByte();
        if (kind is not (EntityKind.Monitor or EntityKind.Osd or EntityKind.Client))
        {
            throw new MalformedDataException($"hello names entity kind {(int)kind}, which does not exist");
        }

        ulong id = reader.ReadUInt64();
        ulong instance = reader.ReadUInt64();
        var fsid = new Guid(reader.ReadRaw(16));
        reader.ExpectEnd();
        return new Hello(new PeerIdentity(kind, id, instance), fsid);
    }
}
