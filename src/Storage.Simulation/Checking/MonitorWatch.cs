using Storage.Cluster;
using Storage.Coding;
using Storage.Consensus;
using Storage.Simulation.Clusters;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// Looks at all monitors between events, those that were removed included: a term has one leader, and it is a voter; committed entries are on
/// the disks of a majority of the voters and stay; who leads hears a majority, who is cut off raises no terms; and all nodes have the same
/// map of an epoch.
/// </summary>
internal sealed class MonitorWatch(SimulatedCluster cluster)
{
    // Ten times what a leader needs to see it, and what slow networks hold back.
    private static readonly TimeSpan s_leadsAlone = TimeSpan.FromSeconds(6);
    private static readonly TimeSpan s_cutOff = TimeSpan.FromSeconds(6);

    private readonly Dictionary<ulong, NodeId> _leaders = [];
    private readonly List<ulong> _committed = []; // term of entry i + 1; 0 where it was never seen
    private readonly Dictionary<MonitorNode, NodeRecord> _nodes = [];
    private readonly SortedList<ulong, List<RaftConfiguration>> _members = []; // that were in force from an entry on, in some log
    private readonly Dictionary<Epoch, uint> _maps = [];
    private readonly Dictionary<(OsdId, ulong Instance), Epoch> _lives = []; // since when a process has been known to be up
    private readonly Dictionary<string, ClusterMap> _mapOf = [];

    /// <summary>Looks at everything.</summary>
    /// <exception cref="SimulationFailedException">Something is as it must never be.</exception>
    public void Check()
    {
        foreach (MonitorNode monitor in cluster.Monitors)
        {
            if (!_nodes.TryGetValue(monitor, out NodeRecord? record))
            {
                _nodes.Add(monitor, record = new NodeRecord());
            }

            if (monitor.Daemon?.Raft is { } raft)
            {
                raft.CheckInvariants();
                NoteMembers(raft);
            }
        }

        foreach (MonitorNode monitor in cluster.Monitors)
        {
            NodeRecord record = _nodes[monitor];
            if (monitor.Daemon?.Raft is { } raft)
            {
                CheckLeader(monitor, record, raft);
                CheckCommitted(monitor, record, raft);
                CheckReach(monitor, record, raft);
                CompareMap(monitor.Name, monitor.Daemon.Map);
            }
            else
            {
                record.Life = -1;
            }
        }

        foreach (OsdNode osd in cluster.Osds)
        {
            CompareMap(osd.Name, osd.Map);
        }
    }

    private void CheckLeader(MonitorNode monitor, NodeRecord record, RaftNode raft)
    {
        if (raft.Role != RaftRole.Leader)
        {
            return;
        }

        if (!_leaders.TryAdd(raft.Term, raft.Self) && _leaders[raft.Term] != raft.Self)
        {
            throw new SimulationFailedException($"{monitor.Name} and monitor {_leaders[raft.Term]} both lead term {raft.Term}");
        }

        if (record.LedTerm == raft.Term)
        {
            return;
        }

        record.LedTerm = raft.Term;
        if (!raft.Configuration.IsVoter(raft.Self) && !raft.Configurations.SkipLast(1).Any(before => before.Configuration.IsVoter(raft.Self)))
        {
            throw new SimulationFailedException($"{monitor.Name} leads term {raft.Term} and is no voter of {raft.Configuration}");
        }

        for (ulong index = raft.Log.BaseIndex + 1; index <= (ulong)_committed.Count; index++)
        {
            ulong term = _committed[(int)index - 1];
            if (term != 0 && term < raft.Term && !raft.Log.Matches(index, term)) // one that took office late may be deposed already
            {
                throw new SimulationFailedException($"{monitor.Name} leads term {raft.Term} without the committed entry {index} of term {term}");
            }
        }
    }

    private void CheckCommitted(MonitorNode monitor, NodeRecord record, RaftNode raft)
    {
        if (record.Life != monitor.Starts)
        {
            record.Life = monitor.Starts;
            record.Commit = 0;
            record.ReachedAt = cluster.Loop.Now;
            record.HeardAt = cluster.Loop.Now;
        }

        for (ulong index = Math.Max(record.Commit, raft.Log.BaseIndex) + 1; index <= raft.CommitIndex; index++)
        {
            ulong term = raft.Log[index].Term;
            while ((ulong)_committed.Count < index)
            {
                _committed.Add(0);
            }

            if (index == raft.CommitIndex && raft.Role == RaftRole.Leader && record.LedBefore == raft.Term && term != raft.Term)
            {
                throw new SimulationFailedException($"{monitor.Name} leads term {raft.Term} and commits entry {index} of term {term} by itself");
            }

            ulong known = _committed[(int)index - 1];
            if (known != 0 && known != term)
            {
                throw new SimulationFailedException($"{monitor.Name} has committed entry {index} of term {term}, others that of term {known}");
            }

            if (known == 0)
            {
                _committed[(int)index - 1] = term;
                CheckMajority(monitor, raft, index, term);
            }
        }

        record.Commit = raft.CommitIndex;
        record.LedBefore = raft.Role == RaftRole.Leader ? raft.Term : 0;
    }

    private void NoteMembers(RaftNode raft)
    {
        foreach ((ulong index, RaftConfiguration configuration) in raft.Configurations)
        {
            if (!_members.TryGetValue(index, out List<RaftConfiguration>? known))
            {
                _members.Add(index, known = []);
            }

            if (!known.Contains(configuration))
            {
                known.Add(configuration);
            }
        }
    }

    // A leader counts by the newest configuration in its log: the one in force at the entry, which every log with that entry tells, or one after it.
    private void CheckMajority(MonitorNode monitor, RaftNode raft, ulong index, ulong term)
    {
        HashSet<ulong> holders = [.. cluster.Monitors.Where(other => other.Disk.Holds(index, term)).Select(other => other.Info.Id)];
        // Entries kept from before the last snapshot may be older than the oldest configuration that a log still knows.
        RaftConfiguration? inForce = raft.Configurations.LastOrDefault(change => change.Index <= index).Configuration;
        if (inForce is not null && IsMajority(inForce))
        {
            return;
        }

        for (int i = _members.Count - 1; i >= 0 && (inForce is null || _members.GetKeyAtIndex(i) > index); i--)
        {
            if (_members.GetValueAtIndex(i).Exists(IsMajority))
            {
                return;
            }
        }

        throw new SimulationFailedException(
            $"{monitor.Name} has committed entry {index} of term {term}, which only the disks of {string.Join(", ", holders.Order())} have: no majority of {inForce}");

        bool IsMajority(RaftConfiguration members) => members.Voters.Count(voter => holders.Contains(voter.Value)) >= members.Majority;
    }

    private void CheckReach(MonitorNode monitor, NodeRecord record, RaftNode raft)
    {
        RaftConfiguration members = raft.Configuration;
        int both = members.IsVoter(raft.Self) ? 1 : 0, inbound = 0;
        foreach (MonitorNode other in cluster.Monitors)
        {
            if (other != monitor && other.IsRunning && !other.IsPaused && !cluster.Network.IsBlocked(other.Host, monitor.Host))
            {
                inbound++;
                both += cluster.Network.IsBlocked(monitor.Host, other.Host) || !members.IsVoter(new NodeId(other.Info.Id)) ? 0 : 1;
            }
        }

        TimeSpan now = cluster.Loop.Now;
        if (monitor.IsPaused || both >= members.Majority)
        {
            record.ReachedAt = now;
        }

        // What was on its way from one that has died since counts as well.
        if (monitor.IsPaused || inbound > 0 || monitor.Heard != record.Heard)
        {
            record.HeardAt = now;
            record.CutOffTerm = 0;
            record.Heard = monitor.Heard;
        }

        if (raft.Role == RaftRole.Leader && now - record.ReachedAt > s_leadsAlone)
        {
            throw new SimulationFailedException($"{monitor.Name} still leads, and has not heard from a majority for {s_leadsAlone.TotalSeconds} s");
        }

        if (now - record.HeardAt > s_cutOff)
        {
            record.CutOffTerm = record.CutOffTerm == 0 ? raft.Term : record.CutOffTerm;
            // Once it may: what was under way when the cut began can still let it win a pre-vote.
            if (members.Voters.Length > 1 && raft.Term > record.CutOffTerm + 1)
            {
                throw new SimulationFailedException($"{monitor.Name} hears nobody and raises its term from {record.CutOffTerm} to {raft.Term}");
            }
        }
    }

    private void CompareMap(string name, ClusterMap? map)
    {
        if (map is null || (_mapOf.TryGetValue(name, out ClusterMap? known) && ReferenceEquals(known, map)))
        {
            return;
        }

        _mapOf[name] = map;
        uint hash = Crc32C.Compute(map.Encode());
        if (!_maps.TryAdd(map.Epoch, hash) && _maps[map.Epoch] != hash)
        {
            throw new SimulationFailedException($"{name} has another map of epoch {map.Epoch} than somebody before");
        }

        // Who is up again has seen that it was down, and so has ended what it did in its former life.
        foreach (OsdNode osd in cluster.Osds)
        {
            if (map.FindOsd(osd.Id) is not { IsUp: true } record || record.UpFrom != map.Epoch)
            {
                continue;
            }

            // Where another process was up, that one was marked down.
            if (_lives.TryAdd((osd.Id, record.Instance), map.Epoch) || !osd.IsRunning || record.Instance != osd.Instance)
            {
                continue;
            }

            if (record.DownAt > _lives[(osd.Id, record.Instance)] && osd.Map is { } seen && seen.Epoch < record.DownAt)
            {
                throw new SimulationFailedException($"{name}: {osd.Name} is up from {map.Epoch} on, was marked down at {record.DownAt}, and has not seen more than {seen.Epoch}");
            }
        }
    }

    private sealed class NodeRecord
    {
        public int Life = -1;
        public ulong Commit;
        public ulong LedTerm;
        public ulong LedBefore;
        public ulong CutOffTerm;
        public long Heard;
        public TimeSpan ReachedAt;
        public TimeSpan HeardAt;
    }
}
