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

        int reverted = 0, deleted = 0;
        foreach (ObjectId id in _unfound.Order().ToArray())
        {
            bool back = revert && !_damaged.Contains(id) && LocalVersion(id) != PgVersion.Zero;
            if (GiveUp(id, back))
            {
                reverted += back ? 1 : 0;
                deleted += back ? 0 : 1;
            }
        }

        // How long the lost versions were is not known; counting tells.
        RequestScrub(new ScrubWish(true, false, false, OsdId.None));
        Recover();
        CheckClean();
        _host.StateChanged();
        text = $"pg {Id}: {reverted} objects are back at an older version, {deleted} are gone";
        return true;
    }

    private bool GiveUp(ObjectId id, bool back)
    {
        InFlightWrite write = _writePool.TryPop(out InFlightWrite? pooled) ? pooled : new InFlightWrite();
        PgVersion lost = _missing[id];
        var version = new PgVersion(Interval, _info.LastUpdate.Number + 1);
        if (back)
        {
            write.Transaction.SetAttribute(_collection, id, VersionAttribute, EncodeVersion(version));
        }
        else
        {
            RemoveObject(write.Transaction, id);
        }

        // Members get the entry alone: what they hold of the object may be anything, and counts as missing or goes.
        write.Entry = new PgLogEntry(version, lost, id, back ? LogEntryKind.Modify : LogEntryKind.Delete, default, [], []) { IsLost = true };
        foreach (PeerState peer in _peers.Values)
        {
            write.EntryOnly.Add(peer.Osd);
        }

        ClearMissing(_transaction, id);
        if (!CommitEntry(write, back ? 0 : -1, 0, null))
        {
            SetMissing(_transaction, id, lost);
            SubmitMeta(_transaction);
            Recycle(write);
            return false;
        }

        _host.Reached(RarePath.UnfoundGivenUp);
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
            else if (back)
            {
                peer.Missing[id] = version;
            }
            else
            {
                peer.Missing.Remove(id);
            }
        }

        _unfound.Remove(id);
        ForgetFinding(id);
        RetryObject(id);
        return true;
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
