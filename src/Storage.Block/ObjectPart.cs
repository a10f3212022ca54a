using System.Runtime.CompilerServices;
using Storage.Client;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Block;

/// <summary>The part of a request that falls into one data object; pooled by the volume.</summary>
internal sealed class ObjectPart
{
    private readonly Action _onCompleted;
    private ValueTaskAwaiter<OperationResult> _awaiter;
    private VolumeRequest? _request;
    private IObjectClient? _client;
    private long _pool;
    private string _name = "";
    private CancellationToken _cancellation;

    public ObjectPart() => _onCompleted = OnCompleted;

    public ObjectOperation Operation { get; } = new();

    /// <summary>First byte in the volume.</summary>
    public long Offset { get; set; }

    public int Length { get; set; }

    /// <summary>What it was last sent with.</summary>
    public OperationContext Context { get; private set; }

    /// <summary>What a read brought; a reference is held.</summary>
    public BufferSegment Data { get; set; }

    /// <summary>What a block status query brought; offsets in the object.</summary>
    public List<ObjectExtent> Extents { get; } = [];

    public void Start(VolumeRequest request, IObjectClient client, long pool, string name, OperationContext context, CancellationToken cancellation)
    {
        _request = request;
        _client = client;
        _pool = pool;
        _name = name;
        _cancellation = cancellation;
        Send(context);
    }

    /// <summary>Sends it again, as a new operation: it was refused and had no effect.</summary>
    public void Send(OperationContext context)
    {
        Context = context;
#pragma warning disable CA2012 // the awaiter is used once, in OnCompleted
        _awaiter = _client!.ExecuteAsync(_pool, _name, Operation, context, _cancellation).GetAwaiter();
#pragma warning restore CA2012
        if (_awaiter.IsCompleted)
        {
            OnCompleted();
        }
        else
        {
            _awaiter.UnsafeOnCompleted(_onCompleted);
        }
    }

    /// <summary>Makes the part ready for another request.</summary>
    public void Clear()
    {
        Operation.Clear();
        Data.Buffer?.Release();
        Data = default;
        Extents.Clear();
        _request = null;
        _client = null;
        _cancellation = default;
        Context = default;
    }

    /// <summary>Ends it without sending it again.</summary>
    public void End(ResultCode result, Exception? failure) => _request!.OnPartCompleted(this, result, failure);

    private void OnCompleted()
    {
        ResultCode result = ResultCode.Ok;
        Exception? failure = null;
        try
        {
            using OperationResult answer = _awaiter.GetResult();
            result = answer.Result;
            if (result == ResultCode.Ok)
            {
                Take(answer);
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException or Coding.MalformedDataException)
        {
            failure = exception;
        }

        _awaiter = default;
        if (result == ResultCode.StaleSnapshots)
        {
            _request!.Volume.OnStale(this);
        }
        else
        {
            if (result == ResultCode.Blocklisted)
            {
                _request!.Volume.OnFenced();
            }

            End(result, failure);
        }
    }

    private void Take(OperationResult answer)
    {
        switch (_request!.Kind)
        {
            case RequestKind.Read:
                BufferSegment data = answer.DataOf(0);
                data.Buffer?.Retain();
                Data = data;
                break;
            case RequestKind.Extents:
                answer.ExtentsOf(0, Extents);
                break;
            default:
                break;
        }
    }
}
