namespace Storage.Crush.Mapping;

/// <summary>The straw2 choice: every item draws -ln(u)/weight from a hash of its own, and the smallest wins.</summary>
internal static class Straw2
{
    /// <summary>Chooses one item.</summary>
    /// <param name="items">What is returned.</param>
    /// <param name="ids">What is hashed, one for each item.</param>
    /// <param name="weights">16.16 fixed point, one for each item; 0 never wins against another weight.</param>
    /// <param name="x">The input.</param>
    /// <param name="r">The rank of the try.</param>
    internal static int Choose(int[] items, int[] ids, uint[] weights, uint x, uint r)
    {
        long[] distances = FixedPointLog.Distance;
        int best = 0;
        ulong shortest = ulong.MaxValue;
        for (int i = 0; i < ids.Length; i++)
        {
            uint weight = weights[i];
            if (weight == 0)
            {
                continue;
            }

            ulong distance = (ulong)distances[CrushHash.Hash3(x, (uint)ids[i], r) & 0xffff];

            // floor(d / w) < s exactly when d < s * w: a multiplication decides, and only a new best pays for the division.
            ulong high = Math.BigMul(shortest, weight, out ulong low);
            if (high != 0 || distance < low)
            {
                shortest = distance / weight;
                best = i;
            }
        }

        return items[best];
    }
}
