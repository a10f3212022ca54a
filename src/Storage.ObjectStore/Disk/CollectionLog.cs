using System.Buffers.Binary;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>
/// A collection's log: records that are added at the end and forgotten from the beginning. They lie in segments. Those that the
/// database holds whole are known by their place only; the newest one stays in memory, and the database's copy of it is written again
/// at each checkpoint until it is full.
/// </summary>
internal sealed class CollectionLog
{
    /// <summary>Its segments' place in the database; 0 until there is a record.</summary>
    public ulong Number { get; set; }

    public long First { get; set; }

    public long Next { get; set; }

    /// <summary>In order, without gaps; the first one may begin before <see cref="First"/>.</summary>
    public List<Segment> Segments { get; } = [];

    /// <summary>Adds a record.</summary>
    /// <param name="record">Its bytes.</param>
    /// <param name="pool">Where segments have their memory from: not the garbage collector's, for what waits for a checkpoint would be moved by it.</param>
    public void Append(ReadOnlySpan<byte> record, BufferPool pool)
    {
        Segment? last = Segments.Count > 0 ? Segments[^1] : null;
        if (last is null || !last.TryAdd(record, pool))
        {
            last = new Segment(Next, pool);
            Segments.Add(last);
            Invariant.Holds(last.TryAdd(record, pool));
        }

        Next++;
    }

    /// <summary>Forgets the records before an index.</summary>
    /// <param name="first">The first one to keep, at most <see cref="Next"/>.</param>
    /// <param name="forget">Told of the segments that go, before their memory is given back.</param>
    /// <returns>False if there were none.</returns>
    public bool Trim(long first, Action<CollectionLog, Segment> forget)
    {
        if (first <= First)
        {
            return false;
        }

        First = first;
        int gone = 0;
        while (gone < Segments.Count && Segments[gone].End <= first)
        {
            forget(this, Segments[gone]);
            Segments[gone++].Drop();
        }

        Segments.RemoveRange(0, gone);
        return true;
    }

    /// <summary>
    /// Some records one after the other: <c>version(1) count(4) { length(4), bytes }</c>. This is also the form in the database.
    /// </summary>
    internal sealed class Segment
    {
        private const byte Version = 1;
        private const int Header = 5;
        private const int FirstCapacity = PageBuffer.PageSize;
        private const int Full = 16 << 10;
        private PageBuffer? _bytes;
        private bool _isForgotten;

        /// <summary>A new one.</summary>
        public Segment(long first, BufferPool pool)
        {
            First = first;
            _bytes = pool.Rent(FirstCapacity);
            Length = Header;
        }

        /// <summary>One in the database; nothing is added to it.</summary>
        public Segment(long first, int count)
        {
            First = first;
            Count = count;
            IsStored = true;
        }

        /// <summary>Index of its first record.</summary>
        public long First { get; }

        public int Count { get; private set; }

        /// <summary>Bytes in memory, the header included.</summary>
        public int Length { get; private set; }

        /// <summary>As <see cref="Length"/>, of what a checkpoint that is done or under way has written.</summary>
        public int Captured { get; private set; }

        /// <summary>The database has it, at least in part, or is about to.</summary>
        public bool IsStored { get; private set; }

        public long End => First + Count;

        public bool IsInMemory => _bytes is not null;

        public bool TryAdd(ReadOnlySpan<byte> record, BufferPool pool)
        {
            int length = Length + 4 + record.Length;
            if (_bytes is null || (Count > 0 && length > Full))
            {
                return false;
            }

            if (length > _bytes.Capacity)
            {
                PageBuffer larger = pool.Rent(Math.Max(length, Math.Min(_bytes.Capacity * 4, Full)));
                _bytes.Span[..Length].CopyTo(larger.Span);
                _bytes.Release();
                _bytes = larger;
            }

            BinaryPrimitives.WriteInt32LittleEndian(_bytes.Span[Length..], record.Length);
            record.CopyTo(_bytes.Span[(Length + 4)..]);
            Length = length;
            Count++;
            return true;
        }

        /// <summary>A checkpoint is still to write what it captured.</summary>
        public bool IsAwaited { get; private set; }

        /// <summary>The checkpoint has written what it captured.</summary>
        public void EndCapture()
        {
            IsAwaited = false;
            if (_isForgotten)
            {
                Abandon();
            }
        }

        /// <summary>Fixes what the checkpoint that begins writes of it.</summary>
        public (int Count, int Length) Capture()
        {
            IsStored = true;
            IsAwaited = true;
            Captured = Length;
            return (Count, Length);
        }

        /// <summary>The database's value for what was captured.</summary>
        public ReadOnlySpan<byte> Value(int count, int length)
        {
            Span<byte> value = _bytes!.Span[..length];
            value[0] = Version;
            BinaryPrimitives.WriteInt32LittleEndian(value[1..], count);
            return value;
        }

        /// <summary>Forgets the bytes of a segment that the database has whole and that gets no more.</summary>
        public void Release()
        {
            Invariant.Holds(Captured == Length && !IsAwaited);
            Drop();
        }

        /// <summary>Gives the memory back, once no checkpoint reads it any more.</summary>
        public void Drop()
        {
            _isForgotten = true;
            if (!IsAwaited)
            {
                Abandon();
            }
        }

        /// <summary>Gives the memory back; the store is closed.</summary>
        public void Abandon()
        {
            _bytes?.Release();
            _bytes = null;
        }

        /// <summary>The records from an index on; <paramref name="stored"/> is the database's value of a segment that is not in memory.</summary>
        public void Read(ReadOnlyMemory<byte> stored, long from, List<ReadOnlyMemory<byte>> records)
        {
            ReadOnlyMemory<byte> bytes = _bytes is null ? stored : _bytes.Span[..Length].ToArray();
            int at = Header;
            for (long index = First; index < End; index++)
            {
                int length = BinaryPrimitives.ReadInt32LittleEndian(bytes.Span[at..]);
                if (index >= from)
                {
                    records.Add(bytes.Slice(at + 4, length));
                }

                at += 4 + length;
            }
        }

        /// <summary>How many records a value of the database holds.</summary>
        /// <exception cref="MalformedDataException">It is none, or cut off.</exception>
        public static int CountOf(ReadOnlySpan<byte> value)
        {
            var reader = new WireReader(value);
            reader.ReadVersion(Version, "log segment");
            int count = reader.ReadCount(4);
            for (int i = 0; i < count; i++)
            {
                reader.ReadBytes();
            }

            reader.ExpectEnd();
            return count;
        }
    }
}

/// <summary>
/// Database value of a collection: <c>version(1) log number(8) first index(8) next index(8)</c>. Version 1 had nothing but its version: no log.
/// </summary>
internal static class CollectionFormat
{
    private const byte Version = 2;

    public static void Write(WireWriter writer, CollectionLog log)
    {
        writer.Clear();
        writer.WriteByte(Version);
        writer.WriteUInt64(log.Number);
        writer.WriteInt64(log.First);
        writer.WriteInt64(log.Next);
    }

    public static void Read(ReadOnlySpan<byte> value, CollectionLog log)
    {
        var reader = new WireReader(value);
        if (reader.ReadVersion(Version, "collection") == 1)
        {
            return;
        }

        log.Number = reader.ReadUInt64();
        log.First = reader.ReadInt64();
        log.Next = reader.ReadInt64();
        reader.ExpectEnd();
        if (log.First < 0 || log.First > log.Next)
        {
            throw new MalformedDataException($"a log with records {log.First} to {log.Next}");
        }
    }
}
