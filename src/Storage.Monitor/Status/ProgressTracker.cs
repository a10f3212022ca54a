using System.Globalization;
using Storage.Cluster;

namespace Storage.Monitor.Status;

/// <summary>Long work under way.</summary>
/// <param name="Id">Names it while it lasts, as in <c>recovery/volumes</c>.</param>
/// <param name="Message">One line.</param>
/// <param name="Fraction">Done, 0 to 1.</param>
/// <param name="Remaining">By the pace of the last seconds; null while there is none.</param>
/// <param name="Elapsed">Since it was first seen.</param>
public sealed record ProgressItem(string Id, string Message, double Fraction, TimeSpan? Remaining, TimeSpan Elapsed);

/// <summary>
/// Follows the work that OSDs report as object copies still to be made (recovery) or to be moved (rebalancing), per pool: how much of the most
/// that there was is done, and how long the rest takes at the present pace. Soft state of the leader.
/// </summary>
public sealed class ProgressTracker
{
    private static readonly TimeSpan s_interval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan s_window = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan s_lingering = TimeSpan.FromSeconds(5);
    private readonly SortedDictionary<string, Track> _tracks = new(StringComparer.Ordinal);
    private TimeSpan _updatedAt = TimeSpan.MinValue;

    /// <summary>Forgets everything.</summary>
    public void Clear()
    {
        _tracks.Clear();
        _updatedAt = TimeSpan.MinValue;
    }

    /// <summary>Looks at the PGs, at most once a second.</summary>
    /// <param name="map">The newest map.</param>
    /// <param name="views">Every PG; not looked at if it is too early.</param>
    /// <param name="now">Time on the loop.</param>
    public void Update(ClusterMap map, IEnumerable<PgView> views, TimeSpan now)
    {
        if (_updatedAt != TimeSpan.MinValue && now - _updatedAt < s_interval)
        {
            return;
        }

        _updatedAt = now;
        var missing = new Dictionary<long, long>();
        var misplaced = new Dictionary<long, long>();
        foreach (PgView view in views)
        {
            if (view.Report is { } report)
            {
                missing[view.Group.Pool] = missing.GetValueOrDefault(view.Group.Pool) + report.MissingCopies;
                misplaced[view.Group.Pool] = misplaced.GetValueOrDefault(view.Group.Pool) + report.MisplacedCopies;
            }
        }

        foreach (PoolInfo pool in map.Pools)
        {
            Follow("recovery/" + pool.Name, $"recovery of pool {pool.Name}: object copies to make", missing.GetValueOrDefault(pool.Id), now);
            Follow("rebalancing/" + pool.Name, $"rebalancing of pool {pool.Name}: object copies to move", misplaced.GetValueOrDefault(pool.Id), now);
        }

        foreach ((string id, Track track) in _tracks.ToArray())
        {
            if (track.SeenAt != now || now - track.DoneAt > s_lingering)
            {
                _tracks.Remove(id);
            }
        }
    }

    /// <summary>What is under way, and what ended a few seconds ago.</summary>
    /// <param name="now">Time on the loop.</param>
    /// <returns>By id.</returns>
    public IReadOnlyList<ProgressItem> Items(TimeSpan now) => [.. _tracks.Select(entry => entry.Value.Describe(entry.Key, now))];

    private void Follow(string id, string text, long left, TimeSpan now)
    {
        if (_tracks.TryGetValue(id, out Track? track))
        {
            track.Note(left, now);
        }
        else if (left > 0)
        {
            _tracks[id] = new Track(text, left, now);
        }
    }

    private sealed class Track
    {
        private readonly string _text;
        private readonly TimeSpan _since;
        private readonly Queue<(TimeSpan At, long Left)> _samples = new();
        private long _most;
        private long _left;

        public Track(string text, long left, TimeSpan now)
        {
            _text = text;
            _since = now;
            Note(left, now);
        }

        public TimeSpan SeenAt { get; private set; }

        public TimeSpan DoneAt { get; private set; } = TimeSpan.MaxValue;

        public void Note(long left, TimeSpan now)
        {
            SeenAt = now;
            _left = left;
            _most = Math.Max(_most, left);
            DoneAt = left > 0 ? TimeSpan.MaxValue : DoneAt == TimeSpan.MaxValue ? now : DoneAt;
            _samples.Enqueue((now, left));
            while (now - _samples.Peek().At > s_window)
            {
                _samples.Dequeue();
            }
        }

        public ProgressItem Describe(string id, TimeSpan now)
        {
            (TimeSpan at, long before) = _samples.Peek();
            double pace = SeenAt > at ? (before - _left) / (SeenAt - at).TotalSeconds : 0;
            return new ProgressItem(
                id,
                string.Create(CultureInfo.InvariantCulture, $"{_text}: {_left:#,0} of {_most:#,0} left"),
                (double)(_most - _left) / _most,
                _left == 0 ? TimeSpan.Zero : pace > 0 ? TimeSpan.FromSeconds(_left / pace) : null,
                now - _since);
        }
    }
}
