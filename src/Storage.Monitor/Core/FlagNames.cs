using Storage.Cluster;

namespace Storage.Monitor.Core;

/// <summary>Names of the cluster's flags, as operators write them.</summary>
public static class FlagNames
{
    private static readonly (string Name, ClusterFlags Flag)[] All =
    [
        ("noup", ClusterFlags.NoUp),
        ("nodown", ClusterFlags.NoDown),
        ("noout", ClusterFlags.NoOut),
        ("noin", ClusterFlags.NoIn),
        ("norecover", ClusterFlags.NoRecover),
        ("nobackfill", ClusterFlags.NoBackfill),
        ("norebalance", ClusterFlags.NoRebalance),
        ("noscrub", ClusterFlags.NoScrub),
        ("nodeep-scrub", ClusterFlags.NoDeepScrub),
        ("pause", ClusterFlags.Pause),
        ("full", ClusterFlags.Full),
    ];

    /// <summary>The names of the flags that are set.</summary>
    /// <param name="flags">The flags.</param>
    /// <returns>The names, in a fixed order.</returns>
    public static IEnumerable<string> Of(ClusterFlags flags) => All.Where(entry => (flags & entry.Flag) != 0).Select(entry => entry.Name);

    /// <summary>The flag of a name that operators may set.</summary>
    /// <param name="name">As in <c>noout</c>.</param>
    /// <returns>The flag; none if there is no such name.</returns>
    public static ClusterFlags Parse(string name) => name == "full" ? ClusterFlags.None : All.FirstOrDefault(entry => entry.Name == name).Flag;

    /// <summary>The names that operators may set.</summary>
    public static string Known { get; } = string.Join(", ", All.Where(entry => entry.Flag != ClusterFlags.Full).Select(entry => entry.Name));
}
