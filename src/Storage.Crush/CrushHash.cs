using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Storage.Crush;

/// <summary>The hash functions of placement: Robert Jenkins' 32-bit mix over one to five words (CRUSH's
/// <c>rjenkins1</c>), his string hash (object names), and the stable modulus that maps hashes to groups.</summary>
/// <remarks>All arithmetic is modulo 2^32. The results are part of the on-disk contract: a change moves every object.</remarks>
public static class CrushHash
{
    private const uint Seed = 1315423911;
    private const uint PadX = 231232;
    private const uint PadY = 1232;
    private const uint GoldenRatio = 0x9e3779b9;

    /// <summary>Hashes one word.</summary>
    public static uint Hash1(uint a)
    {
        uint hash = Seed ^ a, b = a, x = PadX, y = PadY;
        Mix(ref b, ref x, ref hash);
        Mix(ref y, ref a, ref hash);
        return hash;
    }

    /// <summary>Hashes two words; order matters.</summary>
    public static uint Hash2(uint a, uint b)
    {
        uint hash = Seed ^ a ^ b, x = PadX, y = PadY;
        Mix(ref a, ref b, ref hash);
        Mix(ref x, ref a, ref hash);
        Mix(ref b, ref y, ref hash);
        return hash;
    }

    /// <summary>Hashes three words; order matters.</summary>
    public static uint Hash3(uint a, uint b, uint c)
    {
        uint hash = Seed ^ a ^ b ^ c, x = PadX, y = PadY;
        Mix(ref a, ref b, ref hash);
        Mix(ref c, ref x, ref hash);
        Mix(ref y, ref a, ref hash);
        Mix(ref b, ref x, ref hash);
        Mix(ref y, ref c, ref hash);
        return hash;
    }

    /// <summary>Hashes four words; order matters.</summary>
    public static uint Hash4(uint a, uint b, uint c, uint d)
    {
        uint hash = Seed ^ a ^ b ^ c ^ d, x = PadX, y = PadY;
        Mix(ref a, ref b, ref hash);
        Mix(ref c, ref d, ref hash);
        Mix(ref a, ref x, ref hash);
        Mix(ref y, ref b, ref hash);
        Mix(ref c, ref x, ref hash);
        Mix(ref y, ref d, ref hash);
        return hash;
    }

    /// <summary>Hashes five words; order matters.</summary>
    public static uint Hash5(uint a, uint b, uint c, uint d, uint e)
    {
        uint hash = Seed ^ a ^ b ^ c ^ d ^ e, x = PadX, y = PadY;
        Mix(ref a, ref b, ref hash);
        Mix(ref c, ref d, ref hash);
        Mix(ref e, ref x, ref hash);
        Mix(ref y, ref a, ref hash);
        Mix(ref b, ref x, ref hash);
        Mix(ref y, ref c, ref hash);
        Mix(ref d, ref x, ref hash);
        Mix(ref y, ref e, ref hash);
        return hash;
    }

    /// <summary>Hashes a byte string (an object's name, with its namespace where it has one).</summary>
    public static uint StringHash(ReadOnlySpan<byte> text)
    {
        uint a = GoldenRatio, b = GoldenRatio, c = 0;
        ReadOnlySpan<byte> k = text;
        while (k.Length >= 12)
        {
            a += Word(k);
            b += Word(k[4..]);
            c += Word(k[8..]);
            Mix(ref a, ref b, ref c);
            k = k[12..];
        }

        // The low byte of c is reserved for the length, so the tail's last bytes start at bit 8.
        c += (uint)text.Length;
        for (int i = 0; i < k.Length; i++)
        {
            uint value = k[i];
            if (i < 4)
            {
                a += value << (8 * i);
            }
            else if (i < 8)
            {
                b += value << (8 * (i - 4));
            }
            else
            {
                c += value << (8 * (i - 7));
            }
        }

        Mix(ref a, ref b, ref c);
        return c;
    }

    /// <summary>Maps a hash to one of <paramref name="count"/> values so that few of them move when the count grows.</summary>
    /// <param name="x">The hash.</param>
    /// <param name="count">How many values there are; at least 1.</param>
    /// <param name="mask">The smallest 2^n - 1 that is at least <paramref name="count"/> - 1.</param>
    public static uint StableMod(uint x, uint count, uint mask) =>
        (x & mask) < count ? x & mask : x & (mask >> 1);

    /// <summary>The mask that <see cref="StableMod(uint, uint, uint)"/> needs for a count.</summary>
    public static uint StableModMask(uint count) =>
        count <= 1 ? 0 : uint.MaxValue >> System.Numerics.BitOperations.LeadingZeroCount(count - 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Mix(ref uint a, ref uint b, ref uint c)
    {
        a = (a - b - c) ^ (c >> 13);
        b = (b - c - a) ^ (a << 8);
        c = (c - a - b) ^ (b >> 13);
        a = (a - b - c) ^ (c >> 12);
        b = (b - c - a) ^ (a << 16);
        c = (c - a - b) ^ (b >> 5);
        a = (a - b - c) ^ (c >> 3);
        b = (b - c - a) ^ (a << 10);
        c = (c - a - b) ^ (b >> 15);
    }

    /// <summary><see cref="Hash3(uint, uint, uint)"/> of eight triples at once.</summary>
    internal static Vector256<uint> Hash3(Vector256<uint> a, Vector256<uint> b, Vector256<uint> c)
    {
        Vector256<uint> hash = Vector256.Create(Seed) ^ a ^ b ^ c, x = Vector256.Create(PadX), y = Vector256.Create(PadY);
        Mix(ref a, ref b, ref hash);
        Mix(ref c, ref x, ref hash);
        Mix(ref y, ref a, ref hash);
        Mix(ref b, ref x, ref hash);
        Mix(ref y, ref c, ref hash);
        return hash;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mix(ref Vector256<uint> a, ref Vector256<uint> b, ref Vector256<uint> c)
    {
        a = (a - b - c) ^ (c >>> 13);
        b = (b - c - a) ^ (a << 8);
        c = (c - a - b) ^ (b >>> 13);
        a = (a - b - c) ^ (c >>> 12);
        b = (b - c - a) ^ (a << 16);
        c = (c - a - b) ^ (b >>> 5);
        a = (a - b - c) ^ (c >>> 3);
        b = (b - c - a) ^ (a << 10);
        c = (c - a - b) ^ (b >>> 15);
    }

    private static uint Word(ReadOnlySpan<byte> bytes) =>
        System.Buffers.Binary.BinaryPrimitives.ReadUInt32LittleEndian(bytes);
}
