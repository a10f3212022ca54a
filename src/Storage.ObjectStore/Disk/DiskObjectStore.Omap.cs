using System.Runtime.CompilerServices;
using Storage.Cluster;
using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// Omap: what the database does not hold yet lies in memory, in order, with tombstones.
public sealed partial class DiskObjectStore
{
    private static readonly OmapLayer s_noChanges = new();
    private readonly List<ReadOnlyMemory<byte>> _omapKeys = [];

    /// <inheritdoc/>
    public bool TryGetOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value)
    {
        value = default;
        if (Find(collection, id) is not { } onode)
        {
            return false;
        }

        if (onode.Omap is { } overlay)
        {
            ref OmapEntry entry = ref overlay.Active.Find(key);
            if (Unsafe.IsNullRef(ref entry) && overlay.Flushing is { } flushing)
            {
                entry = ref flushing.Find(key);
            }

            if (!Unsafe.IsNullRef(ref entry))
            {
                value = entry.Value;
                return !entry.Removed;
            }
        }

        if (!onode.OmapPersisted)
        {
            return false;
        }

        MetadataKeys.WriteOmap(_key, onode.OmapNumber, key);
        byte[]? stored = _database.Get(_key.WrittenSpan);
        value = stored;
        return stored is not null;
    }

    /// <inheritdoc/>
    public bool ListOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        return Find(collection, id) is { } onode && ListOmap(onode, from, limit, entries);
    }

    // Three sources in order of age: what changed since the last checkpoint began, what that one takes along, the database.
    private bool ListOmap(Onode onode, ReadOnlySpan<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries)
    {
        OmapLayer active = onode.Omap?.Active ?? s_noChanges;
        OmapLayer flushing = onode.Omap?.Flushing ?? s_noChanges;
        OmapLayer.Position activeAt = active.LowerBound(from);
        OmapLayer.Position flushingAt = flushing.LowerBound(from);
        using MetadataIterator? stored = onode.OmapPersisted ? _database.Iterate() : null;
        if (stored is not null)
        {
            MetadataKeys.WriteOmap(_key, onode.OmapNumber, from);
            stored.Seek(_key.WrittenSpan);
        }

        int added = 0;
        while (true)
        {
            bool hasStored = stored is not null && stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, onode.OmapNumber);
            bool hasActive = !active.IsEnd(activeAt);
            bool hasFlushing = !flushing.IsEnd(flushingAt);
            if (!hasStored && !hasActive && !hasFlushing)
            {
                return false;
            }

            ReadOnlySpan<byte> key = hasActive ? active[activeAt].Key.Span : default;
            if (hasFlushing && (!hasActive || flushing[flushingAt].Key.Span.SequenceCompareTo(key) < 0))
            {
                key = flushing[flushingAt].Key.Span;
            }

            if (hasStored && ((!hasActive && !hasFlushing) || MetadataKeys.OmapName(stored!.Key).SequenceCompareTo(key) < 0))
            {
                key = MetadataKeys.OmapName(stored!.Key);
            }

            bool inActive = hasActive && active[activeAt].Key.Span.SequenceEqual(key);
            bool inFlushing = hasFlushing && flushing[flushingAt].Key.Span.SequenceEqual(key);
            bool inStored = hasStored && MetadataKeys.OmapName(stored!.Key).SequenceEqual(key);
            bool visible = inActive ? !active[activeAt].Removed : !inFlushing || !flushing[flushingAt].Removed;
            if (visible)
            {
                if (added == limit)
                {
                    return true;
                }

                added++;
                entries.Add(inActive ? new(active[activeAt].Key, active[activeAt].Value)
                    : inFlushing ? new(flushing[flushingAt].Key, flushing[flushingAt].Value)
                    : new(key.ToArray(), stored!.Value.ToArray()));
            }

            activeAt = inActive ? active.Next(activeAt) : activeAt;
            flushingAt = inFlushing ? flushing.Next(flushingAt) : flushingAt;
            if (inStored)
            {
                stored!.Next();
            }
        }
    }

    private void SetOmap(Onode onode, ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value)
    {
        if (onode.OmapNumber == 0)
        {
            onode.OmapNumber = ++_lastNumber;
        }

        OmapOverlay overlay = onode.Omap ??= new OmapOverlay();
        ref OmapEntry entry = ref overlay.Active.Find(key.Span);
        if (Unsafe.IsNullRef(ref entry))
        {
            overlay.Active.Add(new OmapEntry { Key = key, Value = value, MaybePersisted = MayBePersisted(onode, key.Span) });
        }
        else
        {
            entry.Value = value;
            entry.Removed = false;
        }

        MarkDirty(onode);
    }

    // Keys that the database cannot hold vanish without a trace: a PG log entry that dies young never reaches it.
    private void RemoveOmap(Onode onode, ReadOnlyMemory<byte> key)
    {
        if (onode.Omap is { } overlay)
        {
            ref OmapEntry entry = ref overlay.Active.Find(key.Span);
            if (!Unsafe.IsNullRef(ref entry))
            {
                if (entry.MaybePersisted)
                {
                    entry.Removed = true;
                    entry.Value = default;
                }
                else
                {
                    overlay.Active.Remove(key.Span);
                }

                MarkDirty(onode);
                return;
            }
        }

        if (MayBePersisted(onode, key.Span))
        {
            (onode.Omap ??= new OmapOverlay()).Active.Add(new OmapEntry { Key = key, Removed = true, MaybePersisted = true });
            MarkDirty(onode);
        }
    }

    private void RemoveOmapRange(Onode onode, ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> to)
    {
        _omapKeys.Clear();
        CollectKeys(onode.Omap?.Active, from.Span, to.Span);
        CollectKeys(onode.Omap?.Flushing, from.Span, to.Span);
        if (MayBePersisted(onode, from.Span))
        {
            using MetadataIterator stored = _database.Iterate();
            MetadataKeys.WriteOmap(_key, onode.OmapNumber, from.Span);
            for (stored.Seek(_key.WrittenSpan);
                stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, onode.OmapNumber) && MetadataKeys.OmapName(stored.Key).SequenceCompareTo(to.Span) < 0;
                stored.Next())
            {
                _omapKeys.Add(MetadataKeys.OmapName(stored.Key).ToArray());
            }
        }

        foreach (ReadOnlyMemory<byte> key in _omapKeys)
        {
            RemoveOmap(onode, key); // once more for a key that was found twice changes nothing
        }

        _omapKeys.Clear();
    }

    private void CollectKeys(OmapLayer? layer, ReadOnlySpan<byte> from, ReadOnlySpan<byte> to)
    {
        if (layer is null)
        {
            return;
        }

        for (OmapLayer.Position at = layer.LowerBound(from); !layer.IsEnd(at) && layer[at].Key.Span.SequenceCompareTo(to) < 0; at = layer.Next(at))
        {
            _omapKeys.Add(layer[at].Key);
        }
    }

    private void ClearOmap(Onode onode)
    {
        if (onode.OmapPersisted)
        {
            _graveyard.Add((0, 0, onode.OmapNumber));
        }

        onode.OmapNumber = 0;
        onode.OmapPersisted = false;
        onode.Omap = null;
        MarkDirty(onode);
    }

    private bool MayBePersisted(Onode onode, ReadOnlySpan<byte> key) => onode.OmapPersisted && key.SequenceCompareTo(LastPersisted(onode)) <= 0;

    private byte[] LastPersisted(Onode onode)
    {
        OmapOverlay overlay = onode.Omap ??= new OmapOverlay();
        if (overlay.LastPersisted is null)
        {
            overlay.LastPersisted = [];
            if (onode.OmapPersisted)
            {
                using MetadataIterator stored = _database.Iterate();
                MetadataKeys.WriteOmap(_key, onode.OmapNumber + 1, default);
                stored.SeekForPrevious(_key.WrittenSpan);

                // The key sought may itself exist (an empty omap key of the next object): step before it by reading on from there.
                if (stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, onode.OmapNumber))
                {
                    overlay.LastPersisted = MetadataKeys.OmapName(stored.Key).ToArray();
                }
                else if (stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, onode.OmapNumber + 1))
                {
                    overlay.LastPersisted = LastByWalking(onode.OmapNumber);
                }

                if (overlay.Flushing is { } flushing && flushing.GreatestKey.Span.SequenceCompareTo(overlay.LastPersisted) > 0)
                {
                    overlay.LastPersisted = flushing.GreatestKey.ToArray();
                }
            }
        }

        return overlay.LastPersisted;
    }

    private byte[] LastByWalking(ulong omap)
    {
        byte[] last = [];
        using MetadataIterator stored = _database.Iterate();
        MetadataKeys.WriteOmap(_key, omap, default);
        for (stored.Seek(_key.WrittenSpan); stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, omap); stored.Next())
        {
            last = MetadataKeys.OmapName(stored.Key).ToArray();
        }

        return last;
    }
}
