using Storage.Cluster;
using Storage.Monitor.Core;

namespace Storage.Monitor;

/// <summary>What a monitor needs to know at its start. Settings of the cluster itself are in the map.</summary>
public sealed record MonitorOptions
{
    /// <summary>The cluster's identity.</summary>
    public required Guid Fsid { get; init; }

    /// <summary>This monitor's number; one of <see cref="Monitors"/>.</summary>
    public required ulong Id { get; init; }

    /// <summary>Host to listen on in place of the one in the map, where a machine has other addresses inside than outside; null for the map's.</summary>
    public string? BindHost { get; init; }

    /// <summary>The monitors that founded the cluster. Later changes stand in the map, which takes precedence once there is one.</summary>
    public required IReadOnlyList<MonitorInfo> Monitors { get; init; }

    /// <summary>Rules of map changes: when an OSD is marked down, out, full.</summary>
    public MonitorPolicy Policy { get; init; } = new();

    /// <summary>Length of a Raft tick; a follower campaigns after 10 to 20 ticks without a leader.</summary>
    public TimeSpan RaftTick { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Silence in ticks after which a follower campaigns: drawn from [this, 2 × this).</summary>
    public int ElectionTicks { get; init; } = 10;

    /// <summary>Most bytes of log entries in one Raft message; one entry may always go.</summary>
    public long RaftAppendBytes { get; init; } = 1 << 20;

    /// <summary>How often the leader looks for what is due: silent OSDs, down OSDs to mark out, blocklist entries that expire.</summary>
    public TimeSpan PolicyInterval { get; init; } = TimeSpan.FromMilliseconds(500);

    /// <summary>Raft entries after which the log is replaced by a snapshot.</summary>
    public int SnapshotEntries { get; init; } = 1000;

    /// <summary>Raft entries kept behind a snapshot for followers that are a little late.</summary>
    public int RetainedEntries { get; init; } = 200;

    /// <summary>How long an admin request may wait for a leader and for its map change to be committed.</summary>
    public TimeSpan AdminTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a follower holds messages of OSDs while there is no leader.</summary>
    public TimeSpan ForwardHold { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Bytes of held messages beyond which the oldest are dropped; their senders repeat them.</summary>
    public int ForwardHoldBytes { get; init; } = 8 << 20;

    /// <summary>Longest pause before a monitor dials another one again; the first is a twentieth of it.</summary>
    public TimeSpan ReconnectPause { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>This monitor's own entry.</summary>
    /// <exception cref="ArgumentException"><see cref="Id"/> is not among <see cref="Monitors"/>.</exception>
    public MonitorInfo Self => Monitors.FirstOrDefault(monitor => monitor.Id == Id)
        ?? throw new ArgumentException($"monitor {Id} is not in the list of monitors ({string.Join(", ", Monitors.Select(monitor => monitor.Id))})");

    /// <summary>Checks the options.</summary>
    /// <exception cref="ArgumentException">Something is missing or makes no sense; the message says what.</exception>
    public void Validate()
    {
        _ = Self;
        if (Fsid == Guid.Empty)
        {
            throw new ArgumentException("the cluster's fsid is empty");
        }

        if (Monitors.Select(monitor => monitor.Id).Distinct().Count() != Monitors.Count
            || Monitors.Select(monitor => monitor.Name).Distinct(StringComparer.Ordinal).Count() != Monitors.Count)
        {
            throw new ArgumentException("two monitors share an id or a name");
        }

        foreach (MonitorInfo monitor in Monitors)
        {
            if (monitor.Id == 0 || monitor.Name.Length == 0 || monitor.Address.IsNone)
            {
                throw new ArgumentException($"monitor {monitor.Id} '{monitor.Name}' needs an id other than 0, a name and an address");
            }
        }

        if (RaftTick <= TimeSpan.Zero || PolicyInterval <= TimeSpan.Zero || SnapshotEntries < 1 || RetainedEntries < 0)
        {
            throw new ArgumentException("intervals and entry counts must be positive");
        }

        Policy.Validate();
    }
}
