using Storage.Cluster;
using Storage.Crush;

namespace Storage.Monitor.Core;

/// <summary>The next increment in the making. What it shows includes the changes drafted so far, so that several requests can go into
/// one epoch.</summary>
public sealed class MapDraft
{
    private readonly Dictionary<int, OsdInfo?> _osds = [];
    private readonly Dictionary<long, PoolInfo?> _pools = [];
    private readonly Dictionary<PgId, OsdId[]> _pgTemp = [];
    private readonly Dictionary<PgId, (OsdId From, OsdId To)[]> _upmap = [];
    private readonly Dictionary<ulong, long?> _blocklist = [];
    private readonly SortedDictionary<string, string?> _configuration = new(StringComparer.Ordinal);
    private readonly List<(EventLevel Level, string Source, string Text)> _events = [];
    private ClusterFlags? _flags;
    private CrushMap? _crush;
    private IReadOnlyList<MonitorInfo>? _monitors;
    private long? _lastPool;

    /// <summary>Starts from a map.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="unixMilliseconds">Now.</param>
    public MapDraft(ClusterMap map, long unixMilliseconds)
    {
        Base = map;
        UnixMilliseconds = unixMilliseconds;
    }

    /// <summary>The map to be changed.</summary>
    public ClusterMap Base { get; }

    /// <summary>Now.</summary>
    public long UnixMilliseconds { get; }

    /// <summary>The epoch that will contain the changes.</summary>
    public Epoch Epoch => Base.Epoch.Next;

    /// <summary>The flags.</summary>
    public ClusterFlags Flags => _flags ?? Base.Flags;

    /// <summary>The CRUSH map.</summary>
    public CrushMap Crush => _crush ?? Base.Crush;

    /// <summary>Whether nothing was changed.</summary>
    public bool IsEmpty => _osds.Count == 0 && _pools.Count == 0 && _pgTemp.Count == 0 && _upmap.Count == 0 && _blocklist.Count == 0
        && _configuration.Count == 0 && _flags is null && _crush is null && _monitors is null;

    /// <summary>Lines for the cluster log.</summary>
    public IReadOnlyList<(EventLevel Level, string Source, string Text)> Events => _events;

    /// <summary>The pools, with the drafted changes.</summary>
    public IEnumerable<PoolInfo> Pools => Base.Pools.Where(pool => !_pools.ContainsKey(pool.Id))
        .Concat(_pools.Values.OfType<PoolInfo>()).OrderBy(pool => pool.Id);

    /// <summary>The OSDs, with the drafted changes.</summary>
    public IEnumerable<OsdInfo> Osds => Base.Osds.Where(osd => !_osds.ContainsKey(osd.Id.Value))
        .Concat(_osds.Values.OfType<OsdInfo>()).OrderBy(osd => osd.Id);

    /// <summary>Finds an OSD.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>Its record, or null.</returns>
    public OsdInfo? FindOsd(OsdId id) => _osds.TryGetValue(id.Value, out OsdInfo? osd) ? osd : Base.FindOsd(id);

    /// <summary>Finds a pool.</summary>
    /// <param name="name">Its name.</param>
    /// <returns>The pool, or null.</returns>
    public PoolInfo? FindPool(string name) => Pools.FirstOrDefault(pool => string.Equals(pool.Name, name, StringComparison.Ordinal));

    /// <summary>Whether this draft already takes an OSD up or down. Once is all that an epoch can carry: intervals begin at epochs.</summary>
    /// <param name="id">The OSD.</param>
    /// <returns>True if another change of the kind must wait for the next epoch.</returns>
    public bool HasTurned(OsdId id) => _osds.TryGetValue(id.Value, out OsdInfo? osd)
        && (Base.FindOsd(id) is { } before ? osd is null || osd.IsUp != before.IsUp || osd.UpFrom != before.UpFrom : osd is { IsUp: true });

    /// <summary>Adds or changes an OSD.</summary>
    /// <param name="osd">Its new record.</param>
    public void Set(OsdInfo osd) => _osds[osd.Id.Value] = osd;

    /// <summary>Marks an OSD down.</summary>
    /// <param name="osd">Its present record.</param>
    public void MarkDown(OsdInfo osd) => Set(osd with { IsUp = false, DownAt = Epoch });

    /// <summary>Removes an OSD.</summary>
    /// <param name="id">Its number.</param>
    public void Remove(OsdId id) => _osds[id.Value] = null;

    /// <summary>Adds or changes a pool.</summary>
    /// <param name="pool">The pool.</param>
    public void Set(PoolInfo pool)
    {
        _pools[pool.Id] = pool;
        _lastPool = Math.Max(_lastPool ?? Base.LastPoolId, pool.Id);
    }

    /// <summary>The id for a new pool.</summary>
    public long NextPoolId => (_lastPool ?? Base.LastPoolId) + 1;

    /// <summary>Removes a pool.</summary>
    /// <param name="id">Its id.</param>
    public void RemovePool(long id) => _pools[id] = null;

    /// <summary>The OSDs set for the time being to act for a PG; empty if none.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>The OSDs.</returns>
    public OsdId[] GetPgTemp(PgId group) => _pgTemp.TryGetValue(group, out OsdId[]? drafted) ? drafted : Base.PgTemp.GetValueOrDefault(group) ?? [];

    /// <summary>Sets who acts for a PG for the time being; an empty array ends it.</summary>
    /// <param name="group">The PG.</param>
    /// <param name="acting">The OSDs.</param>
    public void SetPgTemp(PgId group, OsdId[] acting) => _pgTemp[group] = acting;

    /// <summary>Sets a PG's exceptions to CRUSH; an empty array ends them.</summary>
    /// <param name="group">The PG.</param>
    /// <param name="items">The pairs.</param>
    public void SetUpmap(PgId group, (OsdId From, OsdId To)[] items) => _upmap[group] = items;

    /// <summary>Sets the flags.</summary>
    /// <param name="flags">All of them.</param>
    public void SetFlags(ClusterFlags flags) => _flags = flags;

    /// <summary>Sets the CRUSH map.</summary>
    /// <param name="crush">The map.</param>
    public void SetCrush(CrushMap crush) => _crush = crush;

    /// <summary>The monitors, with the drafted changes.</summary>
    public IReadOnlyList<MonitorInfo> Monitors => _monitors ?? Base.Monitors;

    /// <summary>Sets the monitors.</summary>
    /// <param name="monitors">All of them.</param>
    public void SetMonitors(IReadOnlyList<MonitorInfo> monitors) => _monitors = monitors;

    /// <summary>Until when a client is fenced.</summary>
    /// <param name="client">The client.</param>
    /// <returns>Milliseconds since 1970 UTC, or null if it is not.</returns>
    public long? BlockedUntil(ulong client) => _blocklist.TryGetValue(client, out long? drafted) ? drafted
        : Base.Blocklist.TryGetValue(client, out long until) ? until : null;

    /// <summary>Fences a client, or ends it.</summary>
    /// <param name="client">The client.</param>
    /// <param name="until">Milliseconds since 1970 UTC; null ends it.</param>
    public void SetBlocked(ulong client, long? until) => _blocklist[client] = until;

    /// <summary>A setting.</summary>
    /// <param name="key">Its name.</param>
    /// <returns>Its value, or null.</returns>
    public string? GetConfiguration(string key) => _configuration.TryGetValue(key, out string? drafted) ? drafted : Base.Configuration.GetValueOrDefault(key);

    /// <summary>Changes a setting.</summary>
    /// <param name="key">Its name.</param>
    /// <param name="value">Its value; null removes it.</param>
    public void SetConfiguration(string key, string? value) => _configuration[key] = value;

    /// <summary>Adds a line to the cluster log, which appears with the change.</summary>
    /// <param name="level">Its weight.</param>
    /// <param name="source">Who says it.</param>
    /// <param name="text">One line.</param>
    public void Log(EventLevel level, string source, string text) => _events.Add((level, source, text));

    /// <summary>Makes the increment, which also ends what the changes make void: pg_temp that equals the up set, or whose OSDs are down.</summary>
    /// <returns>The increment, or null if nothing was changed.</returns>
    public ClusterMapIncrement? Build()
    {
        if (IsEmpty)
        {
            return null;
        }

        ClusterMapIncrement increment = Collect();
        if (Base.PgTemp.Count + increment.PgTemp.Count == 0)
        {
            return increment;
        }

        ClusterMap next = Base.Apply(increment);
        foreach ((PgId group, OsdId[] acting) in next.PgTemp)
        {
            if (!next.Contains(group) || Array.TrueForAll(acting, osd => !next.IsUp(osd)) || acting.AsSpan().SequenceEqual(next.Locate(group).Up))
            {
                _pgTemp[group] = [];
            }
        }

        return Collect();
    }

    private ClusterMapIncrement Collect()
    {
        var increment = new ClusterMapIncrement
        {
            Epoch = Epoch,
            ModifiedUnixMilliseconds = UnixMilliseconds,
            Flags = _flags,
            Crush = _crush?.Encode(),
            Monitors = _monitors,
        };
        foreach ((int id, OsdInfo? osd) in _osds.OrderBy(entry => entry.Key))
        {
            if (osd is not null)
            {
                increment.Osds.Add(osd);
            }
            else if (Base.FindOsd(new OsdId(id)) is not null)
            {
                increment.RemovedOsds.Add(new OsdId(id));
            }
        }

        foreach ((long id, PoolInfo? pool) in _pools.OrderBy(entry => entry.Key))
        {
            if (pool is not null)
            {
                increment.Pools.Add(pool);
            }
            else
            {
                increment.RemovedPools.Add(id);
            }
        }

        foreach ((PgId group, OsdId[] acting) in _pgTemp)
        {
            if (acting.Length > 0 || Base.PgTemp.ContainsKey(group))
            {
                increment.PgTemp[group] = acting;
            }
        }

        foreach ((PgId group, (OsdId From, OsdId To)[] items) in _upmap)
        {
            increment.UpmapItems[group] = items;
        }

        foreach ((ulong client, long? until) in _blocklist)
        {
            if (until is { } time)
            {
                increment.Blocklisted[client] = time;
            }
            else
            {
                increment.Unblocklisted.Add(client);
            }
        }

        foreach ((string key, string? value) in _configuration)
        {
            increment.Configuration[key] = value;
        }

        return increment;
    }
}
