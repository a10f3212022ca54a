using Storage.Cluster;
using Storage.Coding;

namespace Storage.Monitor.Core;

/// <summary>
/// A Raft entry of the monitors: version u8, time i64, the founding map (bytes, empty as a rule), a map increment (bytes, may be
/// empty), events (count i32; level u8, source, text), requests (count i32; origin u64, number u64, reply).
/// </summary>
/// <param name="UnixMilliseconds">When the leader made it.</param>
/// <param name="Founding">An encoded <see cref="ClusterMap"/>: the cluster's first. Void if there is a map.</param>
/// <param name="Increment">An encoded <see cref="ClusterMapIncrement"/>. Void unless it follows the present epoch.</param>
/// <param name="Events">Lines for the cluster log.</param>
/// <param name="Requests">Admin requests that the increment carries out, with their encoded replies.</param>
public sealed record MapCommand(
    long UnixMilliseconds,
    ReadOnlyMemory<byte> Founding,
    ReadOnlyMemory<byte> Increment,
    IReadOnlyList<(EventLevel Level, string Source, string Text)> Events,
    IReadOnlyList<(RequestId Id, ReadOnlyMemory<byte> Reply)> Requests)
{
    private const byte FormatVersion = 2;

    /// <summary>Packs the command.</summary>
    /// <returns>The entry's data.</returns>
    public byte[] Encode()
    {
        var writer = new WireWriter(256 + Founding.Length + Increment.Length);
        writer.WriteByte(FormatVersion);
        writer.WriteInt64(UnixMilliseconds);
        writer.WriteBytes(Founding.Span);
        writer.WriteBytes(Increment.Span);
        writer.WriteInt32(Events.Count);
        foreach ((EventLevel level, string source, string text) in Events)
        {
            writer.WriteByte((byte)level);
            writer.WriteString(source);
            writer.WriteString(text);
        }

        writer.WriteInt32(Requests.Count);
        foreach ((RequestId id, ReadOnlyMemory<byte> reply) in Requests)
        {
            writer.WriteUInt64(id.Origin);
            writer.WriteUInt64(id.Number);
            writer.WriteBytes(reply.Span);
        }

        return writer.ToArray();
    }

    /// <summary>Reads a command.</summary>
    /// <param name="data">The entry's data.</param>
    /// <returns>The command.</returns>
    /// <exception cref="MalformedDataException">The bytes are no command.</exception>
    public static MapCommand Decode(ReadOnlySpan<byte> data)
    {
        var reader = new WireReader(data);
        reader.ReadVersion(FormatVersion, "monitor command");
        long time = reader.ReadInt64();
        byte[] founding = reader.ReadBytes().ToArray();
        byte[] increment = reader.ReadBytes().ToArray();
        var events = new (EventLevel, string, string)[reader.ReadCount(9)];
        for (int i = 0; i < events.Length; i++)
        {
            events[i] = ((EventLevel)reader.ReadByte(), reader.ReadString(), reader.ReadString());
        }

        var requests = new (RequestId, ReadOnlyMemory<byte>)[reader.ReadCount(20)];
        for (int i = 0; i < requests.Length; i++)
        {
            requests[i] = (new RequestId(reader.ReadUInt64(), reader.ReadUInt64()), reader.ReadBytes().ToArray());
        }

        reader.ExpectEnd();
        return new MapCommand(time, founding, increment, events, requests);
    }
}
