using System.Collections.Immutable;

namespace Storage.Simulation.Histories;

/// <summary>
/// What an object was at snapshots, by the rule that the first write which names a snapshot keeps for it what the object was before.
/// Immutable.
/// </summary>
public sealed class KeptSnapshots
{
    private readonly ImmutableSortedDictionary<ulong, ObjectState> _states;
    private readonly ImmutableHashSet<ulong> _uncertain;
    private readonly ImmutableSortedDictionary<ulong, ObjectState> _others;
    private readonly ulong _newest;

    private KeptSnapshots(
        ImmutableSortedDictionary<ulong, ObjectState> states, ImmutableHashSet<ulong> uncertain, ImmutableSortedDictionary<ulong, ObjectState> others, ulong newest)
    {
        _states = states;
        _uncertain = uncertain;
        _others = others;
        _newest = newest;
        foreach ((ulong snapshot, ObjectState state) in states)
        {
            Fingerprint = (Fingerprint ^ snapshot ^ (state.Fingerprint >> 7)) * 0x9E3779B97F4A7C15;
        }

        foreach ((ulong snapshot, ObjectState state) in others)
        {
            Fingerprint = (Fingerprint ^ (snapshot << 40) ^ (state.Fingerprint >> 9)) * 0x9E3779B97F4A7C15;
        }

        foreach (ulong snapshot in uncertain.Order())
        {
            Fingerprint = (Fingerprint ^ (snapshot << 20)) * 0xC2B2AE3D27D4EB4F;
        }

        Fingerprint ^= newest * 0xD6E8FEB86659FD93;
    }

    /// <summary>Nothing.</summary>
    public static KeptSnapshots None { get; } = new(
        ImmutableSortedDictionary<ulong, ObjectState>.Empty, [], ImmutableSortedDictionary<ulong, ObjectState>.Empty, 0);

    /// <summary>64 bits that stand for all of it; 0 for nothing.</summary>
    public ulong Fingerprint { get; }

    /// <summary>Whether a write has named the snapshot, or a newer one without it.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <returns>True if so.</returns>
    public bool Has(ulong snapshot) => snapshot <= _newest;

    /// <summary>Whether what the object was at a snapshot may have been forgotten: it was missing then and later, without anything kept, and
    /// a write that did not know the snapshot made it again.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <returns>True if so.</returns>
    public bool IsUncertain(ulong snapshot) => _uncertain.Contains(snapshot);

    /// <summary>The state at a snapshot.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <param name="now">The live object.</param>
    /// <returns>The state.</returns>
    public ObjectState Find(ulong snapshot, ObjectState now) =>
        _states.TryGetValue(snapshot, out ObjectState? state) ? state : snapshot > _newest ? now : ObjectState.Missing;

    /// <summary>What the object may as well have been at a snapshot, where that is uncertain: what it was when a write named the snapshot again.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <param name="now">The live object.</param>
    /// <returns>The state, the live object's if no write has named the snapshot again; null if it is certain.</returns>
    public ObjectState? FindOther(ulong snapshot, ObjectState now) =>
        !IsUncertain(snapshot) ? null : _others.TryGetValue(snapshot, out ObjectState? state) ? state : now;

    /// <summary>What is kept after a write that changes something.</summary>
    /// <param name="named">Snapshots that it names, newest first.</param>
    /// <param name="before">The object before it.</param>
    /// <returns>What is kept.</returns>
    public KeptSnapshots After(IReadOnlyList<ulong> named, ObjectState before)
    {
        ArgumentNullException.ThrowIfNull(before);
        ArgumentNullException.ThrowIfNull(named);
        ImmutableHashSet<ulong> uncertain = _uncertain;
        if (!before.Exists)
        {
            // The cluster forgets an object once nothing is left of it, and with it which snapshots it has seen.
            uncertain = uncertain.Union(_states.Where(kept => !kept.Value.Exists && !named.Contains(kept.Key)).Select(kept => kept.Key));
        }

        ImmutableSortedDictionary<ulong, ObjectState> others = _others;
        if (before.Exists)
        {
            foreach (ulong snapshot in named.Where(snapshot => uncertain.Contains(snapshot) && !_others.ContainsKey(snapshot)))
            {
                others = others.Add(snapshot, before.Alone());
            }
        }

        ulong newest = named.Count > 0 ? named[0] : 0;
        if (newest <= _newest)
        {
            return ReferenceEquals(uncertain, _uncertain) && ReferenceEquals(others, _others) ? this : new KeptSnapshots(_states, uncertain, others, _newest);
        }

        ObjectState alone = before.Alone();
        return new KeptSnapshots(
            _states.SetItems(named.Where(snapshot => snapshot > _newest).Select(snapshot => KeyValuePair.Create(snapshot, alone))), uncertain, others, newest);
    }
}
