using Microsoft.Extensions.Logging;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Osd;

/// <summary>
/// An object storage daemon: hosts the placement groups of one disk, talks to monitors, other OSDs and clients. Lives on one
/// event loop; every member is called there.
/// </summary>
public sealed partial class OsdDaemon : IPlacementGroupHost
{
    private static readonly TimeSpan s_tick = TimeSpan.FromMilliseconds(250);

    private readonly IEventLoop _loop;
    private readonly ITransport _transport;
    private readonly IObjectStore _store;
    private readonly OsdOptions _options;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly MapStore _maps;
    private readonly Dictionary<PgId, PlacementGroup> _groups = [];
    private readonly WireWriter _scratch = new(1024);
    private readonly WireWriter _control = new(256);
    private readonly OsdCounters _counters = new();
    private readonly RarePathCounts _rarePaths = new();

    private OsdIdentity? _identity;
    private IListener? _listener;
    private ILoopTimer? _tickTimer;
    private TimeSpan _startedAt;
    private bool _running;
    private bool _stopping;

    /// <summary>Creates the daemon; nothing happens before <see cref="Start"/>.</summary>
    /// <param name="loop">The loop that it lives on.</param>
    /// <param name="transport">Its transport; the identity it shows must be this OSD with <see cref="OsdOptions.Instance"/>.</param>
    /// <param name="store">Its disk, formatted with <see cref="Format"/>.</param>
    /// <param name="options">Settings.</param>
    /// <param name="random">For jitter.</param>
    /// <param name="logger">Where to log.</param>
    public OsdDaemon(IEventLoop loop, ITransport transport, IObjectStore store, OsdOptions options, Random random, ILogger logger)
    {
        _loop = loop;
        _transport = transport;
        _store = store;
        _options = options;
        _work.MostWindow = options.MostBackgroundBytes;
        _random = random;
        _logger = logger;
        _maps = new MapStore(store);
        _monitor = new MonitorLink(this);
    }

    /// <summary>Raised once when the daemon cannot go on: its disk failed. The process must end.</summary>
    public event Action<Exception>? Failed;

    /// <summary>The OSD's number; known after <see cref="Start"/>.</summary>
    public OsdId Id => _identity?.Osd ?? OsdId.None;

    /// <summary>Where it listens.</summary>
    public NodeAddress Address => _listener is { } listener ? _options.ListenAddress with { Port = listener.Address.Port } : default;

    /// <summary>The newest map it has, or null.</summary>
    public ClusterMap? Map => _maps.Newest;

    /// <summary>Whether its map shows it up in this run.</summary>
    public bool IsUp { get; private set; }

    /// <summary>True from <see cref="Start"/> until it stops or fails.</summary>
    public bool IsRunning => _running;

    /// <summary>The PGs that it holds, in order.</summary>
    public IReadOnlyList<PgId> Groups => [.. _groups.Keys.Order()];

    /// <summary>How often each <see cref="RarePath"/> was taken since the start, by the path's number.</summary>
    public IReadOnlyList<long> RarePaths => _rarePaths.Counts;

    /// <summary>Makes an empty disk an OSD's. Durable when the completion is called.</summary>
    /// <param name="store">The empty store.</param>
    /// <param name="fsid">The cluster.</param>
    /// <param name="osd">The OSD's number.</param>
    /// <param name="uuid">The disk's identity.</param>
    /// <param name="completion">Told when it is durable; may be null.</param>
    /// <param name="token">Handed to the completion.</param>
    /// <exception cref="InvalidOperationException">The disk already belongs to an OSD.</exception>
    public static void Format(IObjectStore store, Guid fsid, OsdId osd, Guid uuid, IStoreCompletion? completion = null, ulong token = 0)
    {
        if (MapStore.ReadIdentity(store) is { } owner)
        {
            throw new InvalidOperationException($"the disk already belongs to {owner.Osd} of cluster {owner.Fsid}");
        }

        MapStore.Format(store, new OsdIdentity(fsid, osd, uuid), completion, token);
    }

    /// <summary>Reads whose disk this is.</summary>
    /// <param name="store">The store.</param>
    /// <returns>The identity, or null if it was not formatted.</returns>
    public static OsdIdentity? ReadIdentity(IObjectStore store) => MapStore.ReadIdentity(store);

    /// <summary>Loads the PGs, listens, and joins the cluster.</summary>
    /// <exception cref="InvalidOperationException">The disk is not formatted.</exception>
    /// <exception cref="IOException">The address cannot be had.</exception>
    public void Start()
    {
        Invariant.Holds(!_running && _listener is null);
        _identity = MapStore.ReadIdentity(_store) ?? throw new InvalidOperationException("the disk is not formatted as an OSD");
        _startedAt = _loop.Now;
        _running = true;
        _store.Failed += Fail;
        _maps.Load();
        _fullRatio = _options.FullRatio;
        LoadGroups();
        _listener = _transport.Listen(_options.BindHost is { } host ? _options.ListenAddress with { Host = host } : _options.ListenAddress, Accept);
        _monitor.Connect();
        _lastHeartbeat = _loop.Now;
        _tickTimer = _loop.Schedule(s_tick, static state => ((OsdDaemon)state!).OnTick(), this);
        Log.Started(_logger, Id, _groups.Count, _maps.Newest?.Epoch ?? Epoch.None);
    }

    /// <summary>Says goodbye: the monitors mark it down at once, so that nobody waits for it. It goes on serving until then.</summary>
    /// <param name="stopped">Called once it has stopped, at most about two seconds later.</param>
    /// <param name="state">Handed to the callback.</param>
    public void Stop(Action<object?>? stopped = null, object? state = null)
    {
        if (!_running)
        {
            stopped?.Invoke(state);
            return;
        }

        _stopping = true;
        _control.Clear();
        _control.WriteInt32(Id.Value);
        _control.WriteUInt32((Map?.Epoch ?? Epoch.None).Value);
        _monitor.Send(MessageType.OsdStopping, _control.WrittenSpan);
        TimeSpan deadline = _loop.Now + TimeSpan.FromSeconds(2);
        Poll();

        void Poll()
        {
            if (!_running || !IsUp || _loop.Now >= deadline)
            {
                Kill();
                stopped?.Invoke(state);
                return;
            }

            _loop.Schedule(TimeSpan.FromMilliseconds(20), _ => Poll(), null);
        }
    }

    /// <summary>Ends at once, as a crash would: no goodbye. Connections close.</summary>
    public void Kill()
    {
        if (!_running)
        {
            return;
        }

        _running = false;
        IsUp = false;
        _store.Failed -= Fail;
        _tickTimer?.Cancel();
        _listener?.Dispose();
        foreach (PlacementGroup group in _groups.Values)
        {
            group.Stop();
        }

        CloseAll();
    }

    /// <summary>Explains one PG to an operator.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>JSON, or null if this OSD does not hold the PG.</returns>
    public string? QueryJson(PgId group) => _groups.TryGetValue(group, out PlacementGroup? found) ? found.QueryJson() : null;

    /// <summary>Lists the objects of a PG that scrub found wrong.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>JSON, or null if this OSD does not hold the PG.</returns>
    public string? ListInconsistentJson(PgId group) => _groups.TryGetValue(group, out PlacementGroup? found) ? found.ListInconsistentJson() : null;

    /// <summary>State of a PG as this OSD sees it.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>State words, or null if this OSD does not hold the PG.</returns>
    public string? StateOf(PgId group) => _groups.TryGetValue(group, out PlacementGroup? found) ? found.State : null;

    /// <summary>Compares what this OSD keeps of a PG for snapshots with itself: each clone belongs to an object that knows it, the index says
    /// what the objects say, and nothing but the given snapshots is kept. For a PG that is clean and idle.</summary>
    /// <param name="group">The PG.</param>
    /// <param name="live">The snapshots that are not removed.</param>
    /// <returns>The first thing found wrong, or null.</returns>
    public string? FindSnapshotFault(PgId group, SnapshotIntervals live) =>
        _groups.TryGetValue(group, out PlacementGroup? found) ? found.FindSnapshotFault(live) : $"no copy of pg {group}";

    /// <summary>Asserts the invariants of every PG. May be called between any two events.</summary>
    /// <exception cref="InvariantException">One does not hold.</exception>
    public void CheckInvariants()
    {
        foreach (PlacementGroup group in _groups.Values)
        {
            group.CheckInvariants();
        }
    }

    private void Fail(Exception error)
    {
        if (_running)
        {
            Log.Failed(_logger, error, Id);
            Kill();
            Failed?.Invoke(error);
        }
    }

    private void OnTick()
    {
        if (!_running)
        {
            return;
        }

        _tickTimer = _loop.Schedule(s_tick, static state => ((OsdDaemon)state!).OnTick(), this);
        TickHeartbeats();
        _monitor.Tick();
        if (IsUp)
        {
            foreach (PlacementGroup group in _groups.Values.ToArray())
            {
                group.Tick();
            }

            TickScrubs();
        }

        TickStatistics();
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Information, "{Osd} started with {Groups} PGs, map {Epoch}")]
        public static partial void Started(ILogger logger, OsdId osd, int groups, Epoch epoch);

        [LoggerMessage(2, LogLevel.Critical, "{Osd} cannot go on")]
        public static partial void Failed(ILogger logger, Exception error, OsdId osd);

        [LoggerMessage(3, LogLevel.Warning, "{Osd} was marked down in map {Epoch} while it runs; it boots again")]
        public static partial void WronglyDown(ILogger logger, OsdId osd, Epoch epoch);

        [LoggerMessage(6, LogLevel.Warning, "{Osd} has map {Have}, the cluster has {Newest} and no longer keeps those between: it serves nothing until it was marked down and booted again")]
        public static partial void LifeEnded(ILogger logger, OsdId osd, Epoch have, Epoch newest);

        [LoggerMessage(5, LogLevel.Warning, "osd_memory_target is {Text}; a number of at least {Least} is needed, and {Kept} stays in force")]
        public static partial void MemoryTargetRefused(ILogger logger, string text, long least, long kept);

        [LoggerMessage(6, LogLevel.Error, "pool {Pool} asks for compression with {Algorithm}, but this machine lacks its library (Debian's liblz4-1, libzstd1): its data is stored as it is")]
        public static partial void CompressionMissing(ILogger logger, string pool, PoolCompression algorithm);

        [LoggerMessage(20, LogLevel.Warning, "{Osd}: {Target} lives, but its connection for data has been silent; connecting anew")]
        public static partial void DataStuck(ILogger logger, OsdId osd, OsdId target);

        [LoggerMessage(4, LogLevel.Information, "{Osd} reports {Target}: {Why}")]
        public static partial void Reports(ILogger logger, OsdId osd, OsdId target, string why);
    }
}
