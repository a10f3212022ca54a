using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;
using Storage.Reactor;

namespace Storage.Osd;

// The receiving end of a copy: pieces wait for their turn, and the object takes its name when the last one is there.
internal sealed partial class PlacementGroup
{
    private readonly Dictionary<ObjectId, Receiving> _receiving = [];

    private sealed class Receiving(OsdId from, PgVersion version, ulong sending)
    {
        public OsdId From { get; } = from;

        public PgVersion Version { get; } = version;

        /// <summary>The sender's number of the sending.</summary>
        public ulong Sending { get; } = sending;

        /// <summary>Pieces that are here.</summary>
        public int Pieces;
    }

    private readonly Dictionary<ObjectId, ApplyTurn> _applying = [];

    // A piece that arrived waits for its turn to be applied. Holds a reference on its data.
    private sealed class ApplyTurn(PlacementGroup group, OsdId from, ObjectId id, byte[] body, BufferSegment data) : WorkItem
    {
        public BufferSegment Data { get; } = data;

        public bool IsApplied { get; private set; }

        public override bool IsForOthers => true;

        protected internal override bool Run()
        {
            Apply();
            return false;
        }

        public void Apply()
        {
            IsApplied = true;
            var reader = new WireReader(body);
            if (!group.TakePush(from, ref reader, Data, this))
            {
                group._host.Finish(this);
                group.ForgetApply(id, this);
            }

            Data.Buffer?.Release();
        }
    }

    private sealed record ReceivedPiece(ObjectId Object, bool Last, ApplyTurn? Turn, ulong Sending, int Piece);

    private void HandlePush(OsdId from, ref WireReader reader, BufferSegment data)
    {
        WireReader piece = reader;
        ObjectId id = ObjectId.Decode(ref reader);
        reader.ReadPgVersion();
        byte flags = reader.ReadByte();
        bool plain = (flags & (RefusedPiece | RemovePiece)) == 0;
        if (plain)
        {
            CheckPush(ref reader, data.Length);
        }

        // Another sending has taken the place of the one whose piece still waits.
        if ((flags & (FirstPiece | RemovePiece)) != 0 && _applying.TryGetValue(id, out ApplyTurn? old))
        {
            DropApply(id, old);
        }

        // The primary itself asked for what it gets, in a turn of its own.
        if (IsPrimary || !plain || (flags & UrgentPiece) != 0 || _applying.ContainsKey(id))
        {
            TakePush(from, ref piece, data, null);
            return;
        }

        data.Buffer?.Retain();
        WireReader whole = piece;
        var apply = new ApplyTurn(this, from, id, whole.ReadRaw(whole.Remaining).ToArray(), data);
        _applying.Add(id, apply);
        _host.Schedule(this, apply, (flags & BackfillPiece) != 0 ? WorkClass.Backfill : WorkClass.Recovery, data.Length);
    }

    private void DropApply(ObjectId id, ApplyTurn apply)
    {
        _applying.Remove(id);
        if (apply.IsQueued)
        {
            _host.Cancel(apply);
            apply.Data.Buffer?.Release();
        }
        else
        {
            _host.Finish(apply);
        }
    }

    private void ForgetApply(ObjectId id, ApplyTurn apply)
    {
        if (_applying.TryGetValue(id, out ApplyTurn? known) && ReferenceEquals(known, apply))
        {
            _applying.Remove(id);
        }
    }

    // The interval is over; the host has taken out all that waited. What was applied has given its data back.
    private void AbandonApplying()
    {
        foreach (ApplyTurn apply in _applying.Values)
        {
            if (!apply.IsApplied)
            {
                apply.Data.Buffer?.Release();
            }
        }

        _applying.Clear();
    }

    // Says whether the piece went to the store, which will tell when it is durable.
    private bool TakePush(OsdId from, ref WireReader reader, BufferSegment data, ApplyTurn? turn)
    {
        ObjectId id = ObjectId.Decode(ref reader);
        PgVersion version = reader.ReadPgVersion();
        byte flags = reader.ReadByte();
        if ((flags & RefusedPiece) != 0)
        {
            OnPullRefused(from, id, version, (flags & DamagedPiece) != 0);
            return false;
        }

        bool expected = IsPrimary
            ? _recovering.TryGetValue(id, out Recovery? recovery) && recovery.Source == from && recovery.Version == version && _missing.ContainsKey(id)
            : from == Primary && _replicaActive;
        if (!expected || !IsContent(id))
        {
            return false;
        }

        (ulong sending, int number) = (flags & RemovePiece) == 0 ? (reader.ReadUInt64(), reader.ReadInt32()) : (0, 0);

        if (!IsPrimary && _info.Covers(id) && !(_missing.TryGetValue(id, out PgVersion need) && need == version))
        {
            // Sent again after it arrived; the answer waits until it is durable.
            if (!_missing.ContainsKey(id) && LocalVersion(id) == version)
            {
                SubmitMeta(_transaction, CommitKind.PushApplied, from, version, new ReceivedPiece(id, true, turn, sending, number));
                return true;
            }

            return false;
        }

        return ApplyPush(from, version, flags, new ReceivedPiece(id, (flags & (LastPiece | RemovePiece)) != 0, turn, sending, number), ref reader, data);
    }

    private bool ApplyPush(OsdId from, PgVersion version, byte flags, ReceivedPiece piece, ref WireReader reader, BufferSegment data)
    {
        ObjectId id = piece.Object;
        bool first = (flags & FirstPiece) != 0, last = piece.Last;
        ObjectId target = first && last ? id : ReceivingOf(id);
        bool hadPart = _receiving.ContainsKey(id);
        if (hadPart && (target == id || (flags & RemovePiece) != 0))
        {
            ForgetPart(_transaction, id); // a sending that began before this one did not come to its end
        }

        if ((flags & RemovePiece) != 0)
        {
            RemoveObject(_transaction, id);
        }
        else
        {
            if (!first && !Continues(from, version, piece))
            {
                _host.Reached(RarePath.StrayPiece);
                return false; // the middle of something whose beginning we do not have
            }

            if (first)
            {
                if (!Mutations.Active(Mutation.PushKeepsOldContent))
                {
                    _transaction.Remove(_collection, target);
                }

                _transaction.Touch(_collection, target);
                if (!last)
                {
                    _receiving[id] = new Receiving(from, version, piece.Sending) { Pieces = 1 };
                    _transaction.SetOmap(_collection, MetaObject, ObjectKey('T', id), ReadOnlyMemory<byte>.Empty);
                }
            }

            ReadOnlyMemory<byte> snapshots = DecodePush(target, ref reader, data, last);
            if (last && id.Snapshot == ObjectId.NoSnapshot)
            {
                IndexReceived(id, target, first, snapshots);
            }
            else if (last)
            {
                _host.Reached(RarePath.CloneRecovered);
            }

            if (last && !first)
            {
                _transaction.Move(_collection, target, _collection, id);
                _transaction.RemoveOmap(_collection, MetaObject, ObjectKey('T', id));
            }
        }

        if (last && _missing.ContainsKey(id))
        {
            _transaction.RemoveOmap(_collection, MetaObject, ObjectKey('M', id));
        }

        // With the new content, not once that is durable: the interval may end in between, and what is damaged no longer would be taken for it for ever.
        bool repairs = last && ForgetDamaged(_transaction, id);
        if (repairs)
        {
            PersistInfo(_transaction);
        }

        bool applied = TrySubmit(_transaction, CommitKind.PushApplied, from, version, piece);
        if (!applied || last)
        {
            _receiving.Remove(id);
        }

        if (!applied)
        {
            if (repairs)
            {
                _damaged.Add(id);
                UpdateScrubErrors();
            }

            if (hadPart)
            {
                ForgetPart(_transaction, id); // what it takes up may be the room that is wanted
                SubmitMeta(_transaction);
            }

            SendPushReply(from, piece with { Last = true }, version, false);
            if (IsPrimary && _recovering.TryGetValue(id, out Recovery? recovery))
            {
                EndRecovery(recovery); // no room now; the next tick begins anew
            }
        }
        else if (last)
        {
            _missing.Remove(id);
            if (repairs)
            {
                CountRepaired();
                _host.StateChanged();
            }
        }

        return applied;
    }

    // Whether a piece is the next one of the sending whose beginning is here.
    private bool Continues(OsdId from, PgVersion version, ReceivedPiece piece)
    {
        if (!_receiving.TryGetValue(piece.Object, out Receiving? known) || known.From != from || known.Version != version)
        {
            return false;
        }

        if (!Mutations.Active(Mutation.PiecesNotNumbered) && (known.Sending != piece.Sending || known.Pieces != piece.Piece))
        {
            return false;
        }

        known.Pieces++;
        return true;
    }

    // Walks a piece as DecodePush will, when its turn comes: what is wrong with it must show while its sender is at hand.
    private void CheckPush(ref WireReader reader, int dataLength)
    {
        reader.ReadUInt64();
        reader.ReadInt32();
        reader.ReadInt64();
        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            reader.ReadBytes();
            reader.ReadBytes();
        }

        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            reader.ReadBytes();
            reader.ReadBytes();
        }

        long left = dataLength;
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            long offset = reader.ReadInt64();
            long length = reader.ReadInt64();
            if (offset < 0 || length < 0 || length > left)
            {
                throw new MalformedDataException($"pg {Id}: a piece of {length} bytes at {offset}, but {left} bytes of data are left");
            }

            left -= length;
        }
    }

    // The whole object is there now: its snapshot set takes the old one's place in the index.
    private void IndexReceived(ObjectId id, ObjectId target, bool first, ReadOnlyMemory<byte> snapshots)
    {
        if (!first)
        {
            _host.Store.TryGetAttribute(_collection, target, SnapSet.Attribute, out snapshots); // came with the first piece
        }

        _host.Store.TryGetAttribute(_collection, id, SnapSet.Attribute, out ReadOnlyMemory<byte> before);
        SnapshotIndex.Update(_transaction, _collection, id, before.Span, snapshots.Span);
    }

    // Returns the packed snapshot set that the piece brought, if any.
    private ReadOnlyMemory<byte> DecodePush(ObjectId target, ref WireReader reader, BufferSegment data, bool last)
    {
        ReadOnlyMemory<byte> snapshots = default;
        long size = reader.ReadInt64();
        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            string name = reader.ReadString();
            byte[] value = reader.ReadBytes().ToArray();
            snapshots = name == SnapSet.Attribute ? value : snapshots;
            _transaction.SetAttribute(_collection, target, name, value);
        }

        for (int i = reader.ReadCount(8); i > 0; i--)
        {
            byte[] key = reader.ReadBytes().ToArray();
            _transaction.SetOmap(_collection, target, key, reader.ReadBytes().ToArray());
        }

        int used = 0;
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            long offset = reader.ReadInt64();
            long length = reader.ReadInt64();
            Invariant.Holds(offset >= 0 && length >= 0 && length <= data.Length - used); // CheckPush saw to it

            if (length > 0)
            {
                _transaction.Write(_collection, target, offset, data.Slice(used, (int)length));
                used += (int)length;
            }
        }

        if (last)
        {
            _transaction.Truncate(_collection, target, size);
        }

        return snapshots;
    }

    private void OnPushDurable(OsdId from, ReceivedPiece piece, PgVersion version)
    {
        ObjectId id = piece.Object;
        if (piece.Turn is { } turn)
        {
            _host.Finish(turn);
            ForgetApply(id, turn);
        }

        SendPushReply(from, piece, version, true);
        if (!piece.Last)
        {
            return;
        }

        if (IsPrimary)
        {
            OnSelfRecovered(id);
        }
    }

    private void SendPushReply(OsdId to, ReceivedPiece piece, PgVersion version, bool taken)
    {
        WireWriter body = Begin();
        piece.Object.Encode(body);
        body.WriteVersion(version);
        body.WriteBoolean(piece.Last);
        body.WriteBoolean(taken);
        body.WriteUInt64(piece.Sending);
        body.WriteInt32(piece.Piece);
        if (IsPrimary)
        {
            _host.Send(to, OsdMessageType.PushReply, body);
        }
        else
        {
            _host.Answer(to, OsdMessageType.PushReply, body);
        }
    }

    // What was half received when an interval ended is of no use.
    private void DropReceived()
    {
        _host.Reached(RarePath.ReceivedPartsDropped);
        foreach (ObjectId id in _receiving.Keys)
        {
            ForgetPart(_transaction, id);
        }

        _receiving.Clear();
        SubmitMeta(_transaction);
    }

    private void ForgetPart(Transaction transaction, ObjectId id)
    {
        transaction.Remove(_collection, ReceivingOf(id));
        transaction.RemoveOmap(_collection, MetaObject, ObjectKey('T', id));
    }
}
