using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Coding;
using Storage.Consensus;
using Storage.Messaging;
using Storage.Monitor.Sessions;

namespace Storage.Monitor;

// Who belongs to the quorum: the map says, and the leader takes Raft there, one voter at a time. A new monitor is a learner until it
// has caught up, so that it never counts towards a majority that it cannot serve.
public sealed partial class MonitorDaemon
{
    private const ulong CaughtUpEntries = 100;
    private bool _mustLeave;

    private bool IsMember(ulong id) => Monitors.Any(monitor => monitor.Id == id) || _raft!.Configuration.Contains(new NodeId(id));

    /// <summary>Whether the map has dropped this monitor. It may still have to vote: Raft drops it afterwards.</summary>
    private bool IsRemoved => IsDropped(_options.Id);

    // A new one meets old maps on its way to the present, which lack it too.
    private bool IsDropped(ulong id) => _state.Map is { } map && map.Monitors.Count > 0 && map.Monitors.All(monitor => monitor.Id != id)
        && (id < MonitorInfo.FirstAddedId || map.Epoch.Value >= id - MonitorInfo.FirstAddedId);

    /// <summary>Whether a monitor is out of the map and out of Raft, both for good: nobody will ever need its vote again.</summary>
    // A newcomer that is catching up has the map before it has a configuration: it knows nothing of Raft's members.
    private bool IsGone(ulong id) => IsDropped(id) && _raft!.Configuration is { Voters.IsEmpty: false } members && !members.Contains(new NodeId(id)) && _raft.IsConfigurationCommitted;

    private InvalidOperationException RemovedFailure() =>
        new($"mon.{Name} (id {_options.Id}) was removed from the cluster; its folder is of no use any more, and a new monitor needs a new one (mon add)");

    private void FollowMembers()
    {
        // One that never caught up has no map when it hears that nobody waits for it.
        if (_mustLeave)
        {
            Leave();
            return;
        }

        if (_state.Map is null)
        {
            return;
        }

        ReconcilePeers();
        TellRemoved();
        if (_raft!.Role != RaftRole.Leader && IsGone(_options.Id))
        {
            Leave();
            return;
        }

        if (!_leader.IsLeading)
        {
            return;
        }

        RaftConfiguration now = _raft!.Configuration;
        if (NextConfiguration(now) is { } next)
        {
            if (_raft.ProposeConfiguration(next, out _) == ProposeResult.Accepted)
            {
                _log.LogInformation("mon.{Name}: members change from {Now} to {Next}", Name, now, next);
                SchedulePump();
            }
        }
        else if (IsRemoved)
        {
            TransferLeadership(); // whoever leads next takes this one out
        }
    }

    private RaftConfiguration? NextConfiguration(RaftConfiguration now)
    {
        TimeSpan fresh = _options.RaftTick * _options.ElectionTicks * 3;
        foreach (MonitorInfo monitor in _state.Map!.Monitors)
        {
            var node = new NodeId(monitor.Id);
            if (!now.Contains(node))
            {
                return now.WithLearner(node);
            }

            if (now.IsLearner(node) && IsHeard(monitor.Id, fresh) && _matched.GetValueOrDefault(monitor.Id) + CaughtUpEntries >= _raft!.LastIndex)
            {
                return now.WithVoter(node);
            }
        }

        foreach (NodeId node in now.Voters.Concat(now.Learners))
        {
            if (node.Value != _options.Id && _state.Map.Monitors.All(monitor => monitor.Id != node.Value))
            {
                return now.Without(node);
            }
        }

        return null;
    }

    /// <summary>Begins to hand leadership to the voter that is farthest; false if there is none.</summary>
    private bool TransferLeadership()
    {
        ulong successor = _peers.Values
            .Where(peer => peer.IsOpen && _raft!.Configuration.IsVoter(new NodeId(peer.Info.Id)) && Monitors.Any(monitor => monitor.Id == peer.Info.Id))
            .OrderByDescending(peer => _matched.GetValueOrDefault(peer.Info.Id)).Select(peer => peer.Info.Id).FirstOrDefault();
        if (successor == 0 || _raft!.TransferLeadership(new NodeId(successor)) != ProposeResult.Accepted)
        {
            return false;
        }

        SchedulePump();
        return true;
    }

    // Raft's leader tells those that it has dropped nothing more, so they hear it from whoever they turn to.
    private void TellRemoved()
    {
        foreach (NodeSession session in _sessions)
        {
            if (session.Peer.Kind == EntityKind.Monitor && IsGone(session.Peer.Id))
            {
                _writer.Clear();
                _writer.WriteByte(1);
                session.Connection?.Send(MessageType.MonitorRemoved, _writer.WrittenSpan);
            }
        }
    }

    private void OnRemoved(ReadOnlySpan<byte> body)
    {
        new WireReader(body).ReadVersion(1, "removal of a monitor");
        _mustLeave = true; // with the next tick, apart from whoever calls
    }

    private void Leave()
    {
        Failure = RemovedFailure();
        _log.LogWarning("{Reason}", Failure.Message);
        Stop();
        Failed?.Invoke(Failure);
    }
}
