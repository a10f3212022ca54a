using System.Runtime.CompilerServices;

namespace Storage.ObjectStore.Disk;

/// <summary>A change to one omap key that the database does not hold yet.</summary>
internal struct OmapEntry
{
    public ReadOnlyMemory<byte> Key;

    public ReadOnlyMemory<byte> Value;

    /// <summary>A tombstone: the key is gone.</summary>
    public bool Removed;

    /// <summary>The database, or the layer that is on its way there, may hold this key: removing it needs a tombstone.</summary>
    public bool MaybePersisted;
}

/// <summary>Omap changes in key order, in pages: appending is cheap, an insert moves one page at most.</summary>
internal sealed class OmapLayer
{
    private const int PageEntries = 128;
    private readonly List<Page> _pages = [];

    public int Count { get; private set; }

    public ReadOnlyMemory<byte> GreatestKey => _pages[^1].Entries[_pages[^1].Count - 1].Key;

    /// <summary>The entry of a key, or a null reference.</summary>
    public ref OmapEntry Find(ReadOnlySpan<byte> key)
    {
        Position at = LowerBound(key);
        if (IsEnd(at))
        {
            return ref Unsafe.NullRef<OmapEntry>();
        }

        ref OmapEntry entry = ref this[at];
        return ref entry.Key.Span.SequenceEqual(key) ? ref entry : ref Unsafe.NullRef<OmapEntry>();
    }

    public ref OmapEntry this[Position at] => ref _pages[at.Page].Entries[at.Index];

    public bool IsEnd(Position at) => at.Page >= _pages.Count;

    public Position Next(Position at) => at.Index + 1 < _pages[at.Page].Count ? new Position(at.Page, at.Index + 1) : new Position(at.Page + 1, 0);

    /// <summary>The first entry with a key not below that one.</summary>
    public Position LowerBound(ReadOnlySpan<byte> key)
    {
        int low = 0;
        int high = _pages.Count;
        while (low < high)
        {
            int middle = (low + high) >>> 1;
            Page page = _pages[middle];
            if (page.Entries[page.Count - 1].Key.Span.SequenceCompareTo(key) < 0)
            {
                low = middle + 1;
            }
            else
            {
                high = middle;
            }
        }

        if (low == _pages.Count)
        {
            return new Position(low, 0);
        }

        OmapEntry[] entries = _pages[low].Entries;
        int from = 0;
        int to = _pages[low].Count;
        while (from < to)
        {
            int middle = (from + to) >>> 1;
            if (entries[middle].Key.Span.SequenceCompareTo(key) < 0)
            {
                from = middle + 1;
            }
            else
            {
                to = middle;
            }
        }

        return new Position(low, from);
    }

    /// <summary>Adds an entry whose key is not there yet.</summary>
    public void Add(in OmapEntry entry)
    {
        Position at = LowerBound(entry.Key.Span);
        if (IsEnd(at))
        {
            if (_pages.Count == 0 || _pages[^1].Count == PageEntries)
            {
                _pages.Add(new Page(_pages.Count == 0 ? 8 : PageEntries));
            }

            at = new Position(_pages.Count - 1, _pages[^1].Count);
        }
        else if (_pages[at.Page].Count == PageEntries)
        {
            Split(at.Page);
            at = LowerBound(entry.Key.Span);
        }

        _pages[at.Page].Insert(at.Index, in entry);
        Count++;
    }

    public void Remove(ReadOnlySpan<byte> key)
    {
        Position at = LowerBound(key);
        Coding.Invariant.Holds(!IsEnd(at));
        Page page = _pages[at.Page];
        page.RemoveAt(at.Index);
        if (page.Count == 0)
        {
            _pages.RemoveAt(at.Page);
        }

        Count--;
    }

    private void Split(int index)
    {
        Page full = _pages[index];
        var second = new Page(PageEntries);
        const int Half = PageEntries / 2;
        Array.Copy(full.Entries, Half, second.Entries, 0, PageEntries - Half);
        Array.Clear(full.Entries, Half, PageEntries - Half);
        second.Count = PageEntries - Half;
        full.Count = Half;
        _pages.Insert(index + 1, second);
    }

    /// <summary>Where an entry stands; valid until the next change.</summary>
    public readonly record struct Position(int Page, int Index);

    private sealed class Page(int capacity)
    {
        public OmapEntry[] Entries = new OmapEntry[capacity];

        public int Count;

        public void Insert(int index, in OmapEntry entry)
        {
            if (Count == Entries.Length)
            {
                Array.Resize(ref Entries, Math.Min(PageEntries, Count * 4));
            }

            Array.Copy(Entries, index, Entries, index + 1, Count - index);
            Entries[index] = entry;
            Count++;
        }

        public void RemoveAt(int index)
        {
            Count--;
            Array.Copy(Entries, index + 1, Entries, index, Count - index);
            Entries[Count] = default;
        }
    }
}

/// <summary>
/// Changes to an object's omap that the database does not hold yet, with tombstones for removed keys. A checkpoint takes the
/// active layer as it is, so that later changes leave it alone and it can be written down piece by piece.
/// </summary>
internal sealed class OmapOverlay
{
    public OmapLayer Active { get; private set; } = new();

    /// <summary>What the checkpoint under way takes to the database; does not change any more.</summary>
    public OmapLayer? Flushing { get; private set; }

    /// <summary>A key that no key in the database or in <see cref="Flushing"/> is above; null if not looked up yet.</summary>
    public byte[]? LastPersisted { get; set; }

    public bool IsEmpty => Active.Count == 0 && Flushing is null;

    public void BeginFlush()
    {
        Coding.Invariant.Holds(Flushing is null && Active.Count > 0);
        Flushing = Active;
        Active = new OmapLayer();
        if (LastPersisted is not null && Flushing.GreatestKey.Span.SequenceCompareTo(LastPersisted) > 0)
        {
            LastPersisted = Flushing.GreatestKey.ToArray();
        }
    }

    public void EndFlush() => Flushing = null;
}
