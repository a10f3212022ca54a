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
    private readonly List<(CollectionId Collection, ObjectId? Object, bool Exists)> _objects = [];

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
                    _objects.Add((step.Collection, null, false));
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
                _objects.Add((step.Collection, step.Destination, true));
                break;
            case TransactionCode.Move:
                RequireCollection(index, step.DestinationCollection);
                RequireObject(index, in step);
                _objects.Add((step.Collection, step.Object, false));
                _objects.Add((step.DestinationCollection, step.Destination, true));
                break;
            case TransactionCode.Remove:
                _objects.Add((step.Collection, step.Object, false));
                break;
            case TransactionCode.Touch or TransactionCode.Write or TransactionCode.Zero or TransactionCode.Truncate
                or TransactionCode.SetAttribute or TransactionCode.SetOmap:
                _objects.Add((step.Collection, step.Object, true));
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

    private void RequireObject(int index, in TransactionStep step)
    {
        for (int i = _objects.Count - 1; i >= 0; i--)
        {
            if (_objects[i].Collection == step.Collection && (_objects[i].Object is null || _objects[i].Object == step.Object))
            {
                if (_objects[i].Exists)
                {
                    return;
                }

                Refuse(index, in step, "has no such source");
            }
        }

        if (!view.CollectionExists(step.Collection) || !view.ObjectExists(step.Collection, step.Object!))
        {
            Refuse(index, in step, "has no such source");
        }
    }

    [System.Diagnostics.CodeAnalysis.DoesNotReturn]
    private static void Refuse(int index, in TransactionStep step, string reason) =>
        throw new ArgumentException($"step {index}: {step.Code} of {step.Collection}/{step.Object} {reason}");
}
