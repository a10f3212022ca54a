using Storage.Coding;

namespace Storage.ObjectStore.Disk;

// What tests of failures on real processes need of a store; nothing else calls it.
public sealed partial class DiskObjectStore
{
    private long _withheldUnits;

    /// <summary>Makes the store behave as if so much more of its space were in use: it reports it and refuses writes for want of it.</summary>
    /// <param name="bytes">Bytes, 0 or more; more than there are stands for all. Replaces what was withheld before.</param>
    public void WithholdSpace(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        _withheldUnits = Math.Min(bytes / BlockSize, _super.DataUnits);
    }

    /// <summary>Chooses blocks that hold data.</summary>
    /// <param name="count">How many at most; fewer if fewer are in use.</param>
    /// <param name="random">Chooses.</param>
    /// <returns>Where they begin on the device, in bytes; each once.</returns>
    public IReadOnlyList<long> PickUsedBlocks(int count, Random random)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentNullException.ThrowIfNull(random);
        var picked = new List<long>();
        uint seen = 0;
        for (uint unit = 1; unit <= _super.DataUnits; unit++)
        {
            if (!_space.IsUsed(unit))
            {
                continue;
            }

            // Each block that was seen stands in the sample with the same chance.
            seen++;
            if (picked.Count < count)
            {
                picked.Add(UnitOffset(unit));
            }
            else if (random.NextInt64(seen) is var place && place < count)
            {
                picked[(int)place] = UnitOffset(unit);
            }
        }

        Invariant.Holds(picked.Count <= count);
        return picked;
    }
}
