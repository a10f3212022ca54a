using System.Text.Json;
using System.Text.Json.Serialization;

namespace Storage.Cli.Faults.Injection;

/// <summary>What a daemon is asked over its fault socket: one line of JSON, answered by one.</summary>
internal sealed record FaultCommand
{
    public const int FormatVersion = 1;

    public int Version { get; init; } = FormatVersion;

    public required FaultAction Action { get; init; }

    /// <summary>The fault's name, by which it is healed; heal without one means all.</summary>
    public string? Name { get; init; }

    /// <summary>After how long it ends by itself, in milliseconds.</summary>
    public long DurationMs { get; init; }

    /// <summary>Cut: <c>mon</c>, <c>osd</c> or <c>client</c>; null for everyone.</summary>
    public string? PeerKind { get; init; }

    /// <summary>Cut: the peer's number; null for all of its kind.</summary>
    public ulong? PeerId { get; init; }

    /// <summary>Cut: what the peer sends is held.</summary>
    public bool Inbound { get; init; }

    /// <summary>Cut: what goes to the peer is held.</summary>
    public bool Outbound { get; init; }

    /// <summary>Slow disk: added to each operation.</summary>
    public long DelayMs { get; init; }

    /// <summary>Disk error: <c>read</c>, <c>write</c> or <c>sync</c>.</summary>
    public string? Operation { get; init; }

    /// <summary>Used blocks: how many.</summary>
    public int Count { get; init; }

    /// <summary>Used blocks: which.</summary>
    public int Seed { get; init; }
}

/// <summary>What a daemon may be asked.</summary>
internal enum FaultAction
{
    Status,
    Heal,
    Cut,
    DiskFull,
    SlowDisk,
    DiskError,
    UsedBlocks,
}

/// <summary>A daemon's answer.</summary>
internal sealed record FaultReply
{
    public int Version { get; init; } = FaultCommand.FormatVersion;

    /// <summary>Why it was refused; null if it was not.</summary>
    public string? Error { get; init; }

    /// <summary>Faults in force after the command.</summary>
    public IReadOnlyList<FaultInForce> Active { get; init; } = [];

    /// <summary>Used blocks: where they begin in the block file.</summary>
    public IReadOnlyList<long> Blocks { get; init; } = [];
}

/// <summary>A fault in force within a daemon.</summary>
/// <param name="Name">Its name.</param>
/// <param name="What">For people.</param>
/// <param name="RemainingMs">Until it ends by itself.</param>
internal sealed record FaultInForce(string Name, string What, long RemainingMs);

[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(FaultCommand))]
[JsonSerializable(typeof(FaultReply))]
internal sealed partial class FaultMessagesJson : JsonSerializerContext;
