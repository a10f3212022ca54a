using System.Runtime.InteropServices;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Blocks that were read and passed their checksum, by unit, in memory of a size that may change at any time. Second chance:
/// what was asked for again stays, what was read once goes first. Loop only.
/// </summary>
internal sealed unsafe partial class DataCache : IDisposable
{
    private const int BlockSize = StoreLimits.BlockSize;
    private const int SlabBytes = 4 << 20;
    private const int SlabBlocks = SlabBytes / BlockSize;
    private const int MostSlabsFreedAtOnce = 8;
    private readonly List<nint> _slabs = [];
    private readonly Dictionary<uint, int> _index = [];
    private readonly Stack<int> _free = new();
    private Slot[] _slots = [];
    private int _hand;

    /// <summary>Bytes it may take; shrinking happens in steps, by <see cref="Trim"/>.</summary>
    public long Budget { get; set; }

    /// <summary>Bytes it has taken.</summary>
    public long Bytes => (long)_slabs.Count * SlabBytes;

    public int Count => _index.Count;

    public long Hits { get; private set; }

    public long Misses { get; private set; }

    /// <summary>Copies a block if it is there.</summary>
    public bool TryCopy(uint unit, uint checksum, Span<byte> destination)
    {
        if (_index.TryGetValue(unit, out int slot))
        {
            Invariant.Holds(_slots[slot].Checksum == checksum); // whoever changes a unit removes it here
            _slots[slot].Referenced = true;
            Block(slot).CopyTo(destination);
            Hits++;
            return true;
        }

        Misses++;
        return false;
    }

    /// <summary>Keeps a copy of a block whose checksum was verified.</summary>
    public void Add(uint unit, uint checksum, ReadOnlySpan<byte> block)
    {
        if (!_index.TryGetValue(unit, out int slot))
        {
            if (!TryTakeSlot(out slot))
            {
                return;
            }

            _index.Add(unit, slot);
            _slots[slot].Unit = unit;
            _slots[slot].Referenced = false;
        }

        _slots[slot].Checksum = checksum;
        block.CopyTo(Block(slot));
    }

    /// <summary>Replaces a block that is kept; others are not taken in.</summary>
    public void Update(uint unit, uint checksum, ReadOnlySpan<byte> block)
    {
        if (_index.ContainsKey(unit))
        {
            Add(unit, checksum, block);
        }
    }

    /// <summary>Forgets a unit; required before it gets other content.</summary>
    public void Remove(uint unit)
    {
        if (_index.Count > 0 && _index.Remove(unit, out int slot))
        {
            _slots[slot].Unit = 0;
            _free.Push(slot);
        }
    }

    /// <summary>Gives memory beyond the budget back, a bounded part of it per call.</summary>
    public void Trim()
    {
        for (int i = 0; i < MostSlabsFreedAtOnce && Bytes > Budget && _slabs.Count > 0; i++)
        {
            int first = (_slabs.Count - 1) * SlabBlocks;
            for (int slot = first; slot < first + SlabBlocks; slot++)
            {
                if (_slots[slot].Unit != 0)
                {
                    _index.Remove(_slots[slot].Unit);
                    _slots[slot].Unit = 0;
                }
            }

            _ = Unmap(_slabs[^1], SlabBytes);
            _slabs.RemoveAt(_slabs.Count - 1);
            int[] kept = _free.Where(slot => slot < first).ToArray();
            _free.Clear();
            foreach (int slot in kept)
            {
                _free.Push(slot);
            }
        }

        _hand = 0;
    }

    public void Dispose()
    {
        foreach (nint slab in _slabs)
        {
            _ = Unmap(slab, SlabBytes);
        }

        _slabs.Clear();
        _index.Clear();
        _free.Clear();
    }

    private bool TryTakeSlot(out int slot)
    {
        if (_free.TryPop(out slot))
        {
            return true;
        }

        if (Bytes + SlabBytes <= Budget && TryAddSlab())
        {
            slot = _free.Pop();
            return true;
        }

        int slots = _slabs.Count * SlabBlocks;
        for (int looked = 0; looked < 2 * slots; looked++)
        {
            int candidate = _hand;
            _hand = (_hand + 1) % slots;
            if (_slots[candidate].Referenced)
            {
                _slots[candidate].Referenced = false;
                continue;
            }

            _index.Remove(_slots[candidate].Unit);
            slot = candidate;
            return true;
        }

        return false;
    }

    private bool TryAddSlab()
    {
        const int ReadWrite = 3;
        const int PrivateAnonymous = 0x22;
        nint slab = Map(0, SlabBytes, ReadWrite, PrivateAnonymous, -1, 0);
        if (slab == -1)
        {
            return false; // a cache may stay smaller than it could be
        }

        int first = _slabs.Count * SlabBlocks;
        _slabs.Add(slab);
        if (_slots.Length < first + SlabBlocks)
        {
            Array.Resize(ref _slots, Math.Max(first + SlabBlocks, _slots.Length * 2));
        }

        for (int i = SlabBlocks - 1; i >= 0; i--)
        {
            _slots[first + i] = default;
            _free.Push(first + i);
        }

        return true;
    }

    private Span<byte> Block(int slot) => new((byte*)_slabs[slot / SlabBlocks] + (long)(slot % SlabBlocks) * BlockSize, BlockSize);

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial nint Map(nint address, nuint length, int protection, int flags, int fd, long offset);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(nint address, nuint length);

    private struct Slot
    {
        public uint Unit;
        public uint Checksum;
        public bool Referenced;
    }
}
