namespace Storage.Monitor.Status;

/// <summary>How bad a check is.</summary>
public enum HealthLevel
{
    /// <summary>All is well.</summary>
    Ok = 1,

    /// <summary>Something wants attention; data and service are there.</summary>
    Warn = 2,

    /// <summary>Data or service is in danger or missing.</summary>
    Error = 3,
}

/// <summary>One finding under a stable code.</summary>
/// <param name="Code">Stable code, as in <c>OSD_DOWN</c>.</param>
/// <param name="Level">How bad.</param>
/// <param name="Summary">One line.</param>
/// <param name="Count">How many things are affected.</param>
/// <param name="Detail">One line per affected thing, then what to do.</param>
public sealed record HealthFinding(string Code, HealthLevel Level, string Summary, long Count, IReadOnlyList<string> Detail)
{
    /// <summary>An operator has muted it: it does not count for the cluster's status.</summary>
    public bool IsMuted { get; init; }
}

/// <summary>What the quorum looks like from the leader.</summary>
/// <param name="Monitors">All monitors by name.</param>
/// <param name="InQuorum">Those heard of lately, the leader among them.</param>
/// <param name="Leader">The leader's name.</param>
/// <param name="Term">Raft term.</param>
/// <param name="Since">How long it leads.</param>
public sealed record QuorumView(IReadOnlyList<string> Monitors, IReadOnlyList<string> InQuorum, string Leader, ulong Term, TimeSpan Since)
{
    /// <summary>How far the others' wall clocks are from the leader's, by name; positive for one that is ahead.</summary>
    public IReadOnlyDictionary<string, TimeSpan> Skews { get; init; } = new Dictionary<string, TimeSpan>();
}
