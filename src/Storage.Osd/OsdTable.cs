using System.Collections;
using System.Diagnostics.CodeAnalysis;
using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>What is known of some other OSDs, in order of their numbers. Few entries, walked for every write: walking allocates nothing.</summary>
/// <typeparam name="T">What is known of one.</typeparam>
internal sealed class OsdTable<T>
    where T : class
{
    private readonly List<OsdId> _osds = [];
    private readonly List<T> _values = [];

    public OsdTable() => Values = new ValueList(_values);

    public int Count => _osds.Count;

    /// <summary>The OSDs in order.</summary>
    public List<OsdId> Keys => _osds;

    /// <summary>What is known of them, in their order.</summary>
    public ValueList Values { get; }

    public T this[OsdId osd] => TryGetValue(osd, out T? value) ? value : throw new KeyNotFoundException($"nothing is known of osd {osd}");

    public bool ContainsKey(OsdId osd) => _osds.BinarySearch(osd) >= 0;

    public bool TryGetValue(OsdId osd, [MaybeNullWhen(false)] out T value)
    {
        // A handful: faster than a search in halves.
        for (int i = 0; i < _osds.Count && i < 8; i++)
        {
            if (_osds[i] == osd)
            {
                value = _values[i];
                return true;
            }
        }

        int at = _osds.Count > 8 ? _osds.BinarySearch(osd) : -1;
        value = at >= 0 ? _values[at] : null;
        return at >= 0;
    }

    public void Add(OsdId osd, T value)
    {
        int at = ~_osds.BinarySearch(osd);
        Invariant.Holds(at >= 0);
        _osds.Insert(at, osd);
        _values.Insert(at, value);
    }

    public bool Remove(OsdId osd)
    {
        int at = _osds.BinarySearch(osd);
        if (at >= 0)
        {
            _osds.RemoveAt(at);
            _values.RemoveAt(at);
        }

        return at >= 0;
    }

    public void Clear()
    {
        _osds.Clear();
        _values.Clear();
    }

    /// <summary>The values, to be walked without an allocation.</summary>
    internal readonly struct ValueList(List<T> values) : IEnumerable<T>
    {
        public List<T>.Enumerator GetEnumerator() => values.GetEnumerator();

        IEnumerator<T> IEnumerable<T>.GetEnumerator() => values.GetEnumerator();

        IEnumerator IEnumerable.GetEnumerator() => values.GetEnumerator();
    }
}
