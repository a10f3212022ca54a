using System.Collections.Concurrent;

namespace Storage.ObjectStore.Compression;

/// <summary>
/// The threads that compress and decompress for all stores of the process, so that no loop waits for it. Thread-safe; the threads start with the
/// first work and have a lower priority than loops.
/// </summary>
internal sealed class PackThreads
{
    private const int Most = 4; // a disk's writes need no more, and loops need the other cores
    private readonly BlockingCollection<IPackWork> _work = [];
    private readonly Lock _lock = new();
    private int _threads;

    /// <summary>Those of the process.</summary>
    public static PackThreads Shared { get; } = new();

    /// <summary>How many there are.</summary>
    public static int Count { get; } = Math.Clamp(Environment.ProcessorCount, 1, Most);

    /// <summary>Hands work to a number of threads.</summary>
    /// <param name="work">The work.</param>
    /// <param name="threads">How many threads run it, at most <see cref="Count"/>.</param>
    public void Add(IPackWork work, int threads)
    {
        if (Volatile.Read(ref _threads) == 0)
        {
            Start();
        }

        for (int i = 0; i < Math.Min(threads, Count); i++)
        {
            _work.Add(work);
        }
    }

    private void Start()
    {
        lock (_lock)
        {
            while (_threads < Count)
            {
                new Thread(Work) { IsBackground = true, Name = "compress" }.Start();
                _threads++;
            }
        }
    }

    private void Work()
    {
        NativeThread.YieldToLoops();
        using var packer = new Packer();
        foreach (IPackWork work in _work.GetConsumingEnumerable())
        {
            work.Run(packer);
        }
    }
}
