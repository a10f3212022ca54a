using System.Numerics;
using Storage.Crush;

namespace Storage.Cluster;

/// <summary>
/// How placement groups part when pg_num grows. A PG holds the objects whose hash ends in its seed's low bits; a child takes those with one
/// or more further bits, so the objects of each child are one run in <see cref="ObjectId"/> order. The outcome depends on the old and
/// the new pg_num alone: going there in several steps gives the same.
/// </summary>
public static class PgSplit
{
    /// <summary>The PG that held a PG's objects before.</summary>
    /// <param name="seed">A seed below the larger pg_num.</param>
    /// <param name="count">The smaller pg_num, 1 and up.</param>
    /// <returns>Seed of the ancestor; the same seed if it existed then.</returns>
    public static uint AncestorOf(uint seed, int count) => CrushHash.StableMod(seed, (uint)count, CrushHash.StableModMask((uint)count));

    /// <summary>The PGs that come out of one.</summary>
    /// <param name="seed">The parent's seed, below <paramref name="from"/>.</param>
    /// <param name="from">pg_num before.</param>
    /// <param name="to">pg_num after; not smaller.</param>
    /// <returns>The children's seeds, ascending, without the parent's own.</returns>
    public static List<uint> ChildrenOf(uint seed, int from, int to)
    {
        var children = new List<uint>();

        // A child's low bits are its parent's: all candidates lie a power of two apart.
        uint step = 1u << Math.Max(0, BitsOf(seed, from));
        for (ulong child = seed + (ulong)step; child < (ulong)to; child += step)
        {
            if (child >= (ulong)from && AncestorOf((uint)child, from) == seed)
            {
                children.Add((uint)child);
            }
        }

        return children;
    }

    /// <summary>How many low bits of the hash decide that an object is in a PG.</summary>
    /// <param name="seed">The PG's seed, below <paramref name="count"/>.</param>
    /// <param name="count">pg_num.</param>
    /// <returns>0 to 32; the object is in the PG if that many low bits of hash and seed are the same.</returns>
    public static int BitsOf(uint seed, int count)
    {
        int bits = BitOperations.PopCount(CrushHash.StableModMask((uint)count));
        if (BitOperations.IsPow2(count))
        {
            return bits;
        }

        uint half = 1u << (bits - 1);
        return seed % half < (uint)count % half ? bits : bits - 1;
    }

    /// <summary>Whether an object belongs to a PG.</summary>
    /// <param name="hash">The object's hash.</param>
    /// <param name="seed">The PG's seed.</param>
    /// <param name="bits">What <see cref="BitsOf"/> says of it.</param>
    /// <returns>True if so.</returns>
    public static bool Holds(uint hash, uint seed, int bits) => ((hash ^ seed) & MaskOf(bits)) == 0;

    private static uint MaskOf(int bits) => bits >= 32 ? uint.MaxValue : (1u << bits) - 1;
}
