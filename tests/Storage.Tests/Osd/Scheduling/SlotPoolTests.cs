using FsCheck;
using FsCheck.Fluent;
using FsCheck.Xunit;
using Storage.Cluster;
using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd.Scheduling;

public class SlotPoolTests
{
    [Fact]
    public void The_highest_priority_goes_first_then_who_asked_first()
    {
        var pool = new SlotPool(1);
        PgId[] groups = [.. Enumerable.Range(0, 4).Select(i => new PgId(1, (uint)i))];
        pool.Request(groups[0], 10);
        pool.Request(groups[1], 200);
        pool.Request(groups[2], 200);
        pool.Request(groups[3], 255);
        var order = new List<PgId>();
        while (pool.TryGrant(out PgId next))
        {
            Assert.False(pool.CanGrant);
            order.Add(next);
            pool.Release(next);
        }

        Assert.Equal([groups[3], groups[1], groups[2], groups[0]], order);
    }

    [Property(MaxTest = 100)]
    public Property Never_more_are_held_than_there_are_and_nobody_is_forgotten() => Prop.ForAll(Gen.Choose(1, int.MaxValue).ToArbitrary(), seed =>
    {
        var random = new Random(seed);
        var pool = new SlotPool(random.Next(1, 4));
        var held = new HashSet<PgId>();
        var waiting = new Dictionary<PgId, int>();
        for (int i = 0; i < 300; i++)
        {
            var group = new PgId(1, (uint)random.Next(12));
            if (random.Next(2) == 0)
            {
                int priority = random.Next(3);
                pool.Request(group, priority);
                if (!held.Contains(group))
                {
                    waiting[group] = priority;
                }
            }
            else
            {
                Assert.Equal(held.Remove(group) | waiting.Remove(group), pool.Release(group));
            }

            while (pool.TryGrant(out PgId granted))
            {
                Assert.Equal(waiting.Values.Max(), waiting[granted]);
                waiting.Remove(granted);
                Assert.True(held.Add(granted));
            }

            Assert.Equal(held.Count, pool.Held);
            Assert.Equal(waiting.Count, pool.Waiting);
            Assert.True(held.Count <= pool.Slots);
            Assert.True(held.Count == pool.Slots || waiting.Count == 0);
        }
    });
}
