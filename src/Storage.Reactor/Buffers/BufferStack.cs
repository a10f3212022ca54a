namespace Storage.Reactor;

/// <summary>
/// The idle buffers of one size. Thread-safe without a lock where a buffer comes back or goes out, and without a node of its own for each:
/// buffers are known by numbers, and each keeps the number of the one below it.
/// </summary>
internal sealed class BufferStack
{
    private readonly Lock _lock = new(); // for giving out numbers
    private readonly Stack<int> _unused = new();
    private PageBuffer?[] _numbered = new PageBuffer?[64];
    private int _highest;
    private ulong _top; // the upper half changes with every step, so that nobody takes a later state for the one he saw; the lower is a number, 0 for none

    /// <summary>Takes a buffer out; null if there is none.</summary>
    public PageBuffer? Pop()
    {
        while (true)
        {
            ulong top = Volatile.Read(ref _top);
            int number = (int)(uint)top;
            if (number == 0)
            {
                return null;
            }

            // It may be somebody else's by now, or gone: then the top has changed as well.
            if (Volatile.Read(ref Volatile.Read(ref _numbered)[number]) is { } buffer && TryMove(top, buffer.Below))
            {
                return buffer;
            }
        }
    }

    /// <summary>Puts a buffer in.</summary>
    public void Push(PageBuffer buffer)
    {
        if (buffer.Number == 0)
        {
            Admit(buffer);
        }

        ulong top;
        do
        {
            top = Volatile.Read(ref _top);
            buffer.Below = (int)(uint)top;
        }
        while (!TryMove(top, buffer.Number));
    }

    /// <summary>Forgets a buffer that is not in and will not come again.</summary>
    public void Forget(PageBuffer buffer)
    {
        if (buffer.Number != 0)
        {
            lock (_lock)
            {
                _numbered[buffer.Number] = null;
                _unused.Push(buffer.Number);
                buffer.Number = 0;
            }
        }
    }

    private bool TryMove(ulong from, int number) => Interlocked.CompareExchange(ref _top, ((from >> 32) + 1) << 32 | (uint)number, from) == from;

    private void Admit(PageBuffer buffer)
    {
        lock (_lock)
        {
            int number = _unused.TryPop(out int unused) ? unused : ++_highest;
            if (number == _numbered.Length)
            {
                var larger = new PageBuffer?[number * 2];
                _numbered.CopyTo(larger, 0);
                Volatile.Write(ref _numbered, larger);
            }

            Volatile.Write(ref _numbered[number], buffer);
            buffer.Number = number;
        }
    }
}
