using Storage.Cluster;

namespace Storage.Osd;

// A past that no map at hand tells: everybody who could tell skipped the same maps (design §6.3).
internal sealed partial class PlacementGroup
{
    // Strays tell what they know as soon as they have the map. Only when none did, everybody is asked.
    private static readonly TimeSpan s_gapPatience = TimeSpan.FromSeconds(5);

    private TimeSpan _gapMetAt = s_never;

    private bool IsBlockedByGap => _history.HasGap && _blockedBy.Count > 0;

    // Any OSD may have been the only member of an interval in the gap. So the PG goes on when every OSD of the map has answered with a disk
    // that was there before the gap, or was declared lost after it; what they hold then is all there is.
    private bool TryCoverGap()
    {
        if (_gapMetAt == s_never)
        {
            _gapMetAt = _host.Now;
        }

        if (_host.Now - _gapMetAt < s_gapPatience)
        {
            return false; // a tick comes back to this
        }

        bool asked = false;
        foreach (OsdInfo osd in _map.Osds)
        {
            if (osd.Id != _host.Self && osd.IsUp && !_peers.ContainsKey(osd.Id))
            {
                Probe(osd.Id);
                asked = true;
            }
        }

        if (asked)
        {
            return false;
        }

        foreach ((OsdId osd, _) in GapBlockers())
        {
            _blockedBy.Add(osd);
        }

        if (_blockedBy.Count > 0)
        {
            return false;
        }

        _host.Reached(RarePath.HistoryGapCovered);
        return true;
    }

    private IEnumerable<(OsdId Osd, string Why)> GapBlockers()
    {
        foreach (OsdInfo osd in _map.Osds)
        {
            if (osd.LostAt >= _history.KnownFrom)
            {
                continue; // declared lost after the gap
            }

            if (!osd.IsUp)
            {
                yield return (osd.Id, $"waits for {osd.Id} (down): it may have accepted writes in an interval that nobody knows of");
            }
            else
            {
                Epoch since = osd.Id == _host.Self ? _host.DiskSince : _peers.TryGetValue(osd.Id, out PeerState? peer) && peer.HasInfo ? peer.DiskSince : Epoch.None; // everybody up was asked, and has answered
                if (!WasThere(since, _history.GapStart))
                {
                    yield return (osd.Id, $"waits for {osd.Id} (up with a disk that is new since epoch {since}): an earlier disk of its number may have accepted writes in an interval that nobody knows of");
                }
            }
        }
    }
}
