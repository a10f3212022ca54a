using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;

namespace Storage.Block;

/// <summary>
/// The steps of the lock protocol on a volume's header object. Each change compares the whole record that was read before, so that of
/// several who want the lock one gets it. A record whose owner seems dead is replaced only after the owner was fenced and the client has the
/// map that says so: an operation sent afterwards brings that map to the OSD, which refuses the old owner from then on.
/// </summary>
internal sealed class VolumeLockSteps(IObjectClient client, VolumeInfo volume)
{
    private const int AnswersBeforeGivingUp = 5;

    private VolumeLockRecord? _watched;
    private long _watchedSince;
    private int _watchedAnswers;

    /// <summary>Reads who holds the lock, and whether somebody else wants it.</summary>
    /// <exception cref="VolumeException">The volume is gone.</exception>
    public async ValueTask<(VolumeLockRecord? Record, bool IsWanted)> ReadAsync(CancellationToken cancellation)
    {
        using OperationResult result = await ExecuteAsync(new ObjectOperation().Add(OperationCode.GetAttributes), cancellation);
        Succeeded(result, "read");
        Dictionary<string, byte[]> attributes = result.AttributesOf(0);
        return (VolumeLockRecord.Decode(volume.Name, attributes.GetValueOrDefault(VolumeLockRecord.Attribute)), attributes.ContainsKey(VolumeLockRecord.WantedAttribute));
    }

    /// <summary>Puts a record in place of what was read. False if it is not there any more.</summary>
    /// <exception cref="VolumeException">The volume is gone.</exception>
    public async ValueTask<bool> TryReplaceAsync(VolumeLockRecord? before, VolumeLockRecord? after, CancellationToken cancellation)
    {
        ObjectOperation operation = Guarded(before);
        if (after is null)
        {
            operation
                .AddAttribute(OperationCode.RemoveAttribute, VolumeLockRecord.Attribute)
                .AddAttribute(OperationCode.RemoveAttribute, VolumeLockRecord.WantedAttribute);
        }
        else
        {
            operation.AddAttribute(OperationCode.SetAttribute, VolumeLockRecord.Attribute, after.Encode());
            if (after.Owner != before?.Owner)
            {
                // Who else wants it asks again.
                operation.AddAttribute(OperationCode.RemoveAttribute, VolumeLockRecord.WantedAttribute);
            }
        }

        using OperationResult result = await ExecuteAsync(operation, cancellation);
        return Succeeded(result, "change");
    }

    /// <summary>Asks the owner to let go.</summary>
    /// <exception cref="VolumeException">The volume is gone.</exception>
    public async ValueTask AskForAsync(VolumeLockRecord held, CancellationToken cancellation)
    {
        ObjectOperation operation = Guarded(held).AddAttribute(OperationCode.SetAttribute, VolumeLockRecord.WantedAttribute, [1]);
        using OperationResult result = await ExecuteAsync(operation, cancellation);
        Succeeded(result, "ask for");
    }

    /// <summary>Notes what was read of an owner. It seems dead once it showed no sign of life for as long as given, in at least a few answers:
    /// while the header cannot be read the owner cannot renew either.</summary>
    public bool SeemsDead(VolumeLockRecord record, TimeProvider time, TimeSpan patience)
    {
        if (_watched is not { } watched || watched.Owner != record.Owner || watched.Renewals != record.Renewals)
        {
            _watched = record;
            _watchedSince = time.GetTimestamp();
            _watchedAnswers = 0;
            return false;
        }

        return ++_watchedAnswers >= AnswersBeforeGivingUp && time.GetElapsedTime(_watchedSince) >= patience;
    }

    /// <summary>What was noted of owners before does not count.</summary>
    public void ForgetWatched() => _watched = null;

    /// <summary>Fences an owner, and waits until this client knows.</summary>
    public async ValueTask FenceAsync(IVolumeAuthority authority, VolumeLockRecord held, CancellationToken cancellation)
    {
        if (!Mutations.Active(Mutation.LockTakenWithoutFence))
        {
            await client.WaitForMapAsync(await authority.FenceAsync(held.Owner, cancellation), cancellation);
        }
    }

    private static ObjectOperation Guarded(VolumeLockRecord? before) => new ObjectOperation()
        .Add(OperationCode.AssertExists)
        .AddAttribute(OperationCode.CompareAttribute, VolumeLockRecord.Attribute, before?.Encode() ?? []);

    private ValueTask<OperationResult> ExecuteAsync(ObjectOperation operation, CancellationToken cancellation) =>
        client.ExecuteAsync(volume.PoolId, volume.HeaderObject, operation, new OperationContext(EvenIfFull: true), cancellation);

    private bool Succeeded(OperationResult result, string verb)
    {
        if (result.Result == ResultCode.GuardFailed)
        {
            return false;
        }

        if (result.Result == ResultCode.NotFound)
        {
            throw new VolumeException(VolumeProblem.NotFound, $"volume {volume.Name} is gone");
        }

        result.ThrowIfFailed($"{verb} the lock of volume {volume.Name}");
        return true;
    }
}
