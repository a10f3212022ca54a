using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore.Device;
using Storage.Reactor;

namespace Storage.ObjectStore.Disk;

/// <summary>Where the next Write step finds its data while a transaction is applied.</summary>
internal ref struct ApplyCursor(JournalBatch batch, int dataOffset, ReadOnlySpan<DirectWrite> directs)
{
    private readonly ReadOnlySpan<DirectWrite> _directs = directs;
    private int _next;

    public readonly JournalBatch Batch => batch;

    public int DataOffset { get; set; } = dataOffset;

    public DirectWrite TakeDirect() => _directs[_next++];
}

// The commit path: encode, group, write, acknowledge.
public sealed partial class DiskObjectStore
{
    private const int StagingBytes = 256 << 10;
    private const int LeastStaging = 32 << 10;
    private const int TransactionHeader = 8;
    private readonly WireWriter _meta = new(4096);
    private readonly List<DirectWrite> _directs = [];
    private readonly List<DirectRun> _runs = [];
    private readonly List<uint> _checksums = [];
    private readonly Queue<JournalBatch> _queue = new();
    private readonly Queue<JournalBatch> _live = new(); // in the ring and perhaps still needed there, in order
    private readonly JournalCompletion _journalCompletion;
    private readonly Stack<DirectCompletion> _directPool = new();
    private readonly List<DirectCompletion> _directInFlight = [];
    private readonly Action<object?> _pump;
    private readonly Queue<(IStoreCompletion? Completion, ulong Token)> _waiting = new(); // one for each transaction that is not durable yet
    private readonly Stack<JournalBatch> _batchPool = new();
    private JournalBatch _open;
    private JournalBatch? _writing;
    private bool _pumpScheduled;
    private ulong _epoch;
    private ulong _lastTransaction;
    private ulong _durableTransaction;
    private ulong _nextSequence = 1;
    private long _head; // ring positions grow for ever; the place is the remainder by the ring's length
    private long _tail;
    private long _journaledBytes; // since the last checkpoint began

    /// <inheritdoc/>
    public void Submit(Transaction transaction, IStoreCompletion? completion, ulong token)
    {
        Invariant.Holds(!_closed);
        if (_failure is not null)
        {
            return; // fatal: nothing completes any more
        }

        _check.Validate(transaction);
        if (transaction.DataLength > 0)
        {
            RequireSpace(transaction);
        }

        int dataLength = Plan(transaction);
        int metaLength = _meta.Length;
        ReserveInBatch(TransactionHeader + metaLength + dataLength);
        JournalBatch batch = _open;
        if (batch.Transactions++ == 0)
        {
            batch.FirstTransaction = _lastTransaction + 1;
        }

        batch.LastTransaction = ++_lastTransaction;
        Span<byte> space = batch.Span[batch.Length..];
        System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(space, metaLength);
        System.Buffers.Binary.BinaryPrimitives.WriteInt32LittleEndian(space[4..], dataLength);
        _meta.WrittenSpan.CopyTo(space[TransactionHeader..]);
        CopyInlineData(transaction, space[(TransactionHeader + metaLength)..]);
        int recordAt = batch.Length + TransactionHeader;
        var cursor = new ApplyCursor(batch, recordAt + metaLength, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_directs));
        batch.Length += TransactionHeader + metaLength + dataLength;
        _waiting.Enqueue((completion, token));
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            Apply(in step, ref cursor);
        }

        DissolveThinned();
        StartDirectWrites(transaction, batch, recordAt);
        SchedulePump();
        if (IsWorthReclaiming())
        {
            RequestCheckpoint();
        }
    }

    // Freed units can be used again after the next checkpoint. On a disk that fills up nobody should be refused for want of
    // space that is only waiting to be given back.
    private bool IsWorthReclaiming()
    {
        const double Busy = 0.75;
        return _freed.Count >= _super.DataUnits / 16
            || (_freed.Count >= 256 && _space.Allocated > _super.DataUnits * _options.FullRatio * Busy);
    }

    private void RequireSpace(Transaction transaction)
    {
        long wanted = 0;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            if (step.Code == TransactionCode.Write && step.Length > 0)
            {
                wanted += (step.Offset + step.Length - 1) / BlockSize - step.Offset / BlockSize + 1;
            }
        }

        if (_space.Allocated + _overlayBlocks - _homes + _withheldUnits + wanted > _super.DataUnits * _options.FullRatio)
        {
            if (_freed.Count > 0)
            {
                RequestCheckpoint(); // what was removed comes back with the next checkpoint
            }

            throw new StoreFullException(
                $"{wanted * BlockSize} bytes wanted; {Usage.UsedBytes} of {Usage.TotalBytes} are used, {(long)(_freed.Count + _freeing.Count + _releasing) * BlockSize} about to be freed, and writes end at {_options.FullRatio:P0}");
        }
    }

    /// <summary>Gives large writes their space and encodes the steps into <see cref="_meta"/>; returns the bytes of inline data.</summary>
    private int Plan(Transaction transaction)
    {
        _meta.Clear();
        _directs.Clear();
        _runs.Clear();
        _checksums.Clear();
        long inline = 0;
        ReadOnlySpan<TransactionStep> steps = transaction.Steps;
        foreach (ref readonly TransactionStep step in steps)
        {
            if (step.Code == TransactionCode.Write)
            {
                inline += step.Length - DirectRange(in step, out _) * BlockSize;
            }
        }

        if (inline > StoreLimits.LargestInlineData)
        {
            throw new ArgumentException($"a transaction with {inline} bytes in small writes; the limit is {StoreLimits.LargestInlineData}");
        }

        _meta.WriteInt32(steps.Length);
        foreach (ref readonly TransactionStep step in steps)
        {
            Transaction.EncodeStep(_meta, in step);
            if (step.Code == TransactionCode.Write)
            {
                PlanWrite(in step);
            }
        }

        if (_meta.Length + inline > BufferPool.LargestBuffer - BlockSize)
        {
            GiveBackRuns();
            throw new ArgumentException($"a transaction of {_meta.Length + inline} bytes; the limit is {BufferPool.LargestBuffer - BlockSize}");
        }

        return (int)inline;
    }

    private void CopyInlineData(Transaction transaction, Span<byte> space)
    {
        int at = 0;
        int write = 0;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            if (step.Code != TransactionCode.Write)
            {
                continue;
            }

            ReadOnlySpan<byte> data = step.Data.Span;
            DirectWrite direct = _directs[write++];
            if (direct.Blocks > 0)
            {
                int head = (int)(direct.FirstBlock * BlockSize - step.Offset);
                data[..head].CopyTo(space[at..]);
                at += head;
                data = data[(head + direct.Blocks * BlockSize)..];
            }

            data.CopyTo(space[at..]);
            at += data.Length;
        }
    }

    /// <summary>Makes sure the open batch can take that many more bytes, closing it and opening another if not.</summary>
    private void ReserveInBatch(int bytes)
    {
        if (_open.Length + bytes <= _open.Capacity)
        {
            return;
        }

        if (_open.Transactions > 0)
        {
            CloseOpenBatch();
        }

        if (_open.Length + bytes > _open.Capacity)
        {
            _open.Release();
            _open = NewBatch(_pool.Rent(Math.Max(StagingBytes, JournalFormat.HeaderSize + bytes)), 0);
        }
    }

    // Small writes stay in the memory of their batch until the next checkpoint.
    private void CloseOpenBatch()
    {
        JournalBatch batch = _open;
        _open = batch.TryFollow(LeastStaging, out PageBuffer? behind, out int start) ? NewBatch(behind, start) : NewBatch(_pool.Rent(StagingBytes), 0);
        _queue.Enqueue(batch);
        Place(batch);
    }

    private JournalBatch NewBatch(PageBuffer buffer, int start)
    {
        if (!_batchPool.TryPop(out JournalBatch? batch))
        {
            return new JournalBatch(buffer, start);
        }

        batch.Begin(buffer, start);
        return batch;
    }

    /// <summary>Gives a batch its place in the ring, after all before it; false if the ring has no room.</summary>
    private bool Place(JournalBatch batch)
    {
        if (batch.Position >= 0)
        {
            return true;
        }

        foreach (JournalBatch earlier in _queue)
        {
            if (ReferenceEquals(earlier, batch))
            {
                break;
            }

            if (earlier.Position < 0)
            {
                return false;
            }
        }

        int length = batch.PaddedLength;
        long ring = _super.RingLength;
        long start = _head % ring + length > ring ? (_head / ring + 1) * ring : _head;
        if (length > ring || start + length > _tail + Math.Max(length, JournalLimit))
        {
            RequestCheckpoint();
            return false;
        }

        batch.Position = start;
        batch.Sequence = _nextSequence++;
        _live.Enqueue(batch);
        _head = start + length;
        return true;
    }

    private void SchedulePump()
    {
        if (!_pumpScheduled)
        {
            _pumpScheduled = true;
            _loop.Defer(_pump, null);
        }
    }

    private void Pump()
    {
        _pumpScheduled = false;
        if (_writing is not null || _failure is not null || _closed)
        {
            return;
        }

        if (_queue.Count == 0)
        {
            if (_open.Transactions == 0)
            {
                return;
            }

            CloseOpenBatch();
        }

        JournalBatch batch = _queue.Peek();
        if (batch.PendingData > 0 || !Place(batch))
        {
            return;
        }

        _writing = batch;
        Span<byte> bytes = batch.Span;
        bytes[batch.Length..batch.PaddedLength].Clear();
        JournalFormat.WriteHeader(bytes[..batch.Length], batch, _epoch, _super.Store);
        _device.Write(_super.RingOffset + batch.Position % _super.RingLength, batch.Slice(batch.PaddedLength), durable: true, _journalCompletion);
    }

    private void OnJournalWritten(int result)
    {
        JournalBatch batch = _writing!;
        _writing = null;
        if (_closed)
        {
            batch.Release();
            return;
        }

        if (result != batch.PaddedLength)
        {
            Fail(new IOException($"a journal write of {batch.PaddedLength} bytes returned {result}"));
            return;
        }

        if (_failure is not null)
        {
            return;
        }

        Invariant.Holds(ReferenceEquals(_queue.Dequeue(), batch));
        _journaledBytes += batch.PaddedLength;
        Acknowledge(batch);
        Pump();
        if (_head - _tail > JournalLimit / 2)
        {
            RequestCheckpoint();
        }
        else if (_journaledBytes >= CheckpointBytes)
        {
            StartCheckpoint(paced: true);
        }

        FollowPace();

        AdvanceCheckpoint();
    }

    private void Acknowledge(JournalBatch batch)
    {
        Invariant.Holds(batch.FirstTransaction == _durableTransaction + 1);
        _durableTransaction = batch.LastTransaction;
        batch.Durable = true;
        for (int i = 0; i < batch.Transactions; i++)
        {
            (IStoreCompletion? completion, ulong token) = _waiting.Dequeue();
            completion?.OnCommitted(token);
        }

        batch.Release();
    }

    private sealed class JournalCompletion(DiskObjectStore store) : BlockCompletion
    {
        public override void OnDone(int result) => store.OnJournalWritten(result);
    }
}
