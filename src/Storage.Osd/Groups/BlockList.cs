using System.Collections;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>
/// Values in order, added at the end, taken away at either end: a queue that can be indexed. They lie in blocks of one size, and a block
/// that becomes empty is used again. So growing copies nothing, no block is a large object to the garbage collector, and a list that is
/// as long as it gets allocates nothing. The values hold no references: there is nothing in a block that the collector looks at.
/// </summary>
internal sealed class BlockList<T> : IReadOnlyList<T>
    where T : unmanaged
{
    private const int BlockLength = 64;
    private readonly List<T[]> _blocks = [];
    private int _first; // place of the oldest value in the first block
    private readonly Stack<T[]> _spare = new();

    public int Count { get; private set; }

    /// <summary>A value; changing it in place is allowed.</summary>
    public ref T this[int index]
    {
        get
        {
            Invariant.Holds((uint)index < (uint)Count);
            int at = _first + index;
            return ref _blocks[at / BlockLength][at % BlockLength];
        }
    }

    T IReadOnlyList<T>.this[int index] => this[index];

    public void Add(in T value)
    {
        int at = _first + Count;
        if (at == _blocks.Count * BlockLength)
        {
            _blocks.Add(_spare.TryPop(out T[]? block) ? block : new T[BlockLength]);
        }

        _blocks[at / BlockLength][at % BlockLength] = value;
        Count++;
    }

    public void RemoveFirst(int count)
    {
        Invariant.Holds((uint)count <= (uint)Count);
        _first += count;
        Count -= count;
        int empty = _first / BlockLength;
        if (empty > 0)
        {
            Drop(0, empty);
            _first %= BlockLength;
        }
    }

    public void RemoveLast(int count)
    {
        Invariant.Holds((uint)count <= (uint)Count);
        Count -= count;
        int used = (_first + Count + BlockLength - 1) / BlockLength;
        if (used < _blocks.Count)
        {
            Drop(used, _blocks.Count - used);
        }
    }

    /// <summary>Takes all out, and gives the memory back.</summary>
    public void Clear()
    {
        _blocks.Clear();
        _spare.Clear();
        _first = 0;
        Count = 0;
    }

    public Enumerator GetEnumerator() => new(this);

    IEnumerator<T> IEnumerable<T>.GetEnumerator() => GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    // What a log trims at once comes again: as much is kept as half of what is in use.
    private void Drop(int at, int count)
    {
        for (int i = at; i < at + count && _spare.Count < 2 + ((_blocks.Count - count) / 2); i++)
        {
            _spare.Push(_blocks[i]);
        }

        _blocks.RemoveRange(at, count);
    }

    internal struct Enumerator(BlockList<T> list) : IEnumerator<T>
    {
        private int _next;

        public readonly T Current => list[_next - 1];

        readonly object IEnumerator.Current => Current;

        public bool MoveNext() => _next < list.Count && ++_next > 0;

        public void Reset() => _next = 0;

        public readonly void Dispose()
        {
        }
    }
}
