using Storage.Simulation.Faults;

namespace Storage.Simulation.Running;

/// <summary>What one seed's run found.</summary>
public sealed record SimulationResult
{
    /// <summary>The seed.</summary>
    public required ulong Seed { get; init; }

    /// <summary>Name of the scenario.</summary>
    public required string Scenario { get; init; }

    /// <summary>What is wrong, or null.</summary>
    public string? Failure { get; init; }

    /// <summary>Hash over all events; the same in every run of this seed and this build.</summary>
    public required ulong TraceHash { get; init; }

    /// <summary>Events.</summary>
    public required long Events { get; init; }

    /// <summary>Time that passed in the simulated cluster.</summary>
    public required TimeSpan VirtualTime { get; init; }

    /// <summary>Calls that clients made.</summary>
    public required int Calls { get; init; }

    /// <summary>Calls of which no client learned the outcome.</summary>
    public required int UnknownCalls { get; init; }

    /// <summary>The faults, as drawn.</summary>
    public required FaultPlan Plan { get; init; }

    /// <summary>How often rare paths were reached.</summary>
    public required IReadOnlyDictionary<string, long> Coverage { get; init; }

    /// <summary>The last events; empty for a run without a failure.</summary>
    public required IReadOnlyList<string> Timeline { get; init; }
}
