using Storage.Cluster;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Osd;

// Signs of life and leases have a connection of their own to every peer: on the one for data they would stand behind
// megabytes, and a busy OSD would look like a dead one (docs/decisions/0010).
public sealed partial class OsdDaemon
{
    // Where peers' lease requests come from; answers go back there.
    private readonly Dictionary<OsdId, IConnection> _inboundPulses = [];

    private static bool IsPulse(MessageType type) => type is Protocol.OsdMessageType.Lease or Protocol.OsdMessageType.LeaseReply;

    private sealed class Pulse(OsdDaemon daemon, Peer peer) : IConnectionHandler
    {
        private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(300);

        private IConnection? _connection;
        private bool _closed;

        public bool IsOpen { get; private set; }

        public void Connect()
        {
            if (daemon._running && !_closed && _connection is null)
            {
                _connection = daemon._transport.Connect(peer.Address, this);
            }
        }

        public bool IsOn(IConnection connection) => ReferenceEquals(connection, _connection);

        public void Send(MessageType type, ReadOnlySpan<byte> body) => _connection!.Send(type, body);

        public void Close()
        {
            _closed = true;
            IsOpen = false;
            IConnection? connection = _connection;
            _connection = null;
            connection?.Close();
        }

        public void OnOpened(IConnection connection)
        {
            if (!ReferenceEquals(connection, _connection))
            {
                return;
            }

            PeerIdentity identity = connection.Peer;
            if (identity.Kind != EntityKind.Osd || identity.Id != (ulong)peer.Osd.Value || identity.Instance != peer.Instance)
            {
                connection.Close(); // the connection for data finds out what that means
                return;
            }

            IsOpen = true;
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (ReferenceEquals(connection, _connection) && IsOpen)
            {
                daemon.HandlePeerMessage(connection, in message);
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
            if (!ReferenceEquals(connection, _connection))
            {
                return;
            }

            _connection = null;
            IsOpen = false;
            if (daemon._running && !_closed)
            {
                daemon._loop.Schedule(s_retry, static state => ((Pulse)state!).Connect(), this);
            }
        }
    }
}
