using Storage.Cluster;
using Storage.Coding;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// Recovery and backfill begin once this OSD and every target have a slot free for the group. The primary asks again from time
// to time, also for what it was given: a target that hears nothing for long takes its slot back, whatever was lost on the way.
internal sealed partial class PlacementGroup
{
    private static readonly TimeSpan s_renewSlots = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_slotExpires = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan s_fullRetry = TimeSpan.FromSeconds(5);

    private readonly Reservation _recoveryReservation = new(SlotKind.Recovery);
    private readonly Reservation _backfillReservation = new(SlotKind.Backfill);

    // As a target: when the primary last asked, or never.
    private readonly TimeSpan[] _slotAskedAt = [s_never, s_never];

    private enum ReservationStage : byte
    {
        None,
        WaitsHere,
        WaitsForTarget,
        Granted,

        /// <summary>A target has no room.</summary>
        TooFull,
    }

    private sealed class Reservation(SlotKind kind)
    {
        public SlotKind Kind { get; } = kind;

        public ReservationStage Stage;
        public int Priority;
        public TimeSpan At;

        /// <summary>Ascending; those before <see cref="Next"/> have granted theirs.</summary>
        public readonly List<OsdId> Targets = [];

        public int Next;

        /// <summary>All who were asked in this interval. To those who are no targets now the slot was given back, or is being.</summary>
        public readonly List<OsdId> Asked = [];

        public bool IsGranted => Stage == ReservationStage.Granted;
    }

    /// <summary>The host has a slot for this group, asked for with <see cref="IPlacementGroupHost.RequestSlot"/>.</summary>
    public void OnSlot(SlotKind kind, bool remote)
    {
        if (remote)
        {
            if (_replicaActive && _slotAskedAt[(int)kind] != s_never)
            {
                // It may have waited for long: those before it have filled the disk meanwhile.
                if (kind == SlotKind.Backfill && _host.IsBackfillFull)
                {
                    RejectReserve(Primary, kind);
                    return;
                }

                AnswerReserve(Primary, kind, granted: true);
            }
            else
            {
                _host.ReleaseSlot(this, kind, remote: true);
            }

            return;
        }

        Reservation reservation = ReservationOf(kind);
        if (_phase != GroupPhase.Active || reservation.Stage != ReservationStage.WaitsHere)
        {
            _host.ReleaseSlot(this, kind, remote: false);
            return;
        }

        reservation.Targets.Clear();
        foreach (PeerState peer in _peers.Values)
        {
            if (peer.IsActivated && (kind == SlotKind.Backfill ? peer.Backfill is not null : peer.Missing.Count > 0))
            {
                reservation.Targets.Add(peer.Osd);
            }
        }

        reservation.Next = 0;
        reservation.Stage = ReservationStage.WaitsForTarget;
        AskNextTarget(reservation);
    }

    private Reservation ReservationOf(SlotKind kind) => kind == SlotKind.Backfill ? _backfillReservation : _recoveryReservation;

    // Says whether the work may go on now; if not, it will be called once it may.
    private bool Reserve(Reservation reservation)
    {
        if (reservation.Stage == ReservationStage.TooFull && _host.Now - reservation.At >= s_fullRetry)
        {
            reservation.Stage = ReservationStage.None;
        }

        if (reservation.Stage == ReservationStage.None)
        {
            reservation.Priority = RecoveryPriority();
            reservation.Stage = ReservationStage.WaitsHere;
            _host.RequestSlot(this, reservation.Kind, remote: false, reservation.Priority);
            _host.StateChanged();
        }

        return reservation.IsGranted;
    }

    // Those that cannot serve come first, then those with the fewest copies, then those whose copies only lie in the wrong place.
    private int RecoveryPriority()
    {
        int copies = 0;
        foreach (OsdId osd in _acting)
        {
            copies += (osd == _host.Self ? _missing.Count : _peers[osd].Missing.Count) == 0 ? 1 : 0;
        }

        return _acting.Length < _pool.MinSize ? 255 : copies < _pool.Size ? 250 - (10 * Math.Min(copies, 20)) : 10;
    }

    private void AskNextTarget(Reservation reservation)
    {
        reservation.At = _host.Now;
        if (reservation.Next < reservation.Targets.Count)
        {
            SendReserve(reservation.Targets[reservation.Next], reservation);
            return;
        }

        reservation.Stage = ReservationStage.Granted;
        _host.StateChanged();
        if (reservation.Kind == SlotKind.Backfill)
        {
            StepBackfill();
        }
        else
        {
            Recover();
        }
    }

    private void SendReserve(OsdId target, Reservation reservation)
    {
        if (!reservation.Asked.Contains(target))
        {
            reservation.Asked.Add(target);
        }

        WireWriter body = Begin();
        body.WriteByte((byte)reservation.Kind);
        body.WriteInt32(reservation.Priority);
        _host.Send(target, OsdMessageType.Reserve, body);
    }

    private void Unreserve(Reservation reservation)
    {
        if (reservation.Stage == ReservationStage.None)
        {
            return;
        }

        if (reservation.Stage is ReservationStage.WaitsForTarget or ReservationStage.Granted)
        {
            for (int i = 0; i <= reservation.Next && i < reservation.Targets.Count; i++)
            {
                SendRelease(reservation.Targets[i], reservation);
            }
        }

        reservation.Stage = ReservationStage.None;
        reservation.Targets.Clear();
        _host.ReleaseSlot(this, reservation.Kind, remote: false);
    }

    private void SendRelease(OsdId target, Reservation reservation)
    {
        WireWriter body = Begin();
        body.WriteByte((byte)reservation.Kind);
        _host.Send(target, OsdMessageType.ReleaseReservation, body);
    }

    private void SuspendTooFull(Reservation reservation)
    {
        _host.Reached(RarePath.BackfillTooFull);
        Unreserve(reservation);
        reservation.Stage = ReservationStage.TooFull;
        reservation.At = _host.Now;
        _host.StateChanged();
    }

    private void TickReservations()
    {
        TickReservation(_recoveryReservation);
        TickReservation(_backfillReservation);
    }

    private void TickReservation(Reservation reservation)
    {
        if (reservation.Stage is ReservationStage.WaitsForTarget or ReservationStage.Granted && _host.Now - reservation.At >= s_renewSlots)
        {
            reservation.At = _host.Now;
            for (int i = 0; i <= reservation.Next && i < reservation.Targets.Count; i++)
            {
                SendReserve(reservation.Targets[i], reservation);
            }
        }
    }

    private void ResendReservations(OsdId peer)
    {
        Resend(_recoveryReservation);
        Resend(_backfillReservation);

        void Resend(Reservation reservation)
        {
            if (reservation.Stage == ReservationStage.WaitsForTarget && reservation.Targets[reservation.Next] == peer)
            {
                SendReserve(peer, reservation);
            }
            else if (reservation.Asked.Contains(peer) && !reservation.Targets.Contains(peer))
            {
                SendRelease(peer, reservation); // the last one may be lost, and others wait for the slot
            }
        }
    }

    private void HandleReserve(OsdId from, ref WireReader reader)
    {
        SlotKind kind = ReadSlotKind(ref reader);
        int priority = reader.ReadInt32();
        if (from != Primary || !_replicaActive)
        {
            return;
        }

        if (kind == SlotKind.Backfill && _host.IsBackfillFull)
        {
            RejectReserve(from, kind);
            return;
        }

        _slotAskedAt[(int)kind] = _host.Now;
        if (_host.HoldsSlot(this, kind, remote: true))
        {
            AnswerReserve(from, kind, granted: true);
        }
        else
        {
            _host.RequestSlot(this, kind, remote: true, priority);
        }
    }

    private void RejectReserve(OsdId primary, SlotKind kind)
    {
        _host.Reached(RarePath.ReservationRejected);
        ReleaseRemote(kind);
        AnswerReserve(primary, kind, granted: false);
    }

    private static SlotKind ReadSlotKind(ref WireReader reader)
    {
        byte kind = reader.ReadByte();
        return kind <= (byte)SlotKind.Backfill ? (SlotKind)kind : throw new MalformedDataException($"reservation of unknown kind {kind}");
    }

    private void AnswerReserve(OsdId to, SlotKind kind, bool granted)
    {
        WireWriter body = Begin();
        body.WriteByte((byte)kind);
        body.WriteBoolean(granted);
        _host.Answer(to, OsdMessageType.ReserveReply, body);
    }

    private void HandleReserveReply(OsdId from, ref WireReader reader)
    {
        Reservation reservation = ReservationOf(ReadSlotKind(ref reader));
        bool granted = reader.ReadBoolean();
        int index = reservation.Targets.IndexOf(from);
        if (_phase != GroupPhase.Active || index < 0 || reservation.Stage is not (ReservationStage.WaitsForTarget or ReservationStage.Granted))
        {
            return;
        }

        if (!granted)
        {
            SuspendTooFull(reservation);
        }
        else if (reservation.Stage == ReservationStage.WaitsForTarget && index == reservation.Next)
        {
            reservation.Next++;
            AskNextTarget(reservation);
        }
    }

    private void HandleReleaseReservation(OsdId from, ref WireReader reader)
    {
        SlotKind kind = ReadSlotKind(ref reader);
        if (from == Primary)
        {
            ReleaseRemote(kind);
        }
    }

    private void ReleaseRemote(SlotKind kind)
    {
        if (_slotAskedAt[(int)kind] != s_never)
        {
            _slotAskedAt[(int)kind] = s_never;
            _host.ReleaseSlot(this, kind, remote: true);
        }
    }

    private void TickRemoteReservations()
    {
        for (SlotKind kind = SlotKind.Recovery; kind <= SlotKind.Backfill; kind++)
        {
            if (_slotAskedAt[(int)kind] != s_never && _host.Now - _slotAskedAt[(int)kind] >= s_slotExpires)
            {
                ReleaseRemote(kind);
            }
        }
    }

    // The interval is over, on whichever side we were: the others learn of it from the map.
    private void AbandonReservations()
    {
        for (SlotKind kind = SlotKind.Recovery; kind <= SlotKind.Backfill; kind++)
        {
            if (_slotAskedAt[(int)kind] != s_never)
            {
                _host.Reached(RarePath.ReservationEndedByInterval);
                ReleaseRemote(kind);
            }

            Reservation reservation = ReservationOf(kind);
            reservation.Asked.Clear();
            if (reservation.Stage != ReservationStage.None)
            {
                reservation.Stage = ReservationStage.None;
                reservation.Targets.Clear();
                _host.ReleaseSlot(this, kind, remote: false);
            }
        }
    }
}
