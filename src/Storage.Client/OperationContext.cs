using System.Buffers.Binary;
using Storage.Cluster;

namespace Storage.Client;

/// <summary>How an operation relates to snapshots, and how it is to be treated. The default is the live object and no snapshots.</summary>
/// <param name="Snapshots">For writes: the snapshots that exist; the first write after one preserves what was. Null for none.</param>
/// <param name="ReadSnapshot">For reads: the snapshot to read, or null for the live object.</param>
/// <param name="EvenIfFull">Do it even where the cluster is full; for operations that free space.</param>
public readonly record struct OperationContext(SnapshotContext? Snapshots = null, ulong? ReadSnapshot = null, bool EvenIfFull = false);

/// <summary>The snapshots of what is written to. Immutable, made once and used by many writes.</summary>
public sealed class SnapshotContext
{
    private readonly byte[] _packed;

    /// <summary>Creates a context.</summary>
    /// <param name="sequence">The newest snapshot id given out, whether or not it still exists.</param>
    /// <param name="newestFirst">The snapshots that exist, descending; none above <paramref name="sequence"/>.</param>
    /// <exception cref="ArgumentException">The ids are not in descending order, or above the sequence.</exception>
    public SnapshotContext(ulong sequence, ReadOnlySpan<ulong> newestFirst)
    {
        Sequence = sequence;
        _packed = new byte[newestFirst.Length * 8];
        ulong before = sequence == ulong.MaxValue ? sequence : sequence + 1;
        for (int i = 0; i < newestFirst.Length; i++)
        {
            if (newestFirst[i] >= before || newestFirst[i] >= ObjectId.NoSnapshot)
            {
                throw new ArgumentException($"snapshot {newestFirst[i]} at index {i} does not descend below {before}", nameof(newestFirst));
            }

            before = newestFirst[i];
            BinaryPrimitives.WriteUInt64LittleEndian(_packed.AsSpan(i * 8), before);
        }
    }

    /// <summary>The newest snapshot id given out.</summary>
    public ulong Sequence { get; }

    /// <summary>The existing snapshots, newest first, as the wire wants them.</summary>
    public ReadOnlySpan<byte> Packed => _packed;
}
