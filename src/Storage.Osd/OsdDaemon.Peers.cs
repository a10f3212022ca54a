using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// Connections to other OSDs and heartbeats. Requests go out on the connection that this OSD made, answers go back on the one
// that the requester made; whatever a broken connection took with it is asked again by whoever asked.
public sealed partial class OsdDaemon
{
    private const int ExtraHeartbeatPeers = 2;
    private const int MostHeldMessages = 100_000;

    private readonly OsdTable<Peer> _peers = new();
    private readonly Dictionary<OsdId, IConnection> _inbound = [];
    private readonly Dictionary<OsdId, Epoch> _knownDead = [];
    private readonly HashSet<IConnection> _accepted = [];
    private List<HeldMessage> _heldMessages = [];
    private TimeSpan _lastHeartbeat;

    // A message of a sender that has a newer map than we do.
    private readonly record struct HeldMessage(IConnection Connection, MessageType Type, Epoch Epoch, byte[] Body, BufferSegment Data);

    private Peer? FindPeer(OsdId osd)
    {
        if (_peers.TryGetValue(osd, out Peer? peer))
        {
            return peer;
        }

        if (osd == Id || Map?.FindOsd(osd) is not { IsUp: true } record)
        {
            return null;
        }

        peer = new Peer(this, record);
        _peers.Add(osd, peer);
        peer.Connect();
        return peer;
    }

    private void UpdatePeers()
    {
        foreach (Peer peer in _peers.Values.ToArray())
        {
            if (Map!.FindOsd(peer.Osd) is not { IsUp: true } record || record.Instance != peer.Instance || record.Address != peer.Address || record.UpFrom != peer.UpFrom)
            {
                _peers.Remove(peer.Osd);
                peer.Retire();
            }
        }

        if (!IsUp && !_monitor.IsProving)
        {
            return;
        }

        // While it is not up its groups do not act; a few peers tell whether they could.
        foreach (PlacementGroup group in IsUp ? _groups.Values : Enumerable.Empty<PlacementGroup>())
        {
            foreach (OsdId osd in group.Up)
            {
                FindPeer(osd);
            }

            foreach (OsdId osd in group.Acting)
            {
                FindPeer(osd);
            }
        }

        // A few more, so that every OSD is watched even without PGs.
        int extra = 0;
        for (int step = 1; step < Map!.MaxOsd && extra < ExtraHeartbeatPeers; step++)
        {
            var osd = new OsdId((Id.Value + step) % Map.MaxOsd);
            extra += FindPeer(osd) is not null ? 1 : 0;
        }

        ChooseWatched();
    }

    // Few peers are watched, however many PGs there are. Which ones is a matter of both numbers, so that every OSD is watched by
    // about as many, of all failure domains; the next ones in the ring always are.
    private void ChooseWatched()
    {
        IEnumerable<Peer> chosen = _peers.Values;
        if (_peers.Count > _options.HeartbeatPeers)
        {
            chosen = _peers.Values.OrderBy(peer => Distance(peer.Osd)).ThenBy(peer => Mix((uint)Id.Value, (uint)peer.Osd.Value)).Take(_options.HeartbeatPeers);
        }

        var watched = chosen.Select(peer => peer.Osd).ToHashSet();
        foreach (Peer peer in _peers.Values)
        {
            peer.IsWatched = watched.Contains(peer.Osd);
        }

        // The ring's next two come first, all others are equal.
        int Distance(OsdId osd) => Math.Min(ExtraHeartbeatPeers + 1, (osd.Value - Id.Value + Map!.MaxOsd) % Map.MaxOsd);

        static uint Mix(uint a, uint b)
        {
            uint x = (a * 0x9E3779B1u) ^ (b * 0x85EBCA77u);
            x ^= x >> 15;
            x *= 0x2C1B3C6Du;
            return x ^ (x >> 12);
        }
    }

    private void TickHeartbeats()
    {
        TimeSpan now = _loop.Now, since = now - _lastHeartbeat;
        if (since < _options.HeartbeatInterval || !(IsUp || _monitor.IsProving))
        {
            return;
        }

        _lastHeartbeat = now;
        // Who was stopped himself must not take his own absence for others' silence.
        TimeSpan pause = since > _options.HeartbeatInterval * 3 ? since : TimeSpan.Zero;
        foreach (Peer peer in _peers.Values.ToArray())
        {
            peer.Heartbeat(now, pause);
        }
    }

    // Whether others answer: at least half of the peers whose processes are there have answered a ping sent at or after a time.
    // Nobody needs to where nobody else is up.
    private bool PeersAnswer(TimeSpan since)
    {
        int asked = 0, answered = 0;
        foreach (Peer peer in _peers.Values)
        {
            asked += peer.IsRefused ? 0 : 1;
            answered += !peer.IsRefused && peer.AnsweredAt >= since ? 1 : 0;
        }

        return answered * 2 >= asked;
    }

    private void OnKnownDead(OsdId osd, Epoch upFrom)
    {
        if (!_knownDead.TryGetValue(osd, out Epoch known) || upFrom > known)
        {
            _knownDead[osd] = upFrom;
        }
    }

    private IConnectionHandler? Accept(IConnection connection)
    {
        if (!_running)
        {
            return null;
        }

        _accepted.Add(connection);
        return connection.Peer.Kind switch
        {
            EntityKind.Osd => new Inbound(this),
            EntityKind.Client => new ClientSession(this, connection),
            EntityKind.Monitor => new Inbound(this),
            _ => null,
        };
    }

    private void CloseAll()
    {
        _monitor.Close();
        foreach (Peer peer in _peers.Values)
        {
            peer.Close();
        }

        _peers.Clear();
        foreach (IConnection connection in _accepted.ToArray())
        {
            connection.Close();
        }

        _accepted.Clear();
        _inbound.Clear();
        _inboundPulses.Clear();
        foreach (HeldMessage held in _heldMessages)
        {
            held.Data.Buffer?.Release();
        }

        _heldMessages.Clear();
        foreach (ClientOperation operation in _heldOperations)
        {
            End(operation);
        }

        _heldOperations.Clear();
    }

    private void SendMaps(IConnection connection, Epoch have)
    {
        if (Map is not null && have < Map.Epoch)
        {
            _control.Clear();
            _maps.UpdateFor(have).Encode(_control);
            connection.Send(MessageType.MapUpdate, _control.WrittenSpan);
        }
    }

    private void AskForMaps(IConnection connection)
    {
        _control.Clear();
        new MapSubscribe(Map?.Epoch ?? Epoch.None).Encode(_control);
        connection.Send(MessageType.MapSubscribe, _control.WrittenSpan);
    }

    private void HandlePeerMessage(IConnection connection, in Message message)
    {
        if (!_running)
        {
            return;
        }

        switch (message.Type)
        {
            case MessageType.MapUpdate:
                HandleMapUpdate(MapUpdate.Decode(message.Body), connection.Peer.Kind == EntityKind.Monitor);
                return;
            case MessageType.MapSubscribe:
                SendMaps(connection, MapSubscribe.Decode(message.Body).Have);
                return;
            case MessageType.PgQuery when connection.Peer.Kind == EntityKind.Monitor:
                AnswerQuery(connection, message.Body);
                return;
            case MessageType.PgCommand when connection.Peer.Kind == EntityKind.Monitor:
                AnswerCommand(connection, message.Body);
                return;
            default:
                break;
        }

        if (connection.Peer.Kind != EntityKind.Osd)
        {
            throw new MalformedDataException($"message {(ushort)message.Type:x} from {connection.Peer}");
        }

        // What comes on the connection that the peer made does not count: it would hide that the peer hears nothing.
        if (_peers.TryGetValue(new OsdId((int)connection.Peer.Id), out Peer? peer) && peer.IsOn(connection))
        {
            peer.Heard();
        }

        if (message.Type is OsdMessageType.Ping or OsdMessageType.PingReply)
        {
            HandlePing(connection, in message);
        }
        else if (OsdMessageType.IsOfGroup(message.Type))
        {
            HandleGroupMessage(connection, message.Type, message.Body, message.Data);
        }
        else
        {
            throw new MalformedDataException($"message {(ushort)message.Type:x} from {connection.Peer}");
        }
    }

    private void HandlePing(IConnection connection, in Message message)
    {
        var reader = new WireReader(message.Body);
        reader.ReadExactVersion(2, "ping");
        Epoch epoch = reader.ReadEpoch();
        long sent = reader.ReadInt64();
        TakeSpace(new OsdId((int)connection.Peer.Id), ref reader);
        if (message.Type == OsdMessageType.Ping)
        {
            _control.Clear();
            _control.WriteByte(2);
            _control.WriteUInt32((Map?.Epoch ?? Epoch.None).Value);
            _control.WriteInt64(sent);
            EncodeSpace(_control);
            connection.Send(OsdMessageType.PingReply, _control.WrittenSpan);
        }

        if (Map is null || epoch > Map.Epoch)
        {
            AskForMaps(connection);
        }
        else if (message.Type == OsdMessageType.Ping)
        {
            SendMaps(connection, epoch);
        }

        if (message.Type == OsdMessageType.PingReply && _peers.TryGetValue(new OsdId((int)connection.Peer.Id), out Peer? peer) && peer.IsOn(connection))
        {
            peer.Answered(TimeSpan.FromTicks(sent));
            _monitor.OnAnswer();
        }
    }

    private void HandleGroupMessage(IConnection connection, MessageType type, ReadOnlySpan<byte> body, BufferSegment data)
    {
        var reader = new WireReader(body);
        GroupHeader header = GroupHeader.Decode(ref reader);
        if (Map is null || header.Epoch > Map.Epoch || !IsUp)
        {
            Hold(connection, type, header.Epoch, body, data);
            return;
        }

        var from = new OsdId((int)connection.Peer.Id);
        if (Map.FindOsd(from) is not { IsUp: true } sender || sender.Instance != connection.Peer.Instance)
        {
            SendMaps(connection, header.Epoch);
            return; // an earlier life, or one that the map calls dead
        }

        if (header.Epoch < Map.Epoch)
        {
            SendMaps(connection, header.Epoch);
        }

        if (!Map.Contains(header.Group))
        {
            return;
        }

        if (!_groups.TryGetValue(header.Group, out PlacementGroup? group))
        {
            group = HandleForUnknownGroup(from, in header, type, reader);
        }

        if (group is not null && group.Accepts(from, in header, type))
        {
            group.HandleMessage(from, type, ref reader, data);
        }
    }

    // Only the primary may ask about, or begin, a copy that we do not have.
    private PlacementGroup? HandleForUnknownGroup(OsdId from, in GroupHeader header, MessageType type, WireReader reader)
    {
        if (Map!.Locate(header.Group).Primary != from)
        {
            return null;
        }

        if (type == OsdMessageType.InfoRequest)
        {
            var nothing = new PgHistory { Created = Map.FindPool(header.Group.Pool)!.Created, KnownFrom = Map.Epoch, SameIntervalSince = header.Interval, MapEpoch = Map.Epoch };
            PlacementGroup.AnswerInfo(this, header with { Epoch = Map.Epoch }, from, false, new PgInfo(), nothing, TimeSpan.Zero);
        }
        else if (type == OsdMessageType.Activate)
        {
            if (!IsPresentInterval(in header))
            {
                // A copy of an interval that is over would take part in no other one: it never sees the end of its own.
                _rarePaths.Reached(RarePath.ActivationOutdated);
                return null;
            }

            reader.ReadBoolean();
            reader.ReadEpoch();
            reader.ReadInt64();
            reader.ReadInt64();
            reader.ReadBoolean();
            PgHistory history = PgHistory.Decode(ref reader);
            history.SameIntervalSince = header.Interval;
            history.IntervalUncertain = false;
            history.MapEpoch = Map.Epoch;
            FinishRemoval(header.Group);
            PlacementGroup group = PlacementGroup.Create(this, header.Group, Map, history, complete: true);
            _groups.Add(header.Group, group);
            group.ApplyMap();
            return group;
        }

        return null;
    }

    // Whether the interval that a sender had in its map goes on in ours. Where our maps do not tell, it asks again once it has our map.
    private bool IsPresentInterval(in GroupHeader header)
    {
        for (Epoch epoch = header.Epoch; epoch < Map!.Epoch; epoch = epoch.Next)
        {
            if (_maps.MapAt(epoch) is not { } map || _maps.MapAt(epoch.Next) is not { } next || !map.Contains(header.Group) || !next.Contains(header.Group))
            {
                return false;
            }

            PgMapping mapping = map.Locate(header.Group);
            PoolInfo before = map.FindPool(header.Group.Pool)!, after = next.FindPool(header.Group.Pool)!;
            if (PlacementGroup.IntervalChanges(header.Group, map, next, before, after, mapping.Up, mapping.Acting, next.Locate(header.Group)))
            {
                return false;
            }
        }

        return true;
    }

    private void Hold(IConnection connection, MessageType type, Epoch epoch, ReadOnlySpan<byte> body, BufferSegment data)
    {
        if (_heldMessages.Count >= MostHeldMessages)
        {
            connection.Close(); // it sends again when it is back
            return;
        }

        data.Buffer?.Retain();
        _heldMessages.Add(new HeldMessage(connection, type, epoch, body.ToArray(), data));
        if (Map is null || epoch > Map.Epoch)
        {
            AskForMaps(connection);
        }
    }

    private void ReleaseHeld()
    {
        if (_heldMessages.Count > 0 && IsUp)
        {
            List<HeldMessage> held = _heldMessages;
            _heldMessages = [];
            foreach (HeldMessage message in held)
            {
                if (_running && message.Connection.IsAlive)
                {
                    try
                    {
                        HandleGroupMessage(message.Connection, message.Type, message.Body, message.Data);
                    }
                    catch (MalformedDataException)
                    {
                        message.Connection.Close(); // as the connection itself would have done
                    }
                }

                message.Data.Buffer?.Release();
            }
        }

        ReleaseHeldOperations();
    }

    private sealed class Inbound(OsdDaemon daemon) : IConnectionHandler
    {
        public void OnOpened(IConnection connection)
        {
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            // Answers go where requests come from. Not where a peer merely connected: it may only be looking whether we live.
            if (connection.Peer.Kind == EntityKind.Osd && OsdMessageType.IsOfGroup(message.Type))
            {
                (IsPulse(message.Type) ? daemon._inboundPulses : daemon._inbound)[new OsdId((int)connection.Peer.Id)] = connection;
            }

            daemon.HandlePeerMessage(connection, in message);
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
            daemon._accepted.Remove(connection);
            var osd = new OsdId((int)connection.Peer.Id);
            if (daemon._inbound.TryGetValue(osd, out IConnection? known) && ReferenceEquals(known, connection))
            {
                daemon._inbound.Remove(osd);
            }

            if (daemon._inboundPulses.TryGetValue(osd, out known) && ReferenceEquals(known, connection))
            {
                daemon._inboundPulses.Remove(osd);
            }
        }
    }
}
