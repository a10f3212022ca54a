using Storage.Cluster;

namespace Storage.Client;

/// <summary>Settings of an <see cref="ObjectClient"/>.</summary>
public sealed record ClientOptions
{
    /// <summary>Where monitors listen; one that answers is enough, the map names the rest.</summary>
    public required IReadOnlyList<NodeAddress> MonitorAddresses { get; init; }

    /// <summary>The id that the transport presents as this client's; drawn at random at each start of a process.</summary>
    public required ulong ClientId { get; init; }

    /// <summary>How long a monitor may take to send a map that OSDs have already, or that calls under way wait for, before another one is
    /// asked. Short, because asking another costs little. Default 4 s.</summary>
    public TimeSpan MonitorPatience { get; init; } = TimeSpan.FromSeconds(4);

    /// <summary>How often the monitor is asked for a sign of life while calls wait. Default 1 s.</summary>
    public TimeSpan MonitorPing { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>A monitor that gives none for this long, or does not let itself be connected, is left for the next. Default 2 s.</summary>
    public TimeSpan MonitorSilence { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>First pause before dialling again; it doubles up to <see cref="LongestRetry"/>.</summary>
    public TimeSpan FirstRetry { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest pause before dialling again. A map in which the daemon restarted ends the pause.</summary>
    public TimeSpan LongestRetry { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Bytes of data, to write or to be read, that may be under way; operations beyond wait their turn. One operation
    /// may always be under way.</summary>
    public long MaxBytesInFlight { get; init; } = 64L << 20;

    /// <summary>Operations that may be under way; those beyond wait their turn.</summary>
    public int MaxOperationsInFlight { get; init; } = 4096;
}
