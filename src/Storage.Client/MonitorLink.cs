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
    private IConnection? _connection;
    private ILoopTimer? _timer;
    private TimeSpan _pause;
    private bool _pinged;
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
        _timer = client.Loop.Schedule(options.MonitorSilence, static l => ((MonitorLink)l!).OnNotConnected(), this);
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
        Subscribe();
        WatchLife();
    }

    // While calls wait, a monitor that hangs or was cut off must be left before an OSD that went with it is marked down: it sends no map.
    private void WatchLife()
    {
        _timer?.Cancel();
        _timer = client.Loop.Schedule(_pinged ? options.MonitorSilence : options.MonitorPing, static l => ((MonitorLink)l!).OnLifeDue(), this);
    }

    private void OnLifeDue()
    {
        if (_pinged)
        {
            Rotate();
            return;
        }

        if (client.Map is null || client.OperationsPending > 0)
        {
            _pinged = true;
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

        if (_pinged)
        {
            _pinged = false;
            WatchLife();
        }

        if (message.Type == MessageType.MapUpdate)
        {
            _pause = TimeSpan.Zero;
            client.OnMapUpdate(MapUpdate.Decode(message.Body));
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

    private void OnNotConnected()
    {
        Rotate();
    }

    private void Drop()
    {
        _timer?.Cancel();
        IConnection? connection = _connection;
        _connection = null;
        _open = false;
        _pinged = false;
        connection?.Close();
    }
}
