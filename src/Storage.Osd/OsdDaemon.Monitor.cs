using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// The connection to a monitor, whichever answers.
public sealed partial class OsdDaemon
{
    private readonly MonitorLink _monitor;
    private bool _statisticsDue;
    private TimeSpan _statisticsAt = TimeSpan.FromDays(-1);

    private void TickStatistics()
    {
        if (IsUp && (_statisticsDue || _loop.Now - _statisticsAt >= _options.StatisticsInterval))
        {
            SendStatistics();
        }
    }

    private void SendStatistics()
    {
        _statisticsDue = false;
        _statisticsAt = _loop.Now;
        List<PgStatistics> groups = [.. _groups.Values.Where(group => group.IsPrimary).Select(group => group.Statistics())];
        StoreUsage usage = new(_store.Usage.TotalBytes, _store.Usage.UsedBytes);
        (int slow, string slowest) = SlowOperations();
        _control.Clear();
        new OsdStatistics(
            Id, Map!.Epoch, usage.Total, usage.Used, _counters.ReadBytes, _counters.WriteBytes, _counters.Reads, _counters.Writes,
            _counters.RecoveryBytes, _counters.ReadErrors, _counters.RepairedErrors, groups, slow, slowest) { Compression = CompressionFigures() }.Encode(_control);
        _monitor.Send(MessageType.OsdStatistics, _control.WrittenSpan);
    }

    private readonly record struct StoreUsage(long Total, long Used);

    private void AnswerQuery(IConnection connection, ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(1, "PG query");
        ulong request = reader.ReadUInt64();
        var id = new PgId(reader.ReadInt64(), reader.ReadUInt32());
        string? json = QueryJson(id);
        _control.Clear();
        _control.WriteByte(1);
        _control.WriteUInt64(request);
        _control.WriteBoolean(json is not null);
        _control.WriteString(json ?? "");
        connection.Send(MessageType.PgQueryReply, _control.WrittenSpan);
    }

    private sealed class MonitorLink(OsdDaemon daemon) : IConnectionHandler
    {
        private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(200);
        private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(5);
        private static readonly TimeSpan s_longestBootDelay = TimeSpan.FromSeconds(30);
        private static readonly TimeSpan s_longestProof = TimeSpan.FromSeconds(30);

        private IConnection? _connection;
        private bool _open;
        private int _next = -1;
        private TimeSpan _askedAt = TimeSpan.MaxValue;

        // A monitor that hangs or was cut off must be left before the grace of an OSD that went with it has passed: reports to it are lost.
        private LifeWatch _life = new(pingAfter: TimeSpan.FromSeconds(1), silence: TimeSpan.FromSeconds(2));

        private TimeSpan _bootAt;
        private TimeSpan _bootDelay;
        private TimeSpan _lastBoot = TimeSpan.FromDays(-1);
        private TimeSpan? _provingSince;

        /// <summary>Whether this OSD was marked down while it runs and has to find out whether others hear it. Up again while they do not,
        /// it would be marked down again after another grace, during which its groups stand still.</summary>
        public bool IsProving => _provingSince is not null && !daemon.IsUp;

        public void Connect()
        {
            if (!daemon._running)
            {
                return;
            }

            // Those of the map first: the ones that the configuration names may have been replaced.
            List<NodeAddress> addresses = [.. (daemon.Map?.Monitors.Select(monitor => monitor.Address) ?? []).Concat(daemon._options.MonitorAddresses)
                .Where(address => !address.IsNone).Distinct()];
            _next = _next < 0 ? daemon._random.Next(addresses.Count) : (_next + 1) % addresses.Count;
            _open = false;
            _life.Asked(daemon._loop.Now);
            _connection = daemon._transport.Connect(addresses[_next], this);
        }

        public void Close()
        {
            IConnection? connection = _connection;
            _connection = null;
            _open = false;
            connection?.Close();
        }

        public void Send(MessageType type, ReadOnlySpan<byte> body)
        {
            if (_open)
            {
                _connection!.Send(type, body);
            }
        }

        /// <summary>Sends a request that a new map answers; a monitor that gives none is left.</summary>
        public void Ask(MessageType type, ReadOnlySpan<byte> body)
        {
            _askedAt = _askedAt == TimeSpan.MaxValue ? daemon._loop.Now : _askedAt;
            Send(type, body);
        }

        public void Subscribe()
        {
            daemon._control.Clear();
            new MapSubscribe(daemon.Map?.Epoch ?? Epoch.None).Encode(daemon._control);
            Send(MessageType.MapSubscribe, daemon._control.WrittenSpan);
        }

        /// <summary>Asks to be marked up. One who is marked down again and again waits longer each time.</summary>
        public void Boot(bool again)
        {
            if (again)
            {
                _bootDelay = daemon._loop.Now - _lastBoot > s_longestBootDelay * 4
                    ? TimeSpan.Zero
                    : TimeSpan.FromSeconds(Math.Min(s_longestBootDelay.TotalSeconds, (_bootDelay.TotalSeconds * 2) + 0.5));
                _bootAt = daemon._loop.Now + _bootDelay;
                _provingSince = daemon._loop.Now;
                foreach (Peer peer in daemon._peers.Values)
                {
                    peer.Heartbeat(daemon._loop.Now, TimeSpan.Zero);
                }
            }

            TryBoot();
        }

        /// <summary>A peer has answered a ping.</summary>
        public void OnAnswer()
        {
            if (IsProving && _lastBoot < _provingSince)
            {
                TryBoot();
            }
        }

        public void Tick()
        {
            TimeSpan now = daemon._loop.Now;
            if (!daemon.IsUp && !daemon._stopping && now - _lastBoot >= TimeSpan.FromSeconds(1))
            {
                TryBoot();
            }

            if (_open && _life.IsPingDue(now))
            {
                _life.Asked(now);
                Send(MessageType.MonitorPing, [1]);
            }

            bool gaveNoMap = _open && _askedAt != TimeSpan.MaxValue && now - _askedAt > s_patience;
            if (gaveNoMap || (_connection is not null && _life.IsSilent(now)))
            {
                _askedAt = TimeSpan.MaxValue;
                IConnection silent = _connection!;
                Connect();
                silent.Close();
            }
        }

        public void OnOpened(IConnection connection)
        {
            if (!ReferenceEquals(connection, _connection))
            {
                return;
            }

            if (connection.Peer.Kind != EntityKind.Monitor)
            {
                connection.Close();
                return;
            }

            _open = true;
            _life.Heard(daemon._loop.Now);
            Subscribe();
            TryBoot();
            daemon._statisticsDue = true;
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (!daemon._running)
            {
                return;
            }

            if (ReferenceEquals(connection, _connection))
            {
                _life.Heard(daemon._loop.Now);
            }

            switch (message.Type)
            {
                case MessageType.MonitorPong:
                    break;
                case MessageType.MapUpdate:
                    _askedAt = TimeSpan.MaxValue;
                    daemon.HandleMapUpdate(MapUpdate.Decode(message.Body));
                    break;
                case MessageType.PgQuery:
                    daemon.AnswerQuery(connection, message.Body);
                    break;
                case MessageType.PgCommand:
                    daemon.AnswerCommand(connection, message.Body);
                    break;
                default:
                    throw new MalformedDataException($"message {(ushort)message.Type:x} from a monitor");
            }
        }

        public void OnDrained(IConnection connection)
        {
        }

        public void OnClosed(IConnection connection, CloseReason reason)
        {
            if (ReferenceEquals(connection, _connection) && daemon._running)
            {
                _open = false;
                _connection = null;
                daemon._loop.Schedule(s_retry, static state => ((MonitorLink)state!).Reconnect(), this);
            }
        }

        private void Reconnect()
        {
            if (_connection is null)
            {
                Connect();
            }
        }

        private void TryBoot()
        {
            if (!_open || daemon.IsUp || daemon._stopping || daemon.Map is null)
            {
                return;
            }

            if (daemon.MustLeave)
            {
                _lastBoot = daemon._loop.Now;
                daemon._control.Clear();
                daemon._control.WriteInt32(daemon.Id.Value);
                daemon._control.WriteUInt32(daemon.Map.Epoch.Value);
                Ask(MessageType.OsdStopping, daemon._control.WrittenSpan);
                return;
            }

            if (daemon._loop.Now < _bootAt)
            {
                return;
            }

            // Peers that hang, and are up in the map all the same, must not keep this OSD down for good.
            if (_provingSince is { } since && daemon._loop.Now - since < s_longestProof && !daemon.PeersAnswer(since))
            {
                return;
            }

            _lastBoot = daemon._loop.Now;
            daemon._control.Clear();
            new OsdBoot(daemon.Id, daemon._identity!.Uuid, daemon._options.Instance, daemon.Address, daemon.Map.Epoch).Encode(daemon._control);
            Ask(MessageType.OsdBoot, daemon._control.WrittenSpan);
        }
    }
}
