using System.Numerics;
using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Which 4 KiB units of the data region are in use, and how often where it is more than once. In memory only: rebuilt at
/// mount from the block maps. Loop only.
/// </summary>
internal sealed class SpaceMap
{
    private readonly ulong[] _used;
    private readonly Dictionary<uint, int> _extra = []; // references beyond the first
    private uint _cursor = 1;

    /// <summary>Units are numbered from 1; 0 stands for a hole.</summary>
    public SpaceMap(uint units)
    {
        Units = units;
        _used = new ulong[((long)units + 1 + 63) / 64];
        _used[0] = 1;
        for (long i = (long)units + 1; i < _used.LongLength * 64; i++)
        {
            _used[i / 64] |= 1UL << (int)(i % 64);
        }
    }

    public uint Units { get; }

    public uint Allocated { get; private set; }

    /// <summary>Takes a run of free units, as long as can be had near the cursor up to <paramref name="wanted"/>.</summary>
    /// <returns>Length of the run; 0 if nothing is free.</returns>
    public uint Allocate(uint wanted, out uint start)
    {
        start = FindFree(_cursor);
        if (start == 0)
        {
            start = FindFree(1);
            if (start == 0)
            {
                return 0;
            }
        }

        uint length = 0;
        while (length < wanted && start + length <= Units && !IsUsed(start + length))
        {
            Mark(start + length);
            length++;
        }

        Allocated += length;
        _cursor = start + length > Units ? 1 : start + length;
        return length;
    }

    /// <summary>Adds a reference, taking the unit if it was free.</summary>
    /// <returns>True if it was free.</returns>
    public bool AddReference(uint unit)
    {
        Invariant.Holds(unit > 0 && unit <= Units);
        if (!IsUsed(unit))
        {
            Mark(unit);
            Allocated++;
            return true;
        }

        System.Runtime.InteropServices.CollectionsMarshal.GetValueRefOrAddDefault(_extra, unit, out _)++;
        return false;
    }

    /// <summary>Drops a reference.</summary>
    /// <returns>True if it was the last: the unit stays taken until <see cref="Free"/>.</returns>
    public bool DropReference(uint unit)
    {
        Invariant.Holds(IsUsed(unit));
        if (_extra.Count > 0 && _extra.TryGetValue(unit, out int extra))
        {
            if (extra == 1)
            {
                _extra.Remove(unit);
            }
            else
            {
                _extra[unit] = extra - 1;
            }

            return false;
        }

        return true;
    }

    /// <summary>True if a unit in use has one reference only.</summary>
    public bool IsExclusive(uint unit) => _extra.Count == 0 || !_extra.ContainsKey(unit);

    /// <summary>Makes a unit without references available.</summary>
    public void Free(uint unit)
    {
        Invariant.Holds(unit > 0 && unit <= Units && IsUsed(unit));
        _used[unit / 64] &= ~(1UL << (int)(unit % 64));
        Allocated--;
    }

    public bool IsUsed(uint unit) => (_used[unit / 64] & (1UL << (int)(unit % 64))) != 0;

    private void Mark(uint unit) => _used[unit / 64] |= 1UL << (int)(unit % 64);

    private uint FindFree(uint from)
    {
        long word = from / 64;
        ulong free = ~_used[word] & (ulong.MaxValue << (int)(from % 64));
        while (free == 0)
        {
            if (++word == _used.LongLength)
            {
                return 0;
            }

            free = ~_used[word];
        }

        return (uint)(word * 64 + BitOperations.TrailingZeroCount(free));
    }
}
