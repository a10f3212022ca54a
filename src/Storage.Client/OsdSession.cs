using Storage.Cluster;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>The connection to one life of an OSD; dials again when it breaks, until the map says that this life is over.</summary>
internal sealed class OsdSession(ObjectClient client, OsdInfo osd) : IConnectionHandler
{
    private IConnection? _connection;
    private ILoopTimer? _retry;
    private TimeSpan _pause;
    private bool _congested;
    private bool _retired;

    public OsdId Osd => osd.Id;

    /// <summary>Whether it is time to send: connected or dialling, and the queue is not full.</summary>
    public bool CanSend => _connection is not null && !_congested;

    /// <summary>Whether the map still shows this life of the OSD.</summary>
    public bool IsCurrent(ClusterMap map) =>
        map.FindOsd(osd.Id) is { IsUp: true } now && now.Instance == osd.Instance && now.UpFrom == osd.UpFrom && now.Address == osd.Address;

    public void Dial()
    {
        _retry = null;
        _congested = false;
        _connection = client.Transport.Connect(osd.Address, this);
    }

    public void Send(ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        _connection!.Send(MessageType.Operation, body, data);
        _congested = _connection.QueuedBytes > _connection.HighWatermark;
    }

    public void Retire()
    {
        _retired = true;
        _retry?.Cancel();
        IConnection? connection = _connection;
        _connection = null;
        connection?.Close();
    }

    public void OnOpened(IConnection connection)
    {
        PeerIdentity peer = connection.Peer;
        if (ReferenceEquals(connection, _connection) && (peer.Kind != EntityKind.Osd || peer.Id != (ulong)osd.Id.Value))
        {
            // Another daemon took the address over; the map will say so.
            _connection = null;
            connection.Close();
            Lost();
        }
    }

    public void OnMessage(IConnection connection, in Message message)
    {
        if (!ReferenceEquals(connection, _connection))
        {
            return;
        }

        _pause = TimeSpan.Zero;
        switch (message.Type)
        {
            case MessageType.OperationReply:
                client.OnReply(this, OperationReply.Decode(message.Body), message.Data);
                break;
            case MessageType.MapUpdate:
                client.OnMapUpdate(MapUpdate.Decode(message.Body));
                break;
            default:
                break; // reserved for later versions
        }
    }

    public void OnDrained(IConnection connection)
    {
        if (ReferenceEquals(connection, _connection) && _congested)
        {
            _congested = false;
            client.SendWaiting();
        }
    }

    public void OnClosed(IConnection connection, CloseReason reason)
    {
        if (ReferenceEquals(connection, _connection))
        {
            _connection = null;
            Lost();
        }
    }

    private void Lost()
    {
        client.OnSessionLost(this);
        if (_retired)
        {
            return;
        }

        _pause = client.NextPause(_pause);
        _retry = client.Loop.Schedule(_pause, static s => ((OsdSession)s!).Retry(), this);
    }

    private void Retry()
    {
        if (client.IsWanted(this))
        {
            Dial();
            client.SendWaiting();
        }
        else
        {
            client.Forget(this);
        }
    }
}
