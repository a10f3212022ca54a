using Storage.Cluster;
using Storage.ObjectStore.Metadata;

namespace Storage.ObjectStore.Disk;

// Omap: what the database does not hold yet lies in memory, in order, with tombstones.
public sealed partial class DiskObjectStore
{
    /// <inheritdoc/>
    public bool TryGetOmap(CollectionId collection, ObjectId id, ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value)
    {
        value = default;
        if (Find(collection, id) is not { } onode)
        {
            return false;
        }

        if (onode.Omap is { Count: > 0 } overlay && overlay.Find(key.ToArray()) is { } entry)
        {
            value = entry.Value;
            return !entry.Removed;
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
        return Find(collection, id) is { } onode && ListOmap(onode, from.ToArray(), limit, entries);
    }

    private bool ListOmap(Onode onode, ReadOnlyMemory<byte> from, int limit, List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> entries)
    {
        using IEnumerator<OmapEntry>? overlay = onode.Omap is { Count: > 0 } present ? present.From(from).GetEnumerator() : null;
        bool hasOverlay = overlay is not null && overlay.MoveNext();
        using MetadataIterator? stored = onode.OmapPersisted ? _database.Iterate() : null;
        if (stored is not null)
        {
            MetadataKeys.WriteOmap(_key, onode.OmapNumber, from.Span);
            stored.Seek(_key.WrittenSpan);
        }

        int added = 0;
        while (true)
        {
            bool hasStored = stored is not null && stored.IsValid && MetadataKeys.IsOmapOf(stored.Key, onode.OmapNumber);
            if (!hasStored && !hasOverlay)
            {
                return false;
            }

            int order = !hasStored ? 1 : !hasOverlay ? -1 : MetadataKeys.OmapName(stored!.Key).SequenceCompareTo(overlay!.Current.Key.Span);
            bool visible = order < 0 || !overlay!.Current.Removed;
            if (visible)
            {
                if (added == limit)
                {
                    return true;
                }

                added++;
                entries.Add(order < 0
                    ? new(MetadataKeys.OmapName(stored!.Key).ToArray(), stored.Value.ToArray())
                    : new(overlay!.Current.Key, overlay.Current.Value));
            }

            if (order <= 0)
            {
                stored!.Next();
            }

            if (order >= 0)
            {
                hasOverlay = overlay!.MoveNext();
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
        OmapEntry? entry = overlay.Find(key);
        if (entry is null)
        {
            entry = new OmapEntry(key) { MaybePersisted = MayBePersisted(onode, key) };
            overlay.Entries.Add(entry);
        }

        entry.Value = value;
        entry.Removed = false;
        entry.Generation = _generation;
        MarkDirty(onode);
    }

    // Keys that the database cannot hold vanish without a trace: a PG log entry that dies young never reaches it.
    private void RemoveOmap(Onode onode, ReadOnlyMemory<byte> key)
    {
        OmapEntry? entry = onode.Omap?.Find(key);
        if (entry is null)
        {
            if (!MayBePersisted(onode, key))
            {
                return;
            }

            entry = new OmapEntry(key) { MaybePersisted = true };
            (onode.Omap ??= new OmapOverlay()).Entries.Add(entry);
        }
        else if (!entry.MaybePersisted)
        {
            onode.Omap!.Entries.Remove(entry);
            return;
        }

        entry.Removed = true;
        entry.Value = default;
        entry.Generation = _generation;
        MarkDirty(onode);
    }

    private void RemoveOmapRange(Onode onode, ReadOnlyMemory<byte> from, ReadOnlyMemory<byte> to)
    {
        _omapKeys.Clear();
        if (onode.Omap is { Count: > 0 } overlay)
        {
            foreach (OmapEntry entry in overlay.From(from))
            {
                if (entry.Key.Span.SequenceCompareTo(to.Span) >= 0)
                {
                    break;
                }

                _omapKeys.Add(entry.Key);
            }
        }

        if (MayBePersisted(onode, from))
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
            RemoveOmap(onode, key);
        }

        _omapKeys.Clear();
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

    private bool MayBePersisted(Onode onode, ReadOnlyMemory<byte> key)
    {
        if (!onode.OmapPersisted)
        {
            return false;
        }

        byte[] last = LastPersisted(onode);
        return key.Span.SequenceCompareTo(last) <= 0;
    }

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
