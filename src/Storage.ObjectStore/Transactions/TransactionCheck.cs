using Storage.Cluster;

namespace Storage.ObjectStore.Transactions;

/// <summary>What a store must answer so that a transaction can be judged before any of it is applied.</summary>
internal interface IStoreView
{
    bool CollectionExists(CollectionId collection);

    bool ObjectExists(CollectionId collection, ObjectId id);
}

/// <summary>
/// Refuses transactions that make no sense, with the effect of earlier steps on later ones taken into account. One
/// implementation for all stores, so that they agree. Kept by its store; not thread-safe.
/// </summary>
internal sealed class TransactionCheck(IStoreView view)
{
    private readonly List<(CollectionId Collection, bool Exists)> _collections = [];
    private readonly List<Effect> _objects = [];

    // What an earlier step of the transaction did to the existence of objects. Without an object: all of the collection were removed, or,
    // with a destination, those with the right hash went there.
    private readonly record struct Effect(CollectionId Collection, ObjectId? Object, bool Exists, CollectionId? Destination = null, int BitCount = 0, uint Bits = 0)
    {
        public bool Moves(ObjectId id) => Destination is not null && id.Name.Length > 0 && PgSplit.Holds(id.Hash, Bits, BitCount);
    }

    /// <summary>Throws <see cref="ArgumentException"/> naming the first step that cannot be applied.</summary>
    public void Validate(Transaction transaction)
    {
        ReadOnlySpan<TransactionStep> steps = transaction.Steps;
        bool needsExistence = false;
        foreach (ref readonly TransactionStep step in steps)
        {
            needsExistence |= step.Code is TransactionCode.Clone or TransactionCode.CloneRange or TransactionCode.Move;
        }

        _collections.Clear();
        _objects.Clear();
        CollectionId known = default;
        bool hasKnown = false;
        for (int i = 0; i < steps.Length; i++)
        {
            ref readonly TransactionStep step = ref steps[i];
            if (step.Code is TransactionCode.CreateCollection or TransactionCode.RemoveCollection)
            {
                bool exists = step.Code == TransactionCode.CreateCollection;
                _collections.Add((step.Collection, exists));
                hasKnown = false;
                if (!exists)
                {
                    _objects.Add(new Effect(step.Collection, null, false));
                }

                continue;
            }

            // Nearly every transaction stays in one collection: ask for it once.
            if (!hasKnown || step.Collection != known)
            {
                RequireCollection(i, step.Collection);
                known = step.Collection;
                hasKnown = true;
            }

            if (step.Code == TransactionCode.SplitCollection)
            {
                CheckSplit(i, in step, needsExistence);
                continue;
            }

            if (step.Code is TransactionCode.AppendLog or TransactionCode.TrimLog)
            {
                CheckLog(i, in step);
                continue;
            }

            CheckStep(i, in step);
            if (needsExistence)
            {
                FollowExistence(i, in step);
            }
        }
    }

    private static void CheckStep(int index, in TransactionStep step)
    {
        if (step.Object is null)
        {
            Refuse(index, in step, "names no object");
        }

        switch (step.Code)
        {
            case TransactionCode.Write or TransactionCode.Zero:
                CheckRange(index, in step, step.Offset, step.Length);
                break;
            case TransactionCode.Truncate:
                CheckRange(index, in step, step.Offset, 0);
                break;
            case TransactionCode.CloneRange:
                CheckRange(index, in step, step.Offset, step.Length);
                CheckRange(index, in step, step.DestinationOffset, step.Length);
                break;
            case TransactionCode.SetAttribute or TransactionCode.RemoveAttribute when step.Name is null:
                Refuse(index, in step, "names no attribute");
                break;
            default:
                break;
        }

        if (step.Code is TransactionCode.Clone or TransactionCode.CloneRange or TransactionCode.Move && step.Destination is null)
        {
            Refuse(index, in step, "names no destination");
        }
    }

    private static void CheckLog(int index, in TransactionStep step)
    {
        if (step.Value.Length > StoreLimits.LargestLogRecord || step.Offset < 0)
        {
            throw new ArgumentException($"step {index}: {step.Code} of {step.Collection} with {step.Value.Length} bytes at {step.Offset}; records end at {StoreLimits.LargestLogRecord}");
        }
    }

    private static void CheckRange(int index, in TransactionStep step, long offset, long length)
    {
        if (offset < 0 || length < 0 || offset > StoreLimits.LargestObject || length > StoreLimits.LargestObject - offset)
        {
            Refuse(index, in step, $"covers {length} bytes at {offset}; objects end at {StoreLimits.LargestObject}");
        }
    }

    private void FollowExistence(int index, in TransactionStep step)
    {
        switch (step.Code)
        {
            case TransactionCode.Clone or TransactionCode.CloneRange:
                RequireObject(index, in step);
                _objects.Add(new Effect(step.Collection, step.Destination, true));
                break;
            case TransactionCode.Move:
                RequireCollection(index, step.DestinationCollection);
                RequireObject(index, in step);
                _objects.Add(new Effect(step.Collection, step.Object, false));
                _objects.Add(new Effect(step.DestinationCollection, step.Destination, true));
                break;
            case TransactionCode.Remove:
                _objects.Add(new Effect(step.Collection, step.Object, false));
                break;
            case TransactionCode.Touch or TransactionCode.Write or TransactionCode.Zero or TransactionCode.Truncate
                or TransactionCode.SetAttribute or TransactionCode.SetOmap:
                _objects.Add(new Effect(step.Collection, step.Object, true));
                break;
            default:
                break;
        }
    }

    private void RequireCollection(int index, CollectionId collection)
    {
        for (int i = _collections.Count - 1; i >= 0; i--)
        {
            if (_collections[i].Collection == collection)
            {
                if (_collections[i].Exists)
                {
                    return;
                }

                throw new ArgumentException($"step {index}: collection {collection} does not exist");
            }
        }

        if (!view.CollectionExists(collection))
        {
            throw new ArgumentException($"step {index}: collection {collection} does not exist");
        }
    }

    private void CheckSplit(int index, in TransactionStep step, bool needsExistence)
    {
        RequireCollection(index, step.DestinationCollection);
        if (step.Offset is < 0 or > 32 || step.Length is < 0 or > uint.MaxValue || step.Collection == step.DestinationCollection)
        {
            throw new ArgumentException($"step {index}: {step.Code} of {step.Collection} into {step.DestinationCollection} by {step.Offset} bits of {step.Length:x}");
        }

        if (needsExistence)
        {
            _objects.Add(new Effect(step.Collection, null, false, step.DestinationCollection, (int)step.Offset, (uint)step.Length));
        }
    }

    private void RequireObject(int index, in TransactionStep step)
    {
        if (!Exists(step.Collection, step.Object!, _objects.Count))
        {
            Refuse(index, in step, "has no such source");
        }
    }

    // Whether an object exists after the first so many effects.
    private bool Exists(CollectionId collection, ObjectId id, int effects)
    {
        for (int i = effects - 1; i >= 0; i--)
        {
            Effect effect = _objects[i];
            if (effect.Destination is { } destination)
            {
                if (effect.Moves(id))
                {
                    if (effect.Collection == collection)
                    {
                        return false;
                    }

                    if (destination == collection && Exists(effect.Collection, id, i))
                    {
                        return true;
                    }
                }
            }
            else if (effect.Collection == collection && (effect.Object is null || effect.Object == id))
            {
                return effect.Exists;
            }
        }

        return view.CollectionExists(collection) && view.ObjectExists(collection, id);
    }

    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    private static void Refuse(int index, in TransactionStep step, string reason) =>
        throw new ArgumentException($"step {index}: {step.Code} of {step.Collection}/{step.Object} {reason}");
}
