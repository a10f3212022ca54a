using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Simulation.Clusters;

namespace Storage.Simulation.Faults;

// What the redundancy promises to survive, and what is left out.
internal sealed partial class FaultDriver
{
    // One copy may be bad, on one disk at a time, if enough others are whole. A write that an interval's end interrupts costs the copy that it
    // reached: there it has overwritten what the log goes back to. That may happen on as many disks as the PG can be active without; whoever is
    // left must not be the bad one. Nor may the only copy of a version be bad: a log may win whose newest entry nobody else has.
    private bool MayDamage(string name, OsdNode osd) => Pool is { MinSize: > 1 } pool && MayLoseCopy && _cluster.Destroyed.Count == 0 && !_cluster.HasDamage(name, osd)
        && Copies(osd, id => id.Name == name).All(copy => SameElsewhere(copy.Collection, copy.Object, osd) > pool.Size - pool.MinSize);

    // Every block stays whole on all disks but one: with all copies at the same version that is enough.
    private bool DamageCopies(int pick, OsdNode osd)
    {
        if (Pool is not { MinSize: > 1 } || !MayLoseCopy || _cluster.Destroyed.Count > 0 || !_cluster.IsClean() || osd.Store is null)
        {
            return false;
        }

        var extents = new List<DataExtent>();
        var whole = new List<(CollectionId Collection, ObjectId Object, long Blocks)>();
        foreach ((CollectionId collection, ObjectId id) in Copies(osd, id => id.Name.Length > 0 && id.Snapshot == ObjectId.NoSnapshot && !_cluster.HasDamage(id.Name, null)))
        {
            osd.Store.ListExtents(collection, id, 0, long.MaxValue, extents);
            if (extents.Count == 1 && extents[0] is { Offset: 0, Length: > StoreLimits.BlockSize * 3 } && _cluster.Osds.All(other => other.IsRunning))
            {
                whole.Add((collection, id, extents[0].Length / StoreLimits.BlockSize));
            }
        }

        if (whole.Count == 0)
        {
            return false;
        }

        (CollectionId where, ObjectId what, long blocks) = whole[pick % whole.Count];
        int done = 0;
        foreach (OsdNode holder in _cluster.Osds.Where(other => other.VersionOf(where, what) == osd.VersionOf(where, what)).Take((int)blocks))
        {
            done += holder.DamageBlock(where, what, (pick + done) % blocks * StoreLimits.BlockSize, done % 2 == 0 ? BlockDamage.Flipped : BlockDamage.Unreadable) ? 1 : 0;
        }

        return done > 1;
    }

    // Where fewer copies were ever allowed, or the scenario asks for one, what was acknowledged may have a single one until all is clean.
    private bool MayLoseCopy => (_cluster.Scenario.MinSize >= 2 && !_sizesChanged) || _cluster.IsClean();

    // A version may be on one disk only, and the log still name it: one that nobody was told of, or one whose other copies were overwritten by
    // a write that was interrupted. With that disk the object is unfound until an operator decides. A copy that enough others have left
    // behind is not missed.
    private bool HoldsAlone(OsdNode osd) => Copies(osd, id => id.Name.Length > 0).Any(copy =>
        SameElsewhere(copy.Collection, copy.Object, osd) == 0
        && _cluster.Osds.Count(other => other != osd && other.VersionOf(copy.Collection, copy.Object) > osd.VersionOf(copy.Collection, copy.Object)) < _cluster.Scenario.MinSize);

    private int SameElsewhere(CollectionId collection, ObjectId id, OsdNode osd) =>
        _cluster.Osds.Count(other => other != osd && other.VersionOf(collection, id) == osd.VersionOf(collection, id));

    private static List<(CollectionId Collection, ObjectId Object)> Copies(OsdNode osd, Predicate<ObjectId> which)
    {
        var copies = new List<(CollectionId, ObjectId)>();
        var objects = new List<ObjectId>();
        foreach (CollectionId collection in osd.Store?.ListCollections() ?? [])
        {
            objects.Clear();
            osd.Store!.ListObjects(collection, null, int.MaxValue, objects);
            copies.AddRange(objects.Where(id => which(id)).Select(id => (collection, id)));
        }

        return copies;
    }
}
