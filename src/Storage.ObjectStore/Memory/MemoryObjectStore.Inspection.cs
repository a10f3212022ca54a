using System.Text;
using Storage.Cluster;
using Storage.Coding;

namespace Storage.ObjectStore.Memory;

public sealed partial class MemoryObjectStore
{
    /// <summary>A number that grows whenever anything in a collection changes or is damaged, while this store has the disk; for simulators.</summary>
    /// <param name="collection">The collection.</param>
    /// <returns>0 if there is no such collection.</returns>
    internal long ChangesOf(CollectionId collection) => _disk.Collections.TryGet(collection, out MemoryCollection found) ? found.Changes : 0;

    /// <summary>A hash over an object's size, data, attributes and omap, past all latencies and faults; for simulators.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="id">The object.</param>
    /// <param name="hash">The hash; absent and empty blocks of zeroes hash alike.</param>
    /// <returns>False if there is no such object, or a block of it is damaged.</returns>
    internal bool TryHash(CollectionId collection, ObjectId id, out ulong hash)
    {
        hash = 0;
        if (Find(collection, id) is not { } found)
        {
            return false;
        }

        HashedState state = found.StateNow(_disk.Damages);
        if (!found.Hashed.IsOf(in state))
        {
            bool isWhole = TryHash(found, out hash);
            found.Hashed = state with { IsWhole = isWhole, Hash = hash };
        }

        hash = found.Hashed.Hash;
        return found.Hashed.IsWhole;
    }

    private static bool TryHash(MemoryObject found, out ulong hash)
    {
        hash = (ulong)found.Size;
        for (int i = 0; i < found.Blocks.Count; i++)
        {
            MemoryBlock block = found.Blocks.ValueAt(i);
            if (block.Damage != BlockDamage.None)
            {
                return false;
            }

            long start = found.Blocks.KeyAt(i) * StoreLimits.BlockSize;
            ulong data = block.Hash((int)Math.Clamp(found.Size - start, 0, StoreLimits.BlockSize));
            if (data != 0)
            {
                Mix(ref hash, (ulong)start);
                Mix(ref hash, data);
            }
        }

        for (int i = 0; i < found.Attributes.Count; i++)
        {
            Mix(ref hash, Crc32C.Compute(Encoding.UTF8.GetBytes(found.Attributes.KeyAt(i))));
            Mix(ref hash, Crc32C.Compute(found.Attributes.ValueAt(i).Span));
        }

        for (int i = 0; i < found.Omap.Count; i++)
        {
            Mix(ref hash, Crc32C.Compute(found.Omap.KeyAt(i).Span));
            Mix(ref hash, Crc32C.Compute(found.Omap.ValueAt(i).Span));
        }

        return true;

        static void Mix(ref ulong hash, ulong value)
        {
            hash = (hash ^ value) * 0x9E3779B97F4A7C15;
            hash ^= hash >> 29;
        }
    }
}
