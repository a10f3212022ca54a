using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>Keeps a subscription to the cluster map at one monitor, and goes to the next one when it breaks or stays silent.</summary>
internal sealed class MonitorLink(ObjectClient client, ClientOptions options, Random random) : IConnectionHandler
{
    private readonly WireWriter _body = new(16);
    private readonly List<NodeAddress> _addresses = [];
    private LifeWatch _life = new(options.MonitorPing, options.MonitorSilence);
    private IConnection? _connection;
    private ILoopTimer? _timer;
    private TimeSpan _pause;
    private int _next = -1;
    private bool _open;
    private bool _closed;

    public void Dial()
    {
        _addresses.Clear();
        _addresses.AddRange(options.MonitorAddresses);
        foreach (MonitorInfo monitor in client.Map?.Monitors ?? [])
        {
            if (!monitor.Address.IsNone && !_addresses.Contains(monitor.Address))
            {
                _addresses.Add(monitor.Address);
            }
        }

        Invariant.Holds(_addresses.Count > 0);
        _next = _next < 0 ? random.Next(_addresses.Count) : (_next + 1) % _addresses.Count;
        _open = false;
        _connection = client.Transport.Connect(_addresses[_next], this);
        _life.Asked(client.Loop.Now);
        WatchLife();
    }

    /// <summary>Asks the monitor for what is missing since our map.</summary>
    public void Subscribe()
    {
        if (_open)
        {
            _body.Clear();
            new MapSubscribe(client.Map?.Epoch ?? Epoch.None).Encode(_body);
            _connection!.Send(MessageType.MapSubscribe, _body.WrittenSpan);
        }
    }

    /// <summary>Asks which epoch is the newest; asked again of the next monitor if this one gives no answer.</summary>
    /// <param name="question">Comes back with the answer.</param>
    public void AskNewest(ulong question)
    {
        if (_open)
        {
            _body.Clear();
            _body.WriteByte(1);
            _body.WriteUInt64(question);
            _connection!.Send(MessageType.NewestEpoch, _body.WrittenSpan);
        }
    }

    /// <summary>Leaves this monitor, which does not send what others have, for the next one.</summary>
    public void Rotate()
    {
        Drop();
        if (!_closed)
        {
            Dial();
        }
    }

    public void Close()
    {
        _closed = true;
        Drop();
    }

    public void OnOpened(IConnection connection)
    {
        if (!ReferenceEquals(connection, _connection))
        {
            return;
        }

        _open = true;
        _life.Heard(client.Loop.Now);
        Subscribe();
        if (client.OpenQuestion is > 0 and var question)
        {
            AskNewest(question);
        }

        WatchLife();
    }

    // While calls wait, a monitor that hangs or was cut off must be left before an OSD that went with it is marked down: it sends no map.
    private void WatchLife()
    {
        _timer?.Cancel();
        _timer = client.Loop.Schedule(_life.IsWaiting ? options.MonitorSilence : options.MonitorPing, static l => ((MonitorLink)l!).OnLifeDue(), this);
    }

    private void OnLifeDue()
    {
        TimeSpan now = client.Loop.Now;
        if (_life.IsSilent(now))
        {
            Rotate();
            return;
        }

        if (_life.IsPingDue(now) && (client.Map is null || client.OperationsPending > 0))
        {
            _life.Asked(now);
            _connection!.Send(MessageType.MonitorPing, [1]);
        }

        WatchLife();
    }

    public void OnMessage(IConnection connection, in Message message)
    {
        if (!ReferenceEquals(connection, _connection))
        {
            return;
        }

        bool wasAsked = _life.IsWaiting;
        _life.Heard(client.Loop.Now);
        if (wasAsked)
        {
            WatchLife();
        }

        if (message.Type == MessageType.MapUpdate)
        {
            _pause = TimeSpan.Zero;
            client.OnMapUpdate(MapUpdate.Decode(message.Body));
        }
        else if (message.Type == MessageType.NewestEpochReply)
        {
            var reader = new WireReader(message.Body);
            reader.ReadVersion(1, "newest epoch");
            client.OnNewestEpoch(reader.ReadUInt64(), new Epoch(reader.ReadUInt32()));
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
        Drop();
        _pause = client.NextPause(_pause);
        _timer = client.Loop.Schedule(_pause, static l => ((MonitorLink)l!).Dial(), this);
    }

    private void Drop()
    {
        _timer?.Cancel();
        IConnection? connection = _connection;
        _connection = null;
        _open = false;
        connection?.Close();
    }
}
