using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Osd;

/// <summary>
/// Turns the steps of one client operation into one transaction on one object, judging each step by what the steps before it
/// make of the object. Nothing is applied here; when a step fails, the transaction is to be thrown away.
/// </summary>
internal struct WriteEvaluation
{
    private readonly IObjectStore _store;
    private readonly CollectionId _collection;
    private readonly SnapHead _snapshots;
    private readonly PoolInfo _pool;
    private readonly ClientOperation _operation;
    private readonly Transaction _transaction;
    private readonly WireWriter _reply;
    private readonly long _largest;
    private int _dataUsed;

    public WriteEvaluation(IObjectStore store, CollectionId collection, long largest, PgVersion prior, in SnapHead snapshots, PoolInfo pool, ClientOperation operation, Transaction transaction, WireWriter reply)
    {
        _store = store;
        _collection = collection;
        _largest = largest;
        _snapshots = snapshots;
        _pool = pool;
        _operation = operation;
        _transaction = transaction;
        _reply = reply;
        Prior = prior;
        Existed = store.TryStat(collection, operation.Object, out long size) && !snapshots.IsTombstone;
        Exists = Existed;
        SizeBefore = Existed ? size : 0;
        SizeAfter = SizeBefore;
        reply.Clear();
    }

    public bool Existed;
    public bool Exists;
    public long SizeBefore;
    public long SizeAfter;
    public PgVersion Prior;

    /// <summary>A step replaced the object with all its attributes, the group's own included.</summary>
    public bool Replaced;

    /// <summary>The clone that a rollback copies from.</summary>
    public ObjectId? RollbackSource;
    public bool Grows;
    public bool HasInline;
    public int Answered;

    public ResultCode Run()
    {
        if (_operation.Object.Name.Length == 0)
        {
            return ResultCode.Invalid;
        }

        var reader = new WireReader(_operation.Steps);
        for (int i = 0; i < _operation.StepCount; i++)
        {
            OperationStep step = OperationStep.Decode(ref reader);
            int before = _reply.Length;
            ResultCode result = RunStep(in step);
            if (_reply.Length == before)
            {
                OperationReply.EncodeStep(_reply, result, 0, default);
            }

            Answered++;
            if (result != ResultCode.Ok)
            {
                return result;
            }
        }

        return ResultCode.Ok;
    }

    private ResultCode RunStep(in OperationStep step)
    {
        ObjectId id = _operation.Object;
        switch (step.Code)
        {
            case OperationCode.Write or OperationCode.WriteFull or OperationCode.Append:
                return RunData(in step);
            case OperationCode.Zero:
                if (step.Offset < 0 || step.Length < 0)
                {
                    return ResultCode.Invalid;
                }

                if (Exists && step.Offset < SizeAfter && step.Length > 0)
                {
                    _transaction.Zero(_collection, id, step.Offset, Math.Min(step.Length, SizeAfter - step.Offset));
                }

                return ResultCode.Ok;
            case OperationCode.Truncate:
                if (step.Offset < 0 || step.Offset > _largest)
                {
                    return step.Offset < 0 ? ResultCode.Invalid : ResultCode.TooLarge;
                }

                _transaction.Truncate(_collection, id, step.Offset);
                Grows |= !Exists || step.Offset > SizeAfter;
                Exists = true;
                SizeAfter = step.Offset;
                return ResultCode.Ok;
            case OperationCode.Remove:
                if (!Exists)
                {
                    return ResultCode.NotFound;
                }

                RemoveObject();
                return ResultCode.Ok;
            case OperationCode.Rollback:
                return RollBack((ulong)step.Offset);
            case OperationCode.Create:
                if (Exists)
                {
                    return step.Length == 1 ? ResultCode.Exists : ResultCode.Ok;
                }

                Create();
                return ResultCode.Ok;
            case OperationCode.SetAttribute:
                Create();
                _transaction.SetAttribute(_collection, id, MetadataReads.AttributeName(step.Key), step.Value);
                return ResultCode.Ok;
            case OperationCode.RemoveAttribute:
                if (Exists)
                {
                    _transaction.RemoveAttribute(_collection, id, MetadataReads.AttributeName(step.Key));
                }

                return ResultCode.Ok;
            case OperationCode.SetOmap:
                Create();
                _transaction.SetOmap(_collection, id, step.Key.ToArray(), step.Value.ToArray());
                return ResultCode.Ok;
            case OperationCode.RemoveOmap:
                if (Exists)
                {
                    _transaction.RemoveOmap(_collection, id, step.Key.ToArray());
                }

                return ResultCode.Ok;
            case OperationCode.RemoveOmapRange:
                if (Exists && step.Key.SequenceCompareTo(step.Value) < 0)
                {
                    _transaction.RemoveOmapRange(_collection, id, step.Key.ToArray(), step.Value.ToArray());
                }

                return ResultCode.Ok;
            case OperationCode.ClearOmap:
                if (Exists)
                {
                    _transaction.ClearOmap(_collection, id);
                }

                return ResultCode.Ok;
            default:
                return RunQuery(in step);
        }
    }

    private void RemoveObject()
    {
        _transaction.Remove(_collection, _operation.Object);
        Exists = false;
        Replaced = true;
        SizeAfter = 0;
    }

    private ResultCode RollBack(ulong snapshot)
    {
        if (_transaction.Count > 0 || snapshot == 0 || snapshot > _pool.SnapshotSequence)
        {
            return ResultCode.Invalid; // what the object was before the operation is what counts
        }

        if (_pool.RemovedSnapshots.Contains(snapshot))
        {
            return ResultCode.NotFound;
        }

        SnapSet set = _snapshots.ToSet();
        ulong shown = set.Resolve(snapshot);
        if (shown == ObjectId.NoSnapshot)
        {
            return ResultCode.Ok; // not changed since
        }

        if (shown == 0)
        {
            if (Exists)
            {
                RemoveObject();
            }

            return ResultCode.Ok;
        }

        RollbackSource = _operation.Object.WithSnapshot(shown);
        _transaction.Clone(_collection, RollbackSource, _operation.Object);
        Exists = true;
        Replaced = true;
        Grows = true;
        SizeAfter = Array.Find(set.Clones, clone => clone.Id == shown)!.Size;
        return ResultCode.Ok;
    }

    private void Create()
    {
        if (!Exists)
        {
            _transaction.Touch(_collection, _operation.Object);
            Exists = true;
            SizeAfter = 0;
        }

        Grows = true;
    }

    private ResultCode RunData(in OperationStep step)
    {
        BufferSegment data = _operation.Data;
        if (step.Length < 0 || step.Length > data.Length - _dataUsed || (step.Code == OperationCode.Write && step.Offset < 0))
        {
            return ResultCode.Invalid;
        }

        long offset = step.Code switch { OperationCode.Write => step.Offset, OperationCode.Append => SizeAfter, _ => 0 };
        if (offset > _largest - step.Length)
        {
            return ResultCode.TooLarge;
        }

        ObjectId id = _operation.Object;
        Create();
        if (step.Code == OperationCode.WriteFull)
        {
            _transaction.Truncate(_collection, id, 0);
            SizeAfter = 0;
        }

        if (step.Length > 0)
        {
            _transaction.Write(_collection, id, offset, data.Slice(_dataUsed, (int)step.Length));
            _dataUsed += (int)step.Length;
            SizeAfter = Math.Max(SizeAfter, offset + step.Length);
        }
        else if (_transaction.Count == 0)
        {
            _transaction.Touch(_collection, id);
        }

        return ResultCode.Ok;
    }

    // Guards, and reads of metadata. Both see what earlier steps of the operation do.
    private ResultCode RunQuery(in OperationStep step)
    {
        switch (step.Code)
        {
            case OperationCode.AssertExists:
                return Exists ? ResultCode.Ok : ResultCode.NotFound;
            case OperationCode.AssertMissing:
                return Exists ? ResultCode.Exists : ResultCode.Ok;
            case OperationCode.AssertVersion:
                return (ulong)step.Offset == (Existed ? Prior.Number : 0) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.CompareAttribute:
                TryGetAttribute(MetadataReads.AttributeName(step.Key), out ReadOnlyMemory<byte> attribute);
                return attribute.Span.SequenceEqual(step.Value) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.CompareOmap:
                TryGetOmap(step.Key, out ReadOnlyMemory<byte> omap);
                return omap.Span.SequenceEqual(step.Value) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.GetAttribute:
                return TryGetAttribute(MetadataReads.AttributeName(step.Key), out ReadOnlyMemory<byte> value) ? Answer(value.Span) : ResultCode.NotFound;
            case OperationCode.GetOmap:
                return TryGetOmap(step.Key, out ReadOnlyMemory<byte> entry) ? Answer(entry.Span) : ResultCode.NotFound;
            case OperationCode.Stat:
                if (!Exists)
                {
                    return ResultCode.NotFound;
                }

                Span<byte> stat = stackalloc byte[20];
                MetadataReads.EncodeStat(stat, SizeAfter, Existed ? Prior : PgVersion.Zero);
                return Answer(stat);
            default:
                // Reads of data and listings do not mix with changes in one operation.
                return ResultCode.NotSupported;
        }
    }

    private ResultCode Answer(ReadOnlySpan<byte> inline)
    {
        HasInline = true;
        OperationReply.EncodeStep(_reply, ResultCode.Ok, 0, inline);
        return ResultCode.Ok;
    }

    private readonly bool TryGetAttribute(string name, out ReadOnlyMemory<byte> value)
    {
        value = default;
        ReadOnlySpan<TransactionStep> steps = _transaction.Steps;
        for (int i = steps.Length - 1; i >= 0; i--)
        {
            ref readonly TransactionStep step = ref steps[i];
            switch (step.Code)
            {
                case TransactionCode.SetAttribute when step.Name == name:
                    value = step.Value;
                    return true;
                case TransactionCode.Clone:
                    return _store.TryGetAttribute(_collection, step.Object!, name, out value);
                case TransactionCode.Remove:
                case TransactionCode.RemoveAttribute when step.Name == name:
                    return false;
                default:
                    break;
            }
        }

        return _store.TryGetAttribute(_collection, _operation.Object, name, out value);
    }

    private readonly bool TryGetOmap(ReadOnlySpan<byte> key, out ReadOnlyMemory<byte> value)
    {
        value = default;
        ReadOnlySpan<TransactionStep> steps = _transaction.Steps;
        for (int i = steps.Length - 1; i >= 0; i--)
        {
            ref readonly TransactionStep step = ref steps[i];
            switch (step.Code)
            {
                case TransactionCode.SetOmap when key.SequenceEqual(step.Key.Span):
                    value = step.Value;
                    return true;
                case TransactionCode.Clone:
                    return _store.TryGetOmap(_collection, step.Object!, key, out value);
                case TransactionCode.Remove or TransactionCode.ClearOmap:
                case TransactionCode.RemoveOmap when key.SequenceEqual(step.Key.Span):
                case TransactionCode.RemoveOmapRange when key.SequenceCompareTo(step.Key.Span) >= 0 && key.SequenceCompareTo(step.Value.Span) < 0:
                    return false;
                default:
                    break;
            }
        }

        return _store.TryGetOmap(_collection, _operation.Object, key, out value);
    }
}
