using System.Runtime.InteropServices;

namespace Storage.Simulation.Workloads;

/// <summary>Bytes to write that nobody else writes.</summary>
internal static class Filler
{
    /// <summary>Fills with bytes that one draw decides (splitmix64): a byte for byte draw would take longer than the write that they are for.</summary>
    /// <param name="bytes">What to fill.</param>
    /// <param name="random">Drawn from once.</param>
    public static void Fill(Span<byte> bytes, Random random)
    {
        ulong state = (ulong)random.NextInt64(long.MaxValue);
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(bytes);
        for (int i = 0; i < words.Length; i++)
        {
            words[i] = Next(ref state);
        }

        ulong last = Next(ref state);
        MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in last))[..(bytes.Length % sizeof(ulong))].CopyTo(bytes[(words.Length * sizeof(ulong))..]);
    }

    private static ulong Next(ref ulong state)
    {
        ulong value = state += 0x9E3779B97F4A7C15;
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9;
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB;
        return value ^ (value >> 31);
    }
}
