using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd.Scheduling;

// Clients whose latency rises with the background rate, as on a disk that is shared.
public class CapacityControllerTests
{
    private static (double Capacity, double Latency) Converge(double diskRate, double idleLatency, double factor, double seconds = 30)
    {
        var controller = new CapacityController();
        TimeSpan now = TimeSpan.FromSeconds(1);
        TimeSpan end = now + TimeSpan.FromSeconds(seconds);
        TimeSpan nextPause = now;
        TimeSpan pauseEnd = TimeSpan.Zero;
        while (now < end)
        {
            now += TimeSpan.FromMilliseconds(1);
            if (now >= nextPause)
            {
                controller.OnPause(now);
                pauseEnd = now + CapacityController.Pause;
                nextPause = now + TimeSpan.FromSeconds(1);
            }

            double utilisation = now < pauseEnd ? 0 : Math.Min(0.98, controller.Capacity / diskRate);
            double latency = idleLatency / (1 - utilisation);
            controller.OnClientDone(now - TimeSpan.FromSeconds(latency), now, true);
            controller.Step(factor, heldBack: true, now);
        }

        return (controller.Capacity, controller.BusyLatency);
    }

    [Theory]
    [InlineData(100e6)]
    [InlineData(500e6)]
    [InlineData(3e9)]
    public void Capacity_settles_where_clients_feel_what_the_profile_allows(double diskRate)
    {
        (double capacity, double latency) = Converge(diskRate, 0.001, 1.6);
        Assert.InRange(latency, 0.0012, 0.0022);
        Assert.InRange(capacity / diskRate, 0.2, 0.55);
    }

    [Fact]
    public void Without_held_back_work_nothing_is_learnt()
    {
        var controller = new CapacityController();
        for (int i = 0; i < 10_000; i++)
        {
            TimeSpan now = TimeSpan.FromMilliseconds(i);
            controller.OnClientDone(now - TimeSpan.FromMilliseconds(1), now, false);
            controller.Step(1.6, false, now);
        }

        Assert.Equal(CapacityController.Initial, controller.Capacity);
        Assert.Equal(0.001, controller.QuietLatency, 6);
    }

    [Fact]
    public void Operations_that_waited_for_something_else_do_not_count()
    {
        var controller = new CapacityController();
        TimeSpan now = TimeSpan.FromSeconds(100);
        for (int i = 0; i < 1000; i++)
        {
            controller.OnClientDone(now - TimeSpan.FromSeconds(5), now, false);
        }

        controller.Step(1.6, false, now);
        Assert.Equal(0, controller.QuietLatency);
    }
}
