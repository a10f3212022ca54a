using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.Reactor.Native;

namespace Storage.Reactor;

/// <summary>
/// A list of memory ranges for one gathering write or send, in native memory, used again and again. It holds a reference to
/// every buffer in it until <see cref="Clear"/> or <see cref="Advance"/> lets go of it. Must not change while an operation uses it.
/// </summary>
public sealed unsafe class IoVector : IDisposable
{
    /// <summary>Most ranges one system call takes (IOV_MAX).</summary>
    public const int MaxCount = 1024;

    private PageBuffer?[] _buffers;
    private IoVec* _vectors;
    private int _capacity;
    private int _first;
    private int _end;

    /// <summary>Creates an empty list.</summary>
    /// <param name="capacity">Ranges it has room for at first; it grows up to <see cref="MaxCount"/>.</param>
    public IoVector(int capacity = 16)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, MaxCount);
        _capacity = capacity;
        _buffers = new PageBuffer?[capacity];
        _vectors = (IoVec*)NativeMemory.Alloc((nuint)capacity, (nuint)sizeof(IoVec));
    }

    /// <summary>Ranges in the list.</summary>
    public int Count => _end - _first;

    /// <summary>Bytes in all ranges.</summary>
    public long Length { get; private set; }

    /// <summary>True if no further range fits.</summary>
    public bool IsFull => Count == MaxCount;

    internal IoVec* First => _vectors + _first;

    /// <summary>Appends a range and takes a reference to its buffer. A range that continues the last one is merged with it.</summary>
    /// <param name="segment">The range; an empty one is ignored.</param>
    public void Add(BufferSegment segment)
    {
        if (segment.Buffer is not { } buffer || segment.Length == 0)
        {
            return;
        }

        Length += segment.Length;
        nint address = buffer.Address + segment.Offset;
        if (_end > _first && ReferenceEquals(_buffers[_end - 1], buffer))
        {
            ref IoVec last = ref _vectors[_end - 1];
            if (last.Base + (nint)last.Length == address)
            {
                last.Length += (nuint)segment.Length;
                return;
            }
        }

        if (_end == _capacity)
        {
            MakeRoom();
        }

        _vectors[_end].Base = address;
        _vectors[_end].Length = (nuint)segment.Length;
        _buffers[_end] = buffer.Retain();
        _end++;
    }

    /// <summary>Drops bytes at the front, such as those a partial send has taken.</summary>
    /// <param name="bytes">At most <see cref="Length"/>.</param>
    public void Advance(long bytes)
    {
        Invariant.Holds(bytes >= 0 && bytes <= Length);
        Length -= bytes;
        while (bytes > 0)
        {
            ref IoVec vector = ref _vectors[_first];
            if ((nuint)bytes < vector.Length)
            {
                vector.Base += (nint)bytes;
                vector.Length -= (nuint)bytes;
                return;
            }

            bytes -= (long)vector.Length;
            _buffers[_first]!.Release();
            _buffers[_first] = null;
            _first++;
        }

        if (_first == _end)
        {
            _first = _end = 0;
        }
    }

    /// <summary>Empties the list and gives its references back.</summary>
    public void Clear() => Advance(Length);

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_vectors is not null)
        {
            Clear();
            NativeMemory.Free(_vectors);
            _vectors = null;
        }
    }

    private void MakeRoom()
    {
        int count = Count;
        Invariant.Holds(count < MaxCount);
        if (_first > 0)
        {
            new Span<IoVec>(_vectors + _first, count).CopyTo(new Span<IoVec>(_vectors, count));
            Array.Copy(_buffers, _first, _buffers, 0, count);
            Array.Clear(_buffers, count, _end - count);
            _first = 0;
            _end = count;
            return;
        }

        _capacity = Math.Min(_capacity * 2, MaxCount);
        _vectors = (IoVec*)NativeMemory.Realloc(_vectors, (nuint)(_capacity * sizeof(IoVec)));
        Array.Resize(ref _buffers, _capacity);
    }
}
