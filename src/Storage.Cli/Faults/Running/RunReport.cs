using System.Text.Json.Serialization;

namespace Storage.Cli.Faults.Running;

/// <summary>What became of a run, as <c>--json</c> prints it.</summary>
internal sealed record RunReport
{
    public required string Scenario { get; init; }

    public required int Seed { get; init; }

    /// <summary>"nothing lost", or what is wrong.</summary>
    public required string Verdict { get; init; }

    public required bool Ok { get; init; }

    public required long DurationMs { get; init; }

    public required IReadOnlyList<FaultLine> Faults { get; init; }

    /// <summary>Faults that could not be injected when their time came, with why.</summary>
    public required IReadOnlyList<string> Skipped { get; init; }

    public required IReadOnlyList<ClientLine> Clients { get; init; }

    /// <summary>The different errors that clients were answered, with how often.</summary>
    public required IReadOnlyDictionary<string, int> Errors { get; init; }

    /// <summary>Longest time in which a client that read got nothing done.</summary>
    public required StallLine? LongestRead { get; init; }

    public required StallLine? LongestWrite { get; init; }

    /// <summary>From the last heal until the cluster was healthy; null if it did not become so.</summary>
    public required long? RecoveryMs { get; init; }

    public required bool KilledAllAtEnd { get; init; }

    /// <summary>Blocks and keys.</summary>
    public required int Registers { get; init; }

    public required int Operations { get; init; }

    public required IReadOnlyList<ViolationLine> Violations { get; init; }

    public required IReadOnlyList<string> Undecided { get; init; }

    /// <summary>What could not be read back in the end.</summary>
    public required IReadOnlyList<string> Unreadable { get; init; }

    /// <summary>What the scenario did not expect, besides loss.</summary>
    public required IReadOnlyList<string> Unexpected { get; init; }

    /// <summary>Health checks that may stay, and did: what the cluster found of the damage.</summary>
    public required IReadOnlyList<string> Health { get; init; }

    public required string History { get; init; }
}

/// <summary>A fault and the longest waits while it lasted or right after it.</summary>
internal sealed record FaultLine(string What, long AtMs, long ForMs, long LongestReadMs, long LongestWriteMs);

internal sealed record ClientLine(string Gateway, int Operations, int Reads, int Writes, int Others, int Errors, int Unknown);

internal sealed record StallLine(long Ms, long AtMs, string Client);

/// <summary>A block or key whose answers cannot be explained, with the operations on it around what contradicts.</summary>
internal sealed record ViolationLine(string Register, string Explanation, IReadOnlyList<string> Timeline);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(RunReport))]
internal sealed partial class RunReportJson : JsonSerializerContext;
