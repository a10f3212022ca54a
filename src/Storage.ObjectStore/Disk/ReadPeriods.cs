using Storage.Coding;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// Counts the reads under way by the period they began in. Space that a read may still be looking at is written again only when
/// its period and all before it are over.
/// </summary>
internal sealed class ReadPeriods
{
    private readonly List<int> _counts = [0];
    private long _first;

    /// <summary>A read begins.</summary>
    /// <returns>Its period.</returns>
    public long Begin()
    {
        _counts[^1]++;
        return _first + _counts.Count - 1;
    }

    /// <summary>A read ends.</summary>
    /// <returns>True if a period got over by it.</returns>
    public bool End(long period)
    {
        int left = --System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_counts)[(int)(period - _first)];
        Invariant.Holds(left >= 0);
        return Trim();
    }

    /// <summary>Reads from now on belong to the next period.</summary>
    /// <returns>The period that ends.</returns>
    public long Advance()
    {
        _counts.Add(0);
        long ended = _first + _counts.Count - 2;
        Trim();
        return ended;
    }

    /// <summary>True if all reads of a period and of those before it have ended.</summary>
    public bool IsOver(long period) => period < _first;

    private bool Trim()
    {
        bool any = false;
        while (_counts.Count > 1 && _counts[0] == 0)
        {
            _counts.RemoveAt(0);
            _first++;
            any = true;
        }

        return any;
    }
}
