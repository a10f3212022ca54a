using System.Text.Json.Serialization;

namespace Storage.Cli.Faults.Scenarios;

// What may be left out is set, not init: generated deserialization gives every init property a value, and the defaults would be lost.

/// <summary>A scenario as it stands in its file; see docs/faults.md for the fields.</summary>
internal sealed record ScenarioFile
{
    public const int FormatVersion = 1;

    public required int Version { get; init; }

    public required string Description { get; init; }

    /// <summary>How long faults are injected, as in <c>30s</c>.</summary>
    public required string Duration { get; init; }

    public WorkloadFile Workload { get; set; } = new();

    public required IReadOnlyList<StepFile> Steps { get; init; }

    /// <summary>After everything has healed, kill all daemons and start them again before all data is read back.</summary>
    public bool KillAllAtEnd { get; set; }

    public ExpectationFile Expect { get; set; } = new();
}

/// <summary>What clients do meanwhile.</summary>
internal sealed record WorkloadFile
{
    /// <summary>Connections to the NBD gateway; 0 for none.</summary>
    public int NbdConnections { get; set; } = 3;

    /// <summary>Requests under way on each.</summary>
    public int NbdDepth { get; set; } = 4;

    /// <summary>Size of the volume in 4 KiB blocks.</summary>
    public int Blocks { get; set; } = 1024;

    /// <summary>Clients of the S3 gateway; 0 for none.</summary>
    public int S3Clients { get; set; } = 3;

    public int S3Keys { get; set; } = 24;

    /// <summary>What each client waits after each operation.</summary>
    public string Pause { get; set; } = "10ms";
}

/// <summary>One fault, or the same one again and again.</summary>
internal sealed record StepFile
{
    /// <summary>When, from the start of the faults.</summary>
    public string At { get; set; } = "0s";

    /// <summary>Again after so long, until the scenario's duration is over.</summary>
    public string? Every { get; set; }

    /// <summary>A fault's name as on the command line, or <c>any</c>: one of <see cref="Among"/>.</summary>
    public required string Fault { get; init; }

    /// <summary>Whom; chosen anew each time.</summary>
    public string? Target { get; set; }

    /// <summary>Cut: the other side; without one, everyone.</summary>
    public string? Peer { get; set; }

    public bool OneWay { get; set; }

    /// <summary>How long, or a range such as <c>2s-6s</c>.</summary>
    public string? For { get; set; }

    /// <summary>Slow disk.</summary>
    public string? Delay { get; set; }

    /// <summary>Disk error: read, write or sync.</summary>
    public string? Operation { get; set; }

    /// <summary>Bit flip.</summary>
    public int? Count { get; set; }

    public IReadOnlyList<StepFile>? Among { get; set; }
}

/// <summary>What a run is measured against besides that nothing is lost.</summary>
internal sealed record ExpectationFile
{
    /// <summary>The longest that a client may get nothing done.</summary>
    public string? Stall { get; set; }

    /// <summary>Whether clients may be answered with errors; broken connections are no errors.</summary>
    public bool Errors { get; set; }

    /// <summary>Codes of health checks that may stay.</summary>
    public IReadOnlyList<string> Health { get; set; } = [];
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, ReadCommentHandling = System.Text.Json.JsonCommentHandling.Skip, AllowTrailingCommas = true)]
[JsonSerializable(typeof(ScenarioFile))]
internal sealed partial class ScenarioJson : JsonSerializerContext;
