using Storage.Cluster;

namespace Storage.Osd;

// Which PG is scrubbed next. Few at once: a scrub takes a place on every member.
public sealed partial class OsdDaemon
{
    private static readonly TimeSpan s_scrubLook = TimeSpan.FromSeconds(1);

    private readonly HashSet<PgId> _scrubs = [];
    private TimeSpan _scrubLookedAt = TimeSpan.FromDays(-1);

    long IPlacementGroupHost.UnixMilliseconds => _loop.TimeProvider.GetUtcNow().ToUnixTimeMilliseconds();

    bool IPlacementGroupHost.TryReserveScrub(PgId group)
    {
        if (_scrubs.Count < _options.ScrubGroups)
        {
            _scrubs.Add(group);
        }

        return _scrubs.Contains(group);
    }

    void IPlacementGroupHost.ReleaseScrub(PgId group)
    {
        _scrubs.Remove(group);
        _scrubLookedAt = TimeSpan.FromDays(-1); // the next one need not wait
    }

    /// <summary>Asks for a scrub of a PG that this OSD is primary of; it begins once the PG is clean and its members have a place for it.</summary>
    /// <param name="group">The PG.</param>
    /// <param name="deep">Read all data as well.</param>
    /// <param name="repair">Repair whatever is certain, removals included; implies deep.</param>
    /// <param name="trusted">With repair: an OSD whose copies are right where nothing else tells.</param>
    /// <returns>False if this OSD is not the PG's primary.</returns>
    public bool RequestScrub(PgId group, bool deep, bool repair = false, OsdId? trusted = null)
    {
        if (!_groups.TryGetValue(group, out PlacementGroup? found) || !found.IsPrimary)
        {
            return false;
        }

        found.RequestScrub(new ScrubWish(!deep && !repair, deep, repair, trusted ?? OsdId.None));
        _scrubLookedAt = TimeSpan.FromDays(-1);
        return true;
    }

    /// <summary>What scrub knows of a PG that this OSD holds.</summary>
    /// <param name="group">The PG.</param>
    /// <returns>Ends of the last scrub and deep scrub in milliseconds since the Unix epoch, objects that are not right, whether a scrub is
    /// under way or asked for; null if this OSD does not hold it.</returns>
    public ScrubStatus? ScrubStatusOf(PgId group) => _groups.TryGetValue(group, out PlacementGroup? found)
        ? new ScrubStatus(found.LastScrub, found.LastDeepScrub, found.ErrorsFound, found.IsScrubbing || found.IsScrubWanted)
        : null;

    private void TickScrubs()
    {
        if (_loop.Now - _scrubLookedAt < s_scrubLook || _scrubs.Count >= _options.ScrubGroups)
        {
            return;
        }

        _scrubLookedAt = _loop.Now;
        long now = ((IPlacementGroupHost)this).UnixMilliseconds;
        var due = new List<(long Urgency, PgId Id)>();
        int busy = _scrubs.Count;
        foreach (PlacementGroup group in _groups.Values)
        {
            if (group.IsScrubbing && !_scrubs.Contains(group.Id))
            {
                busy++; // its turn here comes after that of others
            }
            else if (group.IsPrimary && group.IsScrubDue(now, out long urgency))
            {
                due.Add((urgency, group.Id));
            }
        }

        due.Sort();
        foreach ((_, PgId id) in due.Take(_options.ScrubGroups - busy))
        {
            _groups[id].StartScrub(now);
        }
    }
}

/// <summary>What scrub knows of a PG.</summary>
/// <param name="LastScrub">End of the last scrub, in milliseconds since the Unix epoch.</param>
/// <param name="LastDeepScrub">End of the last deep scrub, in milliseconds since the Unix epoch.</param>
/// <param name="Errors">Objects found wrong and not repaired.</param>
/// <param name="IsPending">A scrub is under way or was asked for.</param>
public readonly record struct ScrubStatus(long LastScrub, long LastDeepScrub, long Errors, bool IsPending);
