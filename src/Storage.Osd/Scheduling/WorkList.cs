namespace Storage.Osd;

// A doubly linked list through the items themselves.
internal sealed class WorkList
{
    public WorkItem? First { get; private set; }

    public WorkItem? Last { get; private set; }

    public int Count { get; private set; }

    public void Add(WorkItem item)
    {
        item.Previous = Last;
        item.Next = null;
        if (Last is null)
        {
            First = item;
        }
        else
        {
            Last.Next = item;
        }

        Last = item;
        Count++;
    }

    public void Remove(WorkItem item)
    {
        if (item.Previous is null)
        {
            First = item.Next;
        }
        else
        {
            item.Previous.Next = item.Next;
        }

        if (item.Next is null)
        {
            Last = item.Previous;
        }
        else
        {
            item.Next.Previous = item.Previous;
        }

        item.Previous = item.Next = null;
        Count--;
    }
}
