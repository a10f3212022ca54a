using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Osd.Protocol;

namespace Storage.Osd;

// What a group keeps on disk of itself, and what commits are for.
internal sealed partial class PlacementGroup
{
    private ulong NextToken(CommitKind kind, OsdId peer = default, PgVersion version = default, object? subject = null)
    {
        ulong token = ++_lastToken;
        _commits.Enqueue(new PendingCommit(token, kind, _history.SameIntervalSince, peer, version, subject));
        return token;
    }

    // The transaction is cleared in any case.
    private bool TrySubmit(Transaction transaction, CommitKind kind, OsdId peer = default, PgVersion version = default, object? subject = null)
    {
        ulong token = NextToken(kind, peer, version, subject);
        bool applied = _host.Submit(this, transaction, token);
        if (!applied)
        {
            _refused.Add(token); // what stands in the queue for it must not be taken for a commit
        }

        transaction.Clear();
        return applied;
    }

    // For small metadata that must go through: a disk too full for it cannot go on.
    private void SubmitMeta(Transaction transaction, CommitKind kind = CommitKind.None, OsdId peer = default, PgVersion version = default, object? subject = null)
    {
        if (!TrySubmit(transaction, kind, peer, version, subject))
        {
            throw new StoreFullException($"pg {Id}: no room for the group's own metadata");
        }
    }

    private void PersistInfo(Transaction transaction)
    {
        WireWriter writer = _host.Scratch();
        _info.Encode(writer);
        transaction.SetAttribute(_collection, MetaObject, InfoAttribute, writer.ToArray());
    }

    private void PersistHistory(Transaction transaction)
    {
        WireWriter writer = _host.Scratch();
        _history.Encode(writer);
        transaction.SetAttribute(_collection, MetaObject, HistoryAttribute, writer.ToArray());
    }

    private byte[] ObjectKey(char letter, ObjectId id)
    {
        WireWriter writer = _host.Scratch();
        writer.WriteByte((byte)letter);
        id.Encode(writer);
        return writer.ToArray();
    }

    private void SetMissing(Transaction transaction, ObjectId id, PgVersion need)
    {
        if (_missing.TryGetValue(id, out PgVersion known) && (known == need || Mutations.Active(Mutation.MissingKeepsOldNeed)))
        {
            return;
        }

        _missing[id] = need;
        if (Mutations.Active(Mutation.MissingNotPersisted))
        {
            return;
        }

        byte[] key = ObjectKey('M', id);
        WireWriter writer = _host.Scratch();
        writer.WriteVersion(need);
        transaction.SetOmap(_collection, MetaObject, key, writer.ToArray());
    }

    private void ClearMissing(Transaction transaction, ObjectId id)
    {
        if (_missing.Remove(id))
        {
            _unfound.Remove(id);
            transaction.RemoveOmap(_collection, MetaObject, ObjectKey('M', id));
            ClearDamaged(transaction, id);
        }
    }

    private void LoadRecords()
    {
        foreach ((ReadOnlyMemory<byte> key, ReadOnlyMemory<byte> value) in _host.Store.AllOmap(_collection, MetaObject))
        {
            LoadOmap(key.Span, value.Span);
        }

        LoadLog();
        if (_receiving.Count > 0)
        {
            DropReceived();
        }
    }

    private void LoadOmap(ReadOnlySpan<byte> key, ReadOnlySpan<byte> value)
    {
        var keyReader = new WireReader(key[1..]);
        var valueReader = new WireReader(value);
        switch ((char)key[0])
        {
            case 'B':
                _damaged.Add(ObjectId.Decode(ref keyReader));
                _host.Counters.ReadErrors++; // as good as met now
                break;
            case 'D' or 'L':
                LoadOldLog((char)key[0], key[1..], ref valueReader);
                break;
            case 'M':
                ObjectId missing = ObjectId.Decode(ref keyReader);
                _missing[missing] = valueReader.ReadPgVersion();
                break;
            case 'S':
                ScrubFinding finding = ScrubFinding.Decode(ref valueReader);
                _findings[finding.Object] = finding;
                break;
            case 'T':
                _receiving.Add(ObjectId.Decode(ref keyReader), new Receiving(OsdId.None, PgVersion.Zero, 0));
                break;
            default:
                throw new MalformedDataException($"pg {Id}: metadata key of unknown kind {key[0]}");
        }
    }

    // The version of this OSD's copy, transactions under way included; Zero if there is none.
    private PgVersion LocalVersion(ObjectId id)
    {
        if (!_host.Store.TryGetAttribute(_collection, id, VersionAttribute, out ReadOnlyMemory<byte> value))
        {
            return PgVersion.Zero;
        }

        var reader = new WireReader(value.Span);
        reader.ReadVersion(1, "object version");
        return reader.ReadPgVersion();
    }

    private void SetVersion(Transaction transaction, ObjectId id, PgVersion version)
    {
        Span<byte> value = stackalloc byte[13];
        value[0] = 1;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt32LittleEndian(value[1..], version.Epoch.Value);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(value[5..], version.Number);
        transaction.SetAttribute(_collection, id, VersionAttribute, value);
    }

    // Commits complete in the order of submission, so a queue holds what each one is for.
    private readonly record struct PendingCommit(ulong Token, CommitKind Kind, Epoch Interval, OsdId Peer, PgVersion Version, object? Subject);

    private void HandleCommit(in PendingCommit commit)
    {
        if (!Mutations.Active(Mutation.CommitsOfOtherIntervals) && commit.Interval != _history.SameIntervalSince)
        {
            return; // what it was for ended with its interval
        }

        switch (commit.Kind)
        {
            case CommitKind.LocalWrite:
                OnLocalWriteDurable(commit.Version);
                break;
            case CommitKind.ReplicaWrite:
                AnswerReplicaWrite(commit.Peer, commit.Version);
                break;
            case CommitKind.PrimaryActivated:
                OnPrimaryActivated();
                break;
            case CommitKind.ReplicaActivated:
                OnReplicaActivated(commit.Peer);
                break;
            case CommitKind.PushApplied:
                OnPushDurable(commit.Peer, (ReceivedPiece)commit.Subject!, commit.Version);
                break;
            case CommitKind.BackfillProgress:
                AnswerBackfillProgress(commit.Peer);
                break;
            case CommitKind.Mended:
                ScanForDamage(commit.Peer, (ObjectId)commit.Subject!, commit.Version);
                break;
            case CommitKind.ScrubMarked:
                AnswerScrubMark(commit.Peer, commit.Version.Number);
                break;
            default:
                break;
        }
    }
}
