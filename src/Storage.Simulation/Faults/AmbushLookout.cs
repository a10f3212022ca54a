using Storage.Messaging;
using Storage.Simulation.Clusters;
using Storage.Simulation.Processes;

namespace Storage.Simulation.Faults;

/// <summary>The ambushes that wait, and the daemons that they look at.</summary>
internal sealed class AmbushLookout
{
    private readonly SimulatedCluster _cluster;
    private readonly Action<Ambush, SimulatedNode, SimulatedNode?> _met;
    private readonly List<Ambush> _waiting = [];

    /// <param name="cluster">The cluster.</param>
    /// <param name="met">Told which one's condition holds, where, and who else has a part in it. Must not touch the cluster before the next event.</param>
    public AmbushLookout(SimulatedCluster cluster, Action<Ambush, SimulatedNode, SimulatedNode?> met)
    {
        _cluster = cluster;
        _met = met;
        cluster.Lookouts = node => node is OsdNode or MonitorNode ? new Post(this, node) : null;
        foreach (SimulatedNode daemon in cluster.Daemons)
        {
            if (daemon.Loop is { } loop)
            {
                loop.Lookout = cluster.Lookouts(daemon);
            }
        }
    }

    public void Add(Ambush ambush) => _waiting.Add(ambush);

    /// <summary>Nobody waits any more.</summary>
    public void Clear() => _waiting.Clear();

    private void Look(SimulatedNode node)
    {
        for (int i = 0; i < _waiting.Count; i++)
        {
            Ambush ambush = _waiting[i];
            if (_cluster.Loop.Now > ambush.Until)
            {
                _waiting.RemoveAt(i--);
                _cluster.Coverage.Count("ambush.in_vain");
            }
            else if ((ambush.Only is null || ambush.Only == node) && ambush.Holds(node, out SimulatedNode? other))
            {
                _waiting.RemoveAt(i--);
                _met(ambush, node, other);
            }
        }
    }

    private void OnMessage(SimulatedNode node, PeerIdentity peer, AmbushCondition condition, MessageType type)
    {
        for (int i = 0; i < _waiting.Count; i++)
        {
            if (_waiting[i].IsMessage(condition, type))
            {
                Ambush ambush = _waiting[i];
                _waiting.RemoveAt(i--);
                _met(ambush, node, Find(peer));
            }
        }
    }

    private SimulatedNode? Find(PeerIdentity peer) => peer.Kind switch
    {
        EntityKind.Osd => Array.Find(_cluster.Osds, osd => (ulong)osd.Id.Value == peer.Id),
        EntityKind.Monitor => _cluster.Monitors.Find(monitor => monitor.Info.Id == peer.Id),
        _ => null,
    };

    private sealed class Post(AmbushLookout lookout, SimulatedNode node) : ILookout
    {
        public void OnEvent()
        {
            if (lookout._waiting.Count > 0 && node.IsRunning)
            {
                lookout.Look(node);
            }
        }

        public void OnReceived(PeerIdentity peer, MessageType type)
        {
            if (lookout._waiting.Count > 0 && node.IsRunning)
            {
                lookout.OnMessage(node, peer, AmbushCondition.Received, type);
                lookout.Look(node);
            }
        }

        public void OnSent(PeerIdentity peer, MessageType type)
        {
            if (lookout._waiting.Count > 0 && node.IsRunning)
            {
                lookout.OnMessage(node, peer, AmbushCondition.Sent, type);
            }
        }
    }
}
