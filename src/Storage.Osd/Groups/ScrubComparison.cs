using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>
/// Compares the members' scrub maps of one range. Pure. A copy counts as right only where that is certain: a strict majority
/// of the copies agrees with it, or every copy that does not agree is proven bad by itself, by a checksum or by the PG log.
/// </summary>
internal static class ScrubComparison
{
    /// <summary>Compares.</summary>
    /// <param name="copies">Each member's map of the same range, in order of OSD.</param>
    /// <param name="primary">Whom differences are told against where no copy is certain.</param>
    /// <param name="deep">Whether data and omap were read.</param>
    /// <param name="expected">What the PG log says of the objects that it knows: the version, Zero for deleted.</param>
    /// <param name="trusted">An OSD whose copy the operator trusts where none is certain, or none.</param>
    /// <returns>Objects with errors, in order.</returns>
    public static List<ScrubFinding> Compare(
        IReadOnlyList<(OsdId Osd, ScrubMap Map)> copies, OsdId primary, bool deep, IReadOnlyDictionary<ObjectId, PgVersion> expected, OsdId trusted)
    {
        var findings = new List<ScrubFinding>();
        var at = new int[copies.Count];
        var row = new ScrubEntry?[copies.Count];
        while (true)
        {
            ObjectId? next = null;
            for (int i = 0; i < copies.Count; i++)
            {
                List<ScrubEntry> entries = copies[i].Map.Entries;
                if (at[i] < entries.Count && (next is null || entries[at[i]].Object < next))
                {
                    next = entries[at[i]].Object;
                }
            }

            if (next is null)
            {
                break;
            }

            for (int i = 0; i < copies.Count; i++)
            {
                List<ScrubEntry> entries = copies[i].Map.Entries;
                row[i] = at[i] < entries.Count && entries[at[i]].Object == next ? entries[at[i]++] : null;
            }

            PgVersion? log = expected.TryGetValue(next, out PgVersion version) ? version : null;
            if (Judge(next, copies, row, primary, deep, log, trusted) is { } finding)
            {
                findings.Add(finding);
            }
        }

        // What the log has and no copy does.
        foreach ((ObjectId id, PgVersion version) in expected)
        {
            if (version != PgVersion.Zero && copies.All(copy => !Contains(copy.Map.Entries, id)))
            {
                findings.Add(new ScrubFinding(id, OsdId.None, version, false, false, [.. copies.Select(copy => new BadCopy(copy.Osd, ScrubErrors.Missing | ScrubErrors.Log))]));
            }
        }

        findings.Sort(static (a, b) => a.Object.CompareTo(b.Object));
        return findings;
    }

    private static bool Contains(List<ScrubEntry> entries, ObjectId id)
    {
        int low = 0, high = entries.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) >>> 1;
            int order = entries[middle].Object.CompareTo(id);
            if (order == 0)
            {
                return true;
            }

            (low, high) = order < 0 ? (middle + 1, high) : (low, middle - 1);
        }

        return false;
    }

    private static ScrubFinding? Judge(
        ObjectId id, IReadOnlyList<(OsdId Osd, ScrubMap Map)> copies, ScrubEntry?[] row, OsdId primary, bool deep, PgVersion? log, OsdId trusted)
    {
        if (AllRight(row, log) || Mutations.Active(Mutation.ScrubFindsNothing))
        {
            return null;
        }

        int good = ChooseGood(row, log, out bool certain);
        if (!certain && trusted.IsSome)
        {
            for (int i = 0; i < row.Length; i++)
            {
                if (copies[i].Osd == trusted && row[i] is null or { IsReadable: true })
                {
                    (good, certain) = (row[i] is null ? -1 : i, true);
                }
            }
        }

        ScrubEntry? against = good >= 0 ? row[good] : null;
        if (!certain)
        {
            for (int i = 0; i < row.Length && against is null; i++)
            {
                against = copies[i].Osd == primary ? row[i] : null;
            }

            for (int i = 0; i < row.Length && against is null; i++)
            {
                against = row[i];
            }
        }

        var bad = new List<BadCopy>();
        for (int i = 0; i < row.Length; i++)
        {
            ScrubErrors errors = Differences(row[i], against, log);
            if (errors != ScrubErrors.None)
            {
                bad.Add(new BadCopy(copies[i].Osd, errors));
            }
        }

        Invariant.Holds(bad.Count > 0);
        Invariant.Holds(!certain || good < 0 || !bad.Exists(copy => copy.Osd == copies[good].Osd));
        return new ScrubFinding(
            id, good >= 0 ? copies[good].Osd : OsdId.None, certain && good >= 0 ? row[good]!.Value.Version : PgVersion.Zero, certain, deep && ScrubFinding.NeedsDeep(bad), bad);
    }

    private static bool AllRight(ScrubEntry?[] row, PgVersion? log)
    {
        if (row[0] is not { } first || !first.IsReadable || (log is { } version && first.Version != version))
        {
            return false;
        }

        for (int i = 1; i < row.Length; i++)
        {
            if (row[i] is not { } entry || !entry.Agrees(in first))
            {
                return false;
            }
        }

        return true;
    }

    // The index of a copy that is right; -1 with certain: the object should not exist; -1 without: nobody knows.
    private static int ChooseGood(ScrubEntry?[] row, PgVersion? log, out bool certain)
    {
        certain = false;
        if (log == PgVersion.Zero)
        {
            certain = true;
            return -1;
        }

        int best = -1, bestVotes = 0, groups = 0, absent = 0;
        PgVersion newestUnreadable = PgVersion.Zero;
        bool anyUnreadable = false;
        for (int i = 0; i < row.Length; i++)
        {
            if (row[i] is not { } entry)
            {
                absent += log is null ? 1 : 0; // else the log proves that it is lost
                continue;
            }

            if (!entry.IsReadable)
            {
                anyUnreadable = true;
                newestUnreadable = entry.Version > newestUnreadable ? entry.Version : newestUnreadable;
                continue;
            }

            if (log is { } version && entry.Version != version)
            {
                continue;
            }

            int votes = 0, first = -1;
            for (int j = 0; j < row.Length; j++)
            {
                if (row[j] is { } other && other.Agrees(in entry))
                {
                    first = first < 0 ? j : first;
                    votes++;
                }
            }

            groups += first == i ? 1 : 0;
            if (votes > bestVotes)
            {
                (best, bestVotes) = (i, votes);
            }
        }

        if (bestVotes * 2 > row.Length)
        {
            certain = true;
            if (Mutations.Active(Mutation.ScrubTrustsMinority))
            {
                ScrubEntry right = row[best]!.Value;
                int other = Array.FindIndex(row, entry => entry is { } copy && !copy.Agrees(in right));
                return other < 0 ? best : other;
            }

            return best;
        }

        // A damaged copy still proves that the object was there, and how new it was.
        if (absent * 2 > row.Length && !anyUnreadable)
        {
            certain = true;
            return -1;
        }

        certain = groups == 1 && absent == 0 && row[best]!.Value.Version >= newestUnreadable;
        return certain ? best : -1;
    }

    private static ScrubErrors Differences(ScrubEntry? copy, ScrubEntry? good, PgVersion? log)
    {
        if (copy is not { } have)
        {
            return good is null ? ScrubErrors.None : ScrubErrors.Missing;
        }

        ScrubErrors errors = ((have.Flags & ScrubEntryFlags.ReadError) != 0 ? ScrubErrors.ReadError : 0)
            | ((have.Flags & ScrubEntryFlags.NoVersion) != 0 ? ScrubErrors.NoVersion : 0)
            | (log is { } version && have.Version != version ? ScrubErrors.Log : 0);
        if (good is not { } want)
        {
            return errors | ScrubErrors.Extra;
        }

        bool comparable = (have.Flags & ScrubEntryFlags.ReadError) == 0 && (want.Flags & ScrubEntryFlags.ReadError) == 0;
        return errors
            | (have.Version != want.Version ? ScrubErrors.Version : 0)
            | (have.Size != want.Size ? ScrubErrors.Size : 0)
            | (have.Attributes != want.Attributes ? ScrubErrors.Attributes : 0)
            | (have.Omap != want.Omap && comparable ? ScrubErrors.Omap : 0)
            | (have.Data != want.Data && comparable ? ScrubErrors.Data : 0);
    }
}
