namespace Storage.Simulation.Histories.Recorded;

/// <summary>A time in which one client got nothing done: from the beginning of an operation until one of its operations succeeded.</summary>
/// <param name="Client">The client.</param>
/// <param name="Kind">What it was trying.</param>
/// <param name="StartedUs">Microseconds since the start of the run.</param>
/// <param name="EndedUs">Microseconds since the start of the run.</param>
public sealed record Stall(string Client, RecordedKind Kind, long StartedUs, long EndedUs)
{
    /// <summary>How long it was.</summary>
    public TimeSpan Length => TimeSpan.FromMicroseconds(EndedUs - StartedUs);
}

/// <summary>How long clients waited.</summary>
public static class Stalls
{
    /// <summary>Time after the end of a fault in which a wait is still put down to it: daemons come back.</summary>
    public static readonly TimeSpan Aftermath = TimeSpan.FromSeconds(3);

    /// <summary>Every wait of every client, as long as it lasted: an operation that failed counts until the client's next success.</summary>
    /// <param name="operations">The operations, in any order.</param>
    /// <returns>The waits, in the order of their beginning.</returns>
    public static IReadOnlyList<Stall> Of(IEnumerable<RecordedOperation> operations)
    {
        ArgumentNullException.ThrowIfNull(operations);
        var stalls = new List<Stall>();
        foreach (IGrouping<string, RecordedOperation> client in operations.GroupBy(operation => operation.Client, StringComparer.Ordinal))
        {
            RecordedOperation? first = null;
            RecordedOperation? last = null;
            foreach (RecordedOperation operation in client.OrderBy(operation => operation.Began))
            {
                first ??= operation;
                last = operation;
                if (operation.Result == RecordedResult.Ok)
                {
                    stalls.Add(new Stall(client.Key, first.Kind, first.BeganUs, operation.EndedUs));
                    first = null;
                }
            }

            if (first is not null)
            {
                stalls.Add(new Stall(client.Key, first.Kind, first.BeganUs, last!.EndedUs));
            }
        }

        stalls.Sort((a, b) => a.StartedUs != b.StartedUs ? a.StartedUs.CompareTo(b.StartedUs) : string.CompareOrdinal(a.Client, b.Client));
        return stalls;
    }

    /// <summary>The longest of some waits.</summary>
    /// <param name="stalls">The waits.</param>
    /// <param name="writes">Those of writes and deletes; else those of reads and lists.</param>
    /// <returns>The longest; null if there is none.</returns>
    public static Stall? Longest(IEnumerable<Stall> stalls, bool writes)
    {
        ArgumentNullException.ThrowIfNull(stalls);
        return stalls.Where(stall => (stall.Kind is RecordedKind.Write or RecordedKind.Delete or RecordedKind.Flush) == writes).MaxBy(stall => stall.Length);
    }

    /// <summary>The waits that a fault may have caused: those that overlap it or its aftermath.</summary>
    /// <param name="stalls">All waits.</param>
    /// <param name="fault">The fault.</param>
    /// <returns>Them.</returns>
    public static IEnumerable<Stall> During(IEnumerable<Stall> stalls, RecordedFault fault)
    {
        ArgumentNullException.ThrowIfNull(fault);
        long end = fault.EndedUs + (long)Aftermath.TotalMicroseconds;
        return stalls.Where(stall => stall.StartedUs < end && stall.EndedUs > fault.StartedUs);
    }
}
