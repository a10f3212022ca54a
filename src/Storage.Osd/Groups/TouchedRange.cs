using Storage.ObjectStore;

namespace Storage.Osd;

/// <summary>Which bytes of its object a write may have changed: all of these and perhaps others between, none outside. Where the object ended
/// before the range, and goes on behind it now, zeroes stand between the two, as they do behind its end.</summary>
/// <param name="From">First byte.</param>
/// <param name="To">The byte after the last one; <see cref="long.MaxValue"/> for all that follow.</param>
internal readonly record struct TouchedRange(long From, long To)
{
    /// <summary>None: attributes or omap only.</summary>
    public static readonly TouchedRange Nothing = new(0, 0);

    /// <summary>The object was replaced, or it is not known what was written.</summary>
    public static readonly TouchedRange Everything = new(0, long.MaxValue);

    public bool IsEmpty => From >= To;

    public bool Intersects(long from, long to) => !IsEmpty && from < To && From < to;

    public TouchedRange Union(in TouchedRange other) =>
        IsEmpty ? other : other.IsEmpty ? this : new TouchedRange(Math.Min(From, other.From), Math.Max(To, other.To));

    /// <summary>What a transaction does to the data of one object.</summary>
    public static TouchedRange Of(Transaction transaction, CollectionId collection, Storage.Cluster.ObjectId id)
    {
        TouchedRange touched = Nothing;
        foreach (ref readonly TransactionStep step in transaction.Steps)
        {
            switch (step.Code)
            {
                case TransactionCode.Write or TransactionCode.Zero when step.Collection == collection && step.Object == id:
                    touched = touched.Union(new TouchedRange(step.Offset, step.Offset + step.Length));
                    break;
                case TransactionCode.Truncate when step.Collection == collection && step.Object == id:
                    touched = touched.Union(new TouchedRange(step.Offset, long.MaxValue));
                    break;
                case TransactionCode.Touch or TransactionCode.SetAttribute or TransactionCode.RemoveAttribute or TransactionCode.SetOmap or TransactionCode.RemoveOmap
                    or TransactionCode.RemoveOmapRange or TransactionCode.ClearOmap or TransactionCode.AppendLog or TransactionCode.TrimLog:
                case TransactionCode.Write or TransactionCode.Zero or TransactionCode.Truncate:
                    break;
                case TransactionCode.Remove when step.Object != id:
                case TransactionCode.Clone or TransactionCode.CloneRange when step.Destination != id:
                    break;
                default:
                    return Everything;
            }
        }

        return touched;
    }
}
