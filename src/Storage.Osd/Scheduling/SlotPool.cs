using Storage.Cluster;
using Storage.Coding;

namespace Storage.Osd;

/// <summary>What a placement group holds a slot for.</summary>
internal enum SlotKind : byte
{
    /// <summary>Recovery by log.</summary>
    Recovery,

    /// <summary>Filling of whole copies.</summary>
    Backfill,
}

/// <summary>
/// A bounded number of slots, handed out by priority, then in the order of asking. A slot that is held is never taken away.
/// Groups take them in one order, so that nobody waits in a circle: the slot of their own OSD first, then those of the
/// targets by ascending number.
/// </summary>
internal sealed class SlotPool(int slots)
{
    private readonly SortedSet<(int Order, ulong Turn, PgId Group)> _waiting = [];
    private readonly Dictionary<PgId, (int Order, ulong Turn, PgId Group)> _turns = [];
    private readonly HashSet<PgId> _held = [];
    private ulong _lastTurn;

    /// <summary>How many there are; fewer than are held take effect as those end.</summary>
    public int Slots { get; set; } = slots;

    /// <summary>How many are held.</summary>
    public int Held => _held.Count;

    /// <summary>How many groups wait.</summary>
    public int Waiting => _turns.Count;

    /// <summary>Whether a grant is due.</summary>
    public bool CanGrant => _held.Count < Slots && _waiting.Count > 0;

    /// <summary>Whether a group holds one.</summary>
    public bool Holds(PgId group) => _held.Contains(group);

    /// <summary>Asks for a slot, or changes the priority with which a group waits. Does nothing for a group that holds one.</summary>
    public void Request(PgId group, int priority)
    {
        if (_held.Contains(group))
        {
            return;
        }

        ulong turn = ++_lastTurn;
        if (_turns.TryGetValue(group, out (int Order, ulong Turn, PgId Group) known))
        {
            if (known.Order == -priority)
            {
                return;
            }

            _waiting.Remove(known);
            turn = known.Turn;
        }

        var entry = (-priority, turn, group);
        _turns[group] = entry;
        _waiting.Add(entry);
    }

    /// <summary>Takes the next group out that gets a slot.</summary>
    public bool TryGrant(out PgId group)
    {
        group = default;
        if (!CanGrant)
        {
            return false;
        }

        (int Order, ulong Turn, PgId Group) next = _waiting.Min;
        group = next.Group;
        _waiting.Remove(next);
        _turns.Remove(group);
        Invariant.Holds(_held.Add(group));
        return true;
    }

    /// <summary>Whether somebody waits with a higher priority.</summary>
    public bool IsWantedAbove(int priority) => _waiting.Count > 0 && -_waiting.Min.Order > priority;

    /// <summary>Gives a slot back, or stops waiting.</summary>
    /// <returns>Whether the group held or waited.</returns>
    public bool Release(PgId group)
    {
        if (_turns.Remove(group, out (int Order, ulong Turn, PgId Group) entry))
        {
            _waiting.Remove(entry);
            return true;
        }

        return Mutations.Active(Mutation.SlotNotReleased) ? _held.Contains(group) : _held.Remove(group);
    }
}
