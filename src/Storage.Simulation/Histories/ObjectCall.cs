using System.Globalization;
using System.Text;
using Storage.Messaging;

namespace Storage.Simulation.Histories;

/// <summary>One step of a call on an object; fields as <see cref="OperationCode"/> says.</summary>
/// <param name="Code">The step.</param>
/// <param name="Offset">Offset or other first number.</param>
/// <param name="Length">Length or other second number.</param>
/// <param name="Key">Attribute name or omap key.</param>
/// <param name="Value">Attribute or omap value.</param>
/// <param name="Data">Data to write.</param>
public sealed record CallStep(OperationCode Code, long Offset = 0, long Length = 0, string Key = "", byte[]? Value = null, byte[]? Data = null)
{
    /// <inheritdoc/>
    public override string ToString() => Code switch
    {
        OperationCode.Write or OperationCode.Append or OperationCode.WriteFull =>
            string.Create(CultureInfo.InvariantCulture, $"{Code}({Offset}+{Data!.Length} #{Storage.Coding.Crc32C.Compute(Data):x8})"),
        OperationCode.Zero or OperationCode.Read => string.Create(CultureInfo.InvariantCulture, $"{Code}({Offset}+{Length})"),
        OperationCode.Truncate or OperationCode.AssertVersion or OperationCode.Rollback => string.Create(CultureInfo.InvariantCulture, $"{Code}({Offset})"),
        OperationCode.Create when Length == 1 => "Create(exclusive)",
        _ when Key.Length > 0 => $"{Code}({Key}{(Value is { Length: > 0 } ? "=" + Convert.ToHexString(Value) : "")})",
        _ => Code.ToString(),
    };
}

/// <summary>Steps on one object that happen all or nothing.</summary>
/// <param name="Steps">The steps, in order.</param>
public sealed record ObjectCall(IReadOnlyList<CallStep> Steps)
{
    /// <summary>For writes: the snapshots that it names, newest first; null if it takes no part in snapshots.</summary>
    public IReadOnlyList<ulong>? Snapshots { get; init; }

    /// <summary>For reads: the snapshot to read, or 0 for the live object.</summary>
    public ulong ReadSnapshot { get; init; }

    /// <summary>True if it may change the object.</summary>
    public bool IsWrite => Steps.Any(step => OperationStep.Changes(step.Code));

    /// <summary>Creates a call.</summary>
    /// <param name="steps">Its steps.</param>
    /// <returns>The call.</returns>
    public static ObjectCall Of(params CallStep[] steps) => new(steps);

    /// <inheritdoc/>
    public override string ToString() =>
        string.Join(" ", Steps) + (ReadSnapshot > 0 ? $" at {ReadSnapshot}" : "") + (Snapshots is null ? "" : $" snaps [{string.Join(',', Snapshots)}]");
}

/// <summary>What a client was told: the result, and what the call read.</summary>
public sealed class CallOutcome
{
    /// <summary>Result of the whole call.</summary>
    public ResultCode Result { get; init; }

    /// <summary>The bytes that Read returned; null if the call has no such step or failed.</summary>
    public byte[]? Data { get; init; }

    /// <summary>What GetAttributes returned.</summary>
    public SortedDictionary<string, byte[]>? Attributes { get; init; }

    /// <summary>What ListOmap returned.</summary>
    public SortedDictionary<string, byte[]>? Omap { get; init; }

    /// <summary>What Stat returned.</summary>
    public long? Size { get; init; }

    /// <summary>Version number that was returned with a successful write; 0 if unknown.</summary>
    public ulong Version { get; init; }

    /// <inheritdoc/>
    public override string ToString()
    {
        var text = new StringBuilder(Result.ToString());
        if (Version > 0)
        {
            text.Append(CultureInfo.InvariantCulture, $" v{Version}");
        }

        if (Data is not null)
        {
            text.Append(CultureInfo.InvariantCulture, $" {Data.Length} bytes #{Storage.Coding.Crc32C.Compute(Data):x8}");
        }

        if (Attributes is { Count: > 0 })
        {
            text.Append(" attr ").AppendJoin(',', Attributes.Select(a => $"{a.Key}={Convert.ToHexString(a.Value)}"));
        }

        if (Omap is { Count: > 0 })
        {
            text.Append(" omap ").AppendJoin(',', Omap.Select(a => $"{a.Key}={Convert.ToHexString(a.Value)}"));
        }

        return text.ToString();
    }
}
