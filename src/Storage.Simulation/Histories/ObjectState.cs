using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Simulation.Histories;

/// <summary>
/// What one object is, as the contract of <see cref="OperationCode"/> has it: the sequential model that histories are compared with.
/// Immutable.
/// </summary>
public sealed class ObjectState
{
    private static readonly ImmutableSortedDictionary<string, byte[]> s_empty = ImmutableSortedDictionary.Create<string, byte[]>(StringComparer.Ordinal);

    private ObjectState(
        bool exists, byte[] data, ImmutableSortedDictionary<string, byte[]> attributes, ImmutableSortedDictionary<string, byte[]> omap, KeptSnapshots kept)
    {
        Kept = kept;
        Exists = exists;
        Data = data;
        Attributes = attributes;
        Omap = omap;
        Fingerprint = ComputeFingerprint();
    }

    /// <summary>No object.</summary>
    public static ObjectState Missing { get; } = new(false, [], s_empty, s_empty, KeptSnapshots.None);

    /// <summary>Whether there is an object.</summary>
    public bool Exists { get; }

    /// <summary>Its data.</summary>
    public byte[] Data { get; }

    /// <summary>Its attributes.</summary>
    public ImmutableSortedDictionary<string, byte[]> Attributes { get; }

    /// <summary>Its omap.</summary>
    public ImmutableSortedDictionary<string, byte[]> Omap { get; }

    /// <summary>What it was at snapshots.</summary>
    public KeptSnapshots Kept { get; }

    /// <summary>64 bits that stand for the whole state.</summary>
    public ulong Fingerprint { get; }

    /// <summary>Carries a call out.</summary>
    /// <param name="call">The call.</param>
    /// <returns>Its result, and the state after it; unchanged if the result is not Ok or nothing was changed.</returns>
    public (ResultCode Result, ObjectState After) Apply(ObjectCall call) => Apply(call, otherwise: false);

    /// <summary>Carries a call out in the other way that it may have gone: where it goes back to a snapshot of which it is not certain what the object was then.</summary>
    /// <param name="call">The call.</param>
    /// <param name="after">The state after it.</param>
    /// <returns>False if there is no other way, or the call would fail.</returns>
    public bool AppliesOtherwise(ObjectCall call, out ObjectState after)
    {
        ArgumentNullException.ThrowIfNull(call);
        after = this;
        foreach (CallStep step in call.Steps)
        {
            if (step.Code == OperationCode.Rollback && Kept.IsUncertain((ulong)step.Offset))
            {
                (ResultCode result, after) = Apply(call, otherwise: true);
                return result == ResultCode.Ok;
            }
        }

        return false;
    }

    private (ResultCode Result, ObjectState After) Apply(ObjectCall call, bool otherwise)
    {
        ArgumentNullException.ThrowIfNull(call);
        if (call.ReadSnapshot > 0)
        {
            return (At(call.ReadSnapshot).Apply(call with { ReadSnapshot = 0 }).Result, this);
        }

        bool changes = false;
        bool exists = Exists;
        byte[] data = Data;
        ImmutableSortedDictionary<string, byte[]> attributes = Attributes;
        ImmutableSortedDictionary<string, byte[]> omap = Omap;
        foreach (CallStep step in call.Steps)
        {
            switch (step.Code)
            {
                case OperationCode.Read or OperationCode.Stat or OperationCode.GetAttributes or OperationCode.ListOmap or OperationCode.AssertExists:
                    if (!exists)
                    {
                        return (ResultCode.NotFound, this);
                    }

                    break;
                case OperationCode.AssertMissing:
                    if (exists)
                    {
                        return (ResultCode.Exists, this);
                    }

                    break;
                case OperationCode.CompareAttribute:
                    if (!attributes.GetValueOrDefault(step.Key, []).AsSpan().SequenceEqual(step.Value))
                    {
                        return (ResultCode.GuardFailed, this);
                    }

                    break;
                case OperationCode.CompareOmap:
                    if (!omap.GetValueOrDefault(step.Key, []).AsSpan().SequenceEqual(step.Value))
                    {
                        return (ResultCode.GuardFailed, this);
                    }

                    break;
                case OperationCode.Create:
                    if (exists && step.Length == 1)
                    {
                        return (ResultCode.Exists, this);
                    }

                    changes |= !exists;
                    exists = true;
                    break;
                case OperationCode.Rollback:
                    ObjectState then = (otherwise ? Kept.FindOther((ulong)step.Offset, this) : null) ?? At((ulong)step.Offset);
                    if (Kept.Has((ulong)step.Offset) && !ReferenceEquals(then, this) && (then.Exists || exists))
                    {
                        changes = true;
                        (exists, data, attributes, omap) = (then.Exists, then.Data, then.Attributes, then.Omap);
                    }

                    break;
                case OperationCode.Write:
                    data = Overwrite(data, (int)step.Offset, step.Data!);
                    exists = changes = true;
                    break;
                case OperationCode.WriteFull:
                    data = step.Data!;
                    exists = changes = true;
                    break;
                case OperationCode.Append:
                    data = Overwrite(data, data.Length, step.Data!);
                    exists = changes = true;
                    break;
                case OperationCode.Zero:
                    if (exists && step.Offset < data.Length)
                    {
                        changes = true;
                        data = (byte[])data.Clone();
                        data.AsSpan((int)step.Offset, (int)Math.Min(step.Length, data.Length - step.Offset)).Clear();
                    }

                    break;
                case OperationCode.Truncate:
                    byte[] cut = new byte[step.Offset];
                    data.AsSpan(0, (int)Math.Min(data.Length, step.Offset)).CopyTo(cut);
                    data = cut;
                    exists = changes = true;
                    break;
                case OperationCode.Remove:
                    if (!exists)
                    {
                        return (ResultCode.NotFound, this);
                    }

                    exists = false;
                    changes = true;
                    data = [];
                    attributes = s_empty;
                    omap = s_empty;
                    break;
                case OperationCode.SetAttribute:
                    attributes = attributes.SetItem(step.Key, step.Value!);
                    exists = changes = true;
                    break;
                case OperationCode.RemoveAttribute:
                    attributes = attributes.Remove(step.Key);
                    changes |= exists;
                    break;
                case OperationCode.SetOmap:
                    omap = omap.SetItem(step.Key, step.Value!);
                    exists = changes = true;
                    break;
                case OperationCode.RemoveOmap:
                    omap = omap.Remove(step.Key);
                    changes |= exists;
                    break;
                case OperationCode.ClearOmap:
                    omap = s_empty;
                    changes |= exists;
                    break;
                default:
                    throw new NotSupportedException($"the model has no step {step.Code}");
            }
        }

        if (!call.IsWrite)
        {
            return (ResultCode.Ok, this);
        }

        // A call that does nothing keeps nothing either.
        KeptSnapshots kept = changes && call.Snapshots is { } snapshots ? Kept.After(snapshots, this) : Kept;
        return (ResultCode.Ok, new ObjectState(exists, data, attributes, omap, kept));
    }

    /// <summary>What the object was at a snapshot, by what writes have named so far.</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <returns>The state.</returns>
    public ObjectState At(ulong snapshot) => Kept.Find(snapshot, this);

    /// <summary>This state without what it keeps.</summary>
    /// <returns>The state.</returns>
    internal ObjectState Alone() => new(Exists, Data, Attributes, Omap, KeptSnapshots.None);

    private bool ExplainsRead(ObjectCall call, CallOutcome outcome)
    {
        if (call.ReadSnapshot > 0)
        {
            return Kept.IsUncertain(call.ReadSnapshot) || At(call.ReadSnapshot).ExplainsRead(call with { ReadSnapshot = 0 }, outcome);
        }

        if (outcome.Data is not null)
        {
            CallStep read = call.Steps.First(step => step.Code == OperationCode.Read);
            int from = (int)Math.Min(read.Offset, Data.Length);
            int length = (int)Math.Min(read.Length, Data.Length - from);
            if (!Data.AsSpan(from, length).SequenceEqual(outcome.Data))
            {
                return false;
            }
        }

        return (outcome.Size is null || outcome.Size == Data.Length)
            && (outcome.Attributes is null || Same(outcome.Attributes, Attributes))
            && (outcome.Omap is null || Same(outcome.Omap, Omap));
    }

    /// <summary>Whether what a client was told about a call can have been said at this state.</summary>
    /// <param name="call">The call.</param>
    /// <param name="outcome">What the client was told.</param>
    /// <param name="after">The state after it.</param>
    /// <returns>True if it fits.</returns>
    public bool Explains(ObjectCall call, CallOutcome outcome, out ObjectState after)
    {
        ArgumentNullException.ThrowIfNull(outcome);
        if (outcome.Result is ResultCode.NoSpace or ResultCode.IoError)
        {
            // A refusal for want of room, or of a copy that can be read: it changed nothing, and says nothing of what is there.
            after = this;
            return true;
        }

        if (outcome.Result == ResultCode.StaleSnapshots || (call.ReadSnapshot > 0 && Kept.IsUncertain(call.ReadSnapshot)))
        {
            after = this; // refused, whatever the object is; or a read that may have shown either of two states
            return true;
        }

        (ResultCode result, after) = Apply(call);
        if (result != outcome.Result)
        {
            return false;
        }

        return result != ResultCode.Ok || call.IsWrite || ExplainsRead(call, outcome);
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        if (!Exists)
        {
            return "missing";
        }

        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{Data.Length} bytes #{Crc32C.Compute(Data):x8}");
        if (Attributes.Count > 0)
        {
            text.Append(" attr ").AppendJoin(',', Attributes.Select(a => $"{a.Key}={Convert.ToHexString(a.Value)}"));
        }

        if (Omap.Count > 0)
        {
            text.Append(" omap ").AppendJoin(',', Omap.Select(a => $"{a.Key}={Convert.ToHexString(a.Value)}"));
        }

        return text.ToString();
    }

    private static byte[] Overwrite(byte[] data, int offset, byte[] with)
    {
        if (with.Length == 0)
        {
            return data;
        }

        int length = Math.Max(data.Length, offset + with.Length);
        byte[] result = offset > data.Length ? new byte[length] : GC.AllocateUninitializedArray<byte>(length);
        data.CopyTo(result, 0);
        with.CopyTo(result, offset);
        return result;
    }

    private static bool Same(SortedDictionary<string, byte[]> told, ImmutableSortedDictionary<string, byte[]> has)
    {
        if (told.Count != has.Count)
        {
            return false;
        }

        foreach ((string key, byte[] value) in told)
        {
            if (!has.TryGetValue(key, out byte[]? mine) || !mine.AsSpan().SequenceEqual(value))
            {
                return false;
            }
        }

        return true;
    }

    private ulong ComputeFingerprint()
    {
        ulong hash = Exists ? 0x51ED270B7A5F3C1DUL : 0;
        hash = Mix(hash, Data);
        return Mix(Mix(hash, Attributes), Omap) ^ Kept.Fingerprint;
    }

    private static ulong Mix(ulong hash, ImmutableSortedDictionary<string, byte[]> map)
    {
        if (!map.IsEmpty)
        {
            foreach ((string key, byte[] value) in map)
            {
                hash = Mix(Mix(hash, Encoding.UTF8.GetBytes(key)), value);
            }
        }

        return (hash ^ 0xA5) * 0x9E3779B97F4A7C15;
    }

    private static ulong Mix(ulong hash, ReadOnlySpan<byte> bytes)
    {
        hash = (hash ^ (ulong)bytes.Length) * 0x9E3779B97F4A7C15;
        hash ^= hash >> 31;
        uint one = Crc32C.Compute(bytes);
        uint two = Crc32C.Compute(bytes, 0x5bd1e995);
        hash = (hash ^ one ^ ((ulong)bytes.Length << 32)) * 0xC2B2AE3D27D4EB4F;
        hash = (hash ^ (hash >> 29) ^ ((ulong)two << 13)) * 0x9E3779B97F4A7C15;
        return hash ^ (hash >> 32);
    }
}
