namespace Storage.Simulation.Tracing;

/// <summary>How often rare paths were reached.</summary>
public sealed class Coverage
{
    private readonly SortedDictionary<string, long> _counts = new(StringComparer.Ordinal);

    /// <summary>Counts by path.</summary>
    public IReadOnlyDictionary<string, long> Counts => _counts;

    /// <summary>Counts a path.</summary>
    /// <param name="path">Its name, as in <c>fault.pause</c>.</param>
    /// <param name="times">How often.</param>
    public void Count(string path, long times = 1)
    {
        if (times != 0)
        {
            _counts[path] = _counts.GetValueOrDefault(path) + times;
        }
    }

    /// <summary>Adds another run's counts.</summary>
    /// <param name="other">The other run.</param>
    public void Add(IReadOnlyDictionary<string, long> other)
    {
        ArgumentNullException.ThrowIfNull(other);
        foreach ((string path, long times) in other)
        {
            Count(path, times);
        }
    }

    /// <summary>A daemon logged a line; some lines mark a path.</summary>
    /// <param name="text">The line.</param>
    internal void OnLog(string text)
    {
        if (text.Contains(" leads term ", StringComparison.Ordinal))
        {
            Count("mon.leader_change");
        }
    }
}
