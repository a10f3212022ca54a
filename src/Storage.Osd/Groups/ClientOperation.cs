using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Osd;

/// <summary>A client's operation from its arrival to its answer. Pooled by the daemon; holds one reference on its data.</summary>
internal sealed class ClientOperation : ILinked<ClientOperation>
{
    private byte[] _steps = new byte[256];
    private int _stepsLength;
    private byte[] _snapshots = [];
    private int _snapshotsLength;

    public IConnection Connection { get; private set; } = null!;

    public OperationId Id { get; private set; }

    public ushort Attempt { get; private set; }

    public Epoch MapEpoch { get; private set; }

    public PgId Group { get; private set; }

    public ObjectId Object { get; private set; } = null!;

    public OperationFlags Flags { get; private set; }

    public ulong ReadSnapshot { get; private set; }

    public ulong SnapshotBarrier { get; private set; }

    /// <summary>Snapshots of what is written to, newest first, packed.</summary>
    public ReadOnlySpan<byte> Snapshots => _snapshots.AsSpan(0, _snapshotsLength);

    /// <summary>In whose name it is done, beside the client's; 0 for nobody's.</summary>
    public ulong LockOwner { get; private set; }

    /// <summary>For reads: the object that shows what is asked for. Set when the read begins to run.</summary>
    public ObjectId Target { get; set; } = null!;

    public int StepCount { get; private set; }

    public BufferSegment Data { get; private set; }

    public ReadOnlySpan<byte> Steps => _steps.AsSpan(0, _stepsLength);

    public bool IsWrite => (Flags & OperationFlags.Write) != 0;

    public TimeSpan Arrived { get; private set; }

    // The daemon's list of operations under way, by arrival.
    public ClientOperation? Previous { get; set; }

    public ClientOperation? Next { get; set; }

    public void Begin(IConnection connection, in OperationRequest request, PgId group, ObjectId id, BufferSegment data, TimeSpan now)
    {
        Connection = connection;
        Id = request.Id;
        Attempt = request.Attempt;
        MapEpoch = request.MapEpoch;
        Group = group;
        Object = id;
        Flags = request.Flags;
        ReadSnapshot = request.ReadSnapshot;
        SnapshotBarrier = request.SnapshotBarrier;
        LockOwner = request.LockOwner;
        Target = id;
        if (_snapshots.Length < request.Snapshots.Length)
        {
            _snapshots = new byte[request.Snapshots.Length];
        }

        request.Snapshots.CopyTo(_snapshots);
        _snapshotsLength = request.Snapshots.Length;
        StepCount = request.StepCount;
        Arrived = now;
        if (_steps.Length < request.Steps.Length)
        {
            _steps = new byte[Math.Max(request.Steps.Length, _steps.Length * 2)];
        }

        request.Steps.CopyTo(_steps);
        _stepsLength = request.Steps.Length;
        data.Buffer?.Retain();
        Data = data;
    }

    public void End()
    {
        Data.Buffer?.Release();
        Data = default;
        Connection = null!;
        Object = null!;
        Target = null!;
    }
}
