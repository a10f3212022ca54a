using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Storage.Coding;

public static partial class Crc32C
{
    /// <summary>
    /// CRC by folding: a run of bytes is replaced by a shorter one with the same remainder, 256 bytes at a time in four vectors (V. Gopal et al., Fast
    /// CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction, Intel 2009). The last 16 bytes go through the CRC instruction.
    /// </summary>
    private static class Folding
    {
        /// <summary>Below this the CRC instruction alone is as fast.</summary>
        public const int Shortest = 256;

        /// <summary>Lengths are multiples of this.</summary>
        public const int Unit = 64;

        // For a distance of n bits: the first eight bytes of a lane times x^(n+32), the last eight times x^(n-32).
        private static readonly Vector128<ulong> s_by2048 = Constants(2048);
        private static readonly Vector128<ulong> s_by512 = Constants(512);
        private static readonly Vector128<ulong> s_by128 = Constants(128);

        public static bool IsSupported => Pclmulqdq.V512.IsSupported && Avx512F.IsSupported && Sse42.X64.IsSupported;

        /// <summary>Goes on with a CRC register over at least <see cref="Shortest"/> bytes.</summary>
        public static uint Compute(ref byte p, int length, uint crc)
        {
            Vector512<ulong> a = Load(ref p, 0) ^ Vector512.CreateScalar((ulong)crc);
            Vector512<ulong> b = Load(ref p, 64);
            Vector512<ulong> c = Load(ref p, 128);
            Vector512<ulong> d = Load(ref p, 192);
            int at = 256;
            Vector512<ulong> far = Spread(s_by2048);
            for (; at <= length - 256; at += 256)
            {
                a = Fold(a, far) ^ Load(ref p, at);
                b = Fold(b, far) ^ Load(ref p, at + 64);
                c = Fold(c, far) ^ Load(ref p, at + 128);
                d = Fold(d, far) ^ Load(ref p, at + 192);
            }

            Vector512<ulong> near = Spread(s_by512);
            b ^= Fold(a, near);
            c ^= Fold(b, near);
            d ^= Fold(c, near);
            for (; at < length; at += 64)
            {
                d = Fold(d, near) ^ Load(ref p, at);
            }

            Vector128<ulong> rest = d.GetLower().GetLower();
            rest = Fold(rest) ^ d.GetLower().GetUpper();
            rest = Fold(rest) ^ d.GetUpper().GetLower();
            rest = Fold(rest) ^ d.GetUpper().GetUpper();
            return (uint)Sse42.X64.Crc32(Sse42.X64.Crc32(0, rest.ToScalar()), rest.GetElement(1));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<ulong> Load(ref byte p, int offset) => Vector512.LoadUnsafe(ref p, (nuint)offset).AsUInt64();

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<ulong> Spread(Vector128<ulong> constants) => Vector512.Create(Vector256.Create(constants, constants), Vector256.Create(constants, constants));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static Vector512<ulong> Fold(Vector512<ulong> x, Vector512<ulong> by) =>
            Pclmulqdq.V512.CarrylessMultiply(x, by, 0x00) ^ Pclmulqdq.V512.CarrylessMultiply(x, by, 0x11);

        private static Vector128<ulong> Fold(Vector128<ulong> x) =>
            Pclmulqdq.CarrylessMultiply(x, s_by128, 0x00) ^ Pclmulqdq.CarrylessMultiply(x, s_by128, 0x11);

        private static Vector128<ulong> Constants(int distance) => Vector128.Create(PowerOfX(distance + 32), PowerOfX(distance - 32));

        // x^n modulo the polynomial, its bits in the order of bytes in memory. One place to the left, as the product of two numbers so reversed is one place short.
        private static ulong PowerOfX(int n)
        {
            uint power = 1u << 31; // x^0
            for (int i = 0; i < n; i++)
            {
                power = (power >> 1) ^ ((power & 1) * Polynomial);
            }

            return (ulong)power << 1;
        }
    }
}
