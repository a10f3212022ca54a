using System.Collections;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Osd;

/// <summary>
/// Log entries in order of version, packed one behind the other in chunks of bytes, with a table of what is asked for often. An entry is
/// decoded only when somebody wants all of it. Chunks that are no longer needed are used again, so a log that is as long as it gets
/// allocates nothing, and the garbage collector sees a few arrays of bytes in place of objects that live just long enough to be moved.
/// </summary>
internal sealed class PackedEntries : IReadOnlyList<PgLogEntry>
{
    private const int ChunkBytes = 8 << 10;
    private readonly BlockList<Place> _places = new();
    private readonly List<byte[]> _chunks = []; // the first one is number _firstChunk
    private readonly WireWriter _packing = new();
    private int _firstChunk;
    private int _used; // bytes of the last chunk
    private readonly Stack<byte[]> _spare = new();

    // Where an entry lies, and what is asked of entries without decoding them.
    private struct Place
    {
        public PgVersion Version;
        public OperationId Operation;
        public int Chunk;
        public int Start;
        public int Length;
        public uint Hash;
    }

    public int Count => _places.Count;

    /// <summary>Decodes an entry.</summary>
    public PgLogEntry this[int index]
    {
        get
        {
            var reader = new WireReader(Packed(index));
            return PgLogEntry.Decode(ref reader);
        }
    }

    public PgVersion VersionAt(int index) => _places[index].Version;

    public OperationId OperationAt(int index) => _places[index].Operation;

    /// <summary>Hash of the entry's object.</summary>
    public uint HashAt(int index) => _places[index].Hash;

    /// <summary>The entry as <see cref="PgLogEntry.Encode"/> wrote it; valid until the log changes.</summary>
    public ReadOnlySpan<byte> Packed(int index)
    {
        ref Place place = ref _places[index];
        return _chunks[place.Chunk - _firstChunk].AsSpan(place.Start, place.Length);
    }

    public void Add(in PgLogEntry entry)
    {
        _packing.Clear();
        entry.Encode(_packing);
        Add(_packing.WrittenSpan, new PgLogEntry.Outline(entry.Version, entry.Operation, entry.Object.Hash));
    }

    /// <summary>Adds an entry as <see cref="PgLogEntry.Encode"/> wrote it.</summary>
    public void Add(ReadOnlySpan<byte> packed, in PgLogEntry.Outline outline)
    {
        int length = packed.Length;
        if (_chunks.Count == 0 || _chunks[^1].Length - _used < length)
        {
            _chunks.Add(length > ChunkBytes ? new byte[length] : _spare.TryPop(out byte[]? chunk) ? chunk : new byte[ChunkBytes]);
            _used = 0;
        }

        packed.CopyTo(_chunks[^1].AsSpan(_used));
        _places.Add(new Place
        {
            Version = outline.Version,
            Operation = outline.Operation,
            Hash = outline.Hash,
            Chunk = _firstChunk + _chunks.Count - 1,
            Start = _used,
            Length = length,
        });
        _used += length;
    }

    public void RemoveFirst(int count)
    {
        _places.RemoveFirst(count);
        // An empty log begins its last chunk anew.
        int kept = _places.Count > 0 ? _places[0].Chunk - _firstChunk : Math.Max(_chunks.Count - 1, 0);
        Drop(0, kept);
        _firstChunk += kept;
        _used = _places.Count > 0 ? _used : 0;
    }

    public void RemoveLast(int count)
    {
        if (count == 0)
        {
            return;
        }

        int at = _places.Count - count;
        (int chunk, int start) = (_places[at].Chunk - _firstChunk, _places[at].Start);
        _places.RemoveLast(count);
        Drop(chunk + 1, _chunks.Count - chunk - 1);
        _used = start;
    }

    /// <summary>Takes all out, and gives the memory back.</summary>
    public void Clear()
    {
        _places.Clear();
        _chunks.Clear();
        _spare.Clear();
        _firstChunk = 0;
        _used = 0;
    }

    public Enumerator GetEnumerator() => new(this);

    IEnumerator<PgLogEntry> IEnumerable<PgLogEntry>.GetEnumerator() => GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    // As in a BlockList, of which the table of places is one.
    private void Drop(int at, int count)
    {
        for (int i = at; i < at + count && _spare.Count < 2 + ((_chunks.Count - count) / 2); i++)
        {
            if (_chunks[i].Length == ChunkBytes)
            {
                _spare.Push(_chunks[i]);
            }
        }

        _chunks.RemoveRange(at, count);
    }

    internal struct Enumerator(PackedEntries entries) : IEnumerator<PgLogEntry>
    {
        private int _next;

        public readonly PgLogEntry Current => entries[_next - 1];

        readonly object IEnumerator.Current => Current;

        public bool MoveNext() => _next < entries.Count && ++_next > 0;

        public void Reset() => _next = 0;

        public readonly void Dispose()
        {
        }
    }
}
