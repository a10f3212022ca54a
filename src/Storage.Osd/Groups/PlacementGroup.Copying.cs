using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// How one object goes from one OSD to another: in pieces that are confirmed one by one, holes left out, under a name of its
// own until the last piece is there.
internal sealed partial class PlacementGroup
{
    private const byte FirstPiece = 1;
    private const byte LastPiece = 2;
    private const byte RemovePiece = 4;
    private const byte RefusedPiece = 8;
    private const byte DamagedPiece = 16;
    private const byte UrgentPiece = 32;
    private const byte BackfillPiece = 64;
    private const int MostExtents = 64;
    private const int MostOmapEntries = 1024;
    private const int MostOmapBytes = 1 << 20;

    private readonly Dictionary<(OsdId Target, ObjectId Object), Sending> _sending = [];
    private ulong _lastSending;

    private sealed class Sending(ulong number, OsdId target, ObjectId id, PgVersion version, bool answers)
    {
        /// <summary>
        /// Tells it from others of the same object: where a connection breaks the next one begins anew, while pieces and confirmations of the one
        /// before are still about.
        /// </summary>
        public ulong Number { get; } = number;

        /// <summary>Pieces that went out.</summary>
        public int Pieces;

        public OsdId Target { get; } = target;

        public ObjectId Object { get; } = id;

        public PgVersion Version { get; } = version;

        /// <summary>It was pulled: the pieces go back on the connection that asked.</summary>
        public bool Answers { get; } = answers;

        /// <summary>A client waits for the object.</summary>
        public bool IsUrgent;

        public WorkClass Class = WorkClass.Recovery;

        /// <summary>The turn of the next piece, where that waits for one.</summary>
        public SendTurn? Turn;

        /// <summary>The lane whose turn the first piece of a push goes out in.</summary>
        public Lane? Lane;

        public bool Cancelled;
        public bool First = true;
        public bool LastSent;
        public long Size;
        public readonly List<DataExtent> Extents = [];
        public int NextExtent;
        public long WithinExtent;
        public byte[]? OmapFrom = [];
        public int PendingReads;
        public ReadStatus Status;
        public readonly List<DataExtent> Piece = [];
        public readonly List<BufferSegment> Data = [];
    }

    // The next piece of an object waits for its turn.
    private sealed class SendTurn(PlacementGroup group, Sending sending) : WorkItem
    {
        public override bool IsForOthers => sending.Answers;

        protected internal override bool Run()
        {
            group.ReadPiece(sending);
            return false;
        }
    }

    private void HandlePull(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        bool urgent = reader.ReadBoolean();
        if (from != Primary)
        {
            return;
        }

        if (!Mutations.Active(Mutation.PullTakesAnyVersion) && (_missing.ContainsKey(id) || LocalVersion(id) != version || !_info.Covers(id)))
        {
            SendRefusal(from, id, version, _damaged.Contains(id)); // perhaps the refusal that told was lost
            return;
        }

        Sending sending = NewSending(from, id, version, answers: true);
        sending.IsUrgent = urgent;
        SendNext(sending);
    }

    private void SendRefusal(OsdId to, ObjectId id, PgVersion version, bool damaged)
    {
        WireWriter body = Begin();
        id.Encode(body);
        body.WriteVersion(version);
        body.WriteByte((byte)(RefusedPiece | (damaged ? DamagedPiece : 0)));
        _host.Answer(to, OsdMessageType.Push, body);
    }

    private void SendRemoval(OsdId to, ObjectId id)
    {
        WireWriter body = Begin();
        id.Encode(body);
        body.WriteVersion(PgVersion.Zero);
        body.WriteByte(RemovePiece);
        _host.Send(to, OsdMessageType.Push, body);
    }

    // The first piece goes out now: it is the lane's turn, or a client waits.
    private void StartSending(OsdId target, Recovery recovery)
    {
        if (recovery.Version == PgVersion.Zero)
        {
            CancelSending(target, recovery.Object);
            SendRemoval(target, recovery.Object);
            return;
        }

        Sending sending = NewSending(target, recovery.Object, recovery.Version, answers: false);
        sending.IsUrgent = recovery.IsUrgent;
        sending.Class = recovery.Backfilling is null ? WorkClass.Recovery : WorkClass.Backfill;
        sending.Lane = recovery.Lane;
        ReadPiece(sending);
    }

    private Sending NewSending(OsdId target, ObjectId id, PgVersion version, bool answers)
    {
        CancelSending(target, id);
        var sending = new Sending(++_lastSending, target, id, version, answers);
        Invariant.Holds(_host.Store.TryStat(_collection, id, out sending.Size));
        _host.Store.ListExtents(_collection, id, 0, sending.Size, sending.Extents);
        _sending.Add((target, id), sending);
        return sending;
    }

    private void SendNext(Sending sending)
    {
        if (sending.IsUrgent)
        {
            _host.AccountClient((int)Math.Min(sending.Size, CopyBytes));
            ReadPiece(sending);
            return;
        }

        if (sending.Lane is { } lane)
        {
            // From here on every piece has a turn of its own; the lane stays with the object and takes no other.
            sending.Lane = null;
            _host.Finish(lane);
        }

        sending.Turn ??= new SendTurn(this, sending);
        if (sending.Turn.IsQueued)
        {
            return; // an answer that came twice
        }

        _host.Finish(sending.Turn);
        _host.Schedule(this, sending.Turn, sending.Class, (int)Math.Min(sending.Size, CopyBytes));
    }

    private void EndSending(Sending sending)
    {
        _sending.Remove((sending.Target, sending.Object));
        sending.Cancelled = true;
        if (sending.Turn is { } turn)
        {
            _host.Cancel(turn);
        }
    }

    private void CancelSending(OsdId target, ObjectId id)
    {
        if (_sending.TryGetValue((target, id), out Sending? old))
        {
            EndSending(old);
        }
    }

    private void ReadPiece(Sending sending)
    {
        sending.Piece.Clear();
        sending.Data.Clear();
        sending.Status = ReadStatus.Ok;
        long room = CopyBytes;
        while (sending.NextExtent < sending.Extents.Count && sending.Piece.Count < MostExtents && room > 0)
        {
            DataExtent extent = sending.Extents[sending.NextExtent];
            long length = Math.Min(room, extent.Length - sending.WithinExtent);
            sending.Piece.Add(new DataExtent(extent.Offset + sending.WithinExtent, length));
            sending.Data.Add(default);
            room -= length;
            sending.WithinExtent += length;
            if (sending.WithinExtent == extent.Length)
            {
                sending.NextExtent++;
                sending.WithinExtent = 0;
            }
        }

        sending.PendingReads = 1;
        for (int i = 0; i < sending.Piece.Count; i++)
        {
            sending.PendingReads++;
            StartRead(sending, i, sending.Object, sending.Piece[i].Offset, (int)sending.Piece[i].Length);
        }

        FinishPieceReads(sending);
    }

    private void OnSendingRead(Sending sending, int index, ReadStatus status, BufferSegment data)
    {
        if (status == ReadStatus.Ok)
        {
            sending.Data[index] = data;
            if (data.Length != sending.Piece[index].Length)
            {
                sending.Status = ReadStatus.NotFound; // it changed under us
            }
        }
        else
        {
            sending.Status = status;
        }

        FinishPieceReads(sending);
    }

    private void FinishPieceReads(Sending sending)
    {
        if (--sending.PendingReads > 0)
        {
            return;
        }

        if (!sending.Cancelled && !_removed && sending.Status == ReadStatus.Ok)
        {
            SendPiece(sending);
        }

        ReleaseData(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(sending.Data));
        sending.Data.Clear();
        if (!sending.Cancelled && !_removed && sending.Status != ReadStatus.Ok)
        {
            OnSendingFailed(sending);
        }
    }

    private void OnSendingFailed(Sending sending)
    {
        EndSending(sending);
        bool damaged = sending.Status is ReadStatus.ChecksumMismatch or ReadStatus.IoError;
        if (sending.Answers)
        {
            if (damaged)
            {
                MarkDamaged(sending.Object);
            }

            SendRefusal(sending.Target, sending.Object, sending.Version, damaged);
        }
        else if (damaged)
        {
            OnSourceDamaged(sending.Object);
        }
        else
        {
            OnTargetRecovered(sending.Target, sending.Object, false);
        }
    }

    private void SendPiece(Sending sending)
    {
        List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> omap = NextOmap(sending);
        bool last = sending.NextExtent == sending.Extents.Count && sending.OmapFrom is null;
        WireWriter body = Begin();
        sending.Object.Encode(body);
        body.WriteVersion(sending.Version);
        body.WriteByte((byte)((sending.First ? FirstPiece : 0) | (last ? LastPiece : 0) | (sending.IsUrgent ? UrgentPiece : 0) | (sending.Class == WorkClass.Backfill ? BackfillPiece : 0)));
        body.WriteUInt64(sending.Number);
        body.WriteInt32(sending.Pieces++);
        body.WriteInt64(sending.Size);
        IReadOnlyList<KeyValuePair<string, ReadOnlyMemory<byte>>> attributes = sending.First ? _host.Store.GetAttributes(_collection, sending.Object) : [];
        body.WriteInt32(attributes.Count);
        foreach ((string name, ReadOnlyMemory<byte> value) in attributes)
        {
            body.WriteString(name);
            body.WriteBytes(value.Span);
        }

        body.WriteInt32(omap.Count);
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in omap)
        {
            body.WriteBytes(key.Span);
            body.WriteBytes(value.Span);
        }

        body.WriteInt32(sending.Piece.Count);
        foreach (DataExtent extent in sending.Piece)
        {
            body.WriteInt64(extent.Offset);
            body.WriteInt64(extent.Length);
            _host.Counters.RecoveryBytes += extent.Length;
        }

        sending.First = false;
        sending.LastSent = last;
        ReadOnlySpan<BufferSegment> data = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(sending.Data);
        if (sending.Answers)
        {
            _host.Answer(sending.Target, OsdMessageType.Push, body, data);
        }
        else
        {
            _host.Send(sending.Target, OsdMessageType.Push, body, data);
        }
    }

    private List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>> NextOmap(Sending sending)
    {
        var entries = new List<KeyValuePair<ReadOnlyMemory<byte>, ReadOnlyMemory<byte>>>();
        if (sending.OmapFrom is null)
        {
            return entries;
        }

        bool more = _host.Store.ListOmap(_collection, sending.Object, sending.OmapFrom, MostOmapEntries, entries);
        long bytes = 0;
        for (int i = 0; i < entries.Count; i++)
        {
            bytes += entries[i].Key.Length + entries[i].Value.Length;
            if (bytes > MostOmapBytes && i + 1 < entries.Count)
            {
                entries.RemoveRange(i + 1, entries.Count - i - 1);
                more = true;
            }
        }

        sending.OmapFrom = more ? [.. entries[^1].Key.Span, 0] : null;
        return entries;
    }

    private void HandlePushReply(OsdId from, ref WireReader reader)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        bool last = reader.ReadBoolean();
        bool taken = reader.ReadBoolean();
        ulong number = reader.ReadUInt64();
        int piece = reader.ReadInt32();
        if (!_sending.TryGetValue((from, id), out Sending? sending))
        {
            if (version == PgVersion.Zero && last)
            {
                OnTargetRecovered(from, id, taken);
            }

            return;
        }

        if (sending.Version != version || (!Mutations.Active(Mutation.PiecesNotNumbered) && (sending.Number != number || piece != sending.Pieces - 1)) || sending.PendingReads > 0)
        {
            return; // to another sending, or came twice
        }

        if (taken && !last)
        {
            if (!sending.LastSent)
            {
                SendNext(sending);
            }

            return;
        }

        EndSending(sending);
        if (!sending.Answers)
        {
            if (!taken && sending.Class == WorkClass.Backfill)
            {
                SuspendTooFull(_backfillReservation);
            }

            OnTargetRecovered(from, id, taken);
        }
    }

    private void CancelSending()
    {
        foreach (Sending sending in _sending.Values)
        {
            sending.Cancelled = true; // the host takes out its turn
        }

        _sending.Clear();
    }

    private void CancelSendingOf(ObjectId id)
    {
        foreach ((OsdId Target, ObjectId Object) key in _sending.Keys.Where(key => key.Object == id).ToArray())
        {
            EndSending(_sending[key]);
        }
    }
}
