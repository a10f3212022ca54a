namespace Storage.Coding;

/// <summary>An item that carries its own links, so that putting it into a list allocates nothing. It stands in one such list at a time.</summary>
/// <typeparam name="T">The item's own type.</typeparam>
public interface ILinked<T>
    where T : class
{
    /// <summary>The item before it; null for the first one. Set by the list only.</summary>
    T? Previous { get; set; }

    /// <summary>The item after it; null for the last one. Set by the list only.</summary>
    T? Next { get; set; }
}

/// <summary>A list through the items themselves, in the order they were added. Not thread-safe.</summary>
/// <typeparam name="T">The items.</typeparam>
public sealed class LinkedItems<T>
    where T : class, ILinked<T>
{
    /// <summary>The item added first of those that are there.</summary>
    public T? First { get; private set; }

    /// <summary>The item added last.</summary>
    public T? Last { get; private set; }

    /// <summary>How many there are.</summary>
    public int Count { get; private set; }

    /// <summary>Adds an item at the end.</summary>
    /// <param name="item">The item; in no list.</param>
    public void Add(T item)
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

    /// <summary>Takes an item out.</summary>
    /// <param name="item">The item; in this list.</param>
    public void Remove(T item)
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
