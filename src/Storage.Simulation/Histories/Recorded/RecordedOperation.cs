namespace Storage.Simulation.Histories.Recorded;

/// <summary>What a real client asked for.</summary>
public enum RecordedKind
{
    /// <summary>A write of one value to each of its registers.</summary>
    Write,

    /// <summary>A read of its registers.</summary>
    Read,

    /// <summary>A removal of its registers' values.</summary>
    Delete,

    /// <summary>A look at which of its registers have a value.</summary>
    List,

    /// <summary>A flush; touches no register, is there for its duration.</summary>
    Flush,
}

/// <summary>What a real client was told.</summary>
public enum RecordedResult
{
    /// <summary>It was done.</summary>
    Ok,

    /// <summary>An error was answered. Of a write it says as little as <see cref="Unknown"/>.</summary>
    Failed,

    /// <summary>No answer came: it may have happened, may happen at any later time, or never.</summary>
    Unknown,
}

/// <summary>A register and what was written to it or seen in it.</summary>
/// <param name="Name">A block or a key.</param>
/// <param name="Value">A number that no other write used, or one of <see cref="RecordedValue"/>.</param>
public readonly record struct RecordedRegister(string Name, ulong Value);

/// <summary>Values with a meaning of their own.</summary>
public static class RecordedValue
{
    /// <summary>Nothing is there: never written, or deleted.</summary>
    public const ulong Missing = 0;

    /// <summary>Something is there; what, was not looked at.</summary>
    public const ulong Present = ulong.MaxValue - 1;

    /// <summary>What is there is no value that anybody wrote: a mix, or bytes of another place.</summary>
    public const ulong Damaged = ulong.MaxValue;
}

/// <summary>
/// One operation of a real client on a real cluster: which registers it touched (4 KiB blocks of a volume, keys of a bucket), when it
/// began and ended, and what came back.
/// </summary>
public sealed record RecordedOperation
{
    /// <summary>Number within the run, from 1.</summary>
    public required long Id { get; init; }

    /// <summary>Who asked: each client has one operation under way at a time.</summary>
    public required string Client { get; init; }

    /// <summary>What was asked for.</summary>
    public required RecordedKind Kind { get; init; }

    /// <summary>On what, for people: <c>offset+length</c> or a key.</summary>
    public string Target { get; init; } = "";

    /// <summary>Position of its beginning among all beginnings and ends of the run.</summary>
    public required long Began { get; init; }

    /// <summary>Position of its end.</summary>
    public long Ended { get; init; }

    /// <summary>Microseconds from the start of the run to its beginning.</summary>
    public required long BeganUs { get; init; }

    /// <summary>Microseconds from the start of the run to its end, whatever end it was.</summary>
    public long EndedUs { get; init; }

    /// <summary>What came of it.</summary>
    public RecordedResult Result { get; init; }

    /// <summary>Why it failed or is unknown; null otherwise.</summary>
    public string? Error { get; init; }

    /// <summary>What it wrote or saw.</summary>
    public IReadOnlyList<RecordedRegister> Registers { get; init; } = [];
}

/// <summary>A fault of the run.</summary>
/// <param name="What">What was done to whom, for people.</param>
/// <param name="StartedUs">Microseconds from the start of the run until it was in force.</param>
/// <param name="EndedUs">Until it was healed; equal to <paramref name="StartedUs"/> for what is done in a moment.</param>
public sealed record RecordedFault(string What, long StartedUs, long EndedUs);

/// <summary>What a history file says of its run.</summary>
/// <param name="Version">Version of the format.</param>
/// <param name="Scenario">Name of the scenario.</param>
/// <param name="Seed">What drew its random choices.</param>
/// <param name="StartedUnixMs">When it began.</param>
public sealed record RecordedHeader(int Version, string Scenario, int Seed, long StartedUnixMs);
