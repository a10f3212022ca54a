using Storage.Cluster;
using Storage.Messaging;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

public sealed partial class OsdDaemon
{
    // One life of another OSD, and our connection to it.
    private sealed class Peer(OsdDaemon daemon, OsdInfo record) : IConnectionHandler
    {
        private static readonly TimeSpan s_retry = TimeSpan.FromMilliseconds(300);

        private Pulse? _pulse;
        private IConnection? _connection;
        private TimeSpan _dataHeardAt = daemon._loop.Now;
        private bool _isWatched;
        private TimeSpan _heardAt = daemon._loop.Now;
        private TimeSpan _slowest;
        private bool _reported;
        private bool _refused;
        private bool _retired;

        public OsdId Osd { get; } = record.Id;

        public ulong Instance { get; } = record.Instance;

        public NodeAddress Address { get; } = record.Address;

        public Epoch UpFrom { get; } = record.UpFrom;

        public bool IsOpen { get; private set; }

        /// <summary>Whether the last attempt to connect found no process.</summary>
        public bool IsRefused => _refused;

        /// <summary>When the latest ping that was answered had been sent.</summary>
        public TimeSpan AnsweredAt { get; private set; } = TimeSpan.MinValue;

        /// <summary>Whether this OSD pings it and reports its silence.</summary>
        public bool IsWatched
        {
            get => _isWatched;
            set
            {
                if (value && !_isWatched)
                {
                    _heardAt = daemon._loop.Now;
                }

                _isWatched = value;
            }
        }

        public void Connect()
        {
            if (daemon._running && _connection is null)
            {
                _connection = daemon._transport.Connect(Address, this);
                _pulse ??= new Pulse(daemon, this);
                _pulse.Connect();
            }
        }

        public void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
        {
            if (!IsOpen)
            {
                return; // all that is due is sent when it opens
            }

            if (IsPulse(type) && _pulse is { IsOpen: true })
            {
                _pulse.Send(type, body);
                return;
            }

            if (data.Length <= 1)
            {
                _connection!.Send(type, body, data.IsEmpty ? default : data[0]);
            }
            else
            {
                _connection!.Send(type, body, data);
            }
        }

        // Answers that take long at other times too are waited for longer: twice what the slowest of the last few took, on top.
        private TimeSpan Grace => daemon._options.HeartbeatGrace + TimeSpan.FromTicks(Math.Min(_slowest.Ticks * 2, daemon._options.HeartbeatGrace.Ticks));

        /// <summary>Whether a connection is one of those that we made.</summary>
        public bool IsOn(IConnection connection) => ReferenceEquals(connection, _connection) || _pulse?.IsOn(connection) == true;

        /// <summary>It has answered a ping that was sent then, on a connection that we made.</summary>
        public void Answered(TimeSpan sentAt)
        {
            AnsweredAt = AnsweredAt > sentAt ? AnsweredAt : sentAt;
            TimeSpan took = daemon._loop.Now - sentAt, faded = _slowest * 0.875;
            _slowest = took > faded ? took : faded;
        }

        public void Heard()
        {
            _heardAt = daemon._loop.Now;
            if (_reported && IsOpen)
            {
                _reported = false;
                Report(false, withdrawn: true);
            }
        }

        public void Heartbeat(TimeSpan now, TimeSpan pause)
        {
            _heardAt += pause;
            _dataHeardAt += pause;
            if (IsOpen)
            {
                daemon._control.Clear();
                daemon._control.WriteByte(2);
                daemon._control.WriteUInt32(daemon.Map!.Epoch.Value);
                daemon._control.WriteInt64(now.Ticks);
                daemon.EncodeSpace(daemon._control);

                // Also where data goes, to whoever shares a PG: it must get through there too, if later, and it tells of space.
                _connection!.Send(OsdMessageType.Ping, daemon._control.WrittenSpan);
                if (IsWatched && _pulse is { IsOpen: true })
                {
                    _pulse.Send(OsdMessageType.Ping, daemon._control.WrittenSpan);
                }

                if (now - _dataHeardAt > daemon._options.HeartbeatGrace * 5)
                {
                    // It lives, but nothing comes through on the connection for data: a new one may do better.
                    Log.DataStuck(daemon._logger, daemon.Id, Osd);
                    _connection.Close();
                }
            }

            // Who was marked down accuses nobody: the others may be right.
            if (daemon.IsUp && (_refused || (IsWatched && now - _heardAt > Grace)))
            {
                Report(_refused, withdrawn: false);
            }
        }

        /// <summary>The map has moved on. One more attempt to connect may prove that this life is over.</summary>
        public void Retire()
        {
            _retired = true;
            IsOpen = false;
            _pulse?.Close();
            if (_connection is { } connection)
            {
                _connection = null;
                connection.Close();
            }

            if (!_refused && daemon._running)
            {
                _connection = daemon._transport.Connect(Address, this);
            }
        }

        public void Close()
        {
            _retired = true;
            IsOpen = false;
            _pulse?.Close();
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

            PeerIdentity peer = connection.Peer;
            bool same = peer.Kind == EntityKind.Osd && peer.Id == (ulong)Osd.Value && peer.Instance == Instance;
            if (!same && peer.Kind == EntityKind.Osd && peer.Id == (ulong)Osd.Value)
            {
                daemon.OnKnownDead(Osd, UpFrom); // another process has taken its place
            }

            if (!same || _retired)
            {
                connection.Close();
                return;
            }

            IsOpen = true;
            _refused = false;
            _dataHeardAt = daemon._loop.Now;
            Heard();
            foreach (PlacementGroup group in daemon._groups.Values.ToArray())
            {
                group.OnPeerConnected(Osd);
            }
        }

        public void OnMessage(IConnection connection, in Message message)
        {
            if (ReferenceEquals(connection, _connection) && IsOpen)
            {
                _dataHeardAt = daemon._loop.Now;
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
            if (!daemon._running)
            {
                return;
            }

            if (reason == CloseReason.Refused)
            {
                daemon.OnKnownDead(Osd, UpFrom);
                if (!_refused && !_retired && daemon.IsUp)
                {
                    Report(true, withdrawn: false);
                }

                _refused = true;
            }

            if (!_retired)
            {
                // A reset may mean that the process died: then the next attempt is refused, which proves it.
                TimeSpan delay = reason == CloseReason.Reset ? TimeSpan.FromMilliseconds(5) : s_retry;
                daemon._loop.Schedule(delay, static state => ((Peer)state!).Reconnect(), this);
            }
        }

        private void Reconnect()
        {
            if (!_retired)
            {
                Connect();
            }
        }

        private void Report(bool refused, bool withdrawn)
        {
            if (!withdrawn && !_reported)
            {
                Log.Reports(daemon._logger, daemon.Id, Osd, refused ? "its port refuses connections" : "silent");
            }

            _reported = !withdrawn;
            daemon._control.Clear();
            new OsdFailure(Osd, UpFrom, daemon.Map!.Epoch, refused, (int)(daemon._loop.Now - _heardAt).TotalMilliseconds, withdrawn).Encode(daemon._control);
            daemon._monitor.Send(MessageType.OsdFailure, daemon._control.WrittenSpan);
        }
    }
}
