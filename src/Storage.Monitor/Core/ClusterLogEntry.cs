using Storage.Coding;

namespace Storage.Monitor.Core;

/// <summary>Weight of an event.</summary>
public enum EventLevel : byte
{
    /// <summary>For developers.</summary>
    Debug = 1,

    /// <summary>The normal course of things.</summary>
    Info = 2,

    /// <summary>Something wants attention.</summary>
    Warn = 3,

    /// <summary>Data or service is in danger.</summary>
    Error = 4,
}

/// <summary>An event of the cluster log. The log is replicated: every monitor holds the same entries.</summary>
/// <param name="Sequence">Number, 1 and up.</param>
/// <param name="UnixMilliseconds">When, by the leader's clock.</param>
/// <param name="Level">Weight.</param>
/// <param name="Source">Who says it, as in <c>mon.a</c>.</param>
/// <param name="Text">One line.</param>
public sealed record ClusterLogEntry(ulong Sequence, long UnixMilliseconds, EventLevel Level, string Source, string Text)
{
    internal const int SmallestSize = 25;

    internal void Encode(WireWriter writer)
    {
        writer.WriteUInt64(Sequence);
        writer.WriteInt64(UnixMilliseconds);
        writer.WriteByte((byte)Level);
        writer.WriteString(Source);
        writer.WriteString(Text);
    }

    internal static ClusterLogEntry Decode(ref WireReader reader) =>
        new(reader.ReadUInt64(), reader.ReadInt64(), (EventLevel)reader.ReadByte(), reader.ReadString(), reader.ReadString());
}
