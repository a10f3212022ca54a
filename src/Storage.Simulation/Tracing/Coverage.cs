using System.Text;
using Storage.Osd;

namespace Storage.Simulation.Tracing;

/// <summary>How often rare paths were reached.</summary>
public sealed class Coverage
{
    private static readonly string[] s_names = [.. Enum.GetNames<RarePath>().Select(name => "osd." + SnakeCase(name))];

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

    /// <summary>Adds an OSD's counts, as <c>osd.divergent_rolled_back</c>.</summary>
    /// <param name="rarePaths">Counts by the number of <see cref="RarePath"/>.</param>
    public void Add(IReadOnlyList<long> rarePaths)
    {
        ArgumentNullException.ThrowIfNull(rarePaths);
        for (int i = 0; i < rarePaths.Count; i++)
        {
            Count(NameOf((RarePath)i), rarePaths[i]);
        }
    }

    /// <summary>The name that an OSD's rare path is counted under.</summary>
    /// <param name="path">The path.</param>
    /// <returns>As in <c>osd.log_gap</c>.</returns>
    public static string NameOf(RarePath path) => s_names[(int)path];

    private static string SnakeCase(string name)
    {
        var text = new StringBuilder();
        foreach (char c in name)
        {
            if (char.IsUpper(c) && text.Length > 0)
            {
                text.Append('_');
            }

            text.Append(char.ToLowerInvariant(c));
        }

        return text.ToString();
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
