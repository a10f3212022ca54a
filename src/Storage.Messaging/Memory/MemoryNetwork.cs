using Storage.Cluster;
using Storage.Reactor;

namespace Storage.Messaging.Memory;

/// <summary>How a <see cref="MemoryNetwork"/> behaves; may be changed while it runs.</summary>
public sealed class MemoryNetworkOptions
{
    /// <summary>Shortest time a message takes.</summary>
    public TimeSpan MinLatency { get; set; } = TimeSpan.FromMicroseconds(50);

    /// <summary>Longest time a message takes, unless it is delayed.</summary>
    public TimeSpan MaxLatency { get; set; } = TimeSpan.FromMicroseconds(500);

    /// <summary>Probability, per message, that the connection breaks and loses what is under way.</summary>
    public double BreakProbability { get; set; }

    /// <summary>Probability, per message, that it and all behind it on its connection are delayed by up to <see cref="MaxDelay"/>.</summary>
    public double DelayProbability { get; set; }

    /// <summary>Longest extra delay.</summary>
    public TimeSpan MaxDelay { get; set; } = TimeSpan.FromMilliseconds(200);

    /// <summary>How long the network may be blocked, either way, before a connection across it breaks (as TCP_USER_TIMEOUT does).</summary>
    public TimeSpan BreakAfter { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>How long connecting is tried before it fails.</summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Undelivered bytes of one connection and direction above which its sender should wait.</summary>
    public long HighWatermark { get; set; } = 4 << 20;

    /// <summary>Where the copies of data segments come from.</summary>
    public BufferPool Pool { get; set; } = BufferPool.Shared;
}

/// <summary>
/// A network in memory for the simulator: connections with TCP's promises (in order, at most once, both ends learn of the end)
/// over links that are slow, blocked or cut. Everything it does follows from its loop and its <see cref="Random"/>.
/// </summary>
public sealed class MemoryNetwork
{
    private readonly Dictionary<NodeAddress, MemoryListener> _listeners = [];
    private readonly HashSet<(string From, string To)> _blocked = [];
    private readonly Dictionary<(string From, string To), TimeSpan> _slow = [];
    private readonly List<MemoryConnection> _connections = []; // one end of each; in the order they were made
    private readonly Random _random;
    private int _nextPort = 32768;

    /// <summary>Creates a network without nodes.</summary>
    /// <param name="loop">The loop all nodes live on.</param>
    /// <param name="random">Draws latencies and faults.</param>
    /// <param name="options">Its behaviour.</param>
    public MemoryNetwork(IEventLoop loop, Random random, MemoryNetworkOptions? options = null)
    {
        Loop = loop;
        _random = random;
        Options = options ?? new MemoryNetworkOptions();
    }

    /// <summary>Its behaviour.</summary>
    public MemoryNetworkOptions Options { get; }

    /// <summary>The loop all nodes live on.</summary>
    public IEventLoop Loop { get; }

    /// <summary>Messages handed over so far.</summary>
    public long Delivered { get; internal set; }

    /// <summary>Connections that stand or are being made.</summary>
    public int Connections => _connections.Count;

    /// <summary>Adds a process to the network.</summary>
    /// <param name="host">Name of its machine; blocks and partitions are between machines.</param>
    /// <param name="self">Who it is.</param>
    /// <param name="fsid">The cluster it belongs to; empty if it does not know.</param>
    /// <returns>Its transport. A process that starts again gets a new one.</returns>
    public MemoryTransport CreateTransport(string host, PeerIdentity self, Guid fsid = default) => new(this, host, self, fsid);

    /// <summary>Blocks the way from one machine to another; nothing arrives, nobody is told until <see cref="MemoryNetworkOptions.BreakAfter"/>.</summary>
    /// <param name="from">Machine.</param>
    /// <param name="to">Machine.</param>
    public void Block(string from, string to)
    {
        if (!_blocked.Add((from, to)))
        {
            return;
        }

        foreach (MemoryConnection connection in _connections.ToArray())
        {
            if (connection.Joins(from, to))
            {
                connection.OnBlocked();
            }
        }
    }

    /// <summary>Breaks all connections between two machines: both ends learn it, what is under way is lost.</summary>
    /// <param name="one">Machine.</param>
    /// <param name="other">Machine.</param>
    public void BreakConnections(string one, string other)
    {
        foreach (MemoryConnection connection in _connections.ToArray())
        {
            if (connection.Joins(one, other))
            {
                connection.Break();
            }
        }
    }

    /// <summary>Makes all that goes from one machine to another take longer, the other way as ever: what is sent now arrives in order, late.</summary>
    /// <param name="from">Machine.</param>
    /// <param name="to">Machine.</param>
    /// <param name="by">How much longer; zero to end it.</param>
    public void SlowDown(string from, string to, TimeSpan by)
    {
        if (by > TimeSpan.Zero)
        {
            _slow[(from, to)] = by;
        }
        else
        {
            _slow.Remove((from, to));
        }
    }

    /// <summary>Makes all ways as fast as ever.</summary>
    public void EndSlowness() => _slow.Clear();

    /// <summary>How much longer messages take from one machine to another.</summary>
    internal TimeSpan SlownessOf(string from, string to) => _slow.Count > 0 ? _slow.GetValueOrDefault((from, to)) : TimeSpan.Zero;

    /// <summary>Blocks both ways between two machines.</summary>
    /// <param name="one">Machine.</param>
    /// <param name="other">Machine.</param>
    public void Partition(string one, string other)
    {
        Block(one, other);
        Block(other, one);
    }

    /// <summary>Blocks both ways between all machines of two groups.</summary>
    /// <param name="group">Machines.</param>
    /// <param name="others">The other machines.</param>
    public void Partition(IEnumerable<string> group, IEnumerable<string> others)
    {
        string[] right = [.. others];
        foreach (string one in group)
        {
            foreach (string other in right)
            {
                Partition(one, other);
            }
        }
    }

    /// <summary>Opens the way from one machine to another; what waited on connections that still stand arrives.</summary>
    /// <param name="from">Machine.</param>
    /// <param name="to">Machine.</param>
    public void Unblock(string from, string to)
    {
        if (_blocked.Remove((from, to)))
        {
            foreach (MemoryConnection connection in _connections.ToArray())
            {
                if (connection.Joins(from, to))
                {
                    connection.OnUnblocked();
                }
            }
        }
    }

    /// <summary>Opens both ways between two machines.</summary>
    /// <param name="one">Machine.</param>
    /// <param name="other">Machine.</param>
    public void Heal(string one, string other)
    {
        Unblock(one, other);
        Unblock(other, one);
    }

    /// <summary>Opens all ways.</summary>
    public void HealAll()
    {
        foreach ((string from, string to) in _blocked.OrderBy(b => b.From, StringComparer.Ordinal).ThenBy(b => b.To, StringComparer.Ordinal).ToArray())
        {
            Unblock(from, to);
        }
    }

    /// <summary>Whether the way is blocked.</summary>
    /// <param name="from">Machine.</param>
    /// <param name="to">Machine.</param>
    /// <returns>True if nothing gets through.</returns>
    public bool IsBlocked(string from, string to) => _blocked.Contains((from, to));

    /// <summary>
    /// Ends a process: its handlers hear nothing any more, its listeners are gone. If only the process died its machine resets the
    /// connections, which peers learn after a latency; if the machine died they learn nothing until <see cref="MemoryNetworkOptions.BreakAfter"/>.
    /// </summary>
    /// <param name="transport">The process.</param>
    /// <param name="machine">The machine died too.</param>
    public void Crash(MemoryTransport transport, bool machine = false)
    {
        ArgumentNullException.ThrowIfNull(transport);
        transport.IsDead = true;
        transport.MachineIsDead = machine;
        foreach (NodeAddress address in _listeners.Where(l => l.Value.Transport == transport).Select(l => l.Key).ToArray())
        {
            if (!machine)
            {
                _listeners.Remove(address);
            }
        }

        foreach (MemoryConnection connection in _connections.ToArray())
        {
            connection.OnCrash(transport, machine);
        }
    }

    internal TimeSpan DrawLatency()
    {
        long spread = Math.Max(0, (Options.MaxLatency - Options.MinLatency).Ticks);
        TimeSpan latency = Options.MinLatency + TimeSpan.FromTicks(_random.NextInt64(spread + 1));
        if (Options.DelayProbability > 0 && _random.NextDouble() < Options.DelayProbability)
        {
            latency += TimeSpan.FromTicks(_random.NextInt64(Options.MaxDelay.Ticks + 1));
        }

        return latency;
    }

    internal bool DrawBreak() => Options.BreakProbability > 0 && _random.NextDouble() < Options.BreakProbability;

    internal bool DrawCoin() => _random.Next(2) == 0;

    internal MemoryListener Listen(MemoryTransport transport, NodeAddress address, Func<IConnection, IConnectionHandler?> accept)
    {
        if (address.Port == 0)
        {
            do
            {
                address = address with { Port = _nextPort++ };
            }
            while (_listeners.ContainsKey(address));
        }

        if (_listeners.TryGetValue(address, out MemoryListener? present) && !present.Transport.IsDead)
        {
            throw new IOException($"cannot listen on {address}: another process does");
        }

        var listener = new MemoryListener(this, transport, address, accept);
        _listeners[address] = listener;
        return listener;
    }

    internal MemoryListener? Find(NodeAddress address) => _listeners.GetValueOrDefault(address);

    internal void Remove(MemoryListener listener)
    {
        if (_listeners.GetValueOrDefault(listener.Address) == listener)
        {
            _listeners.Remove(listener.Address);
        }
    }

    internal void Add(MemoryConnection dialer) => _connections.Add(dialer);

    internal void Remove(MemoryConnection dialer) => _connections.Remove(dialer);
}

/// <summary>One process's access to a <see cref="MemoryNetwork"/>.</summary>
public sealed class MemoryTransport : ITransport
{
    private int _nextPort = 49152;

    internal MemoryTransport(MemoryNetwork network, string host, PeerIdentity self, Guid fsid)
    {
        Network = network;
        Host = host;
        Self = self;
        Fsid = fsid;
    }

    /// <summary>The network.</summary>
    public MemoryNetwork Network { get; }

    /// <summary>Name of the process's machine.</summary>
    public string Host { get; }

    /// <summary>Who the process is.</summary>
    public PeerIdentity Self { get; }

    /// <summary>Its cluster; may be set once it is known.</summary>
    public Guid Fsid { get; set; }

    /// <summary>True after <see cref="MemoryNetwork.Crash"/>: connecting leads nowhere.</summary>
    public bool IsDead { get; internal set; }

    internal bool MachineIsDead { get; set; }

    /// <inheritdoc/>
    public IConnection Connect(NodeAddress address, IConnectionHandler handler)
    {
        var connection = new MemoryConnection(this, address, handler);
        if (!IsDead)
        {
            Network.Add(connection);
            connection.Dial();
        }

        return connection;
    }

    /// <inheritdoc/>
    public IListener Listen(NodeAddress address, Func<IConnection, IConnectionHandler?> accept)
    {
        if (!string.Equals(address.Host, Host, StringComparison.Ordinal))
        {
            throw new IOException($"cannot listen on {address}: this machine is {Host}");
        }

        return Network.Listen(this, address, accept);
    }

    internal NodeAddress NextLocalAddress() => new(Host, _nextPort++);
}

/// <summary>A listening process.</summary>
internal sealed class MemoryListener(
    MemoryNetwork network, MemoryTransport transport, NodeAddress address, Func<IConnection, IConnectionHandler?> accept) : IListener
{
    public NodeAddress Address => address;

    public MemoryTransport Transport => transport;

    public Func<IConnection, IConnectionHandler?> Accept => accept;

    public void Dispose() => network.Remove(this);
}
