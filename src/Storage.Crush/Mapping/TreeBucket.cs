namespace Storage.Crush.Mapping;

/// <summary>The binary tree of weights behind a tree bucket. Item i is leaf 2i + 1; a node's height is its number of trailing zero bits.</summary>
internal static class TreeBucket
{
    /// <summary>Sums the weights up to the root, which is node count / 2.</summary>
    internal static uint[] NodeWeights(int id, ReadOnlySpan<uint> weights)
    {
        if (weights.Length == 0)
        {
            return [];
        }

        if (weights.Length > CrushBucket.MaxTreeItems)
        {
            throw new ArgumentException($"Tree bucket {id} has {weights.Length} items; the format has room for {CrushBucket.MaxTreeItems}.", nameof(weights));
        }

        int depth = 1;
        for (int rest = weights.Length - 1; rest != 0; rest >>= 1)
        {
            depth++;
        }

        var nodes = new uint[1 << depth];
        for (int i = 0; i < weights.Length; i++)
        {
            int node = (i << 1) + 1;
            nodes[node] = weights[i];
            for (int level = 1; level < depth; level++)
            {
                node = Parent(node);
                nodes[node] += weights[i];
            }
        }

        return nodes;
    }

    internal static int Height(int node) => System.Numerics.BitOperations.TrailingZeroCount(node);

    private static int Parent(int node)
    {
        int height = Height(node);
        bool onRight = (node & (1 << (height + 1))) != 0;
        return onRight ? node - (1 << height) : node + (1 << height);
    }
}
