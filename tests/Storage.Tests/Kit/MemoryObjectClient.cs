using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Tests.Kit;

/// <summary>
/// A whole cluster's objects in memory behind <see cref="IObjectClient"/>, with every step of the wire protocol. Thread-safe; completes
/// at once, unless <see cref="Gate"/> says when. For tests of what stands above the client.
/// </summary>
public sealed class MemoryObjectClient : IObjectClient
{
    private readonly Lock _lock = new();
    private readonly Dictionary<(long Pool, string Name), MemoryObject> _objects = [];
    private ulong _lastVersion;

    /// <summary>Creates a cluster with pools, numbered from 1 in this order.</summary>
    /// <param name="pools">Names, or <c>name:application</c>; none makes one pool <c>volumes</c>.</param>
    public MemoryObjectClient(params string[] pools)
    {
        ClusterMap map = ClusterMap.Create(Guid.Empty, 0, [], TestMaps.Crush(1));
        var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        foreach (string pool in pools.Length == 0 ? ["volumes:block"] : pools)
        {
            string[] parts = pool.Split(':');
            increment.Pools.Add(new PoolInfo { Id = increment.Pools.Count + 1, Name = parts[0], PgCount = 8, Application = parts.Length > 1 ? parts[1] : "" });
        }

        Map = map.Apply(increment);
    }

    public ClusterMap? Map { get; set; }

    public ulong ClientId => 0xC11E27;

    /// <summary>Operations carried out.</summary>
    public long Operations { get; private set; }

    /// <summary>Called before each operation; a result other than Ok is its outcome.</summary>
    public Func<long, string, ObjectOperation, ResultCode>? Fault { get; set; }

    /// <summary>What each operation waits for before it is carried out.</summary>
    public Func<long, string, ObjectOperation, Task>? Gate { get; set; }

    /// <summary>Names of the live objects in a pool, in ordinal order.</summary>
    public string[] Names(long pool)
    {
        lock (_lock)
        {
            return [.. _objects.Keys.Where(key => key.Pool == pool).Select(key => key.Name).Order(StringComparer.Ordinal)];
        }
    }

    /// <summary>An object, or null.</summary>
    public MemoryObject? Find(long pool, string name)
    {
        lock (_lock)
        {
            return _objects.GetValueOrDefault((pool, name))?.Clone();
        }
    }

    public ValueTask<ClusterMap> WaitForMapAsync(Epoch atLeast, CancellationToken cancellation = default) => new(Map!);

    public ValueTask<ClusterMap> ConfirmMapAsync(CancellationToken cancellation = default) => new(Map!);

    public ValueTask<OperationResult> ExecuteAsync(long pool, string objectName, ObjectOperation operation, OperationContext context, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(objectName);
        ArgumentOutOfRangeException.ThrowIfZero(operation.Count);
        cancellation.ThrowIfCancellationRequested();
        _ = Placement.HashName(objectName);
        if (Gate is { } gate && gate(pool, objectName, operation) is { IsCompleted: false } wait)
        {
            return Later(wait);
        }

        return new ValueTask<OperationResult>(Execute(pool, objectName, operation));

        async ValueTask<OperationResult> Later(Task wait)
        {
            await wait;
            return Execute(pool, objectName, operation);
        }
    }

    public ValueTask<ObjectListing> ListObjectsAsync(long pool, uint groupSeed, ObjectId? after, int limit, CancellationToken cancellation = default)
    {
        PoolInfo info = Map!.FindPool(pool) ?? throw new ObjectOperationException(ResultCode.NoSuchPool, $"no pool with id {pool}");
        lock (_lock)
        {
            ObjectId[] ids = [.. _objects.Keys
                .Where(key => key.Pool == pool)
                .Select(key => Placement.ObjectOf(key.Name))
                .Where(id => ClusterMap.GroupOf(info, id.Hash).Seed == groupSeed && (after is null || id > after))
                .Order()];
            return new ValueTask<ObjectListing>(new ObjectListing([.. ids.Take(limit)], ids.Length > limit));
        }
    }

    private OperationResult Execute(long pool, string name, ObjectOperation operation)
    {
        lock (_lock)
        {
            Operations++;
            if (Map!.FindPool(pool) is null)
            {
                return OperationResult.Create(ResultCode.NoSuchPool);
            }

            if (Fault?.Invoke(pool, name, operation) is { } fault && fault != ResultCode.Ok)
            {
                return OperationResult.Create(fault);
            }

            MemoryObject? before = _objects.GetValueOrDefault((pool, name));
            var run = new Run { Object = operation.IsWrite ? before?.Clone() : before, Data = Join(operation) };
            var reader = new WireReader(operation.EncodedSteps);
            ResultCode result = ResultCode.Ok;
            int count = 0;
            for (; count < operation.Count && result == ResultCode.Ok; count++)
            {
                run.Inline.Clear();
                int dataBefore = (int)run.Read.Length;
                result = Step(run, OperationStep.Decode(ref reader));
                OperationReply.EncodeStep(run.Answers, result, (int)run.Read.Length - dataBefore, result == ResultCode.Ok ? run.Inline.WrittenSpan : default);
            }

            ulong version = run.Object?.Version ?? before?.Version ?? 0;
            if (result == ResultCode.Ok && operation.IsWrite)
            {
                version = ++_lastVersion;
                if (run.Object is null)
                {
                    _objects.Remove((pool, name));
                }
                else
                {
                    run.Object.Version = version;
                    _objects[(pool, name)] = run.Object;
                }
            }

            int length = result == ResultCode.Ok ? (int)run.Read.Length : 0;
            if (result != ResultCode.Ok && run.Read.Length > 0)
            {
                // Only the failed step's code matters then; its data is left out, as OSDs do.
                return OperationResult.Create(result, new PgVersion(new Epoch(1), version), 0, default, default);
            }

            PageBuffer? buffer = length > 0 ? BufferPool.Shared.Rent(length) : null;
            run.Read.ToArray().CopyTo(buffer is null ? default : buffer.Span);
            OperationResult answer = OperationResult.Create(
                result, new PgVersion(new Epoch(1), version), count, run.Answers.WrittenSpan, buffer is null ? default : buffer.Slice(0, length));
            buffer?.Release();
            return answer;
        }
    }

    private static byte[] Join(ObjectOperation operation)
    {
        var data = new byte[operation.DataLength];
        int at = 0;
        foreach (BufferSegment segment in operation.Data)
        {
            segment.Span.CopyTo(data.AsSpan(at));
            at += segment.Length;
        }

        return data;
    }

    private static ResultCode Step(Run run, OperationStep step)
    {
        string key = Encoding.UTF8.GetString(step.Key);
        byte[] keyBytes = step.Key.ToArray();
        MemoryObject? target = run.Object;
        switch (step.Code)
        {
            case OperationCode.Read:
                if (target is null)
                {
                    return ResultCode.NotFound;
                }

                var bytes = new byte[Math.Clamp(target.Size - step.Offset, 0, step.Length)];
                target.Read(step.Offset, bytes);
                run.Read.Write(bytes);
                return ResultCode.Ok;
            case OperationCode.Stat:
                if (target is null)
                {
                    return ResultCode.NotFound;
                }

                run.Inline.WriteInt64(target.Size);
                run.Inline.WriteUInt32(1);
                run.Inline.WriteUInt64(target.Version);
                return ResultCode.Ok;
            case OperationCode.ListExtents:
                if (target is null)
                {
                    return ResultCode.NotFound;
                }

                (long Offset, long Length)[] extents = [.. target.Extents(step.Offset, step.Length)];
                run.Inline.WriteInt32(extents.Length);
                foreach ((long offset, long length) in extents)
                {
                    run.Inline.WriteInt64(offset);
                    run.Inline.WriteInt64(length);
                }

                return ResultCode.Ok;
            case OperationCode.Write:
                run.Create().Write(step.Offset, run.TakeData(step.Length));
                return ResultCode.Ok;
            case OperationCode.WriteFull:
                run.Create().Truncate(0);
                run.Create().Write(0, run.TakeData(step.Length));
                return ResultCode.Ok;
            case OperationCode.Append:
                run.Create().Write(run.Create().Size, run.TakeData(step.Length));
                return ResultCode.Ok;
            case OperationCode.Zero:
                target?.Zero(step.Offset, step.Length);
                return ResultCode.Ok;
            case OperationCode.Truncate:
                run.Create().Truncate(step.Offset);
                return ResultCode.Ok;
            case OperationCode.Remove:
                run.Object = null;
                return target is null ? ResultCode.NotFound : ResultCode.Ok;
            case OperationCode.Create:
                if (step.Length == 1 && target is not null)
                {
                    return ResultCode.Exists;
                }

                run.Create();
                return ResultCode.Ok;
            case OperationCode.GetAttribute:
                if (target is null || !target.Attributes.TryGetValue(key, out byte[]? attribute))
                {
                    return ResultCode.NotFound;
                }

                run.Inline.WriteRaw(attribute);
                return ResultCode.Ok;
            case OperationCode.GetAttributes:
                if (target is null)
                {
                    return ResultCode.NotFound;
                }

                run.Inline.WriteInt32(target.Attributes.Count);
                foreach ((string name, byte[] value) in target.Attributes)
                {
                    run.Inline.WriteString(name);
                    run.Inline.WriteBytes(value);
                }

                return ResultCode.Ok;
            case OperationCode.SetAttribute:
                run.Create().Attributes[key] = step.Value.ToArray();
                return ResultCode.Ok;
            case OperationCode.RemoveAttribute:
                target?.Attributes.Remove(key);
                return ResultCode.Ok;
            case OperationCode.ListOmap:
                return target is null ? ResultCode.NotFound : ListOmap(run, target, step);
            case OperationCode.GetOmap:
                if (target is null || !target.Omap.TryGetValue(keyBytes, out byte[]? found))
                {
                    return ResultCode.NotFound;
                }

                run.Inline.WriteRaw(found);
                return ResultCode.Ok;
            case OperationCode.SetOmap:
                run.Create().Omap[keyBytes] = step.Value.ToArray();
                return ResultCode.Ok;
            case OperationCode.RemoveOmap:
                target?.Omap.Remove(keyBytes);
                return ResultCode.Ok;
            case OperationCode.RemoveOmapRange:
                byte[] end = step.Value.ToArray();
                foreach (byte[] doomed in target?.Omap.Keys.Where(k => k.AsSpan().SequenceCompareTo(keyBytes) >= 0 && k.AsSpan().SequenceCompareTo(end) < 0).ToArray() ?? [])
                {
                    target!.Omap.Remove(doomed);
                }

                return ResultCode.Ok;
            case OperationCode.ClearOmap:
                target?.Omap.Clear();
                return ResultCode.Ok;
            case OperationCode.AssertExists:
                return target is null ? ResultCode.NotFound : ResultCode.Ok;
            case OperationCode.AssertMissing:
                return target is null ? ResultCode.Ok : ResultCode.Exists;
            case OperationCode.CompareAttribute:
                return step.Value.SequenceEqual(target?.Attributes.GetValueOrDefault(key) ?? []) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.CompareOmap:
                return step.Value.SequenceEqual(target?.Omap.GetValueOrDefault(keyBytes) ?? []) ? ResultCode.Ok : ResultCode.GuardFailed;
            case OperationCode.AssertVersion:
                return (target?.Version ?? 0) == (ulong)step.Offset ? ResultCode.Ok : ResultCode.GuardFailed;
            default:
                return ResultCode.NotSupported;
        }
    }

    private static ResultCode ListOmap(Run run, MemoryObject target, OperationStep step)
    {
        const int MostBytes = 1 << 20;
        byte[] from = step.Key.ToArray();
        byte[] prefix = step.Value.ToArray();
        var page = new List<KeyValuePair<byte[], byte[]>>();
        bool more = false;
        int bytes = 0;
        foreach (KeyValuePair<byte[], byte[]> entry in target.Omap)
        {
            if (entry.Key.AsSpan().SequenceCompareTo(from) < 0 || !entry.Key.AsSpan().StartsWith(prefix))
            {
                continue;
            }

            if (page.Count == step.Length || bytes > MostBytes)
            {
                more = true;
                break;
            }

            page.Add(entry);
            bytes += entry.Key.Length + entry.Value.Length;
        }

        run.Inline.WriteBoolean(more);
        run.Inline.WriteInt32(page.Count);
        foreach ((byte[] key, byte[] value) in page)
        {
            run.Inline.WriteBytes(key);
            run.Inline.WriteBytes(value);
        }

        return ResultCode.Ok;
    }

    private sealed class Run
    {
        private int _taken;

        public MemoryObject? Object { get; set; }

        public required byte[] Data { get; init; }

        public MemoryStream Read { get; } = new();

        public WireWriter Inline { get; } = new();

        public WireWriter Answers { get; } = new();

        public MemoryObject Create() => Object ??= new MemoryObject();

        public ReadOnlySpan<byte> TakeData(long length)
        {
            ReadOnlySpan<byte> part = Data.AsSpan(_taken, (int)length);
            _taken += (int)length;
            return part;
        }
    }
}
