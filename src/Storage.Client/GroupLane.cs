using Storage.Cluster;

namespace Storage.Client;

/// <summary>
/// The operations on one PG, which leave in the order of issue: while one of them must be sent (again), later ones wait behind it.
/// Exists while there are any.
/// </summary>
internal sealed class GroupLane
{
    private PgMapping? _mapping;
    private int _size;
    private int _minSize;
    private ulong _primaryInstance;
    private Epoch _primaryUpFrom;
    private NodeAddress _primaryAddress;

    public PgId Group { get; set; }

    /// <summary>Pool's pg_num when the operations were given to PGs.</summary>
    public int PgCount { get; private set; }

    public OsdId Primary { get; private set; }

    /// <summary>Session with the primary; null if there is none.</summary>
    public OsdSession? Session { get; set; }

    /// <summary>Operations in the lane.</summary>
    public int Operations { get; set; }

    /// <summary>Those of them that must be sent.</summary>
    public int Unsent { get; set; }

    /// <summary>Nothing is sent before this map is there: an OSD has it and refused by it.</summary>
    public Epoch WaitFor { get; set; }

    /// <summary>Nothing is sent until a short pause is over, or the map changes.</summary>
    public bool Held { get; set; }

    /// <summary>What the maps followed since the last <see cref="BeginUpdate"/> do to the operations.</summary>
    public LaneFate Fate { get; private set; }

    public void Reset(PgId group)
    {
        Group = group;
        _mapping = null;
        Session = null;
        Operations = 0;
        Unsent = 0;
        WaitFor = Epoch.None;
        Held = false;
        Fate = LaneFate.Same;
    }

    /// <summary>New maps come. Each of them has to be followed: one in which the primary was another one made it drop what waited, also
    /// if the last one looks like the first.</summary>
    /// <param name="skips">The maps in between are not known.</param>
    public void BeginUpdate(bool skips) => Fate = skips ? LaneFate.NewInterval : LaneFate.Same;

    /// <summary>Looks the PG up in the next map, and adds to <see cref="Fate"/> what that means for operations that were sent by the map before.</summary>
    public void Follow(ClusterMap map)
    {
        if (map.FindPool(Group.Pool) is not { } pool)
        {
            Fate = LaneFate.PoolGone;
            return;
        }

        if (Fate == LaneFate.Regroup || (_mapping is not null && pool.PgCount != PgCount))
        {
            Fate = LaneFate.Regroup;
            return;
        }

        PgMapping mapping = map.Locate(Group);
        OsdInfo? primary = map.FindOsd(mapping.Primary);
        bool same = _mapping is not null
            && mapping.Up.AsSpan().SequenceEqual(_mapping.Up)
            && mapping.Acting.AsSpan().SequenceEqual(_mapping.Acting)
            && pool.Size == _size
            && pool.MinSize == _minSize
            && (primary?.Instance ?? 0) == _primaryInstance
            && (primary?.UpFrom ?? Epoch.None) == _primaryUpFrom
            && (primary?.Address ?? default) == _primaryAddress;
        _mapping = mapping;
        _size = pool.Size;
        _minSize = pool.MinSize;
        _primaryInstance = primary?.Instance ?? 0;
        _primaryUpFrom = primary?.UpFrom ?? Epoch.None;
        _primaryAddress = primary?.Address ?? default;
        PgCount = pool.PgCount;
        Primary = mapping.Primary;
        Fate = same ? Fate : LaneFate.NewInterval;
    }
}

/// <summary>What a map change does to a PG's operations.</summary>
internal enum LaneFate
{
    /// <summary>Nothing.</summary>
    Same,

    /// <summary>They are sent again: the members, or the primary's process, changed, and OSDs drop what waited.</summary>
    NewInterval,

    /// <summary>pg_num changed: they belong to other PGs now.</summary>
    Regroup,

    /// <summary>They fail.</summary>
    PoolGone,
}
