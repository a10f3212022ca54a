using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd.Scheduling;

// The scheduler in front of a disk that does a fixed cost per second, one item after the other.
public class WorkSchedulerTests
{
    private static readonly WorkClass[] s_background = [WorkClass.Recovery, WorkClass.Backfill, WorkClass.Scrub, WorkClass.Trim];

    private sealed class Item(bool forOthers = false) : WorkItem
    {
        public int Runs;

        public override bool IsForOthers => forOthers;

        protected internal override bool Run()
        {
            Runs++;
            return false;
        }
    }

    private sealed class Bench(WorkProfile profile, double capacity, double diskRate)
    {
        public readonly WorkScheduler Scheduler = new(profile, capacity);
        private readonly WorkOwner _owner = new();
        private readonly Queue<WorkItem> _disk = new();
        private double _diskUntil;

        public TimeSpan Now { get; private set; } = TimeSpan.FromSeconds(1);

        public long MostRunning { get; private set; }

        public void Run(double seconds, IReadOnlyList<WorkClass> backlogged, int itemBytes, double clientRate, int clientBytes)
        {
            TimeSpan end = Now + TimeSpan.FromSeconds(seconds);
            double owed = 0;
            while (Now < end)
            {
                Now += TimeSpan.FromMilliseconds(1);
                for (owed += clientRate / 1000; owed >= clientBytes + WorkScheduler.OperationCost; owed -= clientBytes + WorkScheduler.OperationCost)
                {
                    Scheduler.OnClient(clientBytes, Now);
                }

                foreach (WorkClass workClass in backlogged)
                {
                    while (Scheduler.Queued(workClass) < 4)
                    {
                        Scheduler.Submit(_owner, new Item(), workClass, itemBytes, Now);
                    }
                }

                while (_disk.Count > 0 && _diskUntil + (_disk.Peek().Cost / diskRate) <= Now.TotalSeconds)
                {
                    WorkItem done = _disk.Dequeue();
                    _diskUntil += done.Cost / diskRate;
                    Scheduler.Finish(done, Now);
                }

                while (Scheduler.TryDispatch(Now, out WorkItem? item))
                {
                    Assert.True(Scheduler.ClientsActive(Now) ? Scheduler.RunningCost <= Math.Max(item!.Cost, Scheduler.Profile.BusyWindow) : Scheduler.RunningCost <= WorkScheduler.MostIdleWindow);
                    item!.Run();
                    _diskUntil = _disk.Count == 0 ? Now.TotalSeconds : _diskUntil;
                    _disk.Enqueue(item);
                    while (Scheduler.Queued(item.Class) < 4)
                    {
                        Scheduler.Submit(_owner, new Item(), item.Class, itemBytes, Now);
                    }
                }

                MostRunning = Math.Max(MostRunning, Scheduler.RunningCost);
            }
        }
    }

    private static readonly Gen<WorkProfile> s_profiles = Gen.Elements(WorkProfile.Client, WorkProfile.Balanced, WorkProfile.Recovery);

    private static Arbitrary<(WorkProfile Profile, int ItemBytes, int ClientBytes, int Load, int Classes)> Cases() => (
        from profile in s_profiles
        from item in Gen.Choose(0, 512 << 10)
        from client in Gen.Choose(0, 128 << 10)
        from load in Gen.Choose(1, 30)
        from classes in Gen.Choose(1, 15)
        select (profile, item, client, load, classes)).ToArbitrary();

    private static WorkClass[] Chosen(int classes) => [.. s_background.Where((_, i) => (classes & (1 << i)) != 0)];

    private const double Capacity = 200e6;

    [Property(MaxTest = 40)]
    public Property Reservations_are_met_however_much_clients_take() => Prop.ForAll(Cases(), test =>
    {
        var bench = new Bench(test.Profile, Capacity, Capacity * 4);
        WorkClass[] classes = Chosen(test.Classes);
        bench.Run(2, classes, test.ItemBytes, Capacity * test.Load / 5, test.ClientBytes);
        foreach (WorkClass workClass in classes)
        {
            double owed = test.Profile[workClass].Reservation * Capacity * 2;
            Assert.True(bench.Scheduler.Dispatched(workClass) >= (owed * 0.95) - test.ItemBytes - WorkScheduler.OperationCost, $"{workClass} got {bench.Scheduler.Dispatched(workClass)} of {owed}");
        }
    });

    [Property(MaxTest = 40)]
    public Property Limits_hold_while_clients_are_active() => Prop.ForAll(Cases(), test =>
    {
        var bench = new Bench(test.Profile, Capacity, Capacity * 4);
        WorkClass[] classes = Chosen(test.Classes);
        bench.Scheduler.OnClient(0, bench.Now);
        bench.Run(2, classes, test.ItemBytes, Capacity / 5, 4096);
        foreach (WorkClass workClass in classes)
        {
            // Whole items: one goes when the limit lets its class begin, and one more may go at the end because its reservation is due.
            double most = (test.Profile[workClass].Limit * Capacity * 2.005) + (2 * (test.ItemBytes + WorkScheduler.OperationCost));
            Assert.True(bench.Scheduler.Dispatched(workClass) <= most, $"{workClass} got {bench.Scheduler.Dispatched(workClass)} of at most {most}");
        }
    });

    [Property(MaxTest = 40)]
    public Property Without_clients_the_disk_is_shared_by_weight_and_kept_busy() => Prop.ForAll(Cases(), test =>
    {
        var bench = new Bench(test.Profile, Capacity, Capacity);
        WorkClass[] classes = Chosen(test.Classes);
        int cost = test.ItemBytes + WorkScheduler.OperationCost;
        bench.Run(3, classes, test.ItemBytes, 0, 1);
        long total = classes.Sum(bench.Scheduler.Dispatched);
        Assert.True(total >= Capacity * 3 * 0.9, $"only {total} dispatched");
        double weights = classes.Sum(workClass => test.Profile[workClass].Weight);
        foreach (WorkClass workClass in classes)
        {
            double fair = total * test.Profile[workClass].Weight / weights;
            Assert.InRange(bench.Scheduler.Dispatched(workClass), (fair * 0.9) - (4 * cost), (fair * 1.1) + (4 * cost));
        }
    });

    [Property(MaxTest = 40)]
    public Property Everybody_goes_on_under_any_load() => Prop.ForAll(Cases(), test =>
    {
        var bench = new Bench(test.Profile, CapacityController.Least, 1e9);
        WorkClass[] classes = Chosen(test.Classes);
        for (int i = 0; i < 4; i++)
        {
            long[] before = [.. s_background.Select(bench.Scheduler.Dispatched)];
            bench.Run(5, classes, test.ItemBytes, 400e6, test.ClientBytes);
            foreach (WorkClass workClass in classes)
            {
                Assert.True(bench.Scheduler.Dispatched(workClass) > before[(int)workClass - 1], $"{workClass} starved");
            }
        }
    });

    [Property(MaxTest = 40)]
    public Property What_clients_leave_is_used() => Prop.ForAll(Cases(), test =>
    {
        // A fifth goes to clients; of the rest recovery may take what its limit allows.
        var bench = new Bench(test.Profile, Capacity, Capacity * 4);
        bench.Run(1, [], 0, Capacity / 5, 4096);
        bench.Run(3, [WorkClass.Recovery], test.ItemBytes, Capacity / 5, 4096);
        double expected = Math.Min(0.8, test.Profile[WorkClass.Recovery].Limit) * Capacity * 3;
        Assert.InRange(bench.Scheduler.Dispatched(WorkClass.Recovery), expected * 0.85, (expected * 1.3) + (2 * test.ItemBytes));
    });

    [Property(MaxTest = 60)]
    public Property Random_use_keeps_the_books() => Prop.ForAll(Gen.Choose(1, int.MaxValue).ToArbitrary(), seed =>
    {
        var random = new Random(seed);
        var scheduler = new WorkScheduler(WorkProfile.Balanced, 50e6);
        WorkOwner[] owners = [new(), new(), new()];
        var items = new List<Item>();
        TimeSpan now = TimeSpan.Zero;
        for (int i = 0; i < 400; i++)
        {
            now += TimeSpan.FromMilliseconds(random.Next(20));
            switch (random.Next(7))
            {
                case 0 or 1:
                    var item = new Item();
                    items.Add(item);
                    scheduler.Submit(owners[random.Next(3)], item, s_background[random.Next(4)], random.Next(4 << 20), now);
                    break;
                case 2:
                    scheduler.OnClient(random.Next(1 << 20), now);
                    break;
                case 3 or 4:
                    while (scheduler.TryDispatch(now, out WorkItem? next))
                    {
                        if (next!.Run())
                        {
                            scheduler.Finish(next, now);
                        }
                    }

                    Assert.True(scheduler.NextAt(now) >= now);
                    break;
                case 5 when items.Count > 0:
                    Item some = items[random.Next(items.Count)];
                    if (random.Next(3) == 0)
                    {
                        scheduler.Cancel(some);
                        Assert.False(some.IsQueued || some.IsRunning);
                    }
                    else
                    {
                        scheduler.Finish(some, now);
                    }

                    break;
                case 6 when random.Next(10) == 0:
                    WorkOwner owner = owners[random.Next(3)];
                    scheduler.CancelAll(owner);
                    Assert.True(owner.IsEmpty);
                    break;
                default:
                    break;
            }

            Assert.All(items, item => Assert.InRange(item.Runs, 0, 1));
        }

        now += TimeSpan.FromSeconds(10);
        foreach (Item item in items)
        {
            scheduler.Finish(item, now);
        }

        Assert.Equal(0, scheduler.RunningCost);
        for (int i = 0; i < 1000 && s_background.Sum(scheduler.Queued) > 0; i++)
        {
            TimeSpan next = scheduler.NextAt(now);
            now = next > now ? next : now + TimeSpan.FromMilliseconds(1);
            while (scheduler.TryDispatch(now, out WorkItem? item))
            {
                scheduler.Finish(item!, now);
            }
        }

        Assert.Equal(0, s_background.Sum(scheduler.Queued));
        Assert.True(owners.All(owner => owner.IsEmpty));
        Assert.Equal(TimeSpan.MaxValue, scheduler.NextAt(now));
    });

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void WhatOthersWaitForNeverWaitsForWorkThatWaitsForThem(bool clientsActive)
    {
        var scheduler = new WorkScheduler(WorkProfile.Balanced, 1e9);
        var owner = new WorkOwner();
        TimeSpan now = TimeSpan.FromSeconds(1);
        for (int i = 0; i < 100; i++)
        {
            scheduler.Submit(owner, new Item(), WorkClass.Recovery, 4 << 20, now);
        }

        if (clientsActive)
        {
            scheduler.OnClient(4096, now);
        }

        while (scheduler.TryDispatch(now, out _))
        {
        }

        Assert.True(scheduler.Queued(WorkClass.Recovery) > 0, "the window is full of work that waits for others");
        var served = new Item(forOthers: true);
        scheduler.Submit(owner, served, WorkClass.Backfill, 4 << 20, now);
        now += TimeSpan.FromMilliseconds(20);
        Assert.True(scheduler.TryDispatch(now, out WorkItem? next));
        Assert.Same(served, next);
        Assert.False(scheduler.TryDispatch(now, out _));
    }

    [Fact]
    public void An_item_that_never_ends_does_not_hold_the_others_for_good()
    {
        var scheduler = new WorkScheduler(WorkProfile.Balanced, 50e6);
        var owner = new WorkOwner();
        TimeSpan now = TimeSpan.FromSeconds(1);
        scheduler.OnClient(0, now);
        Item lost = new(), next = new();
        scheduler.Submit(owner, lost, WorkClass.Recovery, 4 << 20, now);
        Assert.True(scheduler.TryDispatch(now, out _));
        scheduler.Submit(owner, next, WorkClass.Scrub, 4 << 20, now);
        Assert.False(scheduler.TryDispatch(now, out _));
        for (int i = 0; i < 30; i++)
        {
            now += TimeSpan.FromMilliseconds(100);
            scheduler.OnClient(0, now);
        }

        Assert.True(scheduler.TryDispatch(now, out WorkItem? dispatched));
        Assert.Same(next, dispatched);
        scheduler.Finish(lost, now);
        scheduler.Finish(next, now);
        Assert.Equal(0, scheduler.RunningCost);
    }

    [Fact]
    public void A_slow_disk_gets_little_ahead_and_a_fast_one_much()
    {
        var slow = new Bench(WorkProfile.Balanced, Capacity, 80e6);
        slow.Run(5, [WorkClass.Recovery], 1 << 20, 0, 1);
        var fast = new Bench(WorkProfile.Balanced, Capacity, 2e9);
        fast.Run(5, [WorkClass.Recovery], 1 << 20, 0, 1);
        Assert.InRange(slow.Scheduler.IdleWindow, WorkScheduler.LeastIdleWindow, 8 << 20);
        Assert.InRange(fast.Scheduler.IdleWindow, 40 << 20, WorkScheduler.MostIdleWindow);
        Assert.True(slow.Scheduler.Dispatched(WorkClass.Recovery) > 80e6 * 5 * 0.9);
    }
}
