using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Monitor.Sessions;

/// <summary>A connection that somebody dialled: an OSD, a client, or another monitor.</summary>
internal sealed class NodeSession(MonitorDaemon daemon, PeerIdentity peer) : IConnectionHandler
{
    public IConnection? Connection { get; private set; }

    public PeerIdentity Peer { get; } = peer;

    /// <summary>Wants map changes.</summary>
    public bool IsSubscribed { get; set; }

    /// <summary>The newest epoch sent to it.</summary>
    public Epoch Sent { get; set; }

    public void OnOpened(IConnection connection)
    {
        Connection = connection;
        daemon.OnSessionOpened(this);
    }

    public void OnMessage(IConnection connection, in Message message)
    {
        Connection = connection;
        daemon.OnSessionMessage(this, message.Type, message.Body);
    }

    public void OnDrained(IConnection connection) => daemon.OnSessionDrained(this);

    public void OnClosed(IConnection connection, CloseReason reason) => daemon.OnSessionClosed(this, reason);
}
