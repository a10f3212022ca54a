using System.Runtime.Intrinsics;

namespace Storage.Crush.Mapping;

/// <summary>The straw2 choice: every item draws -ln(u)/weight from a hash of its own, and the smallest wins.</summary>
internal static class Straw2
{
    // Hashes worked out side by side; a power of two.
    private const int Lanes = 8;

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
        Span<uint> draws = stackalloc uint[Lanes];
        int drawn = 0;
        for (int i = 0; i < ids.Length; i++)
        {
            if (i == drawn)
            {
                drawn += Draw(ids.AsSpan(i), x, r, draws);
            }

            uint weight = weights[i];
            if (weight == 0)
            {
                continue;
            }

            ulong distance = (ulong)distances[draws[i & (Lanes - 1)]];

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

    /// <summary>The draws of the next ids, 16 bits each.</summary>
    /// <returns>How many, a full set of lanes unless there are fewer ids.</returns>
    private static int Draw(ReadOnlySpan<int> ids, uint x, uint r, Span<uint> draws)
    {
        if (ids.Length >= Lanes && Vector256.IsHardwareAccelerated)
        {
            Vector256<uint> hash = CrushHash.Hash3(Vector256.Create(x), Vector256.Create(ids).AsUInt32(), Vector256.Create(r));
            (hash & Vector256.Create(0xffffu)).CopyTo(draws);
            return Lanes;
        }

        int count = Math.Min(ids.Length, Lanes);
        for (int i = 0; i < count; i++)
        {
            draws[i] = CrushHash.Hash3(x, (uint)ids[i], r) & 0xffff;
        }

        return count;
    }
}
