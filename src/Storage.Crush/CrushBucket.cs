namespace Storage.Crush;

/// <summary>How a bucket picks one of its items. The values are those of the binary form.</summary>
public enum CrushBucketAlgorithm
{
    /// <summary>Equal weights, a pseudo-random permutation: constant time, but everything moves when an item is added.</summary>
    Uniform = 1,

    /// <summary>A linked list: little moves when items are added at the end.</summary>
    List = 2,

    /// <summary>A binary tree of weights.</summary>
    Tree = 3,

    /// <summary>Straw lengths computed ahead; a weight change moves more than it should. Kept for old maps.</summary>
    Straw = 4,

    /// <summary>Independent weighted draws: a weight change moves only what it must. The one to use.</summary>
    Straw2 = 5,
}

/// <summary>An inner node of the hierarchy: a host, a rack, a root. Immutable.</summary>
public sealed class CrushBucket
{
    /// <summary>A tree bucket stores its node count in one byte, so it can hold no more items than this.</summary>
    public const int MaxTreeItems = 64;

    internal readonly int[] ItemArray;
    internal readonly uint[] WeightArray;

    // List: running sums. Tree: weights of the nodes. Straw: lengths. Otherwise empty.
    internal readonly uint[] Extra;

    internal CrushBucket(int id, int type, CrushBucketAlgorithm algorithm, uint weight, int[] items, uint[] weights, uint[] extra, uint uniformWeight)
    {
        Id = id;
        Type = type;
        Algorithm = algorithm;
        Weight = weight;
        ItemArray = items;
        WeightArray = weights;
        Extra = extra;
        UniformWeight = uniformWeight;
    }

    /// <summary>The bucket's id, negative; it enters some of the hashes.</summary>
    public int Id { get; }

    /// <summary>The bucket's type id, at least 1.</summary>
    public int Type { get; }

    /// <summary>How items are chosen.</summary>
    public CrushBucketAlgorithm Algorithm { get; }

    /// <summary>The items' weights summed up, 16.16 fixed point.</summary>
    public uint Weight { get; }

    /// <summary>Number of items.</summary>
    public int Size => ItemArray.Length;

    /// <summary>The items in order: devices (0 and up) or buckets (negative).</summary>
    public ReadOnlySpan<int> Items => ItemArray;

    /// <summary>The items' weights, 16.16 fixed point, in the order of <see cref="Items"/>.</summary>
    public ReadOnlySpan<uint> ItemWeights => WeightArray;

    /// <summary>The one weight of a uniform bucket's items (kept even when it is empty), else 0.</summary>
    internal uint UniformWeight { get; }

    internal int IndexOf(int item) => Array.IndexOf(ItemArray, item);

    /// <summary>Builds a bucket, computing what its algorithm needs.</summary>
    /// <param name="id">Negative.</param>
    /// <param name="type">At least 1.</param>
    /// <param name="algorithm">How items are chosen.</param>
    /// <param name="items">Devices or buckets; copied.</param>
    /// <param name="weights">16.16 fixed point, one for each item; copied.</param>
    /// <param name="strawCalcVersion">The tunable of that name; matters to <see cref="CrushBucketAlgorithm.Straw"/> only.</param>
    /// <exception cref="ArgumentException">The arguments contradict each other or the weights overflow 32 bits.</exception>
    public static CrushBucket Create(int id, int type, CrushBucketAlgorithm algorithm, ReadOnlySpan<int> items, ReadOnlySpan<uint> weights, int strawCalcVersion = 1)
    {
        if (id >= 0)
        {
            throw new ArgumentException($"A bucket's id is negative, not {id}.", nameof(id));
        }

        if (items.Length != weights.Length)
        {
            throw new ArgumentException($"Bucket {id} has {items.Length} items but {weights.Length} weights.", nameof(weights));
        }

        ulong sum = 0;
        foreach (uint weight in weights)
        {
            sum += weight;
        }

        uint uniform = 0;
        if (algorithm == CrushBucketAlgorithm.Uniform && weights.Length > 0)
        {
            uniform = weights[0];
            sum = (ulong)uniform * (ulong)weights.Length;
            if (weights.ContainsAnyExcept(uniform))
            {
                throw new ArgumentException($"The items of uniform bucket {id} have different weights.", nameof(weights));
            }
        }

        if (sum > uint.MaxValue)
        {
            throw new ArgumentException($"The weights of bucket {id} sum up to {sum / 65536}, more than 65535.", nameof(weights));
        }

        uint[] extra = algorithm switch
        {
            CrushBucketAlgorithm.List => Sums(weights),
            CrushBucketAlgorithm.Tree => Mapping.TreeBucket.NodeWeights(id, weights),
            CrushBucketAlgorithm.Straw => Mapping.StrawBucket.Lengths(weights, strawCalcVersion),
            CrushBucketAlgorithm.Uniform or CrushBucketAlgorithm.Straw2 => [],
            _ => throw new ArgumentException($"Bucket {id} has unknown algorithm {(int)algorithm}.", nameof(algorithm)),
        };
        return new CrushBucket(id, type, algorithm, (uint)sum, items.ToArray(), weights.ToArray(), extra, uniform);
    }

    private static uint[] Sums(ReadOnlySpan<uint> weights)
    {
        var sums = new uint[weights.Length];
        uint sum = 0;
        for (int i = 0; i < sums.Length; i++)
        {
            sum += weights[i];
            sums[i] = sum;
        }

        return sums;
    }
}
