using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Osd;
using Storage.Simulation.Clusters;
using Storage.Simulation.Running;

namespace Storage.Simulation.Checking;

/// <summary>
/// Looks at all OSDs between events, past every protocol: one primary serves, what was committed stays in the log of whoever is active,
/// no operation is carried out twice, every copy is what its log says, and what was committed is on enough disks. A bug shows here
/// long before a client could notice it, if one ever does.
/// </summary>
internal sealed class GroupWatch(SimulatedCluster cluster)
{
    private static readonly TimeSpan s_copyPeriod = TimeSpan.FromMilliseconds(250);

    private readonly SortedDictionary<PgId, GroupRecord> _groups = [];
    private readonly Dictionary<OperationId, PgVersion> _carriedOut = [];
    private readonly List<ObjectId> _heads = [];
    private readonly List<ObjectId> _otherHeads = [];
    private TimeSpan _copiesAt;
    private int _pgCount;

    /// <summary>Looks at everything.</summary>
    /// <exception cref="SimulationFailedException">Something is as it must never be.</exception>
    public void Check()
    {
        if (cluster.IsDataGivenUp || cluster.Pool == 0 || cluster.NewestMap?.FindPool(cluster.Pool) is not { } pool)
        {
            return;
        }

        if (pool.PgCount != _pgCount)
        {
            _pgCount = pool.PgCount; // after a split nothing is where it was
            _groups.Clear();
        }

        bool copies = cluster.Loop.Now >= _copiesAt;
        _copiesAt = copies ? cluster.Loop.Now + s_copyPeriod : _copiesAt;
        for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
        {
            var id = new PgId(pool.Id, seed);
            if (!_groups.TryGetValue(id, out GroupRecord? record))
            {
                _groups.Add(id, record = new GroupRecord());
            }

            CheckPrimaries(id, record);
            if (copies)
            {
                CompareWithLogs(id, record);
                NoteLost(id, record);
                if (record.Primary?.FindGroup(id) is { IsActive: true, HasWritesInFlight: false } primary && primary.Interval == record.Newest)
                {
                    CompareMembers(id, record, record.Primary, primary);
                    if (primary.Acting.Length >= primary.MinSize)
                    {
                        CheckRedundancy(id, record, pool);
                    }
                }
            }
        }
    }

    private void CheckPrimaries(PgId id, GroupRecord record)
    {
        OsdNode? serving = null;
        foreach (OsdNode osd in cluster.Osds)
        {
            if (osd.FindGroup(id) is not { IsActive: true } group)
            {
                continue;
            }

            if (group.IsServing)
            {
                if (serving is not null)
                {
                    throw Broken(id, $"{serving.Name} and {osd.Name} both hold a lease, in the intervals {serving.FindGroup(id)!.Interval} and {group.Interval}");
                }

                serving = osd;
                CheckPromises(id, osd, group);
            }

            if (group.LastEpochClean == group.Interval && record.Forgotten != group.Interval)
            {
                // Once clean it stays so for this interval, but for damage.
                record.Forgotten = group.Interval;
                if (CleanCheck.WhyNotComplete(cluster, group) is { } why)
                {
                    throw Broken(id, $"{osd.Name} has forgotten what was before interval {group.Interval}, and {why}");
                }
            }

            if (group.IsKnownClean && record.Clean != group.Interval)
            {
                record.Clean = group.Interval;
                if (CleanCheck.WhyNotClean(cluster, osd, id) is { } why)
                {
                    throw Broken(id, $"{osd.Name} calls it clean, and {why}");
                }
            }

            if (group.Info.LogTail > group.CommittedTo)
            {
                throw Broken(id, $"{osd.Name} trimmed its log to {group.Info.LogTail}, and only {group.CommittedTo} is committed");
            }

            // Where it is split already and the monitors that know of it are away, what is known here is not yet of the parts.
            if (group.Interval > record.Newest && group.PgCount == _pgCount)
            {
                record.Newest = group.Interval;
                record.Primary = osd;
                CheckLog(id, record, osd, group);
            }

            if (group.Acting.Length >= group.MinSize && group.PgCount == _pgCount)
            {
                NoteCommitted(id, record, osd, group);
            }
        }
    }

    // Who serves has at this moment the word of each member that it helps no other: for what a split has made of the PG too, of which it may
    // not know yet. A process that started anew does not know what it promised before, and has to keep to the longest that it may have.
    private void CheckPromises(PgId id, OsdNode first, PlacementGroup primary)
    {
        for (uint seed = id.Seed; seed < (uint)_pgCount; seed++)
        {
            if (seed != id.Seed && (primary.PgCount >= _pgCount || PgSplit.AncestorOf(seed, primary.PgCount) != id.Seed))
            {
                continue;
            }

            var part = new PgId(id.Pool, seed);
            foreach (OsdId member in primary.Acting)
            {
                OsdNode osd = cluster.Osds[member.Value];
                if (osd != first && osd.FindGroup(part) is { } copy && copy.LeasePromisedUntil < osd.Clock.Now)
                {
                    throw Broken(id, $"{first.Name} holds a lease in interval {primary.Interval}, and {osd.Name}, in interval {copy.Interval} of pg {part}, is not bound by any promise");
                }
            }

            foreach (OsdNode osd in cluster.Osds)
            {
                if (osd != first && seed != id.Seed && osd.FindGroup(part) is { IsActive: true, IsServing: true } other)
                {
                    throw Broken(id, $"{first.Name} holds a lease in interval {primary.Interval} with {primary.PgCount} PGs, and {osd.Name} one for pg {part} in interval {other.Interval}");
                }
            }
        }
    }

    private void NoteCommitted(PgId id, GroupRecord record, OsdNode osd, PlacementGroup group)
    {
        (int, Epoch) life = (osd.Starts, group.Interval);
        PgVersion from = record.Seen.TryGetValue(osd.Id, out (int, Epoch, PgVersion To) seen) && (seen.Item1, seen.Item2) == life ? seen.To : PgVersion.Zero;
        if (group.CommittedTo <= from)
        {
            return;
        }

        if (record.Noted == Epoch.None)
        {
            record.KnownFrom = group.Info.LogTail;
        }

        if (record.NotedTo > PgVersion.Zero && group.Info.LogTail > record.NotedTo)
        {
            // More was written since the last look than the log holds: what came in between is not known, nor what it did to which object.
            record.KnownFrom = group.Info.LogTail;
            record.Latest.Clear();
            cluster.Coverage.Count("check.log_outran_watch");
        }

        record.NotedTo = group.CommittedTo > record.NotedTo ? group.CommittedTo : record.NotedTo;
        record.Noted = group.Interval > record.Noted ? group.Interval : record.Noted;
        record.Seen[osd.Id] = (osd.Starts, group.Interval, group.CommittedTo);
        PlacementGroup? newest = record.Newest > group.Interval && record.Primary?.FindGroup(id) is { IsActive: true } other && other.Interval == record.Newest ? other : null;
        for (int i = group.Log.IndexAfter(from); i < group.Log.Count && group.Log.Entries.VersionAt(i) <= group.CommittedTo; i++)
        {
            PgLogEntry entry = group.Log.Entries[i];
            if (!record.Committed.TryAdd(entry.Version, entry))
            {
                continue;
            }

            if (entry.Object.Snapshot == ObjectId.NoSnapshot)
            {
                if (entry.Operation.Client != 0 && !_carriedOut.TryAdd(entry.Operation, entry.Version) && _carriedOut[entry.Operation] != entry.Version)
                {
                    throw Broken(id, $"{osd.Name}: {entry.Operation} was carried out at {_carriedOut[entry.Operation]} and again at {entry.Version}");
                }

                if (!record.Latest.TryGetValue(entry.Object, out (PgLogEntry Entry, int Copies) latest) || latest.Entry.Version < entry.Version)
                {
                    // What it was committed with: an entry that peering brought along may have had a single copy of its object, and min_size changes.
                    record.Latest[entry.Object] = (entry, entry.Version.Epoch == group.Interval ? group.MinSize : 1);
                }
            }

            if (newest is not null)
            {
                CheckEntry(id, record.Primary!, newest, entry);
            }
        }
    }

    // Who is active has all that was ever committed.
    private void CheckLog(PgId id, GroupRecord record, OsdNode osd, PlacementGroup group)
    {
        ulong recognised = group.Info.LastUpdate.Number - Math.Min(group.Info.LastUpdate.Number, (ulong)(cluster.Scenario.LogEntries * 3));
        foreach (PgLogEntry entry in record.Committed.Values)
        {
            CheckEntry(id, osd, group, entry);
            if (entry.Version.Number > recognised && entry.Operation.Client != 0 && !group.Log.TryFindOperation(entry.Operation, out _))
            {
                throw Broken(id, $"{osd.Name} is active in interval {group.Interval} and would not recognise {entry.Operation}, carried out at {entry.Version}");
            }
        }

        // Nor does it bring back what an interval before it has dropped.
        for (int i = 0; i < group.Log.Count; i++)
        {
            PgVersion version = group.Log.Entries.VersionAt(i);
            if (version.Epoch < record.Noted && version > record.KnownFrom && !record.Committed.ContainsKey(version))
            {
                throw Broken(id, $"{osd.Name} is active in interval {group.Interval} with {version} of {group.Log.Entries[i].Object}, which interval {record.Noted} had dropped");
            }
        }
    }

    private static void CheckEntry(PgId id, OsdNode osd, PlacementGroup group, PgLogEntry entry)
    {
        if (entry.Version > group.Info.LogTail && (!group.Log.TryFindOperationOf(entry.Version, out OperationId operation) || operation != entry.Operation))
        {
            throw Broken(
                id, $"{osd.Name} is active in interval {group.Interval} with log {group.Info.LogTail}..{group.Info.LastUpdate} without the committed entry {entry.Version} of {entry.Object}");
        }
    }

    private void CompareWithLogs(PgId id, GroupRecord record)
    {
        foreach (OsdNode osd in cluster.Osds)
        {
            if (osd.FindGroup(id) is { } group)
            {
                if (group.FindForgotten() is { } forgotten)
                {
                    throw Broken(id, $"{osd.Name} would not know after a restart what it knows now: {forgotten}");
                }

                var state = (osd.Starts, group.Interval, group.Info.LastUpdate, group.Info.LogTail, group.Missing.Count, group.Info.BackfillCursor, group.Info.IsComplete);
                if (!record.Compared.TryGetValue(osd.Id, out var compared) || compared != state)
                {
                    record.Compared[osd.Id] = state;
                    if (group.FindContradiction() is { } contradiction)
                    {
                        throw Broken(id, $"{osd.Name} contradicts itself: {contradiction}");
                    }
                }
            }
        }
    }

    private void CompareMembers(PgId id, GroupRecord record, OsdNode first, PlacementGroup primary)
    {
        foreach (OsdNode osd in cluster.Osds)
        {
            if (osd != first && primary.ActivatedPeer(osd.Id) is { } peer && osd.FindGroup(id) is { IsReplicaActive: true } group && group.Interval == primary.Interval)
            {
                var collection = new CollectionId(id);
                var state = (
                    (first.Id, first.Starts, first.Store!.Inner.ChangesOf(collection), primary.Interval, primary.Info.LastUpdate),
                    (osd.Starts, osd.Store!.Inner.ChangesOf(collection), group.Missing.Count, group.Info.BackfillCursor),
                    (peer.Missing.Count, peer.Info.BackfillCursor, peer.Info.IsComplete, osd.Durable.Of(id).LastEpochStarted));
                if (!record.Alike.TryGetValue(osd.Id, out var alike) || alike != state)
                {
                    CompareMember(id, first, primary, osd, group, peer);
                    record.Alike[osd.Id] = state;
                }
            }
        }
    }

    // A member against its primary, while no write is under way.
    private void CompareMember(PgId id, OsdNode first, PlacementGroup primary, OsdNode osd, PlacementGroup group, PeerState peer)
    {
        // With fewer members than min_size nothing is written, and the interval does not count as started.
        if (primary.Acting.Length >= primary.MinSize && osd.Durable.Of(id).LastEpochStarted < primary.Interval)
        {
            throw Broken(id, $"{first.Name} is active in interval {primary.Interval}, and {osd.Name} has not written down that it began");
        }

        if (group.Info.LastUpdate != primary.Info.LastUpdate)
        {
            throw Broken(id, $"{first.Name} has log up to {primary.Info.LastUpdate} and no write under way, {osd.Name} up to {group.Info.LastUpdate}");
        }

        foreach (ObjectId missing in group.Missing.Keys)
        {
            if (!peer.Missing.ContainsKey(missing) && !group.IsDamaged(missing))
            {
                throw Broken(id, $"{osd.Name} misses {missing} and {first.Name} does not know");
            }
        }

        var collection = new CollectionId(id);
        primary.ListHeads(_heads);
        foreach (ObjectId head in _heads)
        {
            CompareHead(head);
        }

        // Both lists are in order: what stands in the first one has been compared.
        group.ListHeads(_otherHeads);
        int at = 0;
        foreach (ObjectId head in _otherHeads)
        {
            while (at < _heads.Count && _heads[at].CompareTo(head) < 0)
            {
                at++;
            }

            if (at == _heads.Count || !_heads[at].Equals(head))
            {
                CompareHead(head);
            }
        }

        void CompareHead(ObjectId head)
        {
            if (!group.Info.Covers(head) || !peer.Info.Covers(head) || primary.Missing.ContainsKey(head) || group.Missing.ContainsKey(head) || peer.Missing.ContainsKey(head))
            {
                return;
            }

            PgVersion mine = primary.VersionOf(head), other = group.VersionOf(head);
            if (mine != other)
            {
                throw Broken(id, $"{head} is at {mine} on {first.Name} and at {other} on {osd.Name}, and nobody misses it");
            }

            if (first.Store!.Inner.TryHash(collection, head, out ulong left) && osd.Store!.Inner.TryHash(collection, head, out ulong right) && left != right)
            {
                throw Broken(id, $"{head} at {mine} has one content on {first.Name} and another on {osd.Name}");
            }
        }
    }

    // What was committed is on as many disks, running or not, as its acknowledgement promised. While no write is under way: a delete
    // that is not committed yet takes the object off disks.
    private void CheckRedundancy(PgId id, GroupRecord record, PoolInfo pool)
    {
        foreach ((ObjectId head, (PgLogEntry entry, int least)) in record.Latest)
        {
            if (entry.Kind == LogEntryKind.Delete)
            {
                continue;
            }

            int copies = 0;
            foreach (OsdNode osd in cluster.Osds)
            {
                PgVersion has = NewestOn(osd, id, head);
                copies += has >= entry.Version || (has == PgVersion.Zero && HasLost(record, osd, head, entry.Version)) ? 1 : 0;
            }

            // Destroyed disks took theirs along.
            if (copies < Math.Min(least, pool.MinSize) - cluster.Destroyed.Count)
            {
                throw Broken(id, $"{head} was committed at {entry.Version}, and {copies} disks have it");
            }
        }
    }

    // A disk that nobody runs may hold the object where it was before the PG was split off.
    private PgVersion NewestOn(OsdNode osd, PgId id, ObjectId head)
    {
        PgVersion newest = osd.VersionOf(new CollectionId(id), head);
        for (int count = 1; count < _pgCount && newest == PgVersion.Zero; count++)
        {
            uint ancestor = PgSplit.AncestorOf(id.Seed, count);
            newest = ancestor == id.Seed ? newest : osd.VersionOf(new CollectionId(new PgId(id.Pool, ancestor)), head);
        }

        return newest;
    }

    // Once taken, what a delete that never was committed took is gone, until recovery has brought it back. Noted whether or not somebody serves: the entry is
    // gone before the next primary does.
    private void NoteLost(PgId id, GroupRecord record)
    {
        foreach ((ObjectId head, (PgLogEntry entry, _)) in record.Latest)
        {
            if (entry.Kind == LogEntryKind.Delete)
            {
                continue;
            }

            foreach (OsdNode osd in cluster.Osds)
            {
                if (MayHaveDeleted(osd, id, head, entry.Version))
                {
                    record.Lost[(osd.Id, head)] = entry.Version;
                }
            }
        }
    }

    private static bool HasLost(GroupRecord record, OsdNode osd, ObjectId head, PgVersion version) =>
        record.Lost.TryGetValue((osd.Id, head), out PgVersion lost) && lost == version;

    // A disk may have taken a delete that never was committed: then it has lost what it overwrote, as a broken one would. Of one that nobody runs it is
    // only known that it took more.
    private static bool MayHaveDeleted(OsdNode osd, PgId id, ObjectId head, PgVersion after)
    {
        if (osd.FindGroup(id) is not { } group)
        {
            return osd.Durable.Of(id).LastUpdate > after;
        }

        for (int i = group.Log.IndexAfter(after); i < group.Log.Count; i++)
        {
            if (group.Log.Entries[i] is { Kind: LogEntryKind.Delete } entry && entry.Object == head)
            {
                return true;
            }
        }

        return false;
    }

    private static SimulationFailedException Broken(PgId id, string text) => new($"pg {id}: {text}");

    private sealed class GroupRecord
    {
        /// <summary>Newest interval in which somebody was active, and who.</summary>
        public Epoch Newest;

        public OsdNode? Primary;

        /// <summary>Newest interval whose whole log was taken note of, and the end of what was never seen.</summary>
        public Epoch Noted;

        public PgVersion KnownFrom;

        /// <summary>Newest entry that was seen committed.</summary>
        public PgVersion NotedTo;

        /// <summary>Newest interval before which everything was forgotten.</summary>
        public Epoch Forgotten;

        /// <summary>Newest interval that was called clean.</summary>
        public Epoch Clean;

        public readonly SortedDictionary<PgVersion, PgLogEntry> Committed = [];

        /// <summary>Disks from which a delete that was never committed took the version of an object that was.</summary>
        public readonly Dictionary<(OsdId Osd, ObjectId Object), PgVersion> Lost = [];

        /// <summary>Newest committed entry of each object, and how many copies it had at least.</summary>
        public readonly Dictionary<ObjectId, (PgLogEntry Entry, int Copies)> Latest = [];

        public readonly Dictionary<OsdId, (int Life, Epoch Interval, PgVersion To)> Seen = [];

        /// <summary>What members and their primary were when they were last found alike: until something changes they stay so.</summary>
        public readonly Dictionary<OsdId, ((OsdId, int, long, Epoch, PgVersion), (int, long, int, ObjectId?), (int, ObjectId?, bool, Epoch))> Alike = [];

        public readonly Dictionary<OsdId, (int, Epoch, PgVersion, PgVersion, int, ObjectId?, bool)> Compared = [];
    }
}
