using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using Storage.Coding;
using Storage.Crush;

namespace Storage.Cluster;

/// <summary>
/// Everything nodes agree on, at one epoch. Immutable: nodes hold a snapshot and swap the reference. Placement is computed
/// from it (<see cref="Locate"/>), never looked up elsewhere.
/// </summary>
public sealed class ClusterMap
{
    /// <summary>The largest OSD number.</summary>
    public const int LargestOsd = 1 << 20;

    private const byte FormatVersion = 1;
    private readonly OsdInfo?[] _osds;
    private readonly Dictionary<long, PoolInfo> _pools;
    private readonly Dictionary<long, PoolMappings?> _mappings; // the keys never change, so readers need no lock
    private uint[]? _weights;

    private ClusterMap(ClusterMap? from, OsdInfo?[] osds, Dictionary<long, PoolInfo> pools, CrushMap crush)
    {
        _osds = osds;
        _pools = pools;
        Crush = crush;
        _mappings = pools.Keys.ToDictionary(id => id, _ => (PoolMappings?)null);

        if (from is not null)
        {
            Fsid = from.Fsid;
            CreatedUnixMilliseconds = from.CreatedUnixMilliseconds;
            Epoch = from.Epoch;
            ModifiedUnixMilliseconds = from.ModifiedUnixMilliseconds;
            Flags = from.Flags;
            Monitors = from.Monitors;
            PgTemp = from.PgTemp;
            UpmapItems = from.UpmapItems;
            Blocklist = from.Blocklist;
            Configuration = from.Configuration;
            LastPoolId = from.LastPoolId;
        }
    }

    /// <summary>Identity of the cluster.</summary>
    public Guid Fsid { get; private init; }

    /// <summary>This map's version.</summary>
    public Epoch Epoch { get; private init; }

    /// <summary>When the cluster was made, milliseconds since 1970 UTC.</summary>
    public long CreatedUnixMilliseconds { get; private init; }

    /// <summary>When this epoch was made, milliseconds since 1970 UTC.</summary>
    public long ModifiedUnixMilliseconds { get; private init; }

    /// <summary>Cluster-wide switches.</summary>
    public ClusterFlags Flags { get; private init; }

    /// <summary>The monitors, ordered by id.</summary>
    public IReadOnlyList<MonitorInfo> Monitors { get; private init; } = [];

    /// <summary>The CRUSH map.</summary>
    public CrushMap Crush { get; }

    /// <summary>Acting sets set for the time being.</summary>
    public ImmutableDictionary<PgId, OsdId[]> PgTemp { get; private init; } = ImmutableDictionary<PgId, OsdId[]>.Empty;

    /// <summary>Exceptions to CRUSH.</summary>
    public ImmutableDictionary<PgId, (OsdId From, OsdId To)[]> UpmapItems { get; private init; } = ImmutableDictionary<PgId, (OsdId From, OsdId To)[]>.Empty;

    /// <summary>Clients that are fenced, and when the entry expires (milliseconds since 1970 UTC).</summary>
    public ImmutableDictionary<ulong, long> Blocklist { get; private init; } = ImmutableDictionary<ulong, long>.Empty;

    /// <summary>Settings that operators changed.</summary>
    public ImmutableSortedDictionary<string, string> Configuration { get; private init; } = ImmutableSortedDictionary.Create<string, string>(StringComparer.Ordinal);

    /// <summary>The highest pool id ever given out.</summary>
    public long LastPoolId { get; private init; }

    /// <summary>One more than the highest OSD number in the map.</summary>
    public int MaxOsd => _osds.Length;

    /// <summary>The OSDs that exist, in order of number.</summary>
    public IEnumerable<OsdInfo> Osds => _osds.Where(osd => osd is not null)!;

    /// <summary>The pools, in order of id.</summary>
    public IEnumerable<PoolInfo> Pools => _pools.Values.OrderBy(pool => pool.Id);

    /// <summary>Makes the first map of a cluster, with epoch 1.</summary>
    /// <param name="fsid">The cluster's identity.</param>
    /// <param name="createdUnixMilliseconds">Now.</param>
    /// <param name="monitors">Its monitors.</param>
    /// <param name="crush">Its CRUSH map.</param>
    /// <returns>The map, without OSDs and pools.</returns>
    public static ClusterMap Create(Guid fsid, long createdUnixMilliseconds, IReadOnlyList<MonitorInfo> monitors, CrushMap crush) =>
        new(null, [], [], crush)
        {
            Fsid = fsid,
            Epoch = new Epoch(1),
            CreatedUnixMilliseconds = createdUnixMilliseconds,
            ModifiedUnixMilliseconds = createdUnixMilliseconds,
            Monitors = [.. monitors.OrderBy(monitor => monitor.Id)],
        };

    /// <summary>Finds an OSD.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>Its record, or null if the map has no such OSD.</returns>
    public OsdInfo? FindOsd(OsdId id) => (uint)id.Value < (uint)_osds.Length ? _osds[id.Value] : null;

    /// <summary>Whether an OSD is in the map and up.</summary>
    /// <param name="id">Its number.</param>
    /// <returns>True if up.</returns>
    public bool IsUp(OsdId id) => FindOsd(id) is { IsUp: true };

    /// <summary>Finds a pool by id.</summary>
    /// <param name="id">The id.</param>
    /// <returns>The pool, or null.</returns>
    public PoolInfo? FindPool(long id) => _pools.GetValueOrDefault(id);

    /// <summary>Finds a pool by name.</summary>
    /// <param name="name">The name.</param>
    /// <returns>The pool, or null.</returns>
    public PoolInfo? FindPool(string name)
    {
        foreach (PoolInfo pool in _pools.Values)
        {
            if (string.Equals(pool.Name, name, StringComparison.Ordinal))
            {
                return pool;
            }
        }

        return null;
    }

    /// <summary>The PG that holds objects with a hash.</summary>
    /// <param name="pool">The pool.</param>
    /// <param name="hash">The object's hash.</param>
    /// <returns>The PG.</returns>
    public static PgId GroupOf(PoolInfo pool, uint hash) => new(pool.Id, CrushHash.StableMod(hash, (uint)pool.PgCount, pool.PgMask));

    /// <summary>Computes where a PG lives; remembered, so asking again is cheap. Thread-safe.</summary>
    /// <param name="group">The PG; its pool must exist and its seed be below the pool's pg_num.</param>
    /// <returns>Its up and acting sets.</returns>
    public PgMapping Locate(PgId group)
    {
        PoolMappings known = _mappings[group.Pool] ?? Remember(group.Pool);
        return known.Groups[group.Seed] ??= Placement.Compute(this, _pools[group.Pool], known.Placement, group);
    }

    private PoolMappings Remember(long pool)
    {
        ref PoolMappings? slot = ref System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrNullRef(_mappings, pool);
        return Interlocked.CompareExchange(ref slot, new PoolMappings(PoolPlacement.Unknown(_pools[pool]), new PgMapping?[_pools[pool].PgCount]), null) ?? slot!;
    }

    /// <summary>Takes over what the map before this one had worked out and this one does not change.</summary>
    private ClusterMap Inherit(ClusterMap before, ClusterMapIncrement increment)
    {
        if (increment.Crush is not null)
        {
            return this;
        }

        // An OSD that weighs more may draw PGs from anywhere; one that weighs less only loses its own.
        var changed = new HashSet<int>();
        var lighter = new HashSet<int>();
        foreach (int id in increment.Osds.Select(osd => osd.Id.Value).Concat(increment.RemovedOsds.Select(osd => osd.Value)))
        {
            OsdInfo? then = before.FindOsd(new OsdId(id)), now = FindOsd(new OsdId(id));
            uint weight = now?.Weight ?? 0, was = then?.Weight ?? 0;
            if (weight > was)
            {
                return this;
            }

            if (weight < was)
            {
                lighter.Add(id);
            }

            if (then?.IsUp != now?.IsUp || weight != was)
            {
                changed.Add(id);
            }
        }

        bool isAlike = changed.Count == 0 && increment.PgTemp.Count == 0 && increment.UpmapItems.Count == 0;
        foreach ((long id, PoolMappings? known) in before._mappings)
        {
            if (known is null || !_pools.TryGetValue(id, out PoolInfo? pool) || !known.Placement.Fits(pool))
            {
                continue;
            }

            if (isAlike)
            {
                _mappings[id] = known; // both maps go on filling it
                continue;
            }

            PoolPlacement placement = lighter.Count == 0 ? known.Placement : known.Placement.WithLess(lighter);
            var groups = (PgMapping?[])known.Groups.Clone();
            for (int seed = 0; changed.Count > 0 && seed < groups.Length; seed++)
            {
                if (groups[seed] is not null && !known.Placement.IsApart(seed, changed))
                {
                    groups[seed] = null;
                }
            }

            _mappings[id] = new PoolMappings(placement, groups);
        }

        if (isAlike)
        {
            return this;
        }

        // Exceptions may name any OSD; there are few of them.
        foreach (PgId group in before.PgTemp.Keys.Concat(PgTemp.Keys).Concat(before.UpmapItems.Keys).Concat(UpmapItems.Keys))
        {
            if (_mappings.TryGetValue(group.Pool, out PoolMappings? known) && known is not null && group.Seed < (uint)known.Groups.Length)
            {
                known.Groups[group.Seed] = null;
            }
        }

        return this;
    }

    private sealed record PoolMappings(PoolPlacement Placement, PgMapping?[] Groups);

    /// <summary>Whether a PG exists: its pool does, and the seed is in range.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>True if it exists.</returns>
    public bool Contains(PgId group) => _pools.TryGetValue(group.Pool, out PoolInfo? pool) && group.Seed < (uint)pool.PgCount;

    /// <summary>OSD reweights by number, as CRUSH takes them.</summary>
    /// <returns>16.16 fixed point; 0 for OSDs that are out or do not exist.</returns>
    public ReadOnlySpan<uint> GetWeights()
    {
        if (_weights is null)
        {
            var weights = new uint[_osds.Length];
            for (int i = 0; i < weights.Length; i++)
            {
                weights[i] = _osds[i]?.Weight ?? 0;
            }

            _weights = weights;
        }

        return _weights;
    }

    /// <summary>Applies a change.</summary>
    /// <param name="increment">The change from this epoch to the next.</param>
    /// <returns>The next map.</returns>
    /// <exception cref="ArgumentException">The increment does not follow this epoch.</exception>
    public ClusterMap Apply(ClusterMapIncrement increment)
    {
        if (increment.Epoch != Epoch.Next)
        {
            throw new ArgumentException($"increment {increment.Epoch} does not follow map {Epoch}", nameof(increment));
        }

        OsdInfo?[] osds = _osds;
        if (increment.Osds.Count > 0 || increment.RemovedOsds.Count > 0)
        {
            int max = Math.Max(osds.Length, increment.Osds.Select(osd => osd.Id.Value + 1).DefaultIfEmpty(0).Max());
            Array.Resize(ref osds, max);
            osds = ReferenceEquals(osds, _osds) ? (OsdInfo?[])osds.Clone() : osds;
            increment.Osds.ForEach(osd => osds[osd.Id.Value] = osd);
            increment.RemovedOsds.ForEach(osd => osds[osd.Value] = null);
        }

        Dictionary<long, PoolInfo> pools = _pools;
        if (increment.Pools.Count > 0 || increment.RemovedPools.Count > 0)
        {
            pools = new Dictionary<long, PoolInfo>(pools);
            increment.Pools.ForEach(pool => pools[pool.Id] = pool);
            increment.RemovedPools.ForEach(pool => pools.Remove(pool));
        }

        ImmutableDictionary<PgId, OsdId[]> temp = PgTemp
            .SetItems(increment.PgTemp.Where(entry => entry.Value.Length > 0))
            .RemoveRange(increment.PgTemp.Where(entry => entry.Value.Length == 0).Select(entry => entry.Key));
        ImmutableDictionary<PgId, (OsdId From, OsdId To)[]> upmap = UpmapItems
            .SetItems(increment.UpmapItems.Where(entry => entry.Value.Length > 0))
            .RemoveRange(increment.UpmapItems.Where(entry => entry.Value.Length == 0).Select(entry => entry.Key));
        if (increment.RemovedPools.Count > 0)
        {
            temp = temp.RemoveRange(temp.Keys.Where(group => !pools.ContainsKey(group.Pool)));
            upmap = upmap.RemoveRange(upmap.Keys.Where(group => !pools.ContainsKey(group.Pool)));
        }

        ClusterMap next = new(this, osds, pools, increment.Crush is null ? Crush : CrushMap.Decode(increment.Crush))
        {
            Epoch = increment.Epoch,
            ModifiedUnixMilliseconds = increment.ModifiedUnixMilliseconds,
            Flags = increment.Flags ?? Flags,
            Monitors = increment.Monitors is null ? Monitors : [.. increment.Monitors.OrderBy(monitor => monitor.Id)],
            PgTemp = temp,
            UpmapItems = upmap,
            Blocklist = Blocklist.SetItems(increment.Blocklisted).RemoveRange(increment.Unblocklisted),
            Configuration = Configuration
                .SetItems(increment.Configuration.Where(entry => entry.Value is not null).Select(entry => KeyValuePair.Create(entry.Key, entry.Value!)))
                .RemoveRange(increment.Configuration.Where(entry => entry.Value is null).Select(entry => entry.Key)),
            LastPoolId = increment.Pools.Select(pool => pool.Id).Append(LastPoolId).Max(),
        };
        return next.Inherit(this, increment);
    }

    /// <summary>Packs the whole map. Equal maps give equal bytes.</summary>
    /// <returns>The packed map.</returns>
    public byte[] Encode()
    {
        var writer = new WireWriter(4096);
        writer.WriteByte(FormatVersion);
        Fsid.TryWriteBytes(writer.Reserve(16));
        writer.WriteUInt32(Epoch.Value);
        writer.WriteInt64(CreatedUnixMilliseconds);
        writer.WriteInt64(ModifiedUnixMilliseconds);
        writer.WriteInt32((int)Flags);
        writer.WriteInt64(LastPoolId);
        writer.WriteBytes(Crush.Encode());
        writer.WriteInt32(Monitors.Count);
        foreach (MonitorInfo monitor in Monitors)
        {
            monitor.Encode(writer);
        }

        writer.WriteInt32(_osds.Count(osd => osd is not null));
        foreach (OsdInfo osd in Osds)
        {
            osd.Encode(writer);
        }

        writer.WriteInt32(_pools.Count);
        foreach (PoolInfo pool in Pools)
        {
            pool.Encode(writer);
        }

        MapCodec.WritePgTemp(writer, PgTemp);
        MapCodec.WriteUpmap(writer, UpmapItems);
        writer.WriteInt32(Blocklist.Count);
        foreach ((ulong client, long expires) in Blocklist.OrderBy(entry => entry.Key))
        {
            writer.WriteUInt64(client);
            writer.WriteInt64(expires);
        }

        writer.WriteInt32(Configuration.Count);
        foreach ((string name, string value) in Configuration)
        {
            writer.WriteString(name);
            writer.WriteString(value);
        }

        return writer.ToArray();
    }

    /// <summary>Reads a packed map.</summary>
    /// <param name="data">What <see cref="Encode"/> made.</param>
    /// <returns>The map.</returns>
    /// <exception cref="MalformedDataException">The bytes are no map.</exception>
    [SuppressMessage("Style", "IDE0017", Justification = "Fields are read in the order they were written.")]
    public static ClusterMap Decode(ReadOnlySpan<byte> data)
    {
        var reader = new WireReader(data);
        reader.ReadVersion(FormatVersion, "cluster map");
        var fsid = new Guid(reader.ReadRaw(16));
        var epoch = new Epoch(reader.ReadUInt32());
        long created = reader.ReadInt64();
        long modified = reader.ReadInt64();
        var flags = (ClusterFlags)reader.ReadInt32();
        long lastPool = reader.ReadInt64();
        CrushMap crush = CrushMap.Decode(reader.ReadBytes());
        MonitorInfo[] monitors = MapCodec.ReadMonitors(ref reader);
        var osdList = new List<OsdInfo>();
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            osdList.Add(OsdInfo.Decode(ref reader));
        }

        var osds = new OsdInfo?[osdList.Select(osd => osd.Id.Value + 1).DefaultIfEmpty(0).Max()];
        osdList.ForEach(osd => osds[osd.Id.Value] = osd);
        var pools = new Dictionary<long, PoolInfo>();
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            PoolInfo pool = PoolInfo.Decode(ref reader);
            pools[pool.Id] = pool;
        }

        var temp = new Dictionary<PgId, OsdId[]>();
        MapCodec.ReadPgTemp(ref reader, temp);
        var upmap = new Dictionary<PgId, (OsdId From, OsdId To)[]>();
        MapCodec.ReadUpmap(ref reader, upmap);
        var blocklist = ImmutableDictionary.CreateBuilder<ulong, long>();
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            blocklist[reader.ReadUInt64()] = reader.ReadInt64();
        }

        var configuration = ImmutableSortedDictionary.CreateBuilder<string, string>(StringComparer.Ordinal);
        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            string name = reader.ReadString();
            configuration[name] = reader.ReadString();
        }

        reader.ExpectEnd();
        return new ClusterMap(null, osds, pools, crush)
        {
            Fsid = fsid,
            Epoch = epoch,
            CreatedUnixMilliseconds = created,
            ModifiedUnixMilliseconds = modified,
            Flags = flags,
            LastPoolId = lastPool,
            Monitors = monitors,
            PgTemp = temp.ToImmutableDictionary(),
            UpmapItems = upmap.ToImmutableDictionary(),
            Blocklist = blocklist.ToImmutable(),
            Configuration = configuration.ToImmutable(),
        };
    }
}
