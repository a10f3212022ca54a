using System.Collections.Concurrent;
using System.Numerics;

namespace Storage.Reactor;

/// <summary>
/// Pools <see cref="PageBuffer"/>s in sizes that are powers of two, 4 KiB to 16 MiB. Thread-safe. Memory that is not
/// rented is kept up to a budget, the rest goes back to the system.
/// </summary>
public sealed class BufferPool
{
    /// <summary>The largest buffer, in bytes.</summary>
    public const int LargestBuffer = 16 << 20;

    private const int Classes = 13;
    private readonly BufferStack[] _free = new BufferStack[Classes];
    private readonly ConcurrentDictionary<PageBuffer, string>? _traces;
    private readonly long _idleBudget;
    private long _idleBytes;
    private long _outstanding;

    [ThreadStatic]
    private static PageBuffer?[]? t_last;

    /// <summary>Creates a pool.</summary>
    /// <param name="idleBudget">Bytes kept for reuse, at most.</param>
    /// <param name="trace">Remembers where each buffer was rented, to name leaks in tests.</param>
    public BufferPool(long idleBudget = 64 << 20, bool trace = false)
    {
        _idleBudget = idleBudget;
        _traces = trace ? new ConcurrentDictionary<PageBuffer, string>() : null;
        for (int i = 0; i < Classes; i++)
        {
            _free[i] = new BufferStack();
        }
    }

    /// <summary>The process's pool.</summary>
    public static BufferPool Shared { get; } = new();

    /// <summary>Buffers rented and not yet given back.</summary>
    public long Outstanding => Interlocked.Read(ref _outstanding);

    /// <summary>Where the buffers that are out were rented; empty unless the pool traces.</summary>
    public IEnumerable<string> OutstandingTraces => _traces?.Values ?? [];

    /// <summary>Rents a buffer; its bytes are whatever they were.</summary>
    /// <param name="size">Bytes needed, from 0 to <see cref="LargestBuffer"/>.</param>
    /// <returns>A buffer with one reference, held by the caller.</returns>
    public PageBuffer Rent(int size)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)size, (uint)LargestBuffer);
        int index = Math.Max(0, BitOperations.Log2((uint)Math.Max(1, size - 1)) + 1 - 12);
        PageBuffer? buffer = null;
        if (ReferenceEquals(this, Shared) && t_last is { } last && last[index] is { } kept)
        {
            last[index] = null;
            buffer = kept;
        }
        else if ((buffer = _free[index].Pop()) is not null)
        {
            Interlocked.Add(ref _idleBytes, -buffer.Capacity);
        }

        buffer ??= new PageBuffer(this, PageBuffer.PageSize << index);
        buffer.BeginUse();
        Interlocked.Increment(ref _outstanding);
        _traces?.TryAdd(buffer, Environment.StackTrace);
        return buffer;
    }

    internal void Return(PageBuffer buffer)
    {
        Interlocked.Decrement(ref _outstanding);
        _traces?.TryRemove(buffer, out _);
        int index = BitOperations.Log2((uint)buffer.Capacity) - 12;
        if (ReferenceEquals(this, Shared))
        {
            PageBuffer?[] last = t_last ??= new PageBuffer?[Classes];
            if (last[index] is null)
            {
                last[index] = buffer; // the common case: no shared state is touched
                return;
            }
        }

        if (Interlocked.Add(ref _idleBytes, buffer.Capacity) > _idleBudget)
        {
            Interlocked.Add(ref _idleBytes, -buffer.Capacity);
            _free[index].Forget(buffer);
            buffer.Free();
            return;
        }

        _free[index].Push(buffer);
    }
}
