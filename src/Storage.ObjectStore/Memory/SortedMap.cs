namespace Storage.ObjectStore.Memory;

/// <summary>Keys in order with a binary search for "the first key not below"; cheap to append to, which is the common case.</summary>
/// <typeparam name="TKey">Type of the keys.</typeparam>
/// <typeparam name="TValue">Type of the values.</typeparam>
/// <typeparam name="TOrder">Their order; a struct, so that comparisons are calls of one method.</typeparam>
internal sealed class SortedMap<TKey, TValue, TOrder>
    where TOrder : struct, IComparer<TKey>
{
    private readonly List<TKey> _keys = [];
    private readonly List<TValue> _values = [];

    public int Count => _keys.Count;

    /// <summary>Grows whenever a key or value is set or taken out.</summary>
    public int Changes { get; private set; }

    public TKey KeyAt(int index) => _keys[index];

    public TValue ValueAt(int index) => _values[index];

    /// <summary>Index of the first key that is not below <paramref name="key"/>.</summary>
    public int LowerBound(TKey key)
    {
        int low = 0;
        int high = _keys.Count;
        if (high > 0 && default(TOrder).Compare(_keys[high - 1], key) < 0)
        {
            return high;
        }

        while (low < high)
        {
            int middle = (low + high) >>> 1;
            if (default(TOrder).Compare(_keys[middle], key) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        return low;
    }

    public bool TryGet(TKey key, out TValue value)
    {
        int index = LowerBound(key);
        if (index < _keys.Count && default(TOrder).Compare(_keys[index], key) == 0)
        {
            value = _values[index];
            return true;
        }

        value = default!;
        return false;
    }

    public void Set(TKey key, TValue value)
    {
        Changes++;
        int index = LowerBound(key);
        if (index < _keys.Count && default(TOrder).Compare(_keys[index], key) == 0)
        {
            _values[index] = value;
            return;
        }

        _keys.Insert(index, key);
        _values.Insert(index, value);
    }

    public void Remove(TKey key)
    {
        int index = LowerBound(key);
        if (index < _keys.Count && default(TOrder).Compare(_keys[index], key) == 0)
        {
            Changes++;
            _keys.RemoveAt(index);
            _values.RemoveAt(index);
        }
    }

    public SortedMap<TKey, TValue, TOrder> Copy()
    {
        var copy = new SortedMap<TKey, TValue, TOrder>();
        copy._keys.AddRange(_keys);
        copy._values.AddRange(_values);
        return copy;
    }
}

/// <summary>Order of omap keys: bytewise, shorter first.</summary>
internal readonly struct KeyOrder : IComparer<ReadOnlyMemory<byte>>
{
    public int Compare(ReadOnlyMemory<byte> x, ReadOnlyMemory<byte> y) => x.Span.SequenceCompareTo(y.Span);
}

/// <summary>Order of attribute names: ordinal.</summary>
internal readonly struct NameOrder : IComparer<string>
{
    public int Compare(string? x, string? y) => string.CompareOrdinal(x, y);
}

/// <summary>The order that keys have by themselves.</summary>
internal readonly struct NaturalOrder<TKey> : IComparer<TKey>
    where TKey : IComparable<TKey>
{
    public int Compare(TKey? x, TKey? y) => x!.CompareTo(y);
}
