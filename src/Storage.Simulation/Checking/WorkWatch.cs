using System.Globalization;
using Storage.Cluster;
using Storage.Simulation.Clusters;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// While nothing disturbs OSDs, their disks and their network, no background work is under way for seconds: it would be waiting for something that
/// never comes, or for something that waits for it.
/// </summary>
internal sealed class WorkWatch(SimulatedCluster cluster)
{
    // With slower disks a few pieces, one after the other, may well take as long.
    private static readonly TimeSpan s_slowestDisk = TimeSpan.FromMilliseconds(10);

    // A peer whose machine lost power is given up after 15 s only.
    private static readonly TimeSpan s_aftermath = TimeSpan.FromSeconds(17);

    private readonly Dictionary<OsdId, (int Life, long Overdue)> _known = [];
    private TimeSpan _quietFrom;

    /// <summary>A fault begins.</summary>
    /// <param name="length">How long it lasts at most.</param>
    public void Disturb(TimeSpan length)
    {
        TimeSpan quiet = cluster.Loop.Now + length + s_aftermath;
        _quietFrom = quiet > _quietFrom ? quiet : _quietFrom;
    }

    /// <summary>Whether nothing has been disturbed for long, on disks that are not slow.</summary>
    public bool IsQuiet => cluster.Loop.Now >= _quietFrom && cluster.Scenario.CommitLatency <= s_slowestDisk && cluster.Scenario.ReadLatency <= s_slowestDisk;

    /// <summary>Looks at all OSDs.</summary>
    /// <exception cref="SimulationFailedException">Work stands still.</exception>
    public void Check()
    {
        if (cluster.Scenario.CommitLatency > s_slowestDisk || cluster.Scenario.ReadLatency > s_slowestDisk)
        {
            return;
        }

        bool isQuiet = IsQuiet;
        foreach (OsdNode osd in cluster.Osds)
        {
            long overdue = osd.OverdueWork;
            _known.TryGetValue(osd.Id, out (int Life, long Overdue) known);
            if (isQuiet && known.Life == osd.Starts && overdue > known.Overdue)
            {
                throw new SimulationFailedException(string.Create(
                    CultureInfo.InvariantCulture, $"{osd.Name} has had background work under way for 2 s, and nothing has disturbed OSDs since {_quietFrom.TotalSeconds:F1} s"));
            }

            _known[osd.Id] = (osd.Starts, overdue);
        }
    }
}
