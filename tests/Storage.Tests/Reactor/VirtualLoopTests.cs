using Storage.Reactor;
using Storage.Reactor.Virtual;
using Xunit;

namespace Storage.Tests.Reactor;

public sealed class VirtualLoopTests
{
    [Fact]
    public void TimeJumpsFromEventToEvent()
    {
        var loop = new VirtualLoop();
        var seen = new List<string>();
        loop.Schedule(TimeSpan.FromHours(1), _ => seen.Add($"b {loop.Now}"), null);
        loop.Schedule(TimeSpan.FromSeconds(1), _ => loop.Defer(_ => seen.Add($"a {loop.Now}"), null), null);
        loop.Schedule(TimeSpan.FromHours(1), _ => seen.Add($"c {loop.Now}"), null);
        loop.Schedule(TimeSpan.FromHours(2), _ => seen.Add("late"), null).Cancel();
        loop.RunFor(TimeSpan.FromMinutes(90));
        Assert.Equal(["a 00:00:01", "b 01:00:00", "c 01:00:00"], seen);
        Assert.Equal(TimeSpan.FromMinutes(90), loop.Now);
        Assert.True(loop.IsIdle);
    }

    [Fact]
    public void AsyncCodeRunsInlineOnVirtualTime()
    {
        var loop = new VirtualLoop();
        int result = loop.Run(async () =>
        {
            long stamp = loop.TimeProvider.GetTimestamp();
            await Task.Delay(TimeSpan.FromDays(3), loop.TimeProvider);
            await Task.WhenAll(Enumerable.Range(0, 10).Select(async i => await Task.Delay(TimeSpan.FromSeconds(i), loop.TimeProvider)));
            Assert.Same(loop.SynchronizationContext, SynchronizationContext.Current);
            return (int)loop.TimeProvider.GetElapsedTime(stamp).TotalSeconds;
        }, TimeSpan.FromDays(4));
        Assert.Equal((3 * 86400) + 9, result);
    }

    [Fact]
    public void AContinuationRunsInlineWhereItsTaskCompletes()
    {
        var loop = new VirtualLoop();
        var seen = new List<string>();
        var source = new TaskCompletionSource();
        loop.Run(async () =>
        {
            loop.Post(_ =>
            {
                source.SetResult();
                seen.Add("after set");
            }, null);
            await source.Task;
            seen.Add("continued");
        }, TimeSpan.FromSeconds(1));
        loop.RunFor(TimeSpan.Zero);
        Assert.Equal(["continued", "after set"], seen);
    }

    [Fact]
    public void ATaskThatCannotCompleteIsTold()
    {
        var loop = new VirtualLoop();
        Assert.Throws<TimeoutException>(() => loop.Run(() => new TaskCompletionSource().Task, TimeSpan.FromSeconds(1)));
    }

    [Fact]
    public void CancelledTimersLeaveTheHeapInOrder()
    {
        var loop = new VirtualLoop();
        var random = new Random(7);
        var fired = new List<int>();
        var expected = new List<(int Delay, int Index)>();
        var timers = new List<(ILoopTimer Timer, int Delay, int Index)>();
        for (int i = 0; i < 2000; i++)
        {
            int delay = random.Next(500);
            int index = i;
            timers.Add((loop.Schedule(TimeSpan.FromMilliseconds(delay), _ => fired.Add(index), null), delay, index));
        }

        foreach ((ILoopTimer timer, int delay, int index) in timers)
        {
            if (random.Next(3) > 0)
            {
                timer.Cancel();
            }
            else
            {
                expected.Add((delay, index));
            }
        }

        loop.RunFor(TimeSpan.FromSeconds(1));
        Assert.Equal(expected.OrderBy(e => e.Delay).ThenBy(e => e.Index).Select(e => e.Index), fired);
    }
}
