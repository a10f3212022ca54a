using System.Globalization;
using Storage.Cluster;
using Storage.Osd;
using Storage.Simulation.Clusters;
using Storage.Simulation.Histories;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// While nothing disturbs the cluster but operators' changes, questions are answered at once: a PG that changes its members serves again before
/// anybody asks a second time, and calls are answered within seconds. What asks again after a while would otherwise hide a message that is
/// never sent, and a wake-up that never comes.
/// </summary>
internal sealed class QuietWatch(SimulatedCluster cluster, History history)
{
    // A primary asks again after a second.
    private static readonly TimeSpan s_longestPeering = TimeSpan.FromMilliseconds(950);
    private static readonly TimeSpan s_longestCall = TimeSpan.FromSeconds(3);

    private readonly Dictionary<(OsdId, PgId), (Epoch Interval, TimeSpan Since)> _waiting = [];
    private readonly List<HistoryEntry> _calls = [];
    private int _seen;

    /// <summary>Looks at all PGs and calls.</summary>
    /// <exception cref="SimulationFailedException">Something takes too long.</exception>
    public void Check()
    {
        // Where more is gone than the redundancy survives, PGs are down until an operator gives up what is lost.
        if (!cluster.IsQuiet || cluster.Scenario.BeyondRedundancy)
        {
            _waiting.Clear();
            _calls.Clear();
            _seen = history.Entries.Count; // what was begun earlier may suffer from what was then
            return;
        }

        CheckGroups();
        for (; _seen < history.Entries.Count; _seen++)
        {
            _calls.Add(history.Entries[_seen]);
        }

        _calls.RemoveAll(static call => call.Outcome is not null || call.IsLeft);
        if (_calls.Count > 0 && cluster.Loop.Now - _calls[0].InvokedAt > s_longestCall)
        {
            throw new SimulationFailedException($"nothing disturbs the cluster, and a call has not been answered for {s_longestCall.TotalSeconds} s: {_calls[0].ObjectName} {_calls[0]}");
        }
    }

    private void CheckGroups()
    {
        if (cluster.NewestMap?.FindPool(cluster.Pool) is not { } pool)
        {
            return;
        }

        foreach (OsdNode osd in cluster.Osds)
        {
            for (uint seed = 0; seed < pool.PgCount; seed++)
            {
                var id = new PgId(pool.Id, seed);
                if (osd.FindGroup(id) is not { IsActive: false, Phase: not GroupPhase.Replica } group)
                {
                    _waiting.Remove((osd.Id, id));
                }
                else if (!_waiting.TryGetValue((osd.Id, id), out (Epoch Interval, TimeSpan Since) known) || known.Interval != group.Interval)
                {
                    _waiting[(osd.Id, id)] = (group.Interval, cluster.Loop.Now);
                }
                else if (cluster.Loop.Now - known.Since > s_longestPeering)
                {
                    throw new SimulationFailedException(string.Create(
                        CultureInfo.InvariantCulture, $"nothing disturbs the cluster, and pg {id} on {osd.Name} is {group.Phase} since {known.Since.TotalSeconds:F2} s, in the interval of epoch {group.Interval}"));
                }
            }
        }
    }
}
