using System.Buffers.Binary;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Workloads;

/// <summary>
/// What a 4 KiB block holds: the number of the write, the block's own number and the run's, all over, so that a mix of two writes, bytes
/// of another block and bytes of another run are told from what belongs there.
/// </summary>
internal sealed class BlockPattern(ulong run)
{
    public const int BlockSize = 4096;
    private const int Unit = 16;

    public void Fill(Span<byte> block, int index, ulong value)
    {
        for (int i = 0; i < BlockSize; i += Unit)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(block[i..], value);
            BinaryPrimitives.WriteUInt64LittleEndian(block[(i + 8)..], Place(index, i));
        }
    }

    /// <summary>The number of the write whose block this is; <see cref="RecordedValue.Missing"/> for zeroes.</summary>
    public ulong Read(ReadOnlySpan<byte> block, int index)
    {
        ulong value = BinaryPrimitives.ReadUInt64LittleEndian(block);
        if (value == 0)
        {
            return block.ContainsAnyExcept((byte)0) ? RecordedValue.Damaged : RecordedValue.Missing;
        }

        for (int i = 0; i < BlockSize; i += Unit)
        {
            if (BinaryPrimitives.ReadUInt64LittleEndian(block[i..]) != value || BinaryPrimitives.ReadUInt64LittleEndian(block[(i + 8)..]) != Place(index, i))
            {
                return RecordedValue.Damaged;
            }
        }

        return value;
    }

    private ulong Place(int index, int offset) => run ^ (((ulong)index << 32) | (uint)offset);
}
