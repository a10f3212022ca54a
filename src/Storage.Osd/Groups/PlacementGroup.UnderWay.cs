using Storage.Cluster;

namespace Storage.Osd;

/// <summary>What a PG may be in the middle of on one OSD; the simulator lies in wait for it.</summary>
internal enum GroupActivity
{
    /// <summary>Primary: writes are not durable everywhere.</summary>
    Writing,

    /// <summary>Member: the disk has not taken all that it was given.</summary>
    Committing,

    /// <summary>Answers wait for writes of others.</summary>
    HoldingAnswers,

    /// <summary>Operations wait for an object to come.</summary>
    WaitingForObject,

    /// <summary>A replica has writes that it cannot apply yet.</summary>
    Stalled,

    /// <summary>Some pieces of an object have gone to another OSD, not the last one.</summary>
    Copying,

    /// <summary>Some pieces of an object have come, not the last one.</summary>
    Receiving,

    /// <summary>Primary: objects that a copy lacks are under way.</summary>
    Recovering,

    /// <summary>Primary: its own copy lacks objects.</summary>
    LackingObjects,

    /// <summary>Primary: a target's list of objects is awaited.</summary>
    ListingTarget,

    /// <summary>Primary: a batch of objects is being copied to a target.</summary>
    FillingBatch,

    /// <summary>Primary: a batch is being copied to a target, and clients write.</summary>
    FillingWhileWriting,

    /// <summary>Primary: a target makes durable how far it is filled.</summary>
    MovingCursor,

    /// <summary>Slots for recovery or backfill are asked for or held.</summary>
    HoldingSlots,

    /// <summary>Primary: a range is being scrubbed.</summary>
    Scrubbing,

    /// <summary>Objects are read for a scrub.</summary>
    ReadingForScrub,

    /// <summary>Primary: damaged objects are being repaired.</summary>
    Repairing,

    /// <summary>Primary: clones are being trimmed.</summary>
    Trimming,

    /// <summary>Primary: clones are being trimmed, and members lack objects.</summary>
    TrimmingWhileIncomplete,
}

// For the simulator.
internal sealed partial class PlacementGroup
{
    /// <summary>Says whether this copy is in the middle of something.</summary>
    /// <param name="activity">Of what.</param>
    /// <param name="other">The OSD that has a part in it; none if it concerns no particular one.</param>
    /// <returns>Whether it is.</returns>
    public bool IsUnderWay(GroupActivity activity, out OsdId other)
    {
        other = OsdId.None;
        switch (activity)
        {
            case GroupActivity.Writing:
                return _inFlight.Count > 0;
            case GroupActivity.Committing:
                return _commits.Count > 0 && Primary != _host.Self;
            case GroupActivity.HoldingAnswers:
                return _deferred.Count > 0;
            case GroupActivity.WaitingForObject:
                return _waitingForObject.Count > 0;
            case GroupActivity.Stalled:
                return _stalled.Count > 0;
            case GroupActivity.Copying:
                foreach (Sending sending in _sending.Values)
                {
                    if (sending.Pieces > 0 && !sending.LastSent && !sending.Cancelled)
                    {
                        other = sending.Target;
                        return true;
                    }
                }

                return false;
            case GroupActivity.Receiving:
                foreach (Receiving receiving in _receiving.Values)
                {
                    other = receiving.From;
                    return true;
                }

                return false;
            case GroupActivity.Recovering:
                return _recovering.Count > 0;
            case GroupActivity.LackingObjects:
                return _missing.Count > 0 && IsPrimary;
            case GroupActivity.HoldingSlots:
                return _recoveryReservation.Stage != ReservationStage.None || _backfillReservation.Stage != ReservationStage.None;
            case GroupActivity.Scrubbing:
                return _scrub is not null;
            case GroupActivity.ReadingForScrub:
                return _build is not null;
            case GroupActivity.Repairing:
                return _repairing.Count > 0;
            case GroupActivity.Trimming:
                return _trimming.Count > 0;
            case GroupActivity.TrimmingWhileIncomplete:
                return _trimming.Count > 0 && FindIncomplete(out other);
            default:
                return FindTarget(activity, out other);
        }
    }

    private bool FindIncomplete(out OsdId other)
    {
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && (peer.Missing.Count > 0 || !peer.Info.IsComplete))
            {
                other = peer.Osd;
                return true;
            }
        }

        other = OsdId.None;
        return _missing.Count > 0;
    }

    private bool FindTarget(GroupActivity activity, out OsdId other)
    {
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.Backfill is { } backfill && activity switch
            {
                GroupActivity.ListingTarget => backfill.Scanning,
                GroupActivity.FillingBatch => backfill.InBatch && backfill.Pushing > 0,
                GroupActivity.FillingWhileWriting => backfill.InBatch && _inFlight.Count > 0,
                GroupActivity.MovingCursor => backfill.Advancing,
                _ => false,
            })
            {
                other = peer.Osd;
                return true;
            }
        }

        other = OsdId.None;
        return false;
    }
}
