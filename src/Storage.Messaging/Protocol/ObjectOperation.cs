using System.Text;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.Messaging;

/// <summary>
/// Builds an operation: steps on one object that happen all or nothing. Reusable after <see cref="Clear"/>; holds a reference
/// on its data until then. Not thread-safe.
/// </summary>
public sealed class ObjectOperation
{
    private readonly WireWriter _steps = new(128);
    private readonly List<BufferSegment> _data = [];

    /// <summary>Number of steps.</summary>
    public int Count { get; private set; }

    /// <summary>True if a step may change the object.</summary>
    public bool IsWrite { get; private set; }

    /// <summary>Bytes of data in all steps.</summary>
    public int DataLength { get; private set; }

    /// <summary>Bytes that Read steps ask for.</summary>
    public long ReadLength { get; private set; }

    /// <summary>The packed steps.</summary>
    public ReadOnlySpan<byte> EncodedSteps => _steps.WrittenSpan;

    /// <summary>The data of Write, WriteFull and Append steps, in order.</summary>
    public ReadOnlySpan<BufferSegment> Data => System.Runtime.InteropServices.CollectionsMarshal.AsSpan(_data);

    /// <summary>Adds a step without data.</summary>
    /// <param name="code">The step; see <see cref="OperationCode"/> for what each field means to it.</param>
    /// <param name="offset">Offset or other first number.</param>
    /// <param name="length">Length or other second number.</param>
    /// <param name="key">Key, or attribute name in UTF-8.</param>
    /// <param name="value">Value.</param>
    /// <returns>This operation.</returns>
    public ObjectOperation Add(OperationCode code, long offset = 0, long length = 0, ReadOnlySpan<byte> key = default, ReadOnlySpan<byte> value = default)
    {
        _steps.WriteByte((byte)code);
        _steps.WriteInt64(offset);
        _steps.WriteInt64(length);
        _steps.WriteBytes(key);
        _steps.WriteBytes(value);
        Count++;
        IsWrite |= OperationStep.Changes(code);
        ReadLength += code == OperationCode.Read ? Math.Max(0, length) : 0;
        return this;
    }

    /// <summary>Adds a step with data: Write, WriteFull or Append. Takes a reference on the buffer.</summary>
    /// <param name="code">The step.</param>
    /// <param name="offset">First byte, for Write.</param>
    /// <param name="data">The bytes; not to be changed until the operation is done.</param>
    /// <returns>This operation.</returns>
    public ObjectOperation AddData(OperationCode code, long offset, BufferSegment data)
    {
        Invariant.Holds(OperationStep.CarriesData(code));
        Add(code, offset, data.Length);
        if (!data.IsEmpty)
        {
            data.Buffer!.Retain();
            _data.Add(data);
            DataLength = checked(DataLength + data.Length);
        }

        return this;
    }

    /// <summary>Adds a step with data copied from memory.</summary>
    /// <param name="code">Write, WriteFull or Append.</param>
    /// <param name="offset">First byte, for Write.</param>
    /// <param name="data">The bytes, copied; at most <see cref="BufferPool.LargestBuffer"/>.</param>
    /// <returns>This operation.</returns>
    public ObjectOperation AddData(OperationCode code, long offset, ReadOnlySpan<byte> data)
    {
        PageBuffer buffer = BufferPool.Shared.Rent(data.Length);
        data.CopyTo(buffer.Span);
        AddData(code, offset, buffer.Slice(0, data.Length));
        buffer.Release();
        return this;
    }

    /// <summary>Adds a step on a named attribute.</summary>
    /// <param name="code">An attribute step.</param>
    /// <param name="name">The attribute's name.</param>
    /// <param name="value">The value.</param>
    /// <returns>This operation.</returns>
    public ObjectOperation AddAttribute(OperationCode code, string name, ReadOnlySpan<byte> value = default) =>
        Add(code, key: Encoding.UTF8.GetBytes(name), value: value);

    /// <summary>Forgets the steps and gives the data references back.</summary>
    public void Clear()
    {
        foreach (BufferSegment segment in _data)
        {
            segment.Buffer!.Release();
        }

        _data.Clear();
        _steps.Clear();
        Count = 0;
        IsWrite = false;
        DataLength = 0;
        ReadLength = 0;
    }
}

/// <summary>One step of an operation as it arrived; views into the message.</summary>
public readonly ref struct OperationStep
{
    /// <summary>The step.</summary>
    public OperationCode Code { get; init; }

    /// <summary>Offset or other first number.</summary>
    public long Offset { get; init; }

    /// <summary>Length or other second number.</summary>
    public long Length { get; init; }

    /// <summary>Key, or attribute name.</summary>
    public ReadOnlySpan<byte> Key { get; init; }

    /// <summary>Value.</summary>
    public ReadOnlySpan<byte> Value { get; init; }

    /// <summary>Reads the next step.</summary>
    /// <param name="reader">Where from.</param>
    /// <returns>The step.</returns>
    public static OperationStep Decode(ref WireReader reader) => new()
    {
        Code = (OperationCode)reader.ReadByte(),
        Offset = reader.ReadInt64(),
        Length = reader.ReadInt64(),
        Key = reader.ReadBytes(),
        Value = reader.ReadBytes(),
    };

    /// <summary>Whether a step may change the object.</summary>
    /// <param name="code">The step.</param>
    /// <returns>True for writes.</returns>
    public static bool Changes(OperationCode code) => code is >= OperationCode.Write and <= OperationCode.Rollback
        or OperationCode.SetAttribute or OperationCode.RemoveAttribute
        or >= OperationCode.SetOmap and <= OperationCode.ClearOmap;

    /// <summary>Whether a step takes Length bytes from the data segment.</summary>
    /// <param name="code">The step.</param>
    /// <returns>True for Write, WriteFull and Append.</returns>
    public static bool CarriesData(OperationCode code) => code is OperationCode.Write or OperationCode.WriteFull or OperationCode.Append;
}
