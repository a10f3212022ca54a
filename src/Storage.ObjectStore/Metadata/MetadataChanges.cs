using System.Buffers.Binary;
using Storage.Reactor;

namespace Storage.ObjectStore.Metadata;

/// <summary>
/// The changes of one checkpoint, written down on the loop a piece at a time; the checkpoint thread makes a database batch of
/// them. Grows by whole buffers, so that no piece ever waits for the copy of all before it.
/// </summary>
internal sealed class MetadataChanges(BufferPool pool) : IDisposable
{
    private const int BufferSize = 256 << 10;
    private const int RecordHeader = 9; // kind, key length, value length
    private readonly List<(PageBuffer Buffer, int Length)> _full = [];
    private PageBuffer? _buffer;
    private int _length;

    private enum Kind : byte
    {
        Put,
        Delete,
        DeleteRange,
    }

    public long Bytes { get; private set; }

    public void Put(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value) => Add(Kind.Put, key, value);

    public void Delete(ReadOnlySpan<byte> key) => Add(Kind.Delete, key, default);

    public void DeleteRange(ReadOnlySpan<byte> from, ReadOnlySpan<byte> to) => Add(Kind.DeleteRange, from, to);

    /// <summary>Adds everything to a batch, in order. Any thread, once nothing is added any more.</summary>
    public void CopyTo(MetadataBatch batch)
    {
        foreach ((PageBuffer buffer, int length) in _full)
        {
            Copy(buffer.Span[..length], batch);
        }

        if (_buffer is not null)
        {
            Copy(_buffer.Span[.._length], batch);
        }
    }

    public void Dispose()
    {
        foreach ((PageBuffer buffer, _) in _full)
        {
            buffer.Release();
        }

        _full.Clear();
        _buffer?.Release();
        _buffer = null;
    }

    private static void Copy(ReadOnlySpan<byte> records, MetadataBatch batch)
    {
        while (!records.IsEmpty)
        {
            var kind = (Kind)records[0];
            int keyLength = BinaryPrimitives.ReadInt32LittleEndian(records[1..]);
            int valueLength = BinaryPrimitives.ReadInt32LittleEndian(records[5..]);
            ReadOnlySpan<byte> key = records.Slice(RecordHeader, keyLength);
            ReadOnlySpan<byte> value = records.Slice(RecordHeader + keyLength, valueLength);
            switch (kind)
            {
                case Kind.Put:
                    batch.Put(key, value);
                    break;
                case Kind.Delete:
                    batch.Delete(key);
                    break;
                default:
                    batch.DeleteRange(key, value);
                    break;
            }

            records = records[(RecordHeader + keyLength + valueLength)..];
        }
    }

    private void Add(Kind kind, ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        int length = RecordHeader + key.Length + value.Length;
        if (_buffer is null || _length + length > _buffer.Capacity)
        {
            if (_buffer is not null)
            {
                _full.Add((_buffer, _length));
            }

            _buffer = pool.Rent(Math.Max(BufferSize, length));
            _length = 0;
        }

        Span<byte> record = _buffer.Span.Slice(_length, length);
        record[0] = (byte)kind;
        BinaryPrimitives.WriteInt32LittleEndian(record[1..], key.Length);
        BinaryPrimitives.WriteInt32LittleEndian(record[5..], value.Length);
        key.CopyTo(record[RecordHeader..]);
        value.CopyTo(record[(RecordHeader + key.Length)..]);
        _length += length;
        Bytes += length;
    }
}
