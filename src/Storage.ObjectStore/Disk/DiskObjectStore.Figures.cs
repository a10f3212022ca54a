using Storage.Cluster;

namespace Storage.ObjectStore.Disk;

// Figures for operators and benchmarks.
public sealed partial class DiskObjectStore
{
    /// <summary>Runs of adjacent blocks that objects lie in on the disk: one per object is ideal, one per block the worst.</summary>
    /// <param name="collection">The collection.</param>
    /// <param name="objects">The objects to look at; missing ones count nothing.</param>
    /// <returns>The sum over all of them, blocks still in the journal not counted.</returns>
    public long CountRuns(CollectionId collection, ReadOnlySpan<ObjectId> objects)
    {
        long runs = 0;
        foreach (ObjectId id in objects)
        {
            if (Find(collection, id) is not { } onode)
            {
                continue;
            }

            uint next = 0;
            for (int i = 0; i < ChunkCount(onode); i++)
            {
                if (GetChunk(onode, i, create: false) is not { } chunk)
                {
                    continue;
                }

                runs += chunk.Blobs?.Count ?? 0;
                foreach (uint unit in chunk.Units)
                {
                    if (unit != 0)
                    {
                        runs += unit == next ? 0 : 1;
                        next = unit + 1;
                    }
                }
            }
        }

        return runs;
    }
}
