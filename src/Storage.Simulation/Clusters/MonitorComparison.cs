using Storage.Simulation.Running;

namespace Storage.Simulation.Clusters;

/// <summary>Compares what the monitors have agreed on.</summary>
internal static class MonitorComparison
{
    /// <summary>Waits until all monitors have applied the same, and compares it byte by byte.</summary>
    /// <exception cref="SimulationFailedException">They do not catch up, or two maps of one epoch differ.</exception>
    public static void Compare(SimulatedCluster cluster)
    {
        cluster.Await(
            () => cluster.Leader?.Daemon?.Raft?.Configuration is { } members && members.Learners.IsEmpty
                && members.Voters.Select(voter => voter.Value).ToHashSet().SetEquals(cluster.NewestMap!.Monitors.Select(monitor => monitor.Id)),
            TimeSpan.FromSeconds(30),
            "Raft's members did not become those of the map");

        // Last: maps go on changing, for OSDs ask for things.
        cluster.Await(
            () => cluster.Leader is not null && cluster.Members.All(m => m.Daemon?.Map?.Epoch == cluster.NewestMap!.Epoch),
            TimeSpan.FromSeconds(30),
            "the monitors did not reach the same epoch");
        MonitorNode first = cluster.Members.First();
        byte[] expected = first.Daemon!.Map!.Encode();
        foreach (MonitorNode monitor in cluster.Members)
        {
            if (!monitor.Daemon!.Map!.Encode().AsSpan().SequenceEqual(expected))
            {
                throw new SimulationFailedException($"{monitor.Name} and {first.Name} have different maps of epoch {monitor.Daemon.Map!.Epoch}");
            }
        }

        ulong term = cluster.Members.Max(m => m.Daemon!.Raft!.Term);
        if (cluster.Monitors.Count(m => m.Daemon is { IsLeader: true } daemon && daemon.Raft!.Term == term) > 1)
        {
            throw new SimulationFailedException($"two monitors lead term {term}");
        }

        cluster.Coverage.Count("mon.term", (long)term);
    }
}
