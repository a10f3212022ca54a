using System.Collections.Concurrent;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>
/// Lets any thread use a client that lives on a loop, for gateways with threads of their own. Calls that come while the loop is
/// busy reach it in one batch; callers continue on the thread pool (or their own context), never on the loop.
/// </summary>
public sealed class LoopObjectClient : IObjectClient
{
    private readonly IEventLoop _loop;
    private readonly IObjectClient _inner;
    private readonly ConcurrentQueue<Call> _calls = new();
    private int _posted;

    /// <summary>Creates the facade.</summary>
    /// <param name="loop">The loop that <paramref name="inner"/> lives on.</param>
    /// <param name="inner">The client; called on the loop only.</param>
    public LoopObjectClient(IEventLoop loop, IObjectClient inner)
    {
        _loop = loop;
        _inner = inner;
    }

    /// <inheritdoc/>
    public ClusterMap? Map => _inner.Map;

    /// <inheritdoc/>
    public ulong ClientId => _inner.ClientId;

    /// <inheritdoc/>
    public ValueTask<ClusterMap> WaitForMapAsync(Epoch atLeast, CancellationToken cancellation = default)
    {
        ClusterMap? map = Map;
        if (map is not null && map.Epoch >= atLeast)
        {
            return new ValueTask<ClusterMap>(map);
        }

        var call = new Call<ClusterMap>(inner => inner.WaitForMapAsync(atLeast, cancellation));
        return Enqueue(call);
    }

    /// <inheritdoc/>
    public ValueTask<ClusterMap> ConfirmMapAsync(CancellationToken cancellation = default) =>
        Enqueue(new Call<ClusterMap>(inner => inner.ConfirmMapAsync(cancellation)));

    /// <inheritdoc/>
    public ValueTask<OperationResult> ExecuteAsync(long pool, string objectName, ObjectOperation operation, OperationContext context, CancellationToken cancellation = default) =>
        Enqueue(new Call<OperationResult>(inner => inner.ExecuteAsync(pool, objectName, operation, context, cancellation)));

    /// <inheritdoc/>
    public ValueTask<ObjectListing> ListObjectsAsync(long pool, uint groupSeed, ObjectId? after, int limit, CancellationToken cancellation = default) =>
        Enqueue(new Call<ObjectListing>(inner => inner.ListObjectsAsync(pool, groupSeed, after, limit, cancellation)));

    private ValueTask<T> Enqueue<T>(Call<T> call)
    {
        _calls.Enqueue(call);
        if (Interlocked.Exchange(ref _posted, 1) == 0)
        {
            _loop.Post(static client => ((LoopObjectClient)client!).Drain(), this);
        }

        return new ValueTask<T>(call.Task);
    }

    private void Drain()
    {
        // Cleared before the queue is read: a call that comes later posts again.
        Interlocked.Exchange(ref _posted, 0);
        while (_calls.TryDequeue(out Call? call))
        {
            call.Start(_inner);
        }
    }

    private abstract class Call
    {
        public abstract void Start(IObjectClient inner);
    }

    private sealed class Call<T>(Func<IObjectClient, ValueTask<T>> start) : Call
    {
        private readonly TaskCompletionSource<T> _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private ValueTask<T> _pending;

        public Task<T> Task => _completion.Task;

        public override void Start(IObjectClient inner)
        {
            try
            {
#pragma warning disable CA2012 // consumed once, in Complete
                _pending = start(inner);
#pragma warning restore CA2012
            }
            catch (ArgumentException exception)
            {
                _completion.SetException(exception);
                return;
            }
            catch (ObjectDisposedException exception)
            {
                _completion.SetException(exception);
                return;
            }

            if (_pending.IsCompleted)
            {
                Complete();
            }
            else
            {
                _pending.GetAwaiter().UnsafeOnCompleted(Complete);
            }
        }

        private void Complete()
        {
            try
            {
                _completion.SetResult(_pending.GetAwaiter().GetResult());
            }
            catch (OperationCanceledException exception)
            {
                _completion.SetCanceled(exception.CancellationToken);
            }
            catch (Exception exception) when (exception is IOException or ObjectDisposedException or ArgumentException or MalformedDataException)
            {
                _completion.SetException(exception);
            }
        }
    }
}
