using System.Buffers.Binary;
using Storage.Cluster;

namespace Storage.Client;

/// <summary>How an operation relates to snapshots, and how it is to be treated. The default is the live object and no snapshots.</summary>
/// <param name="Snapshots">For writes: the snapshots that exist; the first write after one preserves what was. Null for none. For reads: refuses
/// the read, as it does a write, if snapshots were taken or removed since the list was read.</param>
/// <param name="ReadSnapshot">For reads: the snapshot to read, or null for the live object.</param>
/// <param name="EvenIfFull">Do it even where the cluster is full; for operations that free space.</param>
/// <param name="LockOwner">In whose name it is done, if it rests on a lock; else 0. Once this number is on the blocklist the operation is refused
/// with <see cref="Messaging.ResultCode.Blocklisted"/>, which then says nothing about the client itself.</param>
public readonly record struct OperationContext(SnapshotContext? Snapshots = null, ulong? ReadSnapshot = null, bool EvenIfFull = false, ulong LockOwner = 0);

/// <summary>The snapshots of what is written to. Immutable, made once and used by many writes.</summary>
public sealed class SnapshotContext
{
    private readonly byte[] _packed;

    /// <summary>Creates a context.</summary>
    /// <param name="barrier">The pool's <see cref="PoolInfo.SnapshotBarrier"/> in a map that was known before the list of snapshots was read:
    /// no snapshot that was published up to then is left out. OSDs refuse the write with <see cref="Messaging.ResultCode.StaleSnapshots"/>
    /// once the barrier has moved on.</param>
    /// <param name="newestFirst">The snapshots that exist, descending.</param>
    /// <exception cref="ArgumentException">The ids are not in descending order, or one is 0 or above the largest.</exception>
    public SnapshotContext(ulong barrier, params ReadOnlySpan<ulong> newestFirst)
    {
        Barrier = barrier;
        _packed = new byte[newestFirst.Length * 8];
        ulong before = SnapshotIntervals.LargestId + 1;
        for (int i = 0; i < newestFirst.Length; i++)
        {
            if (newestFirst[i] >= before || newestFirst[i] == 0)
            {
                throw new ArgumentException($"snapshot {newestFirst[i]} at index {i} does not descend below {before}", nameof(newestFirst));
            }

            before = newestFirst[i];
            BinaryPrimitives.WriteUInt64LittleEndian(_packed.AsSpan(i * 8), before);
        }
    }

    /// <summary>The pool's barrier up to which the list is whole.</summary>
    public ulong Barrier { get; }

    /// <summary>Number of snapshots.</summary>
    public int Count => _packed.Length / 8;

    /// <summary>The existing snapshots, newest first, as the wire wants them.</summary>
    public ReadOnlySpan<byte> Packed => _packed;

    /// <summary>One of the snapshots.</summary>
    /// <param name="index">From 0, the newest, up to <see cref="Count"/>.</param>
    /// <returns>Its id.</returns>
    public ulong this[int index] => BinaryPrimitives.ReadUInt64LittleEndian(_packed.AsSpan(index * 8, 8));
}
