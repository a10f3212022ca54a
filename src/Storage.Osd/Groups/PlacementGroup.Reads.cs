using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.Reactor;

namespace Storage.Osd;

internal sealed partial class PlacementGroup
{
    // A reply is one message; its data must fit the largest buffer.
    private const int MostReadBytes = BufferPool.LargestBuffer - (2 * PageBuffer.PageSize);

    private readonly Dictionary<ulong, (object Owner, int Index)> _reads = [];
    private readonly Stack<ReadOperation> _readPool = new();
    private ulong _lastRead;

    // A client's reads of one operation. The object is as it was when the operation began to run.
    private sealed class ReadOperation
    {
        public ClientOperation Operation = null!;
        public Epoch Interval;
        public PgVersion Version;
        public PgVersion After;
        public int Pending;
        public ReadStatus Status;
        public ResultCode Result;
        public int Answered;
        public long Bytes;
        public readonly WireWriter Reply = new(256);
        public readonly List<(int Position, BufferSegment Data)> Pieces = [];
    }

    /// <summary>A read from the store ended.</summary>
    public void OnRead(ulong token, ReadStatus status, BufferSegment data)
    {
        Invariant.Holds(_reads.Remove(token, out (object Owner, int Index) read));
        if (read.Owner is ReadOperation operation)
        {
            FinishPiece(operation, read.Index, status, data);
        }
        else if (read.Owner is ScrubBuild build)
        {
            OnScrubRead(build, status, data);
        }
        else if (read.Owner is DamageScan scan)
        {
            OnDamageScanRead(scan, status, data);
        }
        else if (read.Owner is BlockFetch fetch)
        {
            OnFetchRead(fetch, read.Index, status, data);
        }
        else
        {
            OnSendingRead((Sending)read.Owner, read.Index, status, data);
        }
    }

    private void StartRead(object owner, int index, ObjectId id, long offset, int length)
    {
        ulong token = ++_lastRead;
        _reads.Add(token, (owner, index));
        _host.Store.Read(_collection, id, offset, length, this, token);
    }

    private void RunRead(ClientOperation operation)
    {
        // Invariant 5: HoldsLease was just checked. The value read now is the newest there is, and is shown only once it is durable.
        ReadOperation read = _readPool.TryPop(out ReadOperation? pooled) ? pooled : new ReadOperation();
        read.Operation = operation;
        read.Interval = Interval;
        read.Version = LocalVersion(operation.Target);
        if (operation.Target.Snapshot is not (ObjectId.NoSnapshot or 0))
        {
            _host.Reached(RarePath.ReadFromClone);
        }

        read.After = _writing.TryGetValue(operation.Object, out ObjectWrites writes) ? writes.Last : PgVersion.Zero;
        read.Pending = 1;
        read.Status = ReadStatus.Ok;
        read.Result = ResultCode.Ok;
        read.Answered = 0;
        read.Bytes = 0;
        read.Reply.Clear();
        var reader = new WireReader(operation.Steps);
        for (int i = 0; i < operation.StepCount && read.Result == ResultCode.Ok; i++)
        {
            OperationStep step = OperationStep.Decode(ref reader);
            int before = read.Reply.Length;
            read.Result = step.Code switch
            {
                OperationCode.Read => ReadData(read, in step),
                OperationCode.ListObjects => MetadataReads.ListObjects(_host.Store, _collection, _pool.SnapshotSequence > 0, in step, read.Reply),
                _ when operation.Object.Name.Length == 0 => ResultCode.Invalid,
                OperationCode.ListSnapshots => ListSnapshots(operation.Object, read.Reply),
                _ => MetadataReads.Read(_host.Store, _collection, operation.Target, read.Version, in step, read.Reply),
            };
            if (read.Reply.Length == before)
            {
                OperationReply.EncodeStep(read.Reply, read.Result, 0, default);
            }

            read.Answered++;
        }

        _host.Counters.Reads++;
        FinishRead(read);
    }

    private ResultCode ReadData(ReadOperation read, in OperationStep step)
    {
        ObjectId id = read.Operation.Target;
        if (!_host.Store.TryStat(_collection, id, out long size))
        {
            return ResultCode.NotFound;
        }

        if (step.Offset < 0 || step.Length < 0)
        {
            return ResultCode.Invalid;
        }

        long length = Math.Min(step.Length, Math.Max(0, size - step.Offset));
        if (read.Bytes + length > MostReadBytes)
        {
            return ResultCode.TooLarge;
        }

        int position = read.Reply.Length + 4;
        OperationReply.EncodeStep(read.Reply, ResultCode.Ok, (int)length, default);
        if (length > 0)
        {
            read.Bytes += length;
            read.Pending++;
            read.Pieces.Add((position, default));
            StartRead(read, read.Pieces.Count - 1, id, step.Offset, (int)length);
        }

        return ResultCode.Ok;
    }

    private void FinishPiece(ReadOperation read, int index, ReadStatus status, BufferSegment data)
    {
        if (status == ReadStatus.Ok)
        {
            int position = read.Pieces[index].Position;
            read.Pieces[index] = (position, data);
            read.Reply.PatchInt32(position, data.Length);
        }
        else
        {
            read.Status = status;
        }

        FinishRead(read);
    }

    private void FinishRead(ReadOperation read)
    {
        if (--read.Pending > 0)
        {
            return;
        }

        ClientOperation operation = read.Operation;
        if (_removed || read.Interval != Interval || read.Status != ReadStatus.Ok)
        {
            ReadStatus status = read.Status;
            bool same = !_removed && read.Interval == Interval;
            RecycleRead(read, true);
            if (_removed || !IsPrimary)
            {
                _host.Drop(operation);
            }
            else if (!same)
            {
                Execute(operation);
            }
            else
            {
                OnReadError(operation, status);
            }

            return;
        }

        _pieces.Clear();
        foreach ((_, BufferSegment piece) in read.Pieces)
        {
            _pieces.Add(piece);
        }

        ReadOnlySpan<BufferSegment> data = System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_pieces);

        _host.Counters.ReadBytes += read.Bytes;
        CompleteAfterWrites(operation, read.Result, read.Version, read.Answered, read.Reply.WrittenSpan, data, read.After);
        RecycleRead(read, false);
    }

    private void RecycleRead(ReadOperation read, bool release)
    {
        foreach ((_, BufferSegment piece) in read.Pieces)
        {
            if (release)
            {
                piece.Buffer?.Release();
            }
        }

        read.Pieces.Clear();
        read.Operation = null!;
        if (_readPool.Count < 64)
        {
            _readPool.Push(read);
        }
    }

    // Our copy is damaged: it counts as missing until another copy has replaced it; the client is answered from that.
    private void OnReadError(ClientOperation operation, ReadStatus status)
    {
        if (status != ReadStatus.NotFound)
        {
            MarkDamaged(operation.Target);
        }

        Execute(operation);
    }

    private void MarkDamaged(ObjectId id)
    {
        if (_missing.ContainsKey(id) || !_host.Store.TryStat(_collection, id, out _))
        {
            return;
        }

        SetMissing(_transaction, id, LocalVersion(id));
        NoteDamaged(id);
        PersistInfo(_transaction);
        SubmitMeta(_transaction);
        _host.StateChanged();
    }

    // Our copy cannot be read; known also after a restart, so that nobody waits for it. Persisted by the caller.
    private void NoteDamaged(ObjectId id)
    {
        if (_damaged.Add(id))
        {
            _host.Reached(RarePath.DamageFound);
            _host.Counters.ReadErrors++;
            _transaction.SetOmap(_collection, MetaObject, ObjectKey('B', id), ReadOnlyMemory<byte>.Empty);
            UpdateScrubErrors();
        }
    }

    private void ClearDamaged(ObjectStore.Transaction transaction, ObjectId id)
    {
        if (ForgetDamaged(transaction, id))
        {
            CountRepaired();
        }
    }

    private bool ForgetDamaged(ObjectStore.Transaction transaction, ObjectId id)
    {
        if (!_damaged.Remove(id))
        {
            return false;
        }

        transaction.RemoveOmap(_collection, MetaObject, ObjectKey('B', id));
        UpdateScrubErrors();
        return true;
    }

    private void CountRepaired()
    {
        _host.Reached(RarePath.DamageRepaired);
        _host.Counters.RepairedErrors++;
    }
}
