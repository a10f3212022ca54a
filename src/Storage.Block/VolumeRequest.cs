using System.Threading.Tasks.Sources;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Block;

internal enum RequestKind
{
    Read,
    Write,
    Zero,
    ZeroAllocated,
    Discard,
    Extents,
    Flush,
}

/// <summary>
/// A request on a volume: split at object boundaries, a bounded number of parts under way at once. Pooled by the volume; completes on
/// the loop and continues inline.
/// </summary>
internal sealed class VolumeRequest(Volume volume) : IValueTaskSource<ResultCode>, ILinked<VolumeRequest>
{
    private const int MostPartsUnderWay = 64;

    private readonly List<ObjectPart> _ordered = [];
    private ManualResetValueTaskSourceCore<ResultCode> _core;
    private long _end;
    private long _cursor;
    private int _outstanding;
    private bool _advancing;
    private ResultCode _result;
    private Exception? _failure;
    private CancellationToken _cancellation;

    public RequestKind Kind { get; private set; }

    public Volume Volume => volume;

    public BufferSegment Data { get; private set; }

    public VolumeRead? Read { get; private set; }

    public List<VolumeExtent>? Extents { get; private set; }

    /// <summary>Its place in the order of writes; for a flush, the last write it waits for.</summary>
    public ulong Ticket { get; set; }

    // Writes under way, in the order of tickets.
    public VolumeRequest? Previous { get; set; }

    public VolumeRequest? Next { get; set; }

    public bool IsWrite => Kind is RequestKind.Write or RequestKind.Zero or RequestKind.ZeroAllocated or RequestKind.Discard;

    public long Offset { get; private set; }

    public ValueTask<ResultCode> Task => new(this, _core.Version);

    public void Prepare(RequestKind kind, long offset, long length, BufferSegment data, VolumeRead? read, List<VolumeExtent>? extents, CancellationToken cancellation)
    {
        Kind = kind;
        Offset = _cursor = offset;
        _end = offset + length;
        Data = data;
        data.Buffer?.Retain();
        Read = read;
        Extents = extents;
        _cancellation = cancellation;
        _result = ResultCode.Ok;
        _failure = null;
        Invariant.Holds(_outstanding == 0 && _ordered.Count == 0);
    }

    /// <summary>Starts what may be started; completes the request when nothing is left.</summary>
    public void Advance()
    {
        if (_advancing)
        {
            return;
        }

        _advancing = true;
        bool going = true;
        while (going && _cursor < _end && _outstanding < MostPartsUnderWay)
        {
            StartPart();
            going = _result == ResultCode.Ok && _failure is null;
        }

        _advancing = false;
        if (_outstanding == 0)
        {
            Finish();
        }
    }

    /// <summary>Ends it before any part was sent.</summary>
    public void Refuse(ResultCode result, Exception? failure)
    {
        _result = result;
        _failure = failure;
        _cursor = _end;
        Advance();
    }

    public void OnPartCompleted(ObjectPart part, ResultCode result, Exception? failure)
    {
        _outstanding--;
        if (result == ResultCode.NotFound)
        {
            result = ResultCode.Ok; // an object never written, or discarded: a hole
        }

        if (_result == ResultCode.Ok)
        {
            _result = result;
        }

        _failure ??= failure;
        if (Kind is not (RequestKind.Read or RequestKind.Extents))
        {
            volume.Return(part);
        }

        if (_result != ResultCode.Ok || _failure is not null)
        {
            _cursor = _end;
        }

        Advance();
    }

    public void CompleteFlush() => _core.SetResult(ResultCode.Ok);

    public ResultCode GetResult(short token)
    {
        try
        {
            return _core.GetResult(token);
        }
        finally
        {
            _core.Reset();
            volume.Return(this);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    // It always completes on the loop, so the awaiter needs no post to get back there.
    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    private void StartPart()
    {
        long objectSize = volume.Info.ObjectSize;
        long index = _cursor >> volume.Info.ObjectOrder;
        long within = _cursor & (objectSize - 1);
        int length = (int)Math.Min(objectSize - within, _end - _cursor);
        ObjectPart part = volume.RentPart();
        part.Offset = _cursor;
        part.Length = length;
        switch (Kind)
        {
            case RequestKind.Read:
                part.Operation.Add(OperationCode.Read, within, length);
                break;
            case RequestKind.Write:
                part.Operation.AddData(OperationCode.Write, within, Data.Slice((int)(_cursor - Offset), length));
                break;
            case RequestKind.ZeroAllocated:
                for (int done = 0; done < length;)
                {
                    int piece = Math.Min(length - done, Volume.Zeroes.Capacity);
                    part.Operation.AddData(OperationCode.Write, within + done, Volume.Zeroes.Slice(0, piece));
                    done += piece;
                }

                break;
            case RequestKind.Extents:
                part.Operation.Add(OperationCode.ListExtents, within, length);
                break;
            default:
                // What a whole object loses it need not have been.
                part.Operation.Add(length == objectSize ? OperationCode.Remove : OperationCode.Zero, within, length);
                break;
        }

        _cursor += length;
        _outstanding++;
        if (Kind is RequestKind.Read or RequestKind.Extents)
        {
            _ordered.Add(part);
        }

        volume.StartPart(this, part, index, evenIfFull: Kind is RequestKind.Zero or RequestKind.Discard, _cancellation);
    }

    private void Finish()
    {
        Collect();
        Data.Buffer?.Release();
        Data = default;
        Read = null;
        Extents = null;
        _cancellation = default;
        Exception? failure = _failure;
        _failure = null;
        if (IsWrite)
        {
            volume.OnWriteFinished(this);
        }

        if (failure is not null)
        {
            _core.SetException(failure);
        }
        else
        {
            _core.SetResult(_result);
        }
    }

    private void Collect()
    {
        bool good = _result == ResultCode.Ok && _failure is null;
        foreach (ObjectPart part in _ordered)
        {
            if (good && Kind == RequestKind.Read)
            {
                Read!.Add(part.Data, part.Length);
                part.Data = default;
            }
            else if (good)
            {
                CollectExtents(part);
            }

            volume.Return(part);
        }

        _ordered.Clear();
    }

    private void CollectExtents(ObjectPart part)
    {
        long start = part.Offset & ~(volume.Info.ObjectSize - 1);
        long at = part.Offset;
        long end = part.Offset + part.Length;
        foreach (Client.ObjectExtent extent in part.Extents)
        {
            long from = Math.Clamp(start + extent.Offset, at, end);
            long to = Math.Clamp(start + extent.Offset + extent.Length, from, end);
            Append(at, from, false);
            Append(from, to, true);
            at = to;
        }

        Append(at, end, false);
    }

    private void Append(long from, long to, bool allocated)
    {
        if (from == to)
        {
            return;
        }

        List<VolumeExtent> extents = Extents!;
        if (extents.Count > 0 && extents[^1] is { } last && last.IsAllocated == allocated && last.Offset + last.Length == from)
        {
            extents[^1] = last with { Length = to - last.Offset };
        }
        else
        {
            extents.Add(new VolumeExtent(from, to - from, allocated));
        }
    }
}
