using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

/// <summary>A member's copy that scrub found bad and that is to be replaced.</summary>
/// <param name="Object">The object.</param>
/// <param name="Need">The version it should have; Zero: it should not exist.</param>
/// <param name="IsDamaged">Its data cannot be read.</param>
internal readonly record struct ScrubMark(ObjectId Object, PgVersion Need, bool IsDamaged);

// What becomes of differences: bad copies count as missing, durably, and recovery replaces them from good ones.
internal sealed partial class PlacementGroup
{
    private const int MostFindings = 1000;

    // Objects with differences that are not repaired (yet). Persisted, and shared with the members.
    private readonly SortedDictionary<ObjectId, ScrubFinding> _findings = [];

    // Those of them whose bad copies have been marked.
    private readonly HashSet<ObjectId> _repairing = [];

    private void CompareMaps(Scrub scrub)
    {
        ObjectId? end = scrub.End;
        foreach (ScrubMap map in scrub.Maps.Values)
        {
            end = map.End is not null && (end is null || map.End < end) ? map.End : end;
        }

        scrub.End = end;
        var copies = new List<(OsdId Osd, ScrubMap Map)>(scrub.Maps.Count);
        foreach ((OsdId osd, ScrubMap map) in scrub.Maps)
        {
            map.Entries.RemoveAll(entry => !scrub.InRange(entry.Object));
            scrub.Uncertain += map.Entries.RemoveAll(entry => IsMissedByAnyone(entry.Object)); // not compared, and so not counted
            copies.Add((osd, map));
        }

        scrub.Uncertain += _missing.Keys.Count(scrub.InRange);

        var expected = new SortedDictionary<ObjectId, PgVersion>();
        foreach (PgLogEntry entry in _log.Entries)
        {
            if (entry.Kind == LogEntryKind.Elsewhere)
            {
                continue;
            }

            if (scrub.InRange(entry.Object) && !IsMissedByAnyone(entry.Object))
            {
                expected[entry.Object] = entry.VersionAfter;
            }

            foreach (CloneEffect effect in entry.Clones)
            {
                ObjectId clone = entry.Object.WithSnapshot(effect.Snapshot);
                if (scrub.InRange(clone) && !IsMissedByAnyone(clone))
                {
                    expected[clone] = effect.Kind == LogEntryKind.Delete ? PgVersion.Zero : entry.Version;
                }
            }
        }

        List<ScrubFinding> findings = ScrubComparison.Compare(copies, _host.Self, scrub.Deep, expected, scrub.Wish.Repair ? scrub.Wish.Trusted : OsdId.None);
        CountObjects(scrub, findings);
        CheckSnapshots(scrub, scrub.Maps[_host.Self], findings);
        TakeFindings(scrub, findings);
        MarkBadCopies(scrub, findings);
    }

    private static void CountObjects(Scrub scrub, List<ScrubFinding> findings)
    {
        foreach (ScrubEntry entry in scrub.Maps.Values.First().Entries)
        {
            Count(in entry, 1);
        }

        foreach (ScrubFinding finding in findings)
        {
            // What the first copy says of it does not count, what the good one says does.
            Add(scrub.Maps.Values.First(), finding.Object, -1);
            if (finding.Good.IsSome)
            {
                Add(scrub.Maps[finding.Good], finding.Object, 1);
            }
        }

        void Add(ScrubMap map, ObjectId id, int sign)
        {
            int at = map.Entries.FindIndex(entry => entry.Object == id);
            if (at >= 0)
            {
                Count(map.Entries[at], sign);
            }
        }

        void Count(in ScrubEntry entry, int sign)
        {
            if ((entry.Flags & ScrubEntryFlags.Tombstone) == 0)
            {
                scrub.Objects += sign;
                scrub.Bytes += sign * entry.Size;
            }
        }
    }

    // What the live object says of its clones must be what is there. All copies were the same, so this one speaks for them.
    private void CheckSnapshots(Scrub scrub, ScrubMap map, List<ScrubFinding> findings)
    {
        var clones = new List<ScrubEntry>();
        var judged = new HashSet<string>(findings.Select(finding => finding.Object.Name), StringComparer.Ordinal);
        for (int i = 0; i < map.Entries.Count; i++)
        {
            ScrubEntry entry = map.Entries[i];
            if (entry.Object.Snapshot != ObjectId.NoSnapshot)
            {
                clones.Add(entry);
                if (i + 1 < map.Entries.Count && map.Entries[i + 1].Object.Name == entry.Object.Name && map.Entries[i + 1].Object.Hash == entry.Object.Hash)
                {
                    continue;
                }
            }

            bool isHead = entry.Object.Snapshot == ObjectId.NoSnapshot;
            ObjectId head = entry.Object.WithSnapshot(ObjectId.NoSnapshot);
            if (!judged.Contains(head.Name) && !HasMissingOfName(head) && !SnapshotsFit(head, isHead, clones))
            {
                findings.Add(new ScrubFinding(
                    head, OsdId.None, PgVersion.Zero, false, false, [.. _acting.Order().Select(osd => new BadCopy(osd, ScrubErrors.Snapshots))]));
            }

            clones.Clear();
        }
    }

    private bool HasMissingOfName(ObjectId head)
    {
        return Any(_missing) || _peers.Values.Any(peer => peer.IsActivated && Any(peer.Missing));

        bool Any(Dictionary<ObjectId, PgVersion> missing) => missing.Count > 0 && missing.Keys.Any(id => id.Hash == head.Hash && id.Name == head.Name);
    }

    private bool SnapshotsFit(ObjectId head, bool isHead, List<ScrubEntry> clones)
    {
        if (!isHead || !_host.Store.TryGetAttribute(_collection, head, SnapSet.Attribute, out ReadOnlyMemory<byte> packed))
        {
            return clones.Count == 0;
        }

        SnapClone[] known;
        try
        {
            known = SnapSet.Decode(packed.Span).Clones;
        }
        catch (MalformedDataException)
        {
            return false;
        }

        bool fit = known.Length == clones.Count;
        for (int i = 0; i < clones.Count && fit; i++)
        {
            fit = known[i].Id == clones[i].Object.Snapshot && known[i].Size == clones[i].Size;
        }

        return fit;
    }

    private void TakeFindings(Scrub scrub, List<ScrubFinding> findings)
    {
        bool changed = findings.Count > 0;
        if (_findings.Count > 0)
        {
            foreach ((ObjectId id, ScrubFinding known) in _findings.ToArray())
            {
                if (scrub.InRange(id) && (scrub.Deep || !known.Deep))
                {
                    RemoveFinding(id);
                    changed = true;
                }
            }
        }

        foreach (ScrubFinding finding in findings)
        {
            scrub.Found++;
            scrub.Uncertain += finding.IsCertain ? 0 : 1;
            SetFinding(finding);
        }

        if (findings.Count > 0)
        {
            _host.Reached(RarePath.ScrubErrorFound);
        }

        if (changed)
        {
            PersistScrub();
            _host.StateChanged();
        }
    }

    private void MarkBadCopies(Scrub scrub, List<ScrubFinding> findings)
    {
        scrub.Unmarked.Clear();
        scrub.Marked.Clear();
        foreach (ScrubFinding found in findings)
        {
            // Copies of one version that are damaged, all of them, may make a whole one together. Where they do not, the object is unfound, so this is for
            // an operator to order.
            bool mends = !found.IsCertain && scrub.Wish.Repair && found.Bad.Count == scrub.Maps.Count && found.Bad.All(static bad => bad.Errors == ScrubErrors.ReadError);
            ScrubFinding finding = mends ? found with { Version = LocalVersion(found.Object) } : found;
            if (!(finding.IsCertain || mends) || !MayRepair(scrub, finding))
            {
                continue;
            }

            _repairing.Add(finding.Object);
            foreach (BadCopy bad in finding.Bad)
            {
                var mark = new ScrubMark(finding.Object, finding.Version, (bad.Errors & ScrubErrors.ReadError) != 0);
                scrub.Marked.Add((bad.Osd, mark));
                if (!scrub.Unmarked.TryGetValue(bad.Osd, out List<ScrubMark>? marks))
                {
                    scrub.Unmarked.Add(bad.Osd, marks = []);
                }

                marks.Add(mark);
            }
        }

        if (scrub.Marked.Count == 0)
        {
            FinishRange(scrub);
            return;
        }

        scrub.Step = ScrubStep.Marking;
        scrub.Since = _host.Now;
        scrub.Sequence = ++_lastScrubSequence;
        if (scrub.Unmarked.Remove(_host.Self, out List<ScrubMark>? own))
        {
            ApplyMarks(own);
            SubmitMeta(_transaction); // in order before the copies that replace them
        }

        foreach ((OsdId osd, List<ScrubMark> marks) in scrub.Unmarked)
        {
            SendScrubMarks(scrub, osd, marks);
        }

        EndMarking(scrub);
    }

    // By itself a scrub never removes anything, and not more than a few objects: so much damage is somebody's to look at.
    private bool MayRepair(Scrub scrub, ScrubFinding finding) =>
        scrub.Wish.Repair
        || (scrub.Deep && _host.Options.ScrubAutoRepair && finding.Version != PgVersion.Zero && ++scrub.AutoRepairs <= _host.Options.ScrubAutoRepairObjects);

    private void SendScrubMarks(Scrub scrub, OsdId osd, List<ScrubMark> marks)
    {
        WireWriter body = Begin();
        body.WriteUInt64(scrub.Sequence);
        body.WriteInt32(marks.Count);
        foreach (ScrubMark mark in marks)
        {
            mark.Object.Encode(body);
            body.WriteVersion(mark.Need);
            body.WriteBoolean(mark.IsDamaged);
        }

        _host.Send(osd, OsdMessageType.ScrubMark, body);
    }

    private void HandleScrubMark(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        var marks = new List<ScrubMark>();
        for (int i = reader.ReadCount(29); i > 0; i--)
        {
            ObjectId id = ObjectId.Decode(ref reader);
            marks.Add(new ScrubMark(id, reader.ReadPgVersion(), reader.ReadBoolean()));
            if (!IsContent(id))
            {
                throw new MalformedDataException($"pg {Id}: scrub marks {id}, which is no client's object");
            }
        }

        if (from == Primary && _replicaActive)
        {
            _scrubHeardAt = _host.Now;
            ApplyMarks(marks);
            SubmitMeta(_transaction, CommitKind.ScrubMarked, from, new PgVersion(Epoch.None, sequence));
        }
    }

    private void ApplyMarks(List<ScrubMark> marks)
    {
        foreach (ScrubMark mark in marks)
        {
            if (mark.Need == PgVersion.Zero)
            {
                ClearMissing(_transaction, mark.Object);
                RemoveObject(_transaction, mark.Object);
            }
            else if (!_missing.ContainsKey(mark.Object))
            {
                SetMissing(_transaction, mark.Object, mark.Need);
                if (mark.IsDamaged)
                {
                    NoteDamaged(mark.Object);
                }
            }
        }

        PersistInfo(_transaction);
    }

    private void AnswerScrubMark(OsdId primary, ulong sequence)
    {
        WireWriter body = Begin();
        body.WriteUInt64(sequence);
        _host.Answer(primary, OsdMessageType.ScrubMarkReply, body);
    }

    private void HandleScrubMarkReply(OsdId from, ref WireReader reader)
    {
        ulong sequence = reader.ReadUInt64();
        if (_scrub is { Step: ScrubStep.Marking } scrub && scrub.Sequence == sequence && scrub.Unmarked.Remove(from))
        {
            scrub.Since = _host.Now;
            EndMarking(scrub);
        }
    }

    private void EndMarking(Scrub scrub)
    {
        if (scrub.Unmarked.Count > 0)
        {
            return;
        }

        foreach ((OsdId osd, ScrubMark mark) in scrub.Marked)
        {
            if (osd != _host.Self && mark.Need != PgVersion.Zero)
            {
                _peers[osd].Missing[mark.Object] = mark.Need;
            }
        }

        IsClean = false;
        foreach ((_, ScrubMark mark) in scrub.Marked)
        {
            ResolveFinding(mark.Object); // where nothing is to be copied
        }

        FinishRange(scrub);
        Recover();
        CheckClean();
        _host.StateChanged();
    }

    // A copy was replaced or removed; the finding is done with once all bad ones are.
    private void ResolveFinding(ObjectId id)
    {
        if (_repairing.Contains(id) && !IsMissedByAnyone(id))
        {
            _repairing.Remove(id);
            _host.Reached(RarePath.ScrubErrorRepaired);
            _host.Counters.ScrubRepairs++;
            ForgetFinding(id);
        }
    }

    private void ForgetFinding(ObjectId id)
    {
        if (_findings.ContainsKey(id))
        {
            RemoveFinding(id);
            PersistScrub();
            _shareScrub = true;
            _host.StateChanged();
        }
    }

    // Bad copies on OSDs that are no members any more go with all that these hold.
    private void ForgetFindingsOfOthers()
    {
        foreach (ScrubFinding finding in _findings.Values.ToArray())
        {
            if (finding.IsCertain && finding.Bad.All(bad => bad.Osd != _host.Self && !IsTarget(bad.Osd)))
            {
                _repairing.Remove(finding.Object);
                ForgetFinding(finding.Object);
            }
        }
    }

    private void SetFinding(ScrubFinding finding)
    {
        if (_findings.Count < MostFindings || _findings.ContainsKey(finding.Object))
        {
            _findings[finding.Object] = finding;
            byte[] key = ObjectKey('S', finding.Object);
            WireWriter writer = _host.Scratch();
            finding.Encode(writer);
            _transaction.SetOmap(_collection, MetaObject, key, writer.ToArray());
        }
    }

    private void RemoveFinding(ObjectId id)
    {
        if (_findings.Remove(id))
        {
            _transaction.RemoveOmap(_collection, MetaObject, ObjectKey('S', id));
        }
    }

    // With what was put into the transaction before.
    private void PersistScrub()
    {
        UpdateScrubErrors();
        PersistInfo(_transaction);
        SubmitMeta(_transaction);
    }

    private void UpdateScrubErrors()
    {
        long errors = _findings.Count;
        foreach (ObjectId id in _damaged)
        {
            errors += _findings.ContainsKey(id) ? 0 : 1;
        }

        _info.ScrubErrors = errors;
    }

    // Members keep what is known, so that it outlives the primary.
    private void ShareScrub()
    {
        if (!_shareScrub || _phase != GroupPhase.Active || _scrub is not null)
        {
            return;
        }

        _shareScrub = false;
        foreach (OsdId osd in _acting)
        {
            if (osd != _host.Self)
            {
                WireWriter body = Begin();
                body.WriteInt64(_info.LastScrub);
                body.WriteInt64(_info.LastDeepScrub);
                body.WriteInt32(_findings.Count);
                foreach (ScrubFinding finding in _findings.Values)
                {
                    finding.Encode(body);
                }

                _host.Send(osd, OsdMessageType.ScrubState, body);
            }
        }
    }

    private void HandleScrubState(OsdId from, ref WireReader reader)
    {
        long last = reader.ReadInt64();
        long lastDeep = reader.ReadInt64();
        if (from == Primary && _replicaActive)
        {
            _info.LastScrub = last;
            _info.LastDeepScrub = lastDeep;
            _findings.Clear();
            _transaction.RemoveOmapRange(_collection, MetaObject, "S"u8.ToArray(), "T"u8.ToArray());
            for (int i = reader.ReadCount(ScrubFinding.SmallestLength); i > 0; i--)
            {
                SetFinding(ScrubFinding.Decode(ref reader));
            }

            PersistScrub();
        }
    }

    // Who becomes primary may have missed the end of a scrub.
    private void LearnScrubState()
    {
        bool missed = false;
        (long last, long lastDeep) = (_info.LastScrub, _info.LastDeepScrub);
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.HasInfo && peer.Exists)
            {
                missed |= peer.Info.LastScrub > _info.LastScrub && peer.Info.ScrubErrors > 0;
                _info.LastScrub = Math.Max(_info.LastScrub, peer.Info.LastScrub);
                _info.LastDeepScrub = Math.Max(_info.LastDeepScrub, peer.Info.LastDeepScrub);
            }
        }

        _info.LastScrub = _info.LastScrub == 0 ? _host.UnixMilliseconds : _info.LastScrub;
        _info.LastDeepScrub = _info.LastDeepScrub == 0 ? _host.UnixMilliseconds : _info.LastDeepScrub;
        if (last != _info.LastScrub || lastDeep != _info.LastDeepScrub)
        {
            PersistInfo(_transaction);
            SubmitMeta(_transaction);
        }

        if (missed)
        {
            RequestScrub(new ScrubWish(false, true, false, OsdId.None));
        }
    }
}
