using Storage.Crush;

namespace Storage.Cluster;

/// <summary>
/// What CRUSH chooses for the PGs of one pool, worked out when asked for and kept from epoch to epoch: an OSD that goes down or comes up
/// changes nothing here, one that loses weight only the PGs that it was chosen for. Thread-safe: two that work out the same entry
/// write the same.
/// </summary>
internal sealed class PoolPlacement
{
    private const int NotKnown = int.MinValue;
    private readonly int[] _chosen; // for each PG: how many, then the OSDs

    private PoolPlacement(int size, int groups, int placed, int rule, int[] chosen)
    {
        Size = size;
        PgCount = groups;
        PlacedPgCount = placed;
        RuleId = rule;
        _chosen = chosen;
    }

    public int Size { get; }

    public int PgCount { get; }

    public int PlacedPgCount { get; }

    public int RuleId { get; }

    public static PoolPlacement Unknown(PoolInfo pool)
    {
        var chosen = new int[pool.PgCount * (pool.Size + 1)];
        for (int i = 0; i < chosen.Length; i += pool.Size + 1)
        {
            chosen[i] = NotKnown;
        }

        return new PoolPlacement(pool.Size, pool.PgCount, pool.EffectivePlacedPgCount, pool.RuleId, chosen);
    }

    /// <summary>Whether a pool of this kind is placed alike.</summary>
    public bool Fits(PoolInfo pool) => pool.Size == Size && pool.PgCount == PgCount && pool.EffectivePlacedPgCount == PlacedPgCount && pool.RuleId == RuleId;

    /// <summary>What CRUSH chooses for a PG.</summary>
    public ReadOnlySpan<int> Choose(ClusterMap map, PoolInfo pool, uint seed)
    {
        Span<int> entry = _chosen.AsSpan((int)seed * (Size + 1), Size + 1);
        int count = Volatile.Read(ref entry[0]);
        if (count == NotKnown)
        {
            uint placed = (uint)PlacedPgCount;
            uint input = CrushHash.Hash2(CrushHash.StableMod(seed, placed, CrushHash.StableModMask(placed)), (uint)pool.Id);
            count = map.Crush.Map(pool.RuleId, input, entry[1..], map.GetWeights());
            Volatile.Write(ref entry[0], count);
        }

        return entry.Slice(1, count);
    }

    /// <summary>The entries that are known, for a map in which some OSDs have lost weight.</summary>
    /// <param name="lighter">Those OSDs.</param>
    /// <remarks>CRUSH tries one OSD after the other and takes the first that its weight lets in; for one that is let in less often than before
    /// the choice changes only where it had been let in.</remarks>
    public PoolPlacement WithLess(HashSet<int> lighter)
    {
        var chosen = (int[])_chosen.Clone();
        for (int at = 0; at < chosen.Length; at += Size + 1)
        {
            int count = Volatile.Read(ref chosen[at]);
            for (int i = 1; i <= count; i++)
            {
                if (lighter.Contains(chosen[at + i]))
                {
                    chosen[at] = NotKnown;
                    break;
                }
            }
        }

        return new PoolPlacement(Size, PgCount, PlacedPgCount, RuleId, chosen);
    }

    /// <summary>Whether a PG's entry is known and names none of these OSDs.</summary>
    public bool IsApart(int seed, HashSet<int> osds)
    {
        int at = seed * (Size + 1);
        int count = Volatile.Read(ref _chosen[at]);
        if (count == NotKnown)
        {
            return false;
        }

        for (int i = 1; i <= count; i++)
        {
            if (osds.Contains(_chosen[at + i]))
            {
                return false;
            }
        }

        return true;
    }
}
