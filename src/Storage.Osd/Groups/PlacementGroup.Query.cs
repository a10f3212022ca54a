using System.Text;
using System.Text.Json;
using Storage.Cluster;
using Storage.Messaging;

namespace Storage.Osd;

// What operators see.
internal sealed partial class PlacementGroup
{
    /// <summary>State words joined by '+', as operators know them.</summary>
    public string State
    {
        get
        {
            var state = new StringBuilder();
            switch (_phase)
            {
                case GroupPhase.Replica:
                    return IsMember ? "replica" : "stray";
                case GroupPhase.Down:
                    Add("down");
                    break;
                case GroupPhase.Incomplete:
                    Add("incomplete");
                    break;
                case GroupPhase.Active:
                    AddActive();
                    break;
                default:
                    Add(_history.LastEpochStarted == Epoch.None ? "creating+peering" : "peering");
                    break;
            }

            if (!Same(_up, _acting))
            {
                Add("remapped");
            }

            if (_scrub is { } scrub)
            {
                Add(scrub.Deep ? "scrubbing+deep" : "scrubbing");
                if (scrub.Wish.Repair)
                {
                    Add("repair");
                }
            }

            if (_info.ScrubErrors > 0)
            {
                Add("inconsistent");
            }

            return state.ToString();

            void Add(string word) => state.Append(state.Length > 0 ? "+" : "").Append(word);

            void AddActive()
            {
                Add(_acting.Length >= _pool.MinSize ? "active" : "peered");
                bool missing = HasMissing();
                if (_acting.Length < _pool.Size)
                {
                    Add("undersized");
                }

                if (_acting.Length < _pool.Size || MissingCopies > 0)
                {
                    Add("degraded");
                }

                if (!missing && Same(_up, _acting) && _acting.Length >= _pool.Size)
                {
                    Add("clean");
                }

                if (!SnapshotsToTrim.IsEmpty && IsClean)
                {
                    Add(CanTrim ? "snaptrim" : "snaptrim_wait");
                }

                if (MissingCopies > 0)
                {
                    if (_host.FreeBytes(_host.Self) < 0 ? _missing.Count > 0 : _peers.Values.Any(peer => peer.IsActivated && peer.Missing.Count > 0 && _host.FreeBytes(peer.Osd) < 0))
                    {
                        Add("recovery_toofull");
                    }

                    Add(_recovering.Count > 0 ? "recovering" : _unfound.Count > 0 ? "recovery_unfound" : _recoveryReservation.IsGranted ? "recovering" : "recovery_wait");
                }

                if (IsBackfilling)
                {
                    Add(_backfillReservation.IsGranted ? "backfilling" : _backfillReservation.Stage == ReservationStage.TooFull ? "backfill_toofull" : "backfill_wait");
                }
            }
        }
    }

    private long MissingCopies
    {
        get
        {
            long count = _missing.Count;
            foreach (PeerState peer in _peers.Values)
            {
                count += peer.IsActivated ? peer.Missing.Count : 0;
            }

            return count;
        }
    }

    /// <summary>What the monitor is told.</summary>
    public PgStatistics Statistics()
    {
        long misplaced = 0;
        foreach (PeerState peer in _peers.Values)
        {
            misplaced += peer.Backfill is not null ? _info.Objects : 0;
        }

        long undersized = Math.Max(0, _pool.Size - _acting.Length) * _info.Objects;
        return new PgStatistics(Id, State, _up, _acting, _info.LastUpdate, _info.Objects, _info.Bytes, MissingCopies + undersized, misplaced, _unfound.Count, _info.ScrubErrors)
        {
            PurgedSnapshots = _purged,
            SnapshotsToTrim = (long)SnapshotsToTrim.Count,
            LastScrub = _info.LastScrub,
            LastDeepScrub = _info.LastDeepScrub,
        };
    }

    /// <summary>Explains the group: state, intervals, whom it waits for and why.</summary>
    public string QueryJson()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("pgid", Id.ToString());
            json.WriteString("state", State);
            json.WriteNumber("epoch", _map.Epoch.Value);
            WriteOsds(json, "up", _up);
            WriteOsds(json, "acting", _acting);
            json.WriteNumber("same_interval_since", Interval.Value);
            json.WriteNumber("last_epoch_started", _history.LastEpochStarted.Value);
            json.WriteNumber("last_epoch_clean", _history.LastEpochClean.Value);
            json.WriteNumber("history_known_from", _history.KnownFrom.Value);
            json.WriteNumber("size", _pool.Size);
            json.WriteNumber("min_size", _pool.MinSize);
            WriteInfo(json, "info", _info);
            json.WriteNumber("log_entries", _log.Count);
            json.WriteNumber("objects_missing_here", _missing.Count);
            json.WriteNumber("copies_missing", MissingCopies);
            json.WriteNumber("objects_unfound", _unfound.Count);
            WriteUnfound(json);
            json.WriteNumber("objects_recovering", _recovering.Count);
            json.WriteNumber("writes_in_flight", _inFlight.Count);
            json.WriteNumber("operations_waiting", WaitingOperations);
            json.WriteString("snapshots_to_trim", SnapshotsToTrim.ToString());
            json.WriteString("snapshots_purged", _purged.ToString());
            json.WriteNumber("objects_trimming", _trimming.Count);
            json.WriteString("waiting_for", WaitingFor());
            WriteOsds(json, "blocked_by", [.. _blockedBy]);
            WriteBlockers(json);
            WriteMissing(json);
            json.WriteStartArray("past_intervals");
            foreach (PastInterval interval in _history.Past)
            {
                json.WriteStartObject();
                json.WriteNumber("first", interval.First.Value);
                json.WriteNumber("last", interval.Last.Value);
                json.WriteNumber("primary_up_from", interval.PrimaryUpFrom.Value);
                WriteOsds(json, "acting", interval.Acting);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("peers");
            foreach (PeerState peer in _peers.Values)
            {
                json.WriteStartObject();
                json.WriteNumber("osd", peer.Osd.Value);
                json.WriteBoolean("answered", peer.HasInfo);
                json.WriteBoolean("exists", peer.Exists);
                json.WriteBoolean("activated", peer.IsActivated);
                json.WriteNumber("missing", peer.Missing.Count);
                WriteInfo(json, "info", peer.Info);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    /// <summary>The objects that scrub found wrong: which copies, and how.</summary>
    public string ListInconsistentJson()
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteString("pgid", Id.ToString());
            json.WriteNumber("scrub_errors", _info.ScrubErrors);
            json.WriteNumber("last_scrub_unix_ms", _info.LastScrub);
            json.WriteNumber("last_deep_scrub_unix_ms", _info.LastDeepScrub);
            json.WriteBoolean("scrub_pending", IsScrubbing || IsScrubWanted);
            json.WriteStartArray("inconsistents");
            foreach (ScrubFinding finding in _findings.Values)
            {
                finding.WriteJson(json);
            }

            foreach (ObjectId id in _damaged.Where(id => !_findings.ContainsKey(id)).Order())
            {
                new ScrubFinding(id, OsdId.None, PgVersion.Zero, false, true, [new BadCopy(_host.Self, ScrubErrors.ReadError)]).WriteJson(json);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(stream.GetBuffer(), 0, (int)stream.Length);
    }

    private string WaitingFor()
    {
        switch (_phase)
        {
            case GroupPhase.GetInfo:
                string silent = string.Join(", ", _peers.Values.Where(peer => !peer.HasInfo && _map.IsUp(peer.Osd)).Select(peer => peer.Osd));
                return silent.Length > 0 ? $"info from {silent}" : _history.HasGap ? $"someone who knows this group's past before epoch {_history.KnownFrom}; soon every OSD is asked" : "";
            case GroupPhase.Down when IsBlockedByGap:
                return $"{string.Join("; ", GapBlockers().Select(blocker => blocker.Why))}: nobody knows who served in epochs {_history.GapStart}..{_history.KnownFrom}, because "
                    + "maps were skipped; start these OSDs or declare them lost (osd lost), which gives up what only they have";
            case GroupPhase.Down:
                return string.Join("; ", Blockers().Select(blocker => blocker.Why))
                    + ": start one OSD of each interval, or declare them lost (osd lost), which gives up what only they have";
            case GroupPhase.Incomplete:
                return "a complete copy as new as the newest interval that was active";
            case GroupPhase.WaitActing:
                return $"the map to let {string.Join(", ", _wanted)} act";
            case GroupPhase.GetLog:
                return $"the log from {_authority}";
            case GroupPhase.WaitActivate:
                return HasUpThru() ? "an older primary's read lease to run out" : $"the map to record up_thru {Interval}";
            case GroupPhase.Activating:
                string waiting = string.Join(", ", _peers.Values.Where(peer => IsTarget(peer.Osd) && !peer.IsActivated).Select(peer => peer.Osd));
                return waiting.Length > 0 ? $"{waiting} to start the interval" : "this disk";
            case GroupPhase.Active when _acting.Length < _pool.MinSize:
                return $"{_pool.MinSize - _acting.Length} more members: {_acting.Length} are there and min_size is {_pool.MinSize}; reads and writes wait";
            case GroupPhase.Active when !HoldsLease():
                return "a read lease from its members";
            default:
                return "";
        }
    }

    // Past intervals without a survivor, and why each of their members does not count as one.
    private IEnumerable<(OsdId Osd, PastInterval Interval, string Why)> Blockers()
    {
        foreach (PastInterval interval in _history.Past)
        {
            if (!interval.Acting.All(osd => _blockedBy.Contains(osd) || IsGivenUp(osd, interval)))
            {
                continue;
            }

            foreach (OsdId osd in interval.Acting.Where(osd => !IsGivenUp(osd, interval)))
            {
                string state = !_map.IsUp(osd) ? "down"
                    : osd == _host.Self ? $"up with a disk that is new since epoch {_host.DiskSince}"
                    : !_peers.TryGetValue(osd, out PeerState? peer) || !peer.HasInfo ? "up, has not answered yet"
                    : $"up with a disk that is new since epoch {peer.DiskSince}";
                yield return (osd, interval, $"waits for {osd} ({state}): it may have accepted writes in interval {interval.First}..{interval.Last}");
            }
        }
    }

    private bool IsGivenUp(OsdId osd, PastInterval interval) => _map.FindOsd(osd) is not { } record || record.LostAt > interval.Last;

    private void WriteBlockers(Utf8JsonWriter json)
    {
        json.WriteStartArray("down_osds_we_would_probe");
        foreach ((OsdId osd, PastInterval interval, string why) in _phase == GroupPhase.Down && !IsBlockedByGap ? Blockers() : [])
        {
            Write(osd, interval.First, interval.Last, why);
        }

        foreach ((OsdId osd, string why) in _phase == GroupPhase.Down && IsBlockedByGap ? GapBlockers() : [])
        {
            Write(osd, _history.GapStart, _history.KnownFrom, why);
        }

        json.WriteEndArray();

        void Write(OsdId osd, Epoch first, Epoch last, string why)
        {
            json.WriteStartObject();
            json.WriteNumber("osd", osd.Value);
            json.WriteNumber("interval_first", first.Value);
            json.WriteNumber("interval_last", last.Value);
            json.WriteString("why", why);
            json.WriteEndObject();
        }
    }

    private void WriteMissing(Utf8JsonWriter json)
    {
        const int Most = 100;
        json.WriteStartArray("missing_objects");
        foreach ((ObjectId id, PgVersion need) in _missing.OrderBy(entry => entry.Key).Take(Most))
        {
            WriteObject(id, need, _host.Self);
        }

        foreach (PeerState peer in _peers.Values.Where(peer => peer.IsActivated))
        {
            foreach ((ObjectId id, PgVersion need) in peer.Missing.OrderBy(entry => entry.Key).Take(Most))
            {
                WriteObject(id, need, peer.Osd);
            }
        }

        json.WriteEndArray();

        void WriteObject(ObjectId id, PgVersion need, OsdId osd)
        {
            json.WriteStartObject();
            json.WriteString("object", id.ToString());
            json.WriteString("need", need.ToString());
            json.WriteNumber("missing_on", osd.Value);
            json.WriteBoolean("unfound", _unfound.Contains(id));
            json.WriteEndObject();
        }
    }

    private static void WriteInfo(Utf8JsonWriter json, string name, PgInfo info)
    {
        json.WriteStartObject(name);
        json.WriteString("last_update", info.LastUpdate.ToString());
        json.WriteString("log_tail", info.LogTail.ToString());
        json.WriteNumber("last_epoch_started", info.LastEpochStarted.Value);
        json.WriteBoolean("complete", info.IsComplete);
        json.WriteString("last_backfill", info.IsComplete ? "MAX" : info.BackfillCursor?.ToString() ?? "MIN");
        json.WriteNumber("objects", info.Objects);
        json.WriteNumber("bytes", info.Bytes);
        json.WriteNumber("scrub_errors", info.ScrubErrors);
        json.WriteNumber("last_scrub_unix_ms", info.LastScrub);
        json.WriteNumber("last_deep_scrub_unix_ms", info.LastDeepScrub);
        json.WriteEndObject();
    }

    private static void WriteOsds(Utf8JsonWriter json, string name, OsdId[] osds)
    {
        json.WriteStartArray(name);
        foreach (OsdId osd in osds)
        {
            json.WriteNumberValue(osd.Value);
        }

        json.WriteEndArray();
    }
}
