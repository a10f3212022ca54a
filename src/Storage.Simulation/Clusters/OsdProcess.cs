using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;

namespace Storage.Simulation.Clusters;

/// <summary>The daemon of an <see cref="OsdNode"/>, for as long as its process lives.</summary>
internal interface IOsdProcess
{
    /// <summary>What this OSD says of a PG; null if it does not know it.</summary>
    GroupState? StateOf(PgId group);

    /// <summary>Asserts what must hold between events.</summary>
    void CheckInvariants();

    /// <summary>What it counted since its start, by path.</summary>
    IEnumerable<KeyValuePair<string, long>> Counters { get; }
}

/// <summary>Makes OSD daemons.</summary>
internal static class OsdProcess
{
    /// <summary>Creates and starts a daemon; called as the process.</summary>
    public static IOsdProcess Start(OsdNode node, NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger) =>
        throw new SimulationFailedException($"{node.Name}: this build has no OSD daemon; run a scenario without OSDs, such as 'raft'");
}
