using System.Text;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Client;

/// <summary>
/// Outcome of an operation. Holds pooled memory: dispose of it once, on any thread, when what it shows is no longer needed.
/// </summary>
public readonly struct OperationResult : IDisposable, IEquatable<OperationResult>
{
    private readonly ReplyContent? _content;
    private readonly int _generation;

    private OperationResult(ReplyContent content)
    {
        _content = content;
        _generation = content.Generation;
    }

    /// <summary>The first failed step's result, or Ok.</summary>
    public ResultCode Result => Content.Result;

    /// <summary>Whether all steps succeeded.</summary>
    public bool IsOk => Content.Result == ResultCode.Ok;

    /// <summary>Version of the object after the operation.</summary>
    public PgVersion Version => Content.Version;

    /// <summary>Number of steps answered: all of them, or those up to and including the first that failed. 0 if the
    /// operation was refused as a whole.</summary>
    public int StepCount => Content.StepCount;

    /// <summary>The data that all steps read, one after the other.</summary>
    public BufferSegment AllData => Content.Data;

    private ReplyContent Content
    {
        get
        {
            Invariant.Holds(_content is not null && _content.Generation == _generation);
            return _content;
        }
    }

    /// <summary>Makes a result from the parts of a reply.</summary>
    /// <param name="result">Outcome of the whole.</param>
    /// <param name="version">Version of the object.</param>
    /// <param name="stepCount">Number of steps answered.</param>
    /// <param name="steps">Their packed answers, as <see cref="OperationReply.EncodeStep"/> writes them; copied.</param>
    /// <param name="data">The steps' data; a reference is taken.</param>
    /// <returns>The result.</returns>
    /// <exception cref="MalformedDataException">The answers are malformed, or do not fit the data.</exception>
    public static OperationResult Create(ResultCode result, PgVersion version, int stepCount, ReadOnlySpan<byte> steps, BufferSegment data)
    {
        ReplyContent content = ReplyContent.Rent();
        try
        {
            content.Fill(result, version, stepCount, steps, data);
        }
        catch (MalformedDataException)
        {
            content.Return();
            throw;
        }

        return new OperationResult(content);
    }

    /// <summary>Makes a result without answers.</summary>
    /// <param name="result">Outcome of the whole.</param>
    /// <returns>The result.</returns>
    public static OperationResult Create(ResultCode result) => Create(result, default, 0, default, default);

    /// <summary>A step's outcome.</summary>
    /// <param name="step">Index of the step, below <see cref="StepCount"/>.</param>
    /// <returns>Its result code.</returns>
    public ResultCode ResultOf(int step) => Content.Step(step).Result;

    /// <summary>A step's inline answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>The bytes; valid until the result is disposed of.</returns>
    public ReadOnlySpan<byte> InlineOf(int step) => Content.Inline(step);

    /// <summary>The data that a step read.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>The bytes; retain the buffer to keep them beyond disposal.</returns>
    public BufferSegment DataOf(int step)
    {
        ReplyContent content = Content;
        StepAnswer answer = content.Step(step);
        return answer.DataLength == 0 ? default : content.Data.Slice(answer.DataOffset, answer.DataLength);
    }

    /// <summary>Reads a Stat step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>Size and version.</returns>
    public ObjectStat StatOf(int step)
    {
        var reader = new WireReader(InlineOf(step));
        return new ObjectStat(reader.ReadInt64(), new PgVersion(new Epoch(reader.ReadUInt32()), reader.ReadUInt64()));
    }

    /// <summary>Reads a GetAttributes step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>Values by name.</returns>
    public Dictionary<string, byte[]> AttributesOf(int step)
    {
        var reader = new WireReader(InlineOf(step));
        int count = reader.ReadCount(8);
        var attributes = new Dictionary<string, byte[]>(count, StringComparer.Ordinal);
        for (int i = 0; i < count; i++)
        {
            string name = reader.ReadString();
            attributes[name] = reader.ReadBytes().ToArray();
        }

        return attributes;
    }

    /// <summary>Reads a ListOmap step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>The page.</returns>
    public OmapPage OmapOf(int step)
    {
        var reader = new WireReader(InlineOf(step));
        bool more = reader.ReadBoolean();
        var entries = new KeyValuePair<byte[], byte[]>[reader.ReadCount(8)];
        for (int i = 0; i < entries.Length; i++)
        {
            byte[] key = reader.ReadBytes().ToArray();
            entries[i] = new KeyValuePair<byte[], byte[]>(key, reader.ReadBytes().ToArray());
        }

        return new OmapPage(entries, more);
    }

    /// <summary>Reads a ListExtents step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <param name="extents">The ranges are added to it, ascending.</param>
    public void ExtentsOf(int step, List<ObjectExtent> extents)
    {
        var reader = new WireReader(InlineOf(step));
        for (int i = reader.ReadCount(16); i > 0; i--)
        {
            extents.Add(new ObjectExtent(reader.ReadInt64(), reader.ReadInt64()));
        }
    }

    /// <summary>Reads a ListObjects step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>The page.</returns>
    public ObjectListing ObjectsOf(int step)
    {
        var reader = new WireReader(InlineOf(step));
        bool more = reader.ReadBoolean();
        var ids = new ObjectId[reader.ReadCount(16)];
        for (int i = 0; i < ids.Length; i++)
        {
            ids[i] = ObjectId.Decode(ref reader);
        }

        return new ObjectListing(ids, more);
    }

    /// <summary>Reads a ListSnapshots step's answer.</summary>
    /// <param name="step">Index of the step.</param>
    /// <returns>What is kept of the object.</returns>
    public ObjectSnapshots SnapshotsOf(int step)
    {
        var reader = new WireReader(InlineOf(step));
        ulong newest = reader.ReadUInt64();
        bool exists = reader.ReadBoolean();
        var clones = new ObjectClone[reader.ReadCount(20)];
        for (int i = 0; i < clones.Length; i++)
        {
            ulong id = reader.ReadUInt64();
            long size = reader.ReadInt64();
            var snapshots = new ulong[reader.ReadCount(8)];
            for (int j = 0; j < snapshots.Length; j++)
            {
                snapshots[j] = reader.ReadUInt64();
            }

            clones[i] = new ObjectClone(id, size, snapshots);
        }

        return new ObjectSnapshots(newest, exists, clones);
    }

    /// <summary>Throws unless all steps succeeded; disposes of the result then.</summary>
    /// <param name="action">What was tried and on what, for the message: <c>write header of volume x</c>.</param>
    /// <exception cref="ObjectOperationException">A step failed.</exception>
    public void ThrowIfFailed(string action)
    {
        ResultCode result = Result;
        if (result != ResultCode.Ok)
        {
            Dispose();
            throw new ObjectOperationException(result, $"cannot {action}: {result} ({(int)result})");
        }
    }

    /// <summary>Gives the memory back; does nothing the second time.</summary>
    public void Dispose()
    {
        if (_content is not null && _content.Generation == _generation)
        {
            _content.Return();
        }
    }

    /// <inheritdoc/>
    public bool Equals(OperationResult other) => ReferenceEquals(_content, other._content) && _generation == other._generation;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is OperationResult other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => _generation;

    /// <summary>Whether both are the same result.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>True if so.</returns>
    public static bool operator ==(OperationResult left, OperationResult right) => left.Equals(right);

    /// <summary>Whether they are different results.</summary>
    /// <param name="left">One.</param>
    /// <param name="right">Other.</param>
    /// <returns>True if so.</returns>
    public static bool operator !=(OperationResult left, OperationResult right) => !left.Equals(right);
}

/// <summary>Answer to Stat.</summary>
/// <param name="Size">Length in bytes.</param>
/// <param name="Version">Version of the object.</param>
public readonly record struct ObjectStat(long Size, PgVersion Version);

/// <summary>Answer to ListSnapshots: at a snapshot above <paramref name="Newest"/> the object is as it is now; at one that a clone shows, as
/// the clone; at any other it was missing.</summary>
/// <param name="Newest">The newest snapshot that writes to the object have taken account of.</param>
/// <param name="Exists">Whether the live object exists.</param>
/// <param name="Clones">Its clones, oldest first.</param>
public sealed record ObjectSnapshots(ulong Newest, bool Exists, IReadOnlyList<ObjectClone> Clones);

/// <summary>What an object was at some snapshots.</summary>
/// <param name="Id">The newest of the snapshots it was made for.</param>
/// <param name="Size">Length in bytes.</param>
/// <param name="Snapshots">Snapshots that it shows, newest first.</param>
public sealed record ObjectClone(ulong Id, long Size, IReadOnlyList<ulong> Snapshots);

/// <summary>A range of an object that holds data.</summary>
/// <param name="Offset">First byte.</param>
/// <param name="Length">Bytes.</param>
public readonly record struct ObjectExtent(long Offset, long Length);

/// <summary>Answer to ListOmap.</summary>
/// <param name="Entries">Keys and values, ascending by key (bytewise).</param>
/// <param name="More">Whether there are more after the last of these.</param>
public sealed record OmapPage(IReadOnlyList<KeyValuePair<byte[], byte[]>> Entries, bool More)
{
    /// <summary>The key to go on from: the smallest one above the last of this page.</summary>
    /// <returns>A key for the next ListOmap step.</returns>
    public byte[] NextKey() => Entries.Count == 0 ? [] : [.. Entries[^1].Key, 0];

    /// <summary>An entry's key as text.</summary>
    /// <param name="index">Index of the entry.</param>
    /// <returns>The key, read as UTF-8.</returns>
    public string KeyText(int index) => Encoding.UTF8.GetString(Entries[index].Key);
}
