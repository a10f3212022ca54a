namespace Storage.Osd;

// For the simulator.
public sealed partial class OsdDaemon
{
    /// <summary>Lists what has not ended; called when all PGs are clean and no client waits.</summary>
    /// <param name="left">Gets what it is.</param>
    internal void ListLeftovers(List<string> left)
    {
        foreach (PlacementGroup group in _groups.Values)
        {
            group.ListLeftovers(left);
            if (group.FindWrongCount() is { } wrong)
            {
                left.Add(wrong);
            }

            if (!group.Up.Contains(Id) && !group.Acting.Contains(Id))
            {
                left.Add($"a copy of pg {group.Id} that nobody needs");
            }
        }

        foreach (SlotKind kind in (ReadOnlySpan<SlotKind>)[SlotKind.Recovery, SlotKind.Backfill])
        {
            foreach (bool remote in (ReadOnlySpan<bool>)[false, true])
            {
                SlotPool pool = Pool(kind, remote);
                if (pool.Held + pool.Waiting > 0)
                {
                    left.Add($"slots for {kind}, {(remote ? "other primaries'" : "its own")}, that are held or waited for");
                }
            }
        }

        Add(_counters.StatisticsErrors, "counts of objects and bytes that scrub found wrong");
        Add(_removals.Count, "copies being removed");
        Add(_heldOperations.Count, "operations that wait for a map");
        Add(_heldMessages.Count, "messages that wait for a map");
        Add(_underWay.Count, "operations under way");
        Add(_work.RunningCost, "background work under way");

        void Add(long count, string what)
        {
            if (count > 0)
            {
                left.Add(what);
            }
        }
    }
}
