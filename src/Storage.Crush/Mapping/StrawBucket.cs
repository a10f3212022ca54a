namespace Storage.Crush.Mapping;

/// <summary>The straw lengths of legacy straw buckets.</summary>
internal static class StrawBucket
{
    /// <summary>Computes lengths such that the longest scaled draw wins in proportion to weight, nearly.</summary>
    /// <param name="weights">16.16 fixed point.</param>
    /// <param name="version">0 miscounts the items left where weights are equal or zero; 1 does not. Old maps depend on 0.</param>
    internal static uint[] Lengths(ReadOnlySpan<uint> weights, int version)
    {
        int size = weights.Length;
        var lengths = new uint[size];
        int[] order = AscendingByWeight(weights);
        int left = size;
        double straw = 1.0;
        double below = 0;
        double last = 0;
        int i = 0;
        while (i < size)
        {
            uint weight = weights[order[i]];
            if (weight == 0)
            {
                lengths[order[i]] = 0;
                i++;
                if (version > 0)
                {
                    left--;
                }

                continue;
            }

            lengths[order[i]] = (uint)(ulong)(long)(straw * 0x10000);
            i++;
            if (i == size)
            {
                break;
            }

            uint next = weights[order[i]];
            if (version == 0 && next == weight)
            {
                continue;
            }

            below += (weight - last) * left;
            if (version == 0)
            {
                for (int j = i; j < size && weights[order[j]] == next; j++)
                {
                    left--;
                }
            }
            else
            {
                left--;
            }

            // Wraps at 32 bits, as old maps' lengths were computed.
            double above = unchecked((uint)left * (next - weight));
            double share = below / (below + above);
            straw *= Math.Pow(1.0 / share, 1.0 / left);
            last = weight;
        }

        return lengths;
    }

    // Equal weights stay in item order.
    private static int[] AscendingByWeight(ReadOnlySpan<uint> weights)
    {
        var order = new int[weights.Length];
        for (int i = 0; i < order.Length; i++)
        {
            int at = i;
            while (at > 0 && weights[order[at - 1]] > weights[i])
            {
                order[at] = order[at - 1];
                at--;
            }

            order[at] = i;
        }

        return order;
    }
}
