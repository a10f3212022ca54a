using Storage.Coding;

namespace Storage.Osd;

/// <summary>
/// Divides an OSD among clients and background work, after mClock (Gulati, Merchant, Varman, OSDI 2010): a class with a
/// reservation tag that is due goes first; else the one that is furthest behind its weight, within its limit. Clients are
/// never held up here, only accounted: what they take, background work does not get. No clock: time is passed in.
/// </summary>
/// <remarks>
/// All rates are shares of <see cref="Capacity"/>, cost per second that the OSD does without clients feeling it
/// (<see cref="CapacityController"/> finds it). While no client is active, neither rates nor limits hold; only weights do.
/// </remarks>
internal sealed class WorkScheduler
{
    /// <summary>Cost of an operation apart from its bytes, in bytes that take as long to move.</summary>
    public const int OperationCost = 32 << 10;

    /// <summary>Bounds of <see cref="IdleWindow"/>.</summary>
    public const int LeastIdleWindow = 4 << 20;

    /// <summary>Bounds of <see cref="IdleWindow"/>.</summary>
    public const int MostIdleWindow = 64 << 20;

    /// <summary>A class gets at least this much while clients are active, whatever the capacity is thought to be (cost per second).</summary>
    public const double LeastReservation = 256 << 10;

    /// <summary>Clients count as active for so long after an operation.</summary>
    public static readonly TimeSpan ActiveFor = TimeSpan.FromMilliseconds(500);

    /// <summary>What has not ended after so long no longer counts as under way: its peer may be dead, and others can go on.</summary>
    public static readonly TimeSpan OverdueAfter = TimeSpan.FromSeconds(2);

    private const int Classes = 5;
    private const double WantedSeconds = 0.05;
    private const double LongestDebt = 0.1; // seconds of capacity that a burst of clients can owe
    private const double TimerSlack = 0.005; // seconds that a rate may catch up: timers are no finer than a millisecond
    private const double LongestLead = 1; // seconds of its weight that a class can be ahead or behind

    // What other OSDs wait for has room of its own and goes first: were it to wait behind work that waits for them, two OSDs could wait for each other.
    private readonly LinkedItems<WorkItem>[] _own = [new(), new(), new(), new(), new()];
    private readonly LinkedItems<WorkItem>[] _forOthers = [new(), new(), new(), new(), new()];
    private readonly LinkedItems<WorkItem> _running = new();
    private readonly double[] _reservationAt = new double[Classes];
    private readonly double[] _limitAt = new double[Classes];
    private readonly double[] _progress = new double[Classes]; // cost divided by weight: lowest goes first
    private readonly long[] _dispatched = new long[Classes];
    private WorkProfile _profile;
    private double _capacity;
    private double _spare; // capacity that nobody used; negative: taken in advance
    private double _spareAt;
    private double _clientUntil = double.NegativeInfinity;
    private double _pausedUntil = double.NegativeInfinity;
    private double _idleWindow = 16 << 20;
    private long _ownCost;
    private long _forOthersCost;
    private bool _isFull;

    /// <summary>Creates a scheduler.</summary>
    /// <param name="profile">The shares.</param>
    /// <param name="capacity">See <see cref="Capacity"/>.</param>
    public WorkScheduler(WorkProfile profile, double capacity)
    {
        _profile = profile;
        Capacity = capacity;
    }

    /// <summary>The shares; may be replaced at any time.</summary>
    public WorkProfile Profile
    {
        get => _profile;
        set => _profile = value;
    }

    /// <summary>Cost per second of all classes together, above 0.</summary>
    public double Capacity
    {
        get => _capacity;
        set
        {
            Invariant.Holds(value > 0);
            _capacity = value;
        }
    }

    /// <summary>Cost of the background work that was dispatched and has not ended.</summary>
    public long RunningCost => _ownCost + _forOthersCost;

    /// <summary>Most cost under way at once of each kind, whatever was found to be right.</summary>
    public long MostWindow { get; set; } = long.MaxValue;

    /// <summary>Items that had not ended after <see cref="OverdueAfter"/>.</summary>
    public long Overdue { get; private set; }

    /// <summary>Whether background work waits only because its share is used up.</summary>
    public bool IsHeldBack { get; private set; }

    /// <summary>Cost under way at once while no client is active. Grows while work ends within about 50 ms of its dispatch and shrinks
    /// when it takes longer: enough to keep disk and network busy, and not more than a client that comes back can wait for.</summary>
    public long IdleWindow => (long)_idleWindow;

    /// <summary>Items that wait in a class.</summary>
    public int Queued(WorkClass workClass) => Waiting((int)workClass);

    /// <summary>Cost that a class was given so far.</summary>
    public long Dispatched(WorkClass workClass) => _dispatched[(int)workClass];

    /// <summary>Whether a client operation was seen lately.</summary>
    public bool ClientsActive(TimeSpan now) => now.TotalSeconds < _clientUntil;

    /// <summary>Background cost that may be under way now, and as much again that other OSDs wait for.</summary>
    public long Window(TimeSpan now) => Window(ClientsActive(now));

    /// <summary>Accounts for an operation that is carried out at once: a client's, or one that a client waits for.</summary>
    /// <param name="bytes">Data that it moves.</param>
    /// <param name="now">Now; never goes back.</param>
    public void OnClient(int bytes, TimeSpan now)
    {
        double seconds = now.TotalSeconds;
        double cost = OperationCost + (double)bytes;
        if (seconds >= _clientUntil)
        {
            Join(WorkClass.Client, seconds);
        }

        _clientUntil = seconds + ActiveFor.TotalSeconds;
        Refill(seconds);
        _spare = Math.Max(_spare - cost, -LongestDebt * _capacity);
        _progress[(int)WorkClass.Client] += cost / _profile[WorkClass.Client].Weight;
        _dispatched[(int)WorkClass.Client] += (long)cost;
    }

    /// <summary>Holds background work back until a time, so that clients can be measured alone.</summary>
    public void PauseUntil(TimeSpan until) => _pausedUntil = until.TotalSeconds;

    /// <summary>Queues an item; <see cref="TryDispatch"/> hands it out.</summary>
    /// <param name="owner">With whom it is cancelled.</param>
    /// <param name="item">Neither queued nor running.</param>
    /// <param name="workClass">Any but <see cref="WorkClass.Client"/>.</param>
    /// <param name="bytes">Data that it moves, 0 or more.</param>
    /// <param name="now">Now.</param>
    public void Submit(WorkOwner owner, WorkItem item, WorkClass workClass, int bytes, TimeSpan now)
    {
        Invariant.Holds(item.Stage == WorkItem.Phase.Idle && workClass != WorkClass.Client && bytes >= 0);
        int index = (int)workClass;
        item.Class = workClass;
        item.Cost = (int)Math.Min(int.MaxValue, (long)bytes + OperationCost);
        item.Stage = WorkItem.Phase.Queued;
        if (Waiting(index) == 0)
        {
            Join(workClass, now.TotalSeconds);
        }

        QueueOf(item).Add(item);
        owner.Add(item);
    }

    /// <summary>Takes out the item whose turn it is. It counts as under way until <see cref="Finish"/>.</summary>
    public bool TryDispatch(TimeSpan now, out WorkItem? item)
    {
        double seconds = now.TotalSeconds;
        Refill(seconds);
        DropOverdue(seconds);
        item = null;
        IsHeldBack = false;
        _isFull = false;
        bool active = seconds < _clientUntil;
        if (active && seconds < _pausedUntil)
        {
            return false;
        }

        if (TryTake(_forOthers, _forOthersCost, seconds, active, out item) || TryTake(_own, _ownCost, seconds, active, out item))
        {
            IsHeldBack = false;
            return true;
        }

        _isFull &= !IsHeldBack; // else time alone may be enough
        return false;
    }

    /// <summary>When something that waits may be dispatched by the passing of time alone.</summary>
    /// <returns>A time not before <paramref name="now"/>, or <see cref="TimeSpan.MaxValue"/>.</returns>
    public TimeSpan NextAt(TimeSpan now)
    {
        double seconds = now.TotalSeconds, next = double.PositiveInfinity;
        for (int i = 1; i < Classes; i++)
        {
            if (Waiting(i) == 0)
            {
                continue;
            }

            double spareAt = seconds + (Math.Max(0, -_spare) / _capacity);
            next = Math.Min(next, Math.Min(_reservationAt[i], Math.Min(_clientUntil, Math.Max(_limitAt[i], spareAt))));
            next = Math.Max(next, Math.Min(_pausedUntil, _clientUntil));
        }

        if (!double.IsPositiveInfinity(next) && _running.First is { } oldest)
        {
            // What waits for room is woken by the end of something else.
            next = !_isFull ? Math.Max(next, seconds) : _clientUntil > seconds ? _clientUntil : double.PositiveInfinity;
            next = Math.Min(next, oldest.DispatchedAt + OverdueAfter.TotalSeconds);
        }

        return double.IsPositiveInfinity(next) ? TimeSpan.MaxValue : next <= seconds ? now : TimeSpan.FromSeconds(next);
    }

    /// <summary>An item's work has ended. Does nothing if it was finished or cancelled before.</summary>
    public void Finish(WorkItem item, TimeSpan now)
    {
        if (item.Stage == WorkItem.Phase.Running)
        {
            double took = now.TotalSeconds - item.DispatchedAt;
            if (!item.IsOverdue && took > 0 && item.Cost > OperationCost)
            {
                double change = took < WantedSeconds ? 1.02 : Math.Max(0.9, 1 - ((took - WantedSeconds) / WantedSeconds * 0.05));
                _idleWindow = Math.Clamp(_idleWindow * change, LeastIdleWindow, MostIdleWindow);
            }

            Leave(item);
        }
    }

    /// <summary>Takes an item out, queued or running; it will not run.</summary>
    public void Cancel(WorkItem item)
    {
        if (item.Stage == WorkItem.Phase.Queued)
        {
            QueueOf(item).Remove(item);
            item.Stage = WorkItem.Phase.Idle;
            item.Owner!.Remove(item);
        }
        else if (item.Stage == WorkItem.Phase.Running)
        {
            Leave(item);
        }
    }

    /// <summary>Cancels all of an owner's items.</summary>
    public void CancelAll(WorkOwner owner)
    {
        while (owner.First is { } item)
        {
            Cancel(item);
        }
    }

    private long Window(bool active) => Math.Min(MostWindow, active ? Math.Min(_profile.BusyWindow, IdleWindow) : IdleWindow);

    private static bool IsForOthers(WorkItem item) => item.IsForOthers && !Mutations.Active(Mutation.TurnsWaitForEachOther);

    private LinkedItems<WorkItem> QueueOf(WorkItem item) => (IsForOthers(item) ? _forOthers : _own)[(int)item.Class];

    private int Waiting(int index) => _own[index].Count + _forOthers[index].Count;

    private void AddRunning(WorkItem item, long cost) => (IsForOthers(item) ? ref _forOthersCost : ref _ownCost) += cost;

    private bool TryTake(LinkedItems<WorkItem>[] queues, long running, double seconds, bool active, out WorkItem? item)
    {
        item = null;
        int index = active ? ChooseReserved(queues, seconds) : -1;
        bool reserved = index >= 0;
        if (!reserved)
        {
            index = ChooseByWeight(queues, seconds, active);
        }

        if (index < 0)
        {
            return false;
        }

        WorkItem chosen = queues[index].First!;
        if (running > 0 && running + chosen.Cost > Window(active))
        {
            _isFull = true;
            return false;
        }

        Dispatch(chosen, index, reserved, seconds);
        item = chosen;
        return true;
    }

    private void Dispatch(WorkItem item, int index, bool reserved, double seconds)
    {
        QueueOf(item).Remove(item);
        _running.Add(item);
        item.Stage = WorkItem.Phase.Running;
        item.IsOverdue = false;
        item.DispatchedAt = seconds;
        AddRunning(item, item.Cost);
        _dispatched[index] += item.Cost;
        _spare -= item.Cost;
        ref readonly WorkShare share = ref _profile[(WorkClass)index];
        if (reserved)
        {
            _reservationAt[index] = Math.Max(_reservationAt[index], seconds - LongestDebt) + (item.Cost / ReservedRate(share));
        }

        _limitAt[index] = Math.Max(_limitAt[index], seconds - TimerSlack) + (item.Cost / LimitedRate(share));
        _progress[index] += item.Cost / share.Weight;

        // What a class took while others left it must not be held against it for long.
        double lead = _capacity * LongestLead / share.Weight;
        _progress[index] = Math.Min(_progress[index], LeastProgress(index, seconds) + lead);
    }

    private double ReservedRate(in WorkShare share) => Math.Max(share.Reservation * _capacity, LeastReservation);

    private double LimitedRate(in WorkShare share) => Math.Max(share.Limit * _capacity, LeastReservation);

    // A class that begins to want something is neither behind nor ahead by what was before.
    private void Join(WorkClass workClass, double seconds)
    {
        int index = (int)workClass;
        double least = LeastProgress(index, seconds);
        if (!double.IsPositiveInfinity(least))
        {
            _progress[index] = Math.Max(_progress[index], least);
            double lead = _capacity * LongestLead / _profile[workClass].Weight;
            _progress[index] = Math.Min(_progress[index], least + lead);
        }
    }

    private double LeastProgress(int except, double seconds)
    {
        double least = double.PositiveInfinity;
        for (int i = 0; i < Classes; i++)
        {
            if (i != except && (i == 0 ? seconds < _clientUntil : Waiting(i) > 0))
            {
                least = Math.Min(least, _progress[i]);
            }
        }

        return least;
    }

    private static int Served => Mutations.Active(Mutation.SchedulerStarvesTrim) ? (int)WorkClass.Trim : Classes;

    private int ChooseReserved(LinkedItems<WorkItem>[] queues, double seconds)
    {
        int best = -1;
        for (int i = 1; i < Served; i++)
        {
            if (queues[i].Count > 0 && _reservationAt[i] <= seconds && (best < 0 || _reservationAt[i] < _reservationAt[best]))
            {
                best = i;
            }
        }

        return best;
    }

    private int ChooseByWeight(LinkedItems<WorkItem>[] queues, double seconds, bool active)
    {
        int best = -1;
        for (int i = 1; i < Served; i++)
        {
            if (queues[i].Count == 0)
            {
                continue;
            }

            // With clients there must be room for it, unless it is behind what its weight gives it beside theirs.
            if (active && (_limitAt[i] > seconds || (_spare < 0 && _progress[i] > _progress[0])))
            {
                IsHeldBack = true;
                continue;
            }

            if (best < 0 || _progress[i] < _progress[best])
            {
                best = i;
            }
        }

        return best;
    }

    private void Refill(double seconds)
    {
        if (seconds > _spareAt)
        {
            // A little may be saved up, so that pauses between items do not waste it.
            _spare = Math.Min(_spare + ((seconds - _spareAt) * _capacity), _capacity * TimerSlack);
            _spareAt = seconds;
        }
    }

    private void DropOverdue(double seconds)
    {
        while (_running.First is { } oldest && seconds - oldest.DispatchedAt >= OverdueAfter.TotalSeconds)
        {
            _running.Remove(oldest);
            oldest.IsOverdue = true;
            Overdue++;
            AddRunning(oldest, -oldest.Cost);
        }
    }

    private void Leave(WorkItem item)
    {
        if (!item.IsOverdue)
        {
            _running.Remove(item);
            AddRunning(item, -item.Cost);
        }

        Invariant.Holds(_ownCost >= 0 && _forOthersCost >= 0 && (_running.Count > 0 || RunningCost == 0));
        item.Stage = WorkItem.Phase.Idle;
        item.Owner!.Remove(item);
    }
}
