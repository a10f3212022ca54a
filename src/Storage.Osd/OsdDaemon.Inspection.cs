using Storage.Cluster;

namespace Storage.Osd;

// For the simulator.
public sealed partial class OsdDaemon
{
    /// <summary>Background work that had not ended after seconds; counted since the start.</summary>
    internal long OverdueWork => _work.Overdue;

    /// <summary>A PG that this OSD holds, or null.</summary>
    internal PlacementGroup? FindGroup(PgId group) => _groups.GetValueOrDefault(group);
}
