using System.Globalization;
using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Simulation.Histories;
using Storage.Simulation.Processes;
using Storage.Simulation.Running;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Workloads;

/// <summary>
/// A client's lanes, each making one call after the other on a few objects and writing down what it asked and what it was told.
/// Every value written is unique, so that a read tells which writes it saw.
/// </summary>
internal sealed class ObjectWorkload : Workload
{
    private const int LongestObject = 24 << 10;
    private static readonly string[] s_keys = ["a", "b", "c"];

    private readonly string _name;
    private readonly IObjectClient _client;
    private readonly long _pool;
    private readonly Scenario _scenario;
    private readonly History _history;
    private readonly EventTrace _trace;
    private readonly SnapshotRegistry? _snapshots;
    private SnapshotContext? _context;
    private ulong[] _named = [];

    public ObjectWorkload(
        string name, NodeLoop loop, IObjectClient client, long pool, Scenario scenario, History history, EventTrace trace, Random random, SnapshotRegistry? snapshots)
        : base(loop, random)
    {
        _snapshots = snapshots;
        _name = name;
        _client = client;
        _pool = pool;
        _scenario = scenario;
        _history = history;
        _trace = trace;
    }

    /// <summary>Told the object and the result of calls that were refused for want of room or of a copy that can be read.</summary>
    public Action<string, ResultCode>? Refused { get; init; }

    /// <inheritdoc/>
    protected override int Lanes => _scenario.Concurrency;

    /// <summary>Reads an object whole and records it as a call.</summary>
    /// <param name="objectName">The object.</param>
    /// <param name="snapshot">The snapshot to read, or 0.</param>
    /// <returns>When answered.</returns>
    public Task ReadAsync(string objectName, ulong snapshot = 0) => CallAsync(objectName, ReadAll() with { ReadSnapshot = snapshot }, CancellationToken.None);

    /// <summary>Removes an object, if there is one.</summary>
    /// <param name="objectName">The object.</param>
    /// <returns>When it is gone.</returns>
    public async Task RemoveAsync(string objectName)
    {
        var operation = new ObjectOperation().Add(OperationCode.Remove);
        using OperationResult result = await _client.ExecuteAsync(_pool, objectName, operation, default, CancellationToken.None);
        if (result.Result is not (ResultCode.Ok or ResultCode.NotFound))
        {
            throw new InvalidOperationException($"{objectName} cannot be removed: {result.Result}");
        }
    }

    /// <summary>Removes the objects that a listing of the pool shows.</summary>
    /// <param name="prefix">What their names begin with; empty for all.</param>
    /// <returns>When all are gone.</returns>
    public async Task RemoveListedAsync(string prefix)
    {
        await foreach (ObjectId id in _client.EnumerateObjectsAsync(_pool, CancellationToken.None))
        {
            if (id.Name.StartsWith(prefix, StringComparison.Ordinal))
            {
                await RemoveAsync(id.Name);
            }
        }
    }

    /// <summary>Name of an object of the scenario: long, or of one or two letters.</summary>
    /// <param name="index">Its number.</param>
    /// <returns>The name.</returns>
    public static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"{(index % 3 == 2 ? "" : "object-")}{index}");

    private static ObjectCall ReadAll() => ObjectCall.Of(
        new CallStep(OperationCode.Read, 0, LongestObject * 2),
        new CallStep(OperationCode.Stat),
        new CallStep(OperationCode.GetAttributes),
        new CallStep(OperationCode.ListOmap, Length: 1000));

    protected override async Task LaneAsync()
    {
        while (!IsStopped)
        {
            await PauseAsync(_scenario.ThinkTime);
            if (IsStopped)
            {
                break;
            }

            int index = Draws.Next(_scenario.Objects);
            string name = NameOf(index);
            ObjectCall call = Draws.Next(100) < 40 ? DrawRead() : index == 0 && Draws.Next(2) == 0 ? DrawTurn() : DrawWrite();
            call = _snapshots is null ? call : await WithSnapshotsAsync(call);
            if (Draws.Next(25) != 0)
            {
                await CallAsync(name, call, CancellationToken.None);
                continue;
            }

            // An impatient caller: what becomes of its write is not known to it.
            using var patience = new CancellationTokenSource(TimeSpan.FromMilliseconds(Draws.Next(1, 3000)), Loop.TimeProvider);
            await CallAsync(name, call, patience.Token);
        }
    }

    // Reads often look at a snapshot, and some writes go back to one.
    private async Task<ObjectCall> WithSnapshotsAsync(ObjectCall call)
    {
        ulong[] readable = _snapshots!.Readable();
        if (!call.IsWrite)
        {
            return readable.Length > 0 && Draws.Next(2) == 0 ? call with { ReadSnapshot = readable[Draws.Next(readable.Length)] } : call;
        }

        if (readable.Length > 0 && Draws.Next(12) == 0)
        {
            call = ObjectCall.Of(new CallStep(OperationCode.Rollback, (long)readable[Draws.Next(readable.Length)]));
        }

        if (_context is null)
        {
            await LearnSnapshotsAsync(null);
        }

        return call with { Snapshots = _named };
    }

    // As a volume does: the barrier first, then the list. What was known is used until an OSD refuses it.
    private async Task LearnSnapshotsAsync(SnapshotContext? refused)
    {
        ClusterMap map = await _client.WaitForMapAsync(Epoch.None);
        while (refused is not null && map.FindPool(_pool)!.SnapshotBarrier <= refused.Barrier)
        {
            map = await _client.WaitForMapAsync(map.Epoch.Next);
        }

        ulong barrier = map.FindPool(_pool)!.SnapshotBarrier;
        ulong[] named = _snapshots!.Named();
        while (named.Length > 0 && map.FindPool(_pool)!.SnapshotSequence < named[0])
        {
            map = await _client.WaitForMapAsync(map.Epoch.Next);
        }

        if (_context is null || _context.Barrier < barrier)
        {
            _context = new SnapshotContext(barrier, named);
            _named = named;
        }
    }

    private ObjectCall DrawRead()
    {
        if (Draws.Next(3) > 0)
        {
            return ReadAll();
        }

        return ObjectCall.Of(new CallStep(OperationCode.Read, Draws.Next(LongestObject), Draws.Next(1, 8192)));
    }

    private ObjectCall DrawWrite()
    {
        string key = s_keys[Draws.Next(s_keys.Length)];
        switch (Draws.Next(20))
        {
            case 0 or 1 or 2 or 3:
                return ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: Value(Draws.Next(1, LongestObject / 2))));
            case 4 or 5 or 6 or 7:
                // Whole blocks, parts of blocks, and ranges that straddle them.
                int length = Draws.Next(3) == 0 ? 4096 * Draws.Next(1, 4) : Draws.Next(1, 9000);
                int offset = Draws.Next(3) == 0 ? 4096 * Draws.Next(0, 3) : Draws.Next(0, LongestObject - length);
                return ObjectCall.Of(new CallStep(OperationCode.Write, offset, Data: Value(length)));
            case 8 or 9:
                // A long object is cut first, so that appends do not go on for ever.
                return Draws.Next(3) == 0
                    ? ObjectCall.Of(new CallStep(OperationCode.Truncate, Draws.Next(0, 5000)), new CallStep(OperationCode.Append, Data: Value(Draws.Next(1, 3000))))
                    : ObjectCall.Of(new CallStep(OperationCode.Append, Data: Value(Draws.Next(1, 400))));
            case 10:
                return ObjectCall.Of(new CallStep(OperationCode.Zero, Draws.Next(0, LongestObject), Draws.Next(1, 9000)));
            case 11:
                return ObjectCall.Of(new CallStep(OperationCode.Truncate, Draws.Next(0, LongestObject)));
            case 12:
                return ObjectCall.Of(new CallStep(OperationCode.Remove));
            case 13:
                return ObjectCall.Of(new CallStep(OperationCode.Create, Length: 1), new CallStep(OperationCode.SetAttribute, Key: key, Value: Unique()));
            case 14:
                return ObjectCall.Of(new CallStep(OperationCode.SetAttribute, Key: key, Value: Unique()), new CallStep(OperationCode.SetOmap, Key: key, Value: Unique()));
            case 15:
                return ObjectCall.Of(
                    new CallStep(OperationCode.SetOmap, Key: key, Value: Unique()),
                    new CallStep(OperationCode.SetOmap, Key: s_keys[Draws.Next(s_keys.Length)], Value: Unique()));
            case 16:
                return ObjectCall.Of(new CallStep(OperationCode.Create), new CallStep(OperationCode.RemoveOmap, Key: key));
            case 17:
                return ObjectCall.Of(new CallStep(OperationCode.AssertExists), new CallStep(OperationCode.ClearOmap), new CallStep(OperationCode.RemoveAttribute, Key: key));
            case 18:
                return ObjectCall.Of(
                    new CallStep(OperationCode.CompareAttribute, Key: "guard", Value: LastGuard()),
                    new CallStep(OperationCode.SetAttribute, Key: "guard", Value: Unique()));
            default:
                return ObjectCall.Of(new CallStep(OperationCode.AssertExists), new CallStep(OperationCode.Append, Data: Value(Draws.Next(1, 300))));
        }
    }

    // The first object comes and goes: what is refused now is carried out a moment later, and the other way round.
    private ObjectCall DrawTurn() => Draws.Next(2) == 0
        ? ObjectCall.Of(new CallStep(OperationCode.Create, Length: 1), new CallStep(OperationCode.SetAttribute, Key: s_keys[0], Value: Unique()))
        : ObjectCall.Of(new CallStep(OperationCode.AssertExists), new CallStep(OperationCode.Remove));

    /// <summary>A guess at an attribute's present value that is often right.</summary>
    private byte[] LastGuard()
    {
        for (int i = _history.Entries.Count - 1, looked = 0; i >= 0 && looked < 60; i--, looked++)
        {
            if (_history.Entries[i].Outcome?.Attributes is { } attributes && attributes.TryGetValue("guard", out byte[]? value))
            {
                return value;
            }
        }

        return [];
    }

    private byte[] Unique() => BitConverter.GetBytes((long)_history.Entries.Count << 16 | (long)Draws.Next(1 << 16));

    private byte[] Value(int length)
    {
        byte[] value = new byte[length];
        Filler.Fill(value, Draws);
        return value;
    }

    private async Task CallAsync(string name, ObjectCall call, CancellationToken cancellation)
    {
        ObjectOperation operation = Pack(call);
        SnapshotContext? snapshots = call.Snapshots is null ? null : _context;
        HistoryEntry entry = _history.Invoke(_name, name, call, Loop.TrueNow);
        _trace.Add(TraceKind.Invoke, _name, Loop.TrueNow, $"#{entry.Id} {name} {call}");
        CallOutcome outcome;
        try
        {
            var context = new OperationContext(snapshots, call.ReadSnapshot > 0 ? call.ReadSnapshot : null);
            using OperationResult result = await _client.ExecuteAsync(_pool, name, operation, context, cancellation);
            outcome = Unpack(call, in result);
        }
        catch (OperationCanceledException) when (cancellation.IsCancellationRequested)
        {
            History.Leave(entry);
            _trace.Add(TraceKind.Complete, _name, Loop.TrueNow, $"#{entry.Id} given up");
            return;
        }
        finally
        {
            operation.Clear();
        }

        if (outcome.Result is ResultCode.NoSpace or ResultCode.IoError)
        {
            Refused?.Invoke(name, outcome.Result);
        }

        if (call.ReadSnapshot > 0 && !_snapshots!.IsLive(call.ReadSnapshot))
        {
            History.Leave(entry);
            _trace.Add(TraceKind.Complete, _name, Loop.TrueNow, $"#{entry.Id} says nothing: the snapshot is removed");
            return;
        }

        bool isStale = outcome.Result == ResultCode.StaleSnapshots;
        if (outcome.Result == ResultCode.NotFound && call.Steps[0].Code == OperationCode.Rollback && !_snapshots!.IsLive((ulong)call.Steps[0].Offset))
        {
            outcome = new CallOutcome { Result = ResultCode.StaleSnapshots }; // refused for another reason: the snapshot is gone
        }

        _history.Complete(entry, outcome, Loop.TrueNow);
        _trace.Add(TraceKind.Complete, _name, Loop.TrueNow, $"#{entry.Id} {outcome}");
        if (isStale)
        {
            await LearnSnapshotsAsync(snapshots);
        }
    }

    private static ObjectOperation Pack(ObjectCall call)
    {
        var operation = new ObjectOperation();
        foreach (CallStep step in call.Steps)
        {
            if (OperationStep.CarriesData(step.Code))
            {
                operation.AddData(step.Code, step.Offset, step.Data);
            }
            else
            {
                operation.Add(step.Code, step.Offset, step.Length, Encoding.UTF8.GetBytes(step.Key), step.Value);
            }
        }

        return operation;
    }

    private static CallOutcome Unpack(ObjectCall call, in OperationResult result)
    {
        byte[]? data = null;
        long? size = null;
        SortedDictionary<string, byte[]>? attributes = null;
        SortedDictionary<string, byte[]>? omap = null;
        for (int i = 0; result.IsOk && !call.IsWrite && i < call.Steps.Count; i++)
        {
            switch (call.Steps[i].Code)
            {
                case OperationCode.Read:
                    data = result.DataOf(i).Span.ToArray();
                    break;
                case OperationCode.Stat:
                    size = result.StatOf(i).Size;
                    break;
                case OperationCode.GetAttributes:
                    attributes = new SortedDictionary<string, byte[]>(result.AttributesOf(i), StringComparer.Ordinal);
                    break;
                case OperationCode.ListOmap:
                    omap = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
                    OmapPage page = result.OmapOf(i);
                    for (int entry = 0; entry < page.Entries.Count; entry++)
                    {
                        omap[page.KeyText(entry)] = page.Entries[entry].Value;
                    }

                    break;
                default:
                    break;
            }
        }

        return new CallOutcome
        {
            Result = result.Result,
            Data = data,
            Size = size,
            Attributes = attributes,
            Omap = omap,
            Version = call.IsWrite && result.IsOk ? result.Version.Number : 0,
        };
    }
}
