using Storage.ObjectStore.Device;

namespace Storage.ObjectStore.Disk;

// Units on their way back to the free space, past the disk if it wants to know.
public sealed partial class DiskObjectStore
{
    private const int LeastDiscard = 16; // units; shorter runs cost the disk more than they give it
    private const int ReleaseWork = 1024; // units to a step; a fraction of a millisecond, one on a crowded machine
    private TaskCompletionSource? _released; // whoever waits for all releases
    private bool _discardRefused;
    private bool _releaseScheduled;
    private int _releasedOfFirst; // of the oldest release, those that are done with

    /// <summary>Bytes that the disk was told to be free since the store was opened.</summary>
    public long DiscardedBytes { get; private set; }

    private void FreeUnit(uint unit)
    {
        _space.Free(unit);
        _cache.Remove(unit);
        if (--_releasing == 0 && _released is not null)
        {
            // Not from inside the caller, who may be in the middle of a step.
            _loop.Post(static state => ((TaskCompletionSource)state!).TrySetResult(), _released);
            _released = null;
        }
    }

    /// <summary>Waits until all that was freed went back to the free space, and the disk was told: nobody would tell it later.</summary>
    private async Task ReleasedAsync()
    {
        while (_releasing > 0 && _failure is null)
        {
            _released ??= new TaskCompletionSource();
            await _released.Task;
        }
    }

    // In steps: what was removed at once, a volume say, would hold up commits for long.
    private void ReleaseUnits()
    {
        if (_releaseScheduled || _closed)
        {
            return;
        }

        int work = ReleaseWork;
        while (_releases.TryPeek(out (long Period, List<uint> Units) next) && _reads.IsOver(next.Period))
        {
            if (work <= 0)
            {
                _releaseScheduled = true;
                _loop.Post(static state => ((DiskObjectStore)state!).ContinueRelease(), this);
                return;
            }

            int from = _releasedOfFirst;
            int count = Math.Min(work, next.Units.Count - from);
            work -= count;
            ReadOnlySpan<uint> units = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(next.Units).Slice(from, count);
            _releasedOfFirst += count;
            bool isLast = _releasedOfFirst == next.Units.Count;
            if (isLast)
            {
                _releases.Dequeue();
                _releasedOfFirst = 0;
            }

            if (_options.Discard && !_discardRefused)
            {
                DiscardUnits(units);
            }
            else
            {
                foreach (uint unit in units)
                {
                    FreeUnit(unit);
                }
            }

            if (isLast && _unitLists.Count < 2)
            {
                next.Units.Clear();
                _unitLists.Push(next.Units);
            }
        }
    }

    private void ContinueRelease()
    {
        _releaseScheduled = false;
        ReleaseUnits();
    }

    // A unit is given out again only when the disk has done with it. They are sorted.
    private void DiscardUnits(ReadOnlySpan<uint> units)
    {
        for (int from = 0; from < units.Length;)
        {
            int count = 1;
            while (from + count < units.Length && units[from + count] == units[from] + (uint)count)
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
