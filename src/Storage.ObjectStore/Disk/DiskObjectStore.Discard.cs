using Storage.ObjectStore.Device;

namespace Storage.ObjectStore.Disk;

// Units on their way back to the free space, past the disk if it wants to know.
public sealed partial class DiskObjectStore
{
    private const int LeastDiscard = 16; // units; shorter runs cost the disk more than they give it
    private bool _discardRefused;

    /// <summary>Bytes that the disk was told to be free since the store was opened.</summary>
    public long DiscardedBytes { get; private set; }

    private void FreeUnit(uint unit)
    {
        _space.Free(unit);
        _cache.Remove(unit);
        _releasing--;
    }

    // A unit is given out again only when the disk has done with it.
    private void DiscardUnits(List<uint> units)
    {
        units.Sort();
        for (int from = 0; from < units.Count;)
        {
            int count = 1;
            while (from + count < units.Count && units[from + count] == units[from] + (uint)count)
            {
                count++;
            }

            if (count < LeastDiscard)
            {
                for (int i = 0; i < count; i++)
                {
                    FreeUnit(units[from + i]);
                }
            }
            else
            {
                _device.Discard(UnitOffset(units[from]), (long)count * BlockSize, new DiscardCompletion(this, units[from], (uint)count));
            }

            from += count;
        }
    }

    private void OnDiscarded(uint start, uint count, int result)
    {
        if (_closed)
        {
            return;
        }

        // A disk that does not take the hint has lost nothing.
        _discardRefused |= result < 0;
        DiscardedBytes += result < 0 ? 0 : (long)count * BlockSize;
        for (uint i = 0; i < count; i++)
        {
            FreeUnit(start + i);
        }
    }

    private sealed class DiscardCompletion(DiskObjectStore store, uint start, uint count) : BlockCompletion
    {
        public override void OnDone(int result) => store.OnDiscarded(start, count, result);
    }
}
