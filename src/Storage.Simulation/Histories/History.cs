using System.Globalization;

namespace Storage.Simulation.Histories;

/// <summary>A call as it was made, and what became of it.</summary>
public sealed class HistoryEntry
{
    /// <summary>Number of the call within the run.</summary>
    public required int Id { get; init; }

    /// <summary>Name of the client.</summary>
    public required string Client { get; init; }

    /// <summary>Name of the object.</summary>
    public required string ObjectName { get; init; }

    /// <summary>What was asked for.</summary>
    public required ObjectCall Call { get; init; }

    /// <summary>Position of the call's beginning among all beginnings and ends.</summary>
    public required long InvokedOrder { get; init; }

    /// <summary>When it began.</summary>
    public required TimeSpan InvokedAt { get; init; }

    /// <summary>Position of its end; <see cref="long.MaxValue"/> if the client never learned what became of it.</summary>
    public long CompletedOrder { get; internal set; } = long.MaxValue;

    /// <summary>When it ended.</summary>
    public TimeSpan CompletedAt { get; internal set; }

    /// <summary>What the client was told; null if it never learned.</summary>
    public CallOutcome? Outcome { get; internal set; }

    /// <summary>Whether nobody waits for its outcome any more, though the client never learned it.</summary>
    public bool IsLeft { get; internal set; }

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"[{InvokedAt.TotalSeconds:F6} .. {(Outcome is null ? "?" : CompletedAt.TotalSeconds.ToString("F6", CultureInfo.InvariantCulture))}] {Client} #{Id} {Call} -> {Outcome?.ToString() ?? "unknown"}");
}

/// <summary>All calls of a run, in the order in which they were made.</summary>
public sealed class History
{
    private readonly List<HistoryEntry> _entries = [];
    private readonly HashSet<string> _touched = new(StringComparer.Ordinal);
    private long _order;

    /// <summary>The calls.</summary>
    public IReadOnlyList<HistoryEntry> Entries => _entries;

    /// <summary>Whether a name is met for the first time by this method: for what exists before its first call.</summary>
    /// <param name="name">The name.</param>
    /// <returns>True once for each name.</returns>
    public bool TouchFirst(string name) => _touched.Add(name);

    /// <summary>A call begins.</summary>
    /// <param name="client">Name of the client.</param>
    /// <param name="objectName">Name of the object.</param>
    /// <param name="call">What it asks for.</param>
    /// <param name="now">Virtual time.</param>
    /// <returns>Its entry.</returns>
    public HistoryEntry Invoke(string client, string objectName, ObjectCall call, TimeSpan now)
    {
        var entry = new HistoryEntry
        {
            Id = _entries.Count,
            Client = client,
            ObjectName = objectName,
            Call = call,
            InvokedOrder = ++_order,
            InvokedAt = now,
        };
        _entries.Add(entry);
        return entry;
    }

    /// <summary>Notes a moment.</summary>
    /// <returns>Its position among all beginnings and ends of calls.</returns>
    public long Mark() => ++_order;

    /// <summary>A call's outcome is known. Calls that never complete may take effect at any later time, or never.</summary>
    /// <param name="entry">The call.</param>
    /// <param name="outcome">What the client was told.</param>
    /// <param name="now">Virtual time.</param>
    public void Complete(HistoryEntry entry, CallOutcome outcome, TimeSpan now)
    {
        ArgumentNullException.ThrowIfNull(entry);
        entry.Outcome = outcome;
        entry.CompletedOrder = ++_order;
        entry.CompletedAt = now;
    }

    /// <summary>Nobody waits for a call's outcome any more: it may take effect at any later time, or never.</summary>
    /// <param name="entry">The call.</param>
    public static void Leave(HistoryEntry entry)
    {
        ArgumentNullException.ThrowIfNull(entry);
        entry.IsLeft = true;
    }

    /// <summary>The calls by object, in order of name.</summary>
    /// <returns>Name and calls.</returns>
    public SortedDictionary<string, List<HistoryEntry>> ByObject()
    {
        var objects = new SortedDictionary<string, List<HistoryEntry>>(StringComparer.Ordinal);
        foreach (HistoryEntry entry in _entries)
        {
            if (!objects.TryGetValue(entry.ObjectName, out List<HistoryEntry>? list))
            {
                objects[entry.ObjectName] = list = [];
            }

            list.Add(entry);
        }

        return objects;
    }
}
