using System.Text;
using Storage.Cluster;
using Storage.Coding;
using Storage.Crush;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>
/// The object client. Follows the cluster map from any monitor, computes where objects live, keeps one connection per OSD, and sends
/// operations again, under the same id, whenever a connection breaks, a PG's members change, or an OSD refuses by a newer map.
/// Lives on its loop: every member is called there, and completes there.
/// </summary>
public sealed partial class ObjectClient : IObjectClient, IDisposable
{
    private const int PooledOperations = 1024;
    private const long CostPerOperation = 512;

    private readonly ClientOptions _options;
    private readonly Random _random;
    private readonly MonitorLink _monitor;
    private readonly WireWriter _body = new(1024);
    private readonly Stack<PendingOperation> _free = new();
    private readonly Stack<GroupLane> _freeLanes = new();
    private readonly Dictionary<ulong, PendingOperation> _operations = [];
    private readonly Dictionary<PgId, GroupLane> _lanes = [];
    private readonly SortedDictionary<OsdId, OsdSession> _sessions = [];
    private readonly Queue<(PendingOperation Operation, ulong Sequence, ResultCode Result)> _refused = new();
    private readonly List<MapWaiter> _mapWaiters = [];
    private readonly List<OsdSession> _scratchSessions = [];
    private readonly List<PgId> _scratchGroups = [];

    // All operations in the order of issue; those before _firstWaiting are admitted.
    private readonly LinkedItems<PendingOperation> _issued = new();
    private PendingOperation? _firstWaiting;
    private ILoopTimer? _watchdog;
    private ClusterMap? _map;
    private Epoch _watchedEpoch;
    private Epoch _resubscribedAt;
    private ulong _lastSequence;
    private long _bytesInFlight;
    private int _admitted;
    private int _unsent;
    private bool _fenced;
    private bool _disposed;

    /// <summary>Creates the client and starts to look for a monitor.</summary>
    /// <param name="loop">The loop it lives on.</param>
    /// <param name="transport">Connects; presents <see cref="ClientOptions.ClientId"/> as this client's id.</param>
    /// <param name="options">Settings.</param>
    /// <param name="random">For the choice of a monitor and jitter.</param>
    /// <exception cref="ArgumentException">No monitor address is given, or a limit is not positive.</exception>
    public ObjectClient(IEventLoop loop, ITransport transport, ClientOptions options, Random random)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.MonitorAddresses.Count == 0)
        {
            throw new ArgumentException("no monitor address is given", nameof(options));
        }

        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.MaxBytesInFlight, nameof(options));
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(options.MaxOperationsInFlight, nameof(options));
        Loop = loop;
        Transport = transport;
        _options = options;
        _random = random;
        _monitor = new MonitorLink(this, options, random);
        _monitor.Dial();
    }

    /// <inheritdoc/>
    public ClusterMap? Map => Volatile.Read(ref _map);

    /// <inheritdoc/>
    public ulong ClientId => _options.ClientId;

    /// <summary>Operations issued and not yet answered.</summary>
    public int OperationsPending => _operations.Count;

    /// <summary>Whether the cluster has fenced this client; final.</summary>
    public bool IsFenced => _fenced;

    internal IEventLoop Loop { get; }

    internal ITransport Transport { get; }

    /// <inheritdoc/>
    public ValueTask<OperationResult> ExecuteAsync(long pool, string objectName, ObjectOperation operation, OperationContext context, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(objectName);
        ArgumentNullException.ThrowIfNull(operation);
        int bytes = Encoding.UTF8.GetByteCount(objectName);
        if (bytes > ObjectId.LongestName)
        {
            throw new ArgumentException($"an object name of {bytes} bytes of UTF-8; the limit is {ObjectId.LongestName}", nameof(objectName));
        }

        PendingOperation pending = Prepare(pool, operation, context, cancellation);
        if (pending.NameBuffer.Length < bytes)
        {
            pending.NameBuffer = new byte[Math.Max(64, bytes)];
        }

        pending.NameLength = Encoding.UTF8.GetBytes(objectName, pending.NameBuffer);
        pending.Hash = CrushHash.StringHash(pending.NameBuffer.AsSpan(0, bytes));
        return Issue(pending);
    }

    /// <inheritdoc/>
    public async ValueTask<ObjectListing> ListObjectsAsync(long pool, uint groupSeed, ObjectId? after, int limit, CancellationToken cancellation = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(limit);
        ClusterMap map = await WaitForMapAsync(Epoch.None, cancellation);
        if (map.FindPool(pool) is { } info && groupSeed >= (uint)info.PgCount)
        {
            throw new ObjectOperationException(ResultCode.Invalid, $"pool {pool} has {info.PgCount} PGs, no PG {new PgId(pool, groupSeed)}");
        }

        byte[] cursor = [];
        if (after is not null)
        {
            var writer = new WireWriter();
            after.Encode(writer);
            cursor = writer.ToArray();
        }

        // The cursor's object itself may or may not be in the answer; ask for one more and drop it.
        var operation = new ObjectOperation();
        operation.Add(OperationCode.ListObjects, length: after is null ? limit : limit + 1L, key: cursor);
        PendingOperation pending = Prepare(pool, operation, default, cancellation);
        pending.NameLength = 0;
        pending.Hash = groupSeed;
        using OperationResult result = await Issue(pending);
        result.ThrowIfFailed($"list PG {new PgId(pool, groupSeed)}");
        ObjectListing listing = result.ObjectsOf(0);
        if (after is null)
        {
            return listing;
        }

        ObjectId[] rest = [.. listing.Objects.SkipWhile(id => id <= after)];
        return rest.Length <= limit ? new ObjectListing(rest, listing.More) : new ObjectListing(rest[..limit], true);
    }

    /// <summary>Closes all connections; operations under way fail with <see cref="ObjectDisposedException"/>, their outcome unknown.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _monitor.Close();
        _watchdog?.Cancel();
        foreach (OsdSession session in _sessions.Values)
        {
            session.Retire();
        }

        _sessions.Clear();
        while (_issued.First is { } operation)
        {
            Remove(operation);
            operation.Fail(new ObjectDisposedException(nameof(ObjectClient)));
        }

        foreach (MapWaiter waiter in _mapWaiters.ToArray())
        {
            waiter.Completion.TrySetException(new ObjectDisposedException(nameof(ObjectClient)));
        }

        _mapWaiters.Clear();
        foreach (TaskCompletionSource<Epoch> question in _questions.Values)
        {
            question.TrySetException(new ObjectDisposedException(nameof(ObjectClient)));
        }

        _questions.Clear();
    }

    internal void Recycle(PendingOperation operation)
    {
        operation.Sequence = 0;
        operation.Attempt = 0;
        operation.Question = 0;
        operation.Operation = null;
        operation.Context = default;
        operation.Cancellation = default;
        if (_free.Count < PooledOperations)
        {
            _free.Push(operation);
        }
    }

    /// <summary>The next pause of a series: doubles from the first to the longest, less up to a quarter so that clients spread.</summary>
    internal TimeSpan NextPause(TimeSpan before)
    {
        TimeSpan pause = before == TimeSpan.Zero ? _options.FirstRetry : before * 2;
        pause = pause > _options.LongestRetry ? _options.LongestRetry : pause;
        return pause * (1 - (_random.NextDouble() / 4));
    }

    private PendingOperation Prepare(long pool, ObjectOperation operation, OperationContext context, CancellationToken cancellation)
    {
        Invariant.Holds(Loop.IsCurrent);
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (operation.Count is 0 or > OperationRequest.MostSteps)
        {
            throw new ArgumentException($"an operation of {operation.Count} steps; 1 to {OperationRequest.MostSteps} are allowed", nameof(operation));
        }

        PendingOperation pending = _free.TryPop(out PendingOperation? pooled) ? pooled : new PendingOperation(this);
        pending.Pool = pool;
        pending.Operation = operation;
        pending.Context = context;
        pending.Cost = CostPerOperation + operation.DataLength + operation.ReadLength;
        pending.Cancellation = cancellation;
        return pending;
    }

    private ValueTask<OperationResult> Issue(PendingOperation operation)
    {
        ValueTask<OperationResult> task = operation.Task;
        if (operation.Cancellation.IsCancellationRequested)
        {
            operation.Fail(new OperationCanceledException(operation.Cancellation));
            return task;
        }

        if (_fenced)
        {
            operation.Complete(OperationResult.Create(ResultCode.Blocklisted));
            return task;
        }

        operation.Sequence = ++_lastSequence;
        _issued.Add(operation);
        _firstWaiting ??= operation;
        _operations.Add(operation.Sequence, operation);
        _unsent++;
        if (operation.Cancellation.CanBeCanceled)
        {
            operation.Registration = operation.Cancellation.UnsafeRegister(static o => ((PendingOperation)o!).CancelFromAnyThread(), operation);
        }

        Admit();
        CompleteRefused();
        return task;
    }

    /// <summary>Lets waiting operations in, in order, as far as the budget goes.</summary>
    private void Admit()
    {
        while (_firstWaiting is { } operation
            && (_admitted == 0 || (_admitted < _options.MaxOperationsInFlight && _bytesInFlight + operation.Cost <= _options.MaxBytesInFlight)))
        {
            _firstWaiting = operation.Next;
            operation.Admitted = true;
            _admitted++;
            _bytesInFlight += operation.Cost;
            if (Place(operation) && operation.Lane!.Unsent == 1)
            {
                TrySend(operation);
            }
        }

        if (_unsent > 0)
        {
            ArmWatchdog();
        }
    }

    /// <summary>Takes an operation off all lists; what remains is to complete it.</summary>
    private void Remove(PendingOperation operation)
    {
        Invariant.Holds(_operations.Remove(operation.Sequence));
        if (ReferenceEquals(_firstWaiting, operation))
        {
            _firstWaiting = operation.Next;
        }

        _issued.Remove(operation);
        if (operation.SentOn is null)
        {
            _unsent--;
        }

        LeaveLane(operation);
        operation.SentOn = null;
        if (operation.Admitted)
        {
            operation.Admitted = false;
            _admitted--;
            _bytesInFlight -= operation.Cost;
        }

        operation.Registration.Dispose();
        operation.Registration = default;
    }

    private void CompleteRefused()
    {
        while (_refused.TryDequeue(out (PendingOperation Operation, ulong Sequence, ResultCode Result) refused))
        {
            if (refused.Operation.Sequence == refused.Sequence && _operations.ContainsKey(refused.Sequence))
            {
                Remove(refused.Operation);
                Admit();
                refused.Operation.Complete(OperationResult.Create(refused.Result));
            }
        }
    }

    internal void Cancel(PendingOperation operation, ulong sequence)
    {
        if (operation.Sequence != sequence || !_operations.ContainsKey(sequence))
        {
            return;
        }

        CancellationToken token = operation.Cancellation;
        GroupLane? lane = operation.Lane;
        bool wasBlocking = operation.SentOn is null;
        Remove(operation);
        Admit();
        if (wasBlocking && lane is { Unsent: > 0 })
        {
            SendWaiting();
        }

        CompleteRefused();
        operation.Fail(new OperationCanceledException(token));
    }
}
