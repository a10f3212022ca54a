using Storage.Cluster;

namespace Storage.Osd;

// For the simulator.
public sealed partial class OsdDaemon
{
    /// <summary>A PG that this OSD holds, or null.</summary>
    internal PlacementGroup? FindGroup(PgId group) => _groups.GetValueOrDefault(group);
}
