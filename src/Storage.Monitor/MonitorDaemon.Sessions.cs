using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Monitor.Sessions;
using Storage.Rpc;
using AdminRequest = Storage.Rpc.Admin.AdminRequest;
using ChangeReply = Storage.Rpc.Admin.ChangeReply;

namespace Storage.Monitor;

// Connections: maps to whoever subscribes, and what OSDs say to the leader.
public sealed partial class MonitorDaemon
{
    private const int MostUpdateBytes = 1 << 20;
    private readonly HashSet<NodeSession> _sessions = [];
    private readonly Dictionary<ulong, NodeSession> _osdSessions = [];
    private readonly Queue<(TimeSpan At, MonitorForward Message)> _held = new();
    private readonly List<(Epoch From, Epoch To, byte[] Body)> _updates = [];
    private long _heldBytes;

    internal void OnPeerOpened(MonitorPeer peer)
    {
        if (peer.Info.Id == _raft!.Leader.Value)
        {
            FlushHeld();
        }
    }

    internal void OnPeerClosed(MonitorPeer peer)
    {
        _raft!.ReportUnreachable(new Consensus.NodeId(peer.Info.Id));
        ResendAdminCalls(peer.Info.Id);
        SchedulePump();
    }

    // Nobody listens where it should: its process is dead, and there is no need to wait until its silence says so.
    internal void OnPeerRefused(MonitorPeer peer)
    {
        _raft!.ReportDead(new Consensus.NodeId(peer.Info.Id));
        SchedulePump();
    }

    internal void OnPeerReply(MonitorPeer peer, MessageType type, ReadOnlySpan<byte> body)
    {
        if (_isStopped)
        {
            return;
        }

        if (type == MessageType.Raft)
        {
            OnRaftMessage(new PeerIdentity(EntityKind.Monitor, peer.Info.Id, 0), body);
        }
        else if (type == MessageType.MonitorRemoved)
        {
            OnRemoved(body);
        }
        else if (type == MessageType.AdminReply)
        {
            OnAdminReply(AdminReplyMessage.Decode(body));
        }
        else if (type == MessageType.MonitorClockReply)
        {
            OnClock(peer.Info.Id, body);
        }
    }

    internal void OnSessionOpened(NodeSession session)
    {
        _sessions.Add(session);
        if (session.Peer.Kind == EntityKind.Osd)
        {
            _osdSessions[session.Peer.Id] = session;
        }
    }

    internal void OnSessionDrained(NodeSession session) => SendMap(session);

    internal void OnSessionClosed(NodeSession session, CloseReason reason)
    {
        _sessions.Remove(session);
        if (session.Peer.Kind != EntityKind.Osd || _isStopped)
        {
            return;
        }

        if (_osdSessions.TryGetValue(session.Peer.Id, out NodeSession? newest) && newest == session)
        {
            _osdSessions.Remove(session.Peer.Id);
            if (reason == CloseReason.Reset)
            {
                ProbeOsd(new OsdId((int)session.Peer.Id));
            }
        }
    }

    internal void OnSessionMessage(NodeSession session, MessageType type, ReadOnlySpan<byte> body)
    {
        if (_isStopped)
        {
            return;
        }

        switch (type)
        {
            case MessageType.Raft:
                OnRaftMessage(session.Peer, body);
                break;
            case MessageType.MonitorForward when session.Peer.Kind == EntityKind.Monitor:
                Submit(MonitorForward.Decode(body), mayForward: false);
                break;
            case MessageType.AdminRequest when session.Peer.Kind == EntityKind.Monitor:
                OnForwardedAdmin(session, AdminRequestMessage.Decode(body));
                break;
            case MessageType.MonitorClock when session.Peer.Kind == EntityKind.Monitor:
                AnswerClock(session, body);
                break;
            case MessageType.MapSubscribe:
                session.IsSubscribed = true;
                session.Sent = MapSubscribe.Decode(body).Have;
                SendMap(session);
                break;
            case MessageType.MonitorPing:
                // A monitor that is out of touch (cut off, removed, not taken in yet) is no use to anybody: others may be.
                if (IsInTouch)
                {
                    session.Connection?.Send(MessageType.MonitorPong, [1]);
                }

                break;
            case MessageType.NewestEpoch:
                TellNewestEpoch(session, body);
                break;
            case MessageType.OsdBoot or MessageType.OsdFailure or MessageType.OsdAlive or MessageType.PgTempRequest
                or MessageType.OsdStatistics or MessageType.OsdStopping when session.Peer.Kind == EntityKind.Osd:
                Submit(new MonitorForward(session.Peer, type, body.ToArray()), mayForward: true);
                break;
            case MessageType.PgCommandReply when session.Peer.Kind == EntityKind.Osd:
                OnPgCommandReply(body);
                break;
            case MessageType.PgQueryReply when session.Peer.Kind == EntityKind.Osd:
                OnPgQueryReply(body);
                break;
            default:
                throw new MalformedDataException($"{session.Peer} sent message 0x{(ushort)type:x} to a monitor");
        }
    }

    // Monitors that the map does not name too: who was away for long knows none of those that came since, and one that was removed is told.
    private NodeSession? Accept(IConnection connection) => _isStopped ? null : new NodeSession(this, connection.Peer);

    private void Submit(MonitorForward message, bool mayForward)
    {
        if (_leader.IsLeading)
        {
            Handle(message);
            SchedulePump();
        }
        else if (mayForward && !TryForward(message))
        {
            Hold(message);
        }
        else if (!mayForward && _raft!.Role == Consensus.RaftRole.Leader)
        {
            Hold(message); // elected, and about to lead
        }
    }

    private bool TryForward(MonitorForward message)
    {
        if (!_peers.TryGetValue(_raft!.Leader.Value, out MonitorPeer? leader) || !leader.IsOpen)
        {
            return false;
        }

        _writer.Clear();
        message.Encode(_writer);
        return leader.TrySend(MessageType.MonitorForward, _writer.WrittenSpan);
    }

    private void Hold(MonitorForward message)
    {
        if (message.Type == MessageType.OsdStatistics)
        {
            return; // the next one comes by itself
        }

        _held.Enqueue((_loop.Now, message));
        _heldBytes += message.Body.Length;
        DropHeld();
    }

    private void DropHeld()
    {
        if (_leader.IsLeading)
        {
            FlushHeld();
        }

        while (_held.TryPeek(out (TimeSpan At, MonitorForward Message) oldest)
            && (_heldBytes > _options.ForwardHoldBytes || _loop.Now - oldest.At > _options.ForwardHold))
        {
            _held.Dequeue();
            _heldBytes -= oldest.Message.Body.Length;
            _log.LogWarning("mon.{Name}: no leader, dropped {Type} of {Origin}", Name, oldest.Message.Type, oldest.Message.Origin);
        }
    }

    private void FlushHeld()
    {
        while (_held.TryPeek(out (TimeSpan At, MonitorForward Message) oldest))
        {
            if (_leader.IsLeading)
            {
                Handle(oldest.Message);
            }
            else if (!TryForward(oldest.Message))
            {
                return;
            }

            _held.Dequeue();
            _heldBytes -= oldest.Message.Body.Length;
        }

        SchedulePump();
    }

    private void Handle(MonitorForward message)
    {
        try
        {
            HandleWellFormed(message);
        }
        catch (MalformedDataException e)
        {
            _log.LogWarning("mon.{Name}: {Origin} sent a malformed {Type}: {Reason}", Name, message.Origin, message.Type, e.Message);
        }
    }

    private void HandleWellFormed(MonitorForward message)
    {
        var sender = new OsdId((int)message.Origin.Id);
        ReadOnlySpan<byte> body = message.Body.Span;
        switch (message.Type)
        {
            case MessageType.OsdBoot when OsdBoot.Decode(body) is var boot && boot.Osd == sender:
                _leader.HandleBoot(boot, _loop.Now);
                break;
            case MessageType.OsdFailure:
                _leader.HandleFailure(message.Origin.Kind == EntityKind.Osd ? sender : OsdId.None, OsdFailure.Decode(body), _loop.Now);
                break;
            case MessageType.OsdAlive when OsdAlive.Decode(body) is var alive && alive.Osd == sender:
                _leader.HandleAlive(alive, _loop.Now);
                break;
            case MessageType.PgTempRequest when PgTempRequest.Decode(body) is var request && request.Osd == sender:
                _leader.HandlePgTemp(request);
                break;
            case MessageType.OsdStatistics when OsdStatistics.Decode(body) is var statistics && statistics.Osd == sender:
                _leader.HandleStatistics(statistics, _loop.Now);
                break;
            case MessageType.OsdStopping:
                var reader = new WireReader(body);
                if (reader.ReadInt32() == sender.Value)
                {
                    _leader.HandleStopping(sender, message.Origin.Instance);
                }

                break;
            default:
                _log.LogWarning("mon.{Name}: {Origin} sent {Type} in the name of another OSD", Name, message.Origin, message.Type);
                break;
        }
    }

    private void PublishMap()
    {
        _updates.Clear();
        foreach (NodeSession session in _sessions)
        {
            SendMap(session);
        }
    }

    // Whoever has no map yet takes the first one for the truth, and would report pools as missing that are younger. A newcomer that catches up has only
    // maps from before its time; once it has a vote it has caught up.
    private bool IsCatchingUp => _state.Map is null || !_raft!.Configuration.IsVoter(new Consensus.NodeId(_options.Id));

    // Whoever is asked to stay here must be able to get a map and to reach the leader.
    private bool IsInTouch => !_raft!.Leader.IsNone && !IsCatchingUp;

    private void TellNewestEpoch(NodeSession session, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(1, "question for the newest epoch");
        TellNewestEpoch(session, reader.ReadUInt64());
    }

    // Without a quorum there is no answer; the client asks somebody else meanwhile.
    private void TellNewestEpoch(NodeSession session, ulong question)
    {
        if (_isStopped || session.Connection is not { IsAlive: true })
        {
            return;
        }

        Begin(new AdminCall(new AdminRequest(NewestEpochMethod, default), (status, reply) =>
        {
            if (status.Code == StatusCode.Ok)
            {
                var writer = new WireWriter(16);
                writer.WriteByte(1);
                writer.WriteUInt64(question);
                writer.WriteUInt32(ChangeReply.Parser.ParseFrom(reply.Span).Epoch);
                session.Connection?.Send(MessageType.NewestEpochReply, writer.WrittenSpan);
            }
            else
            {
                TellNewestEpoch(session, question);
            }
        }));
    }

    private void SendMap(NodeSession session)
    {
        if (session.Sent == Epoch.None && IsCatchingUp)
        {
            return;
        }

        while (session.IsSubscribed && session.Connection is { IsAlive: true } connection && session.Sent < _state.Epoch
            && connection.QueuedBytes <= connection.HighWatermark)
        {
            (Epoch _, Epoch to, byte[] body) = UpdateFrom(session.Sent);
            connection.Send(MessageType.MapUpdate, body);
            session.Sent = to;
        }
    }

    /// <summary>One message's worth of changes after an epoch; packed once for all who are at that epoch.</summary>
    private (Epoch From, Epoch To, byte[] Body) UpdateFrom(Epoch have)
    {
        foreach ((Epoch From, Epoch To, byte[] Body) known in _updates)
        {
            if (known.From == have)
            {
                return known;
            }
        }

        MapUpdate update = _state.ChangesSince(have)!;
        Epoch to = _state.Epoch;
        if (update.Full.IsEmpty)
        {
            int taken = 0;
            for (long bytes = 0; taken < update.Increments.Count && (taken == 0 || bytes + update.Increments[taken].Length <= MostUpdateBytes); taken++)
            {
                bytes += update.Increments[taken].Length;
            }

            update = update with { Increments = [.. update.Increments.Take(taken)] };
            to = new Epoch(have.Value + (uint)taken);
        }

        var writer = new WireWriter(1024 + update.Full.Length);
        update.Encode(writer);
        (Epoch, Epoch, byte[]) made = (have, to, writer.ToArray());
        if (_updates.Count < 16)
        {
            _updates.Add(made);
        }

        return made;
    }

    /// <summary>An OSD's connection broke: knocks at its door. If nobody answers there its process is dead, and no peer has to notice first.</summary>
    private void ProbeOsd(OsdId osd)
    {
        if (_state.Map?.FindOsd(osd) is { IsUp: true } info)
        {
            _transport.Connect(info.Address, new OsdProbe(this, info));
        }
    }

    private sealed class OsdProbe(MonitorDaemon daemon, OsdInfo osd) : IConnectionHandler
    {
        public void OnOpened(IConnection connection) => connection.Close();

        public void OnMessage(IConnection connection, in Message message)
        {
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
            if (reason == CloseReason.Refused && !daemon._isStopped)
            {
                var writer = new WireWriter();
                new OsdFailure(osd.Id, osd.UpFrom, daemon._state.Epoch, Refused: true, SilentMilliseconds: 0, Withdrawn: false).Encode(writer);
                daemon.Submit(
                    new MonitorForward(new PeerIdentity(EntityKind.Monitor, daemon.Id, 0), MessageType.OsdFailure, writer.ToArray()), mayForward: true);
            }
        }
    }
}
