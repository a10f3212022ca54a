using System.Threading.Tasks.Sources;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Client;

/// <summary>An operation on its way; pooled. Completes on the loop, and its awaiter continues there inline.</summary>
internal sealed class PendingOperation(ObjectClient client) : IValueTaskSource<OperationResult>, ILinked<PendingOperation>
{
    private ManualResetValueTaskSourceCore<OperationResult> _core;

    /// <summary>Number in the client's order of issue; 0 while the object lies in the pool.</summary>
    public ulong Sequence { get; set; }

    /// <summary>The latest sending; answers to earlier ones do not count.</summary>
    public ushort Attempt { get; set; }

    public long Pool { get; set; }

    public uint Hash { get; set; }

    public byte[] NameBuffer { get; set; } = [];

    public int NameLength { get; set; }

    public ObjectOperation? Operation { get; set; }

    public OperationContext Context { get; set; }

    /// <summary>Bytes it counts for in the client's budget.</summary>
    public long Cost { get; set; }

    /// <summary>Its PG; null until it is admitted and a map is there.</summary>
    public GroupLane? Lane { get; set; }

    /// <summary>The question for the newest map that was asked because its pool is not in ours; 0 for none.</summary>
    public ulong Question { get; set; }

    /// <summary>Within the budget, so it may be sent.</summary>
    public bool Admitted { get; set; }

    /// <summary>The session it was sent on last, while that send still counts; null if it must be sent (again).</summary>
    public OsdSession? SentOn { get; set; }

    /// <summary>The map it was sent by.</summary>
    public Epoch SentEpoch { get; set; }

    public CancellationToken Cancellation { get; set; }

    public CancellationTokenRegistration Registration { get; set; }

    // Order of issue.
    public PendingOperation? Previous { get; set; }

    public PendingOperation? Next { get; set; }

    public ValueTask<OperationResult> Task => new(this, _core.Version);

    public void Complete(OperationResult result) => _core.SetResult(result);

    public void Fail(Exception exception) => _core.SetException(exception);

    /// <summary>Called by the token, on whatever thread cancels it. The registration is disposed of before this object is used again,
    /// and disposing waits for this call; so the sequence read here is the right one.</summary>
    public void CancelFromAnyThread()
    {
        if (client.Loop.IsCurrent)
        {
            client.Cancel(this, Sequence);
        }
        else
        {
            client.Loop.Post(static c => ((Cancellable)c!).Run(), new Cancellable(this, Sequence));
        }
    }

    public OperationResult GetResult(short token)
    {
        try
        {
            return _core.GetResult(token);
        }
        finally
        {
            _core.Reset();
            client.Recycle(this);
        }
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    // It always completes on the loop, so the awaiter needs no post to get back there.
    public void OnCompleted(Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    private sealed record Cancellable(PendingOperation Operation, ulong Sequence)
    {
        public void Run() => Operation.Cancel(Sequence);
    }

    private void Cancel(ulong sequence) => client.Cancel(this, sequence);
}
