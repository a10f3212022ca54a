using Storage.Coding;

namespace Storage.Reactor.Timers;

/// <summary>Timers ordered by time, then by when they were scheduled: a binary heap whose elements know their place, so that
/// the many timeouts that are cancelled leave at once.</summary>
internal sealed class TimerQueue
{
    private LoopTimer[] _heap = new LoopTimer[64];
    private long _sequence;

    public int Count { get; private set; }

    /// <summary>Time of the earliest timer; null if there is none.</summary>
    public TimeSpan? Next => Count == 0 ? null : _heap[0].Due;

    public LoopTimer Add(TimeSpan due, Action<object?> callback, object? state)
    {
        if (Count == _heap.Length)
        {
            Array.Resize(ref _heap, _heap.Length * 2);
        }

        var timer = new LoopTimer(this, due, _sequence++, callback, state);
        SiftUp(Count++, timer);
        return timer;
    }

    /// <summary>Takes the earliest timer if it is due.</summary>
    public bool TryTakeDue(TimeSpan now, out LoopTimer timer)
    {
        timer = Count > 0 ? _heap[0] : null!;
        if (timer is null || timer.Due > now)
        {
            return false;
        }

        Remove(timer);
        return true;
    }

    public void Remove(LoopTimer timer)
    {
        int index = timer.Index;
        if (index < 0)
        {
            return;
        }

        Invariant.Holds(ReferenceEquals(_heap[index], timer));
        timer.Index = -1;
        LoopTimer last = _heap[--Count];
        _heap[Count] = null!;
        if (index < Count)
        {
            if (index > 0 && last.IsBefore(_heap[(index - 1) / 2]))
            {
                SiftUp(index, last);
            }
            else
            {
                SiftDown(index, last);
            }
        }
    }

    private void SiftUp(int index, LoopTimer timer)
    {
        while (index > 0)
        {
            int parent = (index - 1) / 2;
            if (!timer.IsBefore(_heap[parent]))
            {
                break;
            }

            Place(index, _heap[parent]);
            index = parent;
        }

        Place(index, timer);
    }

    private void SiftDown(int index, LoopTimer timer)
    {
        while (true)
        {
            int child = (2 * index) + 1;
            if (child >= Count)
            {
                break;
            }

            if (child + 1 < Count && _heap[child + 1].IsBefore(_heap[child]))
            {
                child++;
            }

            if (!_heap[child].IsBefore(timer))
            {
                break;
            }

            Place(index, _heap[child]);
            index = child;
        }

        Place(index, timer);
    }

    private void Place(int index, LoopTimer timer)
    {
        _heap[index] = timer;
        timer.Index = index;
    }
}

/// <summary>One scheduled callback.</summary>
internal sealed class LoopTimer(TimerQueue queue, TimeSpan due, long sequence, Action<object?> callback, object? state) : ILoopTimer
{
    private readonly long _sequence = sequence;

    /// <summary>Place in the heap; -1 once it has run or was cancelled.</summary>
    public int Index { get; set; } = -1;

    public TimeSpan Due { get; } = due;

    public bool IsBefore(LoopTimer other) => Due != other.Due ? Due < other.Due : _sequence < other._sequence;

    public void Cancel() => queue.Remove(this);

    public void Run() => callback(state);
}
