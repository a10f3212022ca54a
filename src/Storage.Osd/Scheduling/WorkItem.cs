using Storage.Coding;

namespace Storage.Osd;

/// <summary>
/// A step of background work that waits for its turn. Derived classes hold what the step needs; an item may be scheduled again
/// once it is finished. It carries the scheduler's links, so queueing allocates nothing.
/// </summary>
internal abstract class WorkItem : ILinked<WorkItem>
{
    internal enum Phase : byte
    {
        Idle,
        Queued,
        Running,
    }

    // List of the owner.
    internal WorkItem? OwnerPrevious;
    internal WorkItem? OwnerNext;
    internal WorkOwner? Owner;

    internal Phase Stage;
    internal bool IsOverdue;
    internal double DispatchedAt;

    // Queue of the class, or the list of running items.
    public WorkItem? Previous { get; set; }

    public WorkItem? Next { get; set; }

    /// <summary>The class it was scheduled in.</summary>
    public WorkClass Class { get; internal set; }

    /// <summary>Cost: bytes moved plus <see cref="WorkScheduler.OperationCost"/>.</summary>
    public int Cost { get; internal set; }

    /// <summary>Another OSD's work waits for it, and it waits for nobody's turn elsewhere.</summary>
    public virtual bool IsForOthers => false;

    /// <summary>It waits for its turn.</summary>
    public bool IsQueued => Stage == Phase.Queued;

    /// <summary>Its turn came and it has not been finished.</summary>
    public bool IsRunning => Stage == Phase.Running;

    /// <summary>Its turn has come: begins the work. Called on the loop.</summary>
    /// <returns>True if the work ended within the call; false if it goes on, and <see cref="IPlacementGroupHost.Finish"/> follows.</returns>
    protected internal abstract bool Run();
}

/// <summary>Whose items these are, so that they can be cancelled together.</summary>
internal sealed class WorkOwner
{
    internal WorkItem? First;

    /// <summary>Nothing of it is queued or running.</summary>
    public bool IsEmpty => First is null;

    internal void Add(WorkItem item)
    {
        Invariant.Holds(item.Owner is null);
        item.Owner = this;
        item.OwnerNext = First;
        item.OwnerPrevious = null;
        if (First is not null)
        {
            First.OwnerPrevious = item;
        }

        First = item;
    }

    internal void Remove(WorkItem item)
    {
        Invariant.Holds(ReferenceEquals(item.Owner, this));
        if (item.OwnerPrevious is null)
        {
            First = item.OwnerNext;
        }
        else
        {
            item.OwnerPrevious.OwnerNext = item.OwnerNext;
        }

        if (item.OwnerNext is not null)
        {
            item.OwnerNext.OwnerPrevious = item.OwnerPrevious;
        }

        item.Owner = null;
        item.OwnerNext = item.OwnerPrevious = null;
    }
}
