using Storage.Cluster;
using Storage.Coding;

namespace Storage.Messaging;

/// <summary>Identifies a client operation for ever: a retry carries the same id and gets the first outcome.</summary>
/// <param name="Client">The client's id, drawn at random at its start.</param>
/// <param name="Sequence">Counts the client's operations, 1 and up.</param>
public readonly record struct OperationId(ulong Client, ulong Sequence)
{
    /// <inheritdoc/>
    public override string ToString() => $"client.{Client:x}:{Sequence}";
}

/// <summary>
/// Client → primary OSD. Body: version u8, client u64, sequence u64, attempt u16, map epoch u32, pool i64, hash u32, flags u16,
/// read snapshot u64, snapshot barrier u64, snapshot count u16 and that many u64 (newest first), lock owner u64 if the flags say so, name
/// (length u16, UTF-8), step count u16, steps. Data segment: the steps' data.
/// </summary>
public readonly ref struct OperationRequest
{
    private const byte FormatVersion = 2;
    private const int MostSnapshots = 4096;

    /// <summary>The most steps in one operation.</summary>
    public const int MostSteps = 16_384;

    /// <summary>The operation's id; its client must be the connection's peer.</summary>
    public OperationId Id { get; init; }

    /// <summary>Counts how often the operation was sent, with wrap-around. The reply repeats it: the client takes only the answer to its
    /// latest sending. Else a copy that was refused could end the operation while a later one is still to take effect.</summary>
    public ushort Attempt { get; init; }

    /// <summary>The map by which the client chose this OSD.</summary>
    public Epoch MapEpoch { get; init; }

    /// <summary>The pool.</summary>
    public long Pool { get; init; }

    /// <summary>The object's full hash; the PG follows from it and the pool.</summary>
    public uint Hash { get; init; }

    /// <summary>How to treat the operation.</summary>
    public OperationFlags Flags { get; init; }

    /// <summary>Snapshot to read, or <see cref="ObjectId.NoSnapshot"/> for the live object.</summary>
    public ulong ReadSnapshot { get; init; }

    /// <summary>For operations with <see cref="OperationFlags.Snapshots"/>: the pool's <see cref="PoolInfo.SnapshotBarrier"/> up to which
    /// <see cref="Snapshots"/> is known to be all there are.</summary>
    public ulong SnapshotBarrier { get; init; }

    /// <summary>For writes: the snapshots that exist, newest first, packed as u64.</summary>
    public ReadOnlySpan<byte> Snapshots { get; init; }

    /// <summary>For operations with <see cref="OperationFlags.LockOwner"/>: in whose name it is done, beside the client's. It is refused once
    /// that number is on the blocklist.</summary>
    public ulong LockOwner { get; init; }

    /// <summary>The object's name in UTF-8.</summary>
    public ReadOnlySpan<byte> Name { get; init; }

    /// <summary>Number of steps.</summary>
    public int StepCount { get; init; }

    /// <summary>The packed steps; read with <see cref="OperationStep.Decode"/>.</summary>
    public ReadOnlySpan<byte> Steps { get; init; }

    /// <summary>Writes the request.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Id.Client);
        writer.WriteUInt64(Id.Sequence);
        writer.WriteUInt16(Attempt);
        writer.WriteUInt32(MapEpoch.Value);
        writer.WriteInt64(Pool);
        writer.WriteUInt32(Hash);
        writer.WriteUInt16((ushort)Flags);
        writer.WriteUInt64(ReadSnapshot);
        writer.WriteUInt64(SnapshotBarrier);
        writer.WriteUInt16((ushort)(Snapshots.Length / 8));
        writer.WriteRaw(Snapshots);
        if ((Flags & OperationFlags.LockOwner) != 0)
        {
            writer.WriteUInt64(LockOwner);
        }

        writer.WriteUInt16((ushort)Name.Length);
        writer.WriteRaw(Name);
        writer.WriteUInt16((ushort)StepCount);
        writer.WriteRaw(Steps);
    }

    /// <summary>Reads a request.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The request, with views into <paramref name="body"/>.</returns>
    /// <exception cref="MalformedDataException">The body is no request.</exception>
    public static OperationRequest Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "operation");
        var id = new OperationId(reader.ReadUInt64(), reader.ReadUInt64());
        ushort attempt = reader.ReadUInt16();
        var epoch = new Epoch(reader.ReadUInt32());
        long pool = reader.ReadInt64();
        uint hash = reader.ReadUInt32();
        var flags = (OperationFlags)reader.ReadUInt16();
        ulong readSnapshot = reader.ReadUInt64();
        ulong barrier = reader.ReadUInt64();
        int snapshots = reader.ReadUInt16();
        if (snapshots > MostSnapshots)
        {
            throw new MalformedDataException($"{snapshots} snapshots in a write's context; the limit is {MostSnapshots}");
        }

        ReadOnlySpan<byte> snapshotIds = reader.ReadRaw(snapshots * 8);
        ulong lockOwner = (flags & OperationFlags.LockOwner) != 0 ? reader.ReadUInt64() : 0;
        int nameLength = reader.ReadUInt16();
        if (nameLength > ObjectId.LongestName)
        {
            throw new MalformedDataException($"object name of {nameLength} bytes; the limit is {ObjectId.LongestName}");
        }

        ReadOnlySpan<byte> name = reader.ReadRaw(nameLength);
        int steps = reader.ReadUInt16();
        if (steps is 0 or > MostSteps)
        {
            throw new MalformedDataException($"{steps} steps in an operation; 1 to {MostSteps} are allowed");
        }

        return new OperationRequest
        {
            Id = id,
            Attempt = attempt,
            MapEpoch = epoch,
            Pool = pool,
            Hash = hash,
            Flags = flags,
            ReadSnapshot = readSnapshot,
            SnapshotBarrier = barrier,
            Snapshots = snapshotIds,
            LockOwner = lockOwner,
            Name = name,
            StepCount = steps,
            Steps = reader.ReadRaw(reader.Remaining),
        };
    }
}

/// <summary>How to treat an operation.</summary>
[Flags]
public enum OperationFlags : ushort
{
    /// <summary>Nothing special.</summary>
    None = 0,

    /// <summary>It may change the object, so it gets a log entry and must be sent with its id again after a lost reply.</summary>
    Write = 1,

    /// <summary>Do it even where the cluster is full (removals).</summary>
    FullTry = 2,

    /// <summary>The operation names the snapshots of its object and is refused if the pool's barrier has moved on since; without it a write makes
    /// no clones.</summary>
    Snapshots = 4,

    /// <summary>The operation rests on a lock and names the lock's owner.</summary>
    LockOwner = 8,
}

/// <summary>
/// Primary OSD → client. Body: version u8, sequence u64, attempt u16, result i32, object version (epoch u32, number u64), map epoch u32,
/// step count u16, then per step: result i32, data length i32 (its part of the data segment, in order), inline bytes (length i32).
/// Steps after a failed one are left out.
/// </summary>
public readonly ref struct OperationReply
{
    private const byte FormatVersion = 1;

    /// <summary>Sequence of the operation answered.</summary>
    public ulong Sequence { get; init; }

    /// <summary>The sending that is answered.</summary>
    public ushort Attempt { get; init; }

    /// <summary>Outcome of the whole: the first failed step's, or Ok.</summary>
    public ResultCode Result { get; init; }

    /// <summary>Version of the object after the operation.</summary>
    public PgVersion Version { get; init; }

    /// <summary>The OSD's map epoch.</summary>
    public Epoch MapEpoch { get; init; }

    /// <summary>Number of steps answered.</summary>
    public int StepCount { get; init; }

    /// <summary>The steps' packed answers.</summary>
    public ReadOnlySpan<byte> Steps { get; init; }

    /// <summary>Writes the reply.</summary>
    /// <param name="writer">Where to.</param>
    public void Encode(WireWriter writer)
    {
        writer.WriteByte(FormatVersion);
        writer.WriteUInt64(Sequence);
        writer.WriteUInt16(Attempt);
        writer.WriteInt32((int)Result);
        writer.WriteUInt32(Version.Epoch.Value);
        writer.WriteUInt64(Version.Number);
        writer.WriteUInt32(MapEpoch.Value);
        writer.WriteUInt16((ushort)StepCount);
        writer.WriteRaw(Steps);
    }

    /// <summary>Writes one step's answer.</summary>
    /// <param name="writer">Collects the steps' answers.</param>
    /// <param name="result">The step's outcome.</param>
    /// <param name="dataLength">Its bytes in the data segment.</param>
    /// <param name="inline">Its inline bytes.</param>
    public static void EncodeStep(WireWriter writer, ResultCode result, int dataLength, ReadOnlySpan<byte> inline)
    {
        writer.WriteInt32((int)result);
        writer.WriteInt32(dataLength);
        writer.WriteBytes(inline);
    }

    /// <summary>Reads a reply.</summary>
    /// <param name="body">The message's body.</param>
    /// <returns>The reply, with views into <paramref name="body"/>.</returns>
    /// <exception cref="MalformedDataException">The body is no reply.</exception>
    public static OperationReply Decode(ReadOnlySpan<byte> body)
    {
        var reader = new WireReader(body);
        reader.ReadVersion(FormatVersion, "operation reply");
        return new OperationReply
        {
            Sequence = reader.ReadUInt64(),
            Attempt = reader.ReadUInt16(),
            Result = (ResultCode)reader.ReadInt32(),
            Version = new PgVersion(new Epoch(reader.ReadUInt32()), reader.ReadUInt64()),
            MapEpoch = new Epoch(reader.ReadUInt32()),
            StepCount = reader.ReadUInt16(),
            Steps = reader.ReadRaw(reader.Remaining),
        };
    }
}
