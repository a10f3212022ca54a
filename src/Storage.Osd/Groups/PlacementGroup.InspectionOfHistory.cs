using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;

namespace Storage.Osd;

// Whether a restart would know what this copy knows of its past, and what scrubs and reads found.
internal sealed partial class PlacementGroup
{
    /// <summary>
    /// Compares the history, and what <see cref="FindContradiction"/> leaves out of the info, with what a restart would read: cheap enough for every copy at any time.
    /// </summary>
    /// <returns>The first difference that is not allowed, or null.</returns>
    public string? FindForgotten()
    {
        if (_removed)
        {
            return null;
        }

        IObjectStore store = _host.Store;
        if (!store.TryGetAttribute(_collection, MetaObject, HistoryAttribute, out ReadOnlyMemory<byte> historyBytes)
            || !store.TryGetAttribute(_collection, MetaObject, InfoAttribute, out ReadOnlyMemory<byte> infoBytes))
        {
            return "no history or no info on disk";
        }

        var historyReader = new WireReader(historyBytes.Span);
        var infoReader = new WireReader(infoBytes.Span);
        return CompareHistory(PgHistory.Decode(ref historyReader)) ?? CompareScrubState(PgInfo.Decode(ref infoReader));
    }

    // What may lag on disk: the map, but not behind the beginning of the interval, for the maps since then are gone through again; when an interval
    // began whose beginning was not known, for whoever skipped maps learns it again; and, of a primary until it starts the interval, which it does not with
    // too few members, what others told it, for they tell it again.
    private string? CompareHistory(PgHistory stored)
    {
        PgHistory known = _history;
        if (_intervalChanged && stored.MapEpoch <= known.MapEpoch)
        {
            return null; // between maps and ApplyMap, which an OSD that starts calls when it is up: this copy has told nobody yet what it knows
        }

        bool learnedStart = stored.IntervalUncertain && !known.IntervalUncertain && stored.SameIntervalSince > known.SameIntervalSince;
        if (stored.Created != known.Created || stored.MapEpoch > known.MapEpoch || stored.MapEpoch < stored.SameIntervalSince
            || (!learnedStart && (stored.SameIntervalSince != known.SameIntervalSince || stored.IntervalUncertain != known.IntervalUncertain)))
        {
            return Differ(stored);
        }

        if (IsPrimary && (_phase < GroupPhase.Activating || _acting.Length < _pool.MinSize))
        {
            stored.Merge(known);
        }

        if (stored.KnownFrom != known.KnownFrom || stored.LastEpochStarted != known.LastEpochStarted || stored.LastEpochClean != known.LastEpochClean
            || stored.Past.Count != known.Past.Count)
        {
            return Differ(stored);
        }

        for (int i = 0; i < known.Past.Count; i++)
        {
            PastInterval left = stored.Past[i], right = known.Past[i];
            if (left.First != right.First || left.Last != right.Last || left.PrimaryUpFrom != right.PrimaryUpFrom || !Same(left.Acting, right.Acting))
            {
                return Differ(stored);
            }
        }

        return null;

        string Differ(PgHistory stored) => $"on disk its history is {Describe(stored)}; in memory, while {_phase}, {Describe(known)}";

        static string Describe(PgHistory history) =>
            $"created {history.Created}, known from {history.KnownFrom}, started {history.LastEpochStarted}, clean {history.LastEpochClean}, interval {history.SameIntervalSince}"
            + $"{(history.IntervalUncertain ? " or before" : "")}, map {history.MapEpoch}, past [{string.Join(' ', history.Past.Select(past => $"{past.First}-{past.Last}:{string.Join(',', past.Acting)}"))}]";
    }

    private string? CompareScrubState(PgInfo stored) =>
        stored.ScrubErrors != _info.ScrubErrors || stored.LastScrub != _info.LastScrub || stored.LastDeepScrub != _info.LastDeepScrub
            || stored.CountsEstimated != _info.CountsEstimated
            ? $"on disk it has {stored.ScrubErrors} scrub errors, scrubs at {stored.LastScrub} and {stored.LastDeepScrub}, counts estimated {stored.CountsEstimated}; "
                + $"in memory {_info.ScrubErrors}, {_info.LastScrub} and {_info.LastDeepScrub}, {_info.CountsEstimated}"
            : null;
}
