using Storage.Client;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Block;

/// <summary>
/// An open volume. Requests run in parallel; a write that was acknowledged is durable on every copy. Outcomes are result codes: Ok, or
/// NoSpace, IoError, Blocklisted, …; Invalid for a range outside of the volume. To be used on the client's loop only.
/// </summary>
public sealed class Volume
{
    private const int PooledRequests = 256;
    private const int CachedNames = 1024;

    private readonly IObjectClient _client;
    private readonly Stack<VolumeRequest> _requests = new();
    private readonly Stack<ObjectPart> _parts = new();
    private readonly (long Index, string? Name)[] _names = new (long, string?)[CachedNames];
    private readonly Queue<VolumeRequest> _flushes = new();

    // Writes under way, in the order they were issued.
    private readonly LinkedItems<VolumeRequest> _writes = new(); // under way, in the order of tickets
    private ulong _lastTicket;

    // Parts that were refused because the list of snapshots is old.
    private readonly VolumeStore? _store;
    private readonly List<ObjectPart> _stale = [];
    private bool _learning;

    // Writes that wait for the exclusive lock.
    private readonly Queue<VolumeRequest> _waitingForLock = new();

    /// <summary>Opens a volume.</summary>
    /// <param name="client">The client; this volume is used on its loop.</param>
    /// <param name="info">From <see cref="VolumeStore"/>.</param>
    /// <param name="snapshots">What writes say of the volume's snapshots; null if it takes no part in any.</param>
    /// <param name="store">Where a newer list of snapshots comes from; null if there are none.</param>
    /// <param name="exclusive">The lock that every write rests on, this volume's alone; null to write without one.</param>
    public Volume(IObjectClient client, VolumeInfo info, SnapshotContext? snapshots = null, VolumeStore? store = null, VolumeLock? exclusive = null)
    {
        _client = client;
        _store = store;
        Info = info;
        Snapshots = snapshots;
        Lock = exclusive;
        if (exclusive is not null)
        {
            exclusive.Changed = OnLockChanged;
            exclusive.Drain = FlushAsync;
            exclusive.IsNeeded = () => _waitingForLock.Count > 0;
        }
    }

    /// <summary>Zeroes to send and write; never written to.</summary>
    public static PageBuffer Zeroes { get; } = MakeZeroes();

    /// <summary>What the header said when it was last read.</summary>
    public VolumeInfo Info { get; private set; }

    /// <summary>Bytes.</summary>
    public long Size => Info.Size;

    /// <summary>It is a snapshot: writes are refused with <see cref="ResultCode.NotPermitted"/>.</summary>
    public bool IsReadOnly => Info.Snapshot is not null;

    /// <summary>The lock of the command that changes the volume as a whole; null outside of one.</summary>
    internal MaintenanceLock? Maintenance { get; set; }

    /// <summary>The lock that writes rest on: taken at the first of them. Null if it is written to without one.</summary>
    public VolumeLock? Lock { get; }

    /// <summary>What operations say of the volume's snapshots.</summary>
    internal SnapshotContext? Snapshots { get; private set; }

    /// <summary>Reads a range.</summary>
    /// <param name="offset">First byte, any alignment.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="into">Takes the pieces if the outcome is Ok; empty before.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome.</returns>
    public ValueTask<ResultCode> ReadAsync(long offset, int length, VolumeRead into, CancellationToken cancellation = default)
    {
        Invariant.Holds(into.Pieces.IsEmpty);
        return Start(RequestKind.Read, offset, length, default, into, null, cancellation);
    }

    /// <summary>Reads a range into memory.</summary>
    /// <param name="offset">First byte, any alignment.</param>
    /// <param name="destination">Filled if the outcome is Ok; in use until then.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome.</returns>
    public async ValueTask<ResultCode> ReadAsync(long offset, Memory<byte> destination, CancellationToken cancellation = default)
    {
        var read = new VolumeRead();
        ResultCode result = await ReadAsync(offset, destination.Length, read, cancellation);
        if (result == ResultCode.Ok)
        {
            read.CopyTo(destination.Span);
        }

        read.Clear();
        return result;
    }

    /// <summary>Writes a range. A crash may leave a part of it written if it spans objects, never a mix within 4 KiB.</summary>
    /// <param name="offset">First byte, any alignment.</param>
    /// <param name="data">The bytes, not to be changed until the task completes; a reference is held until then.</param>
    /// <param name="cancellation">Gives up; what was written is then unknown.</param>
    /// <returns>The outcome, when the data is durable.</returns>
    public ValueTask<ResultCode> WriteAsync(long offset, BufferSegment data, CancellationToken cancellation = default) =>
        Start(RequestKind.Write, offset, data.Length, data, null, null, cancellation);

    /// <summary>Makes a range read as zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="keepAllocated">Write zeroes instead of freeing the space.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome, when it is durable.</returns>
    public ValueTask<ResultCode> ZeroAsync(long offset, long length, bool keepAllocated = false, CancellationToken cancellation = default) =>
        Start(keepAllocated ? RequestKind.ZeroAllocated : RequestKind.Zero, offset, length, default, null, null, cancellation);

    /// <summary>Gives the space of a range back; it reads as zeroes from then on.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome, when it is durable.</returns>
    public ValueTask<ResultCode> DiscardAsync(long offset, long length, CancellationToken cancellation = default) =>
        Start(RequestKind.Discard, offset, length, default, null, null, cancellation);

    /// <summary>Says which parts of a range hold data.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="extents">Ranges are added to it if the outcome is Ok: they cover the range without gaps, neighbours differ in kind.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The outcome.</returns>
    public ValueTask<ResultCode> ListExtentsAsync(long offset, long length, List<VolumeExtent> extents, CancellationToken cancellation = default) =>
        Start(RequestKind.Extents, offset, length, default, null, extents, cancellation);

    /// <summary>Waits for the writes that were issued before. Those acknowledged are durable already.</summary>
    /// <returns>Ok; a write that fails says so itself.</returns>
    public ValueTask<ResultCode> FlushAsync()
    {
        if (_writes.First is null)
        {
            return new ValueTask<ResultCode>(ResultCode.Ok);
        }

        VolumeRequest flush = RentRequest();
        flush.Prepare(RequestKind.Flush, 0, 0, default, null, null, default);
        flush.Ticket = _lastTicket;
        _flushes.Enqueue(flush);
        return flush.Task;
    }

    /// <summary>Takes over a newer header of the same volume, after a resize or a snapshot.</summary>
    /// <param name="info">The header.</param>
    /// <param name="snapshots">What operations say of its snapshots.</param>
    internal void Update(VolumeInfo info, SnapshotContext snapshots)
    {
        Invariant.Holds(info.Id == Info.Id && info.PoolId == Info.PoolId && info.ObjectOrder == Info.ObjectOrder && info.Snapshot?.Id == Info.Snapshot?.Id);
        Info = info;
        if (Snapshots is null || snapshots.Barrier >= Snapshots.Barrier)
        {
            Snapshots = snapshots;
        }
    }

    /// <summary>An OSD knows of a change to some volume's snapshots that came after our list was read. It may be one of ours: we look.</summary>
    internal void OnStale(ObjectPart part)
    {
        _stale.Add(part);
        if (!_learning)
        {
            _learning = true;
            _ = LearnSnapshotsAsync(); // whatever becomes of it, the parts are told
        }
    }

    private async Task LearnSnapshotsAsync()
    {
        ResultCode result = ResultCode.Ok;
        Exception? failure = null;
        try
        {
            while (_stale.TrueForAll(part => part.Context.Snapshots is { } used && used.Barrier >= (Snapshots?.Barrier ?? 0)))
            {
                await _store!.LearnSnapshotsAsync(this, Snapshots?.Barrier ?? 0);
            }
        }
        catch (VolumeException)
        {
            result = ResultCode.IoError; // the volume or the snapshot is gone
        }
        catch (ObjectOperationException exception)
        {
            result = exception.Result is ResultCode.NotFound ? ResultCode.IoError : exception.Result;
        }
#pragma warning disable CA1031 // the callers of the requests that wait are the ones to be told
        catch (Exception exception)
        {
            failure = exception;
        }
#pragma warning restore CA1031

        _learning = false;
        ObjectPart[] parts = [.. _stale];
        _stale.Clear();
        foreach (ObjectPart part in parts)
        {
            if (result == ResultCode.Ok && failure is null)
            {
                part.Send(part.Context with { Snapshots = Snapshots });
            }
            else
            {
                part.End(result, failure);
            }
        }
    }

    /// <summary>The lock's owner is fenced: nothing that this volume writes counts any more.</summary>
    internal void OnFenced() => Lock?.OnFenced();

    private void OnLockChanged(ResultCode result, Exception? failure)
    {
        for (int i = _waitingForLock.Count; i > 0 && (result != ResultCode.Ok || Lock!.AllowsWrites); i--)
        {
            VolumeRequest request = _waitingForLock.Dequeue();
            if (result == ResultCode.Ok)
            {
                request.Advance();
            }
            else
            {
                request.Refuse(result, failure);
            }
        }
    }

    internal ObjectPart RentPart() => _parts.TryPop(out ObjectPart? part) ? part : new ObjectPart();

    internal void Return(ObjectPart part)
    {
        part.Clear();
        if (_parts.Count < PooledRequests)
        {
            _parts.Push(part);
        }
    }

    internal void Return(VolumeRequest request)
    {
        if (_requests.Count < PooledRequests)
        {
            _requests.Push(request);
        }
    }

    internal void StartPart(VolumeRequest request, ObjectPart part, long index, bool evenIfFull, CancellationToken cancellation)
    {
        ref (long Index, string? Name) cached = ref _names[index & (CachedNames - 1)];
        if (cached.Name is null || cached.Index != index)
        {
            cached = (index, Info.DataObject(index));
        }

        part.Start(request, _client, Info.PoolId, cached.Name!, new OperationContext(
            request.IsWrite || IsReadOnly ? Snapshots : null, Info.Snapshot?.Id, evenIfFull, request.IsWrite && Lock is { } held ? held.Owner : 0), cancellation);
    }

    internal void OnWriteFinished(VolumeRequest request)
    {
        _writes.Remove(request);
        while (_flushes.TryPeek(out VolumeRequest? flush) && (_writes.First is not { } oldest || oldest.Ticket > flush.Ticket))
        {
            _flushes.Dequeue();
            flush.CompleteFlush();
        }
    }

    private static PageBuffer MakeZeroes()
    {
        PageBuffer buffer = new BufferPool().Rent(256 << 10);
        buffer.Span.Clear();
        return buffer;
    }

    private VolumeRequest RentRequest() => _requests.TryPop(out VolumeRequest? request) ? request : new VolumeRequest(this);

    private ValueTask<ResultCode> Start(
        RequestKind kind, long offset, long length, BufferSegment data, VolumeRead? read, List<VolumeExtent>? extents, CancellationToken cancellation)
    {
        if (offset < 0 || length < 0 || offset > Info.Size || length > Info.Size - offset)
        {
            return new ValueTask<ResultCode>(ResultCode.Invalid);
        }

        if (IsReadOnly && kind is not (RequestKind.Read or RequestKind.Extents))
        {
            return new ValueTask<ResultCode>(ResultCode.NotPermitted);
        }

        bool isWrite = kind is not (RequestKind.Read or RequestKind.Extents);
        if (isWrite && Lock is { State: VolumeLockState.Lost } lost)
        {
            return new ValueTask<ResultCode>(lost.Failure);
        }

        VolumeRequest request = RentRequest();
        request.Prepare(kind, offset, length, data, read, extents, cancellation);
        if (request.IsWrite)
        {
            request.Ticket = ++_lastTicket;
            _writes.Add(request);
        }

        ValueTask<ResultCode> task = request.Task;
        if (isWrite && Lock is { AllowsWrites: false } exclusive)
        {
            _waitingForLock.Enqueue(request);
            exclusive.Want();
        }
        else
        {
            request.Advance();
        }

        return task;
    }
}
