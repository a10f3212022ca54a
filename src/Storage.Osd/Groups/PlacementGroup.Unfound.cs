using System.Text.Json;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Objects whose newest version no copy has that is at hand. Operations on them wait, until a copy comes back or an operator gives
// them up: then what becomes of them is a log entry like any write, so that no member ever thinks otherwise.
internal sealed partial class PlacementGroup
{
    // Who may hold what is missing here and could not be asked: was a member since the PG was last clean, is not up, and nobody declared it lost.
    private List<OsdId> UnaskedHolders()
    {
        var holders = new SortedSet<OsdId>();
        foreach (PastInterval interval in _history.Past)
        {
            foreach (OsdId osd in interval.Acting)
            {
                bool given = _map.FindOsd(osd) is not { } record || record.LostAt > interval.Last;
                bool asked = osd == _host.Self || (_map.IsUp(osd) && _peers.TryGetValue(osd, out PeerState? peer) && peer.HasInfo);
                if (!given && !asked)
                {
                    holders.Add(osd);
                }
            }
        }

        foreach (PeerState peer in _peers.Values)
        {
            if (!peer.HasInfo && _map.IsUp(peer.Osd))
            {
                holders.Add(peer.Osd);
            }
        }

        return [.. holders];
    }

    /// <summary>Gives the unfound objects up, as an operator says.</summary>
    /// <param name="revert">Go back to the version that this copy still has; else, or where it has none, the object is gone.</param>
    /// <param name="text">What was done, or why nothing was.</param>
    /// <returns>Whether it was done.</returns>
    public bool TryGiveUpUnfound(bool revert, out string text)
    {
        if (!IsPrimary || !CanServe)
        {
            text = $"pg {Id} is {State}: it has to be active first";
            return false;
        }

        if (_unfound.Count == 0)
        {
            text = $"pg {Id} has no unfound objects";
            return false;
        }

        List<OsdId> holders = UnaskedHolders();
        if (holders.Count > 0)
        {
            text = $"{_unfound.Count} objects of pg {Id} may be on {string.Join(", ", holders)}, which could not be asked: start them, or declare them lost";
            return false;
        }

        var given = default(GivenUp);
        foreach (ObjectId head in _unfound.Select(id => id.WithSnapshot(ObjectId.NoSnapshot)).Distinct().Order().ToArray())
        {
            GiveUp(head, revert, ref given);
        }

        Recover();
        CheckClean();
        _host.StateChanged();
        text = $"pg {Id}: {given.Reverted} objects are back at an older version, {given.Deleted} are gone";
        if (given.Waiting > 0)
        {
            text += $"; {given.Waiting} wait until what is left of them (the object itself, or its snapshots) is recovered: repeat the command then";
        }

        return true;
    }

    private struct GivenUp
    {
        public int Reverted;
        public int Deleted;
        public int Waiting;
    }

    // Gives up what is unfound of one object and its clones. Lost writes may have made clones that are not lost, or removed clones that the
    // version which is left still names: what becomes of the object names the clones that there are.
    private void GiveUp(ObjectId head, bool revert, ref GivenUp given)
    {
        if (!CanGiveUp(head))
        {
            given.Waiting++;
            return;
        }

        InFlightWrite write = _writePool.TryPop(out InFlightWrite? pooled) ? pooled : new InFlightWrite();
        var version = new PgVersion(Interval, _info.LastUpdate.Number + 1);
        bool isLost = _unfound.Contains(head);
        bool stays = LocalVersion(head) != PgVersion.Zero && (!isLost || (revert && !_damaged.Contains(head)));
        var effects = new List<CloneEffect>();
        SnapSet set = WithClonesThatAreLeft(head, stays, revert, write.Transaction, version, effects);
        bool stands = !set.IsTombstone || set.Clones.Length > 0;
        if (stands && (!stays || set.IsTombstone))
        {
            write.Transaction.Remove(_collection, head);
            write.Transaction.Touch(_collection, head);
        }

        if (stands)
        {
            if (set.Sequence > 0)
            {
                write.Transaction.SetAttribute(_collection, head, SnapSet.Attribute, set.Encode());
            }

            SetVersion(write.Transaction, head, version);
        }
        else
        {
            write.Transaction.Remove(_collection, head);
        }

        // Members get the entry alone: what they hold of the objects may be anything, and counts as missing or goes.
        PgVersion prior = isLost ? _missing[head] : LocalVersion(head);
        write.Entry = new PgLogEntry(version, prior, head, stands ? LogEntryKind.Modify : LogEntryKind.Delete, default, [], [.. effects]) { IsLost = true };
        foreach (PeerState peer in _peers.Values)
        {
            write.EntryOnly.Add(peer.Osd);
        }

        ObjectId[] lost = [.. _unfound.Where(id => IsOf(head, id)).Order()];
        bool[] damaged = [.. lost.Select(_damaged.Contains)];
        PgVersion[] needs = [.. lost.Select(id => _missing[id])];
        foreach (ObjectId id in lost)
        {
            ClearMissing(_transaction, id);
            if (_receiving.Remove(id))
            {
                ForgetPart(_transaction, id); // what a source had sent before it went
            }
        }

        int gone = effects.Count(effect => effect.Kind == LogEntryKind.Delete) + (isLost && !stays ? 1 : 0);
        if (!CommitEntry(write, -gone, 0, null))
        {
            for (int i = 0; i < lost.Length; i++)
            {
                SetMissing(_transaction, lost[i], needs[i]);
                _unfound.Add(lost[i]);
                if (damaged[i])
                {
                    NoteDamaged(lost[i]);
                }
            }

            SubmitMeta(_transaction);
            Recycle(write);
            given.Waiting++;
            return;
        }

        _host.Reached(RarePath.UnfoundGivenUp);
        NoteGivenUp(head, write.Entry.VersionAfter);
        foreach (CloneEffect effect in effects)
        {
            NoteGivenUp(head.WithSnapshot(effect.Snapshot), effect.Kind == LogEntryKind.Delete ? PgVersion.Zero : version);
        }

        given.Deleted += gone;
        given.Reverted += lost.Length - Math.Min(gone, lost.Length);
        foreach (ObjectId id in lost)
        {
            ForgetFinding(id);
            RetryObject(id);
        }

        RetryObject(head);
    }

    // What is left of the object, and of its clones, has to be here before it can be told what it will be.
    private bool CanGiveUp(ObjectId head)
    {
        foreach (ObjectId id in _missing.Keys)
        {
            if (IsOf(head, id) && !_unfound.Contains(id))
            {
                return false;
            }
        }

        foreach (ObjectId id in _recovering.Keys)
        {
            if (IsOf(head, id))
            {
                return false;
            }
        }

        return _unfound.Contains(head) || IsWritable(head);
    }

    // What the object's snapshot set has to say. Of a clone that only a lost version named it is not known which snapshots it shows: all that
    // nothing else does since the clone before it.
    private SnapSet WithClonesThatAreLeft(ObjectId head, bool stays, bool revert, Storage.ObjectStore.Transaction transaction, PgVersion version, List<CloneEffect> effects)
    {
        SnapSet known = PeekSnapshots(head).ToSet();
        var left = new List<SnapClone>();
        ulong before = 0;
        foreach (ObjectId id in ClonesOf(head))
        {
            bool isLost = _unfound.Contains(id);
            bool isThere = LocalVersion(id) != PgVersion.Zero && (!isLost || (revert && !_damaged.Contains(id)));
            ulong[] shown = isThere ? SnapshotsShownBy(known, id.Snapshot, before) : [];
            PgVersion prior = isLost ? _missing[id] : LocalVersion(id);
            if (shown.Length == 0)
            {
                transaction.Remove(_collection, id);
                effects.Add(new CloneEffect(id.Snapshot, LogEntryKind.Delete, prior));
            }
            else
            {
                Invariant.Holds(_host.Store.TryStat(_collection, id, out long size), "a clone that is there has no length");
                left.Add(new SnapClone(id.Snapshot, size, shown));
                if (isLost)
                {
                    SetVersion(transaction, id, version);
                    effects.Add(new CloneEffect(id.Snapshot, LogEntryKind.Modify, prior));
                }
            }

            before = id.Snapshot;
        }

        return new SnapSet(Math.Max(known.Sequence, left.Count > 0 ? left[^1].Id : 0), !stays || known.IsTombstone, [.. left]);
    }

    private ulong[] SnapshotsShownBy(SnapSet known, ulong clone, ulong before)
    {
        if (Array.Find(known.Clones, candidate => candidate.Id == clone) is { } named)
        {
            return named.Snapshots;
        }

        var shown = new List<ulong>();
        for (ulong snapshot = clone; snapshot > Math.Max(before, clone > known.Sequence ? known.Sequence : 0); snapshot--)
        {
            if (!_pool.RemovedSnapshots.Contains(snapshot) && !_pool.PurgedSnapshots.Contains(snapshot) && !Array.Exists(known.Clones, other => Array.IndexOf(other.Snapshots, snapshot) >= 0))
            {
                shown.Add(snapshot);
            }
        }

        return [.. shown];
    }

    // All clones of an object that are here or should be, oldest first.
    private SortedSet<ObjectId> ClonesOf(ObjectId head)
    {
        var clones = new SortedSet<ObjectId>(_unfound.Where(id => id.Snapshot != ObjectId.NoSnapshot && IsOf(head, id)));
        var listed = new List<ObjectId>();
        ObjectId? from = head.WithSnapshot(0);
        while (from is not null)
        {
            listed.Clear();
            bool more = _host.Store.ListObjects(_collection, from, 64, listed);
            clones.UnionWith(listed.Where(id => IsOf(head, id) && id.Snapshot != ObjectId.NoSnapshot && IsContent(id)));
            from = more && IsOf(head, listed[^1]) && listed[^1].Snapshot != ObjectId.NoSnapshot ? listed[^1].WithSnapshot(listed[^1].Snapshot + 1) : null;
        }

        return clones;
    }

    // What the members hold of an object that was given up is missing, or goes.
    private void NoteGivenUp(ObjectId id, PgVersion version)
    {
        foreach (PeerState peer in _peers.Values)
        {
            if (!peer.IsActivated)
            {
                continue;
            }

            if (!peer.Info.Covers(id))
            {
                peer.Backfill?.NoteStale(id);
            }
            else if (version != PgVersion.Zero)
            {
                peer.Missing[id] = version;
            }
            else
            {
                peer.Missing.Remove(id);
            }
        }
    }

    private void WriteUnfound(Utf8JsonWriter json)
    {
        if (_unfound.Count == 0)
        {
            return;
        }

        json.WriteStartObject("unfound");
        WriteOsds(json, "may_be_on", [.. UnaskedHolders()]);
        WriteOsds(json, "asked_without_success", [.. _peers.Values.Where(peer => peer.HasInfo && _map.IsUp(peer.Osd)).Select(peer => peer.Osd)]);
        json.WriteStartArray("objects");
        foreach (ObjectId id in _unfound.Order().Take(MostFindings))
        {
            json.WriteStartObject();
            json.WriteString("object", id.ToString());
            json.WriteString("need", _missing.TryGetValue(id, out PgVersion need) ? need.ToString() : "");
            json.WriteString("have", LocalVersion(id).ToString());
            json.WriteBoolean("damaged_here", _damaged.Contains(id));
            json.WriteNumber("operations_waiting", _waitingForObject.TryGetValue(id, out Queue<ClientOperation>? queue) ? queue.Count : 0);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }
}
