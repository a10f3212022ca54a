using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics.X86;

namespace Storage.Coding;

/// <summary>CRC-32C (Castagnoli, RFC 3720 §12.1), by the processor's own instruction where there is one.</summary>
/// <remarks>
/// Long runs are folded with carry-less multiplications where the processor does several at once (<see cref="Folding"/>). Else three streams run
/// side by side to hide the latency of the CRC instruction, three cycles; their results are joined by multiplying with x^(8n) modulo the polynomial
/// through a table made at start-up.
/// </remarks>
public static partial class Crc32C
{
    /// <summary>Bytes of the blocks that <see cref="AppendBlock"/> appends.</summary>
    public const int BlockBytes = 4096;

    private const uint Polynomial = 0x82F63B78; // reflected 0x1EDC6F41
    private const int LaneLong = 1360; // 3 lanes of a 4 KiB block: 4080 bytes, the rest goes bytewise
    private const int LaneShort = 256;

    private static readonly uint[] s_byteTable = MakeByteTable();
    private static readonly uint[] s_shiftLong = MakeShiftTable(LaneLong);
    private static readonly uint[] s_shiftShort = MakeShiftTable(LaneShort);
    private static readonly uint[] s_shiftBlock = MakeShiftTable(BlockBytes);

    /// <summary>Computes the checksum of <paramref name="data"/>.</summary>
    /// <param name="data">Any length, zero included.</param>
    /// <param name="seed">The checksum of the bytes before, to continue it; 0 to begin.</param>
    /// <returns>The finished checksum; feed it back as seed to continue.</returns>
    public static uint Compute(ReadOnlySpan<byte> data, uint seed = 0)
    {
        uint crc = ~seed;
        return ~(Sse42.X64.IsSupported ? Hardware(data, crc) : Software(data, crc));
    }

    /// <summary>The checksum of some bytes and a block behind them, from the checksums of both; looks at no byte.</summary>
    /// <param name="before">The checksum of the bytes before; 0 if there are none.</param>
    /// <param name="block">The checksum of the block of <see cref="BlockBytes"/>.</param>
    /// <returns>What <see cref="Compute"/> gives for all of them.</returns>
    public static uint AppendBlock(uint before, uint block) => Shift(s_shiftBlock, before) ^ block;

    internal static uint ComputeSoftware(ReadOnlySpan<byte> data, uint seed) => ~Software(data, ~seed);

    private static uint Hardware(ReadOnlySpan<byte> data, uint crc)
    {
        ref byte p = ref MemoryMarshal.GetReference(data);
        int length = data.Length;
        if (length >= Folding.Shortest && Folding.IsSupported)
        {
            int folded = length & ~(Folding.Unit - 1);
            crc = Folding.Compute(ref p, folded, crc);
            p = ref Unsafe.Add(ref p, folded);
            length -= folded;
        }

        while (length >= 3 * LaneLong)
        {
            crc = ThreeLanes(ref p, crc, LaneLong, s_shiftLong);
            p = ref Unsafe.Add(ref p, 3 * LaneLong);
            length -= 3 * LaneLong;
        }

        while (length >= 3 * LaneShort)
        {
            crc = ThreeLanes(ref p, crc, LaneShort, s_shiftShort);
            p = ref Unsafe.Add(ref p, 3 * LaneShort);
            length -= 3 * LaneShort;
        }

        ulong wide = crc;
        while (length >= 8)
        {
            wide = Sse42.X64.Crc32(wide, Unsafe.ReadUnaligned<ulong>(ref p));
            p = ref Unsafe.Add(ref p, 8);
            length -= 8;
        }

        crc = (uint)wide;
        for (; length > 0; length--)
        {
            crc = Sse42.Crc32(crc, p);
            p = ref Unsafe.Add(ref p, 1);
        }

        return crc;
    }

    private static uint ThreeLanes(ref byte p, uint crc, int lane, uint[] shift)
    {
        ulong a = crc, b = 0, c = 0;
        ref byte second = ref Unsafe.Add(ref p, lane);
        ref byte third = ref Unsafe.Add(ref p, 2 * lane);
        for (int i = 0; i < lane; i += 8)
        {
            a = Sse42.X64.Crc32(a, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref p, i)));
            b = Sse42.X64.Crc32(b, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref second, i)));
            c = Sse42.X64.Crc32(c, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref third, i)));
        }

        return Shift(shift, Shift(shift, (uint)a) ^ (uint)b) ^ (uint)c;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Shift(uint[] table, uint crc) =>
        table[crc & 0xFF] ^ table[256 + ((crc >> 8) & 0xFF)] ^ table[512 + ((crc >> 16) & 0xFF)] ^ table[768 + (crc >> 24)];

    private static uint Software(ReadOnlySpan<byte> data, uint crc)
    {
        uint[] table = s_byteTable;
        foreach (byte b in data)
        {
            crc = table[(crc ^ b) & 0xFF] ^ (crc >> 8);
        }

        return crc;
    }

    private static uint[] MakeByteTable()
    {
        var table = new uint[256];
        for (uint i = 0; i < 256; i++)
        {
            uint crc = i;
            for (int bit = 0; bit < 8; bit++)
            {
                crc = (crc >> 1) ^ ((crc & 1) * Polynomial);
            }

            table[i] = crc;
        }

        return table;
    }

    // Appending n zero bytes to a message is linear in the CRC register, so four tables of 256 cover it.
    private static uint[] MakeShiftTable(int zeroBytes)
    {
        Span<uint> basis = stackalloc uint[32];
        for (int bit = 0; bit < 32; bit++)
        {
            uint crc = 1u << bit;
            for (int i = 0; i < zeroBytes; i++)
            {
                crc = s_byteTable[crc & 0xFF] ^ (crc >> 8);
            }

            basis[bit] = crc;
        }

        var table = new uint[1024];
        for (int lane = 0; lane < 4; lane++)
        {
            for (int value = 0; value < 256; value++)
            {
                uint sum = 0;
                for (int rest = value; rest != 0; rest &= rest - 1)
                {
                    sum ^= basis[(lane * 8) + BitOperations.TrailingZeroCount(rest)];
                }

                table[(lane * 256) + value] = sum;
            }
        }

        return table;
    }
}
