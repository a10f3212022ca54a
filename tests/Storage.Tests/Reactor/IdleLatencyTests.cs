using Storage.Reactor;
using Xunit;

namespace Storage.Tests.Reactor;

/// <summary>When the kernel is asked to keep cores awake; a file stands for its device.</summary>
public sealed class IdleLatencyTests : IDisposable
{
    private readonly string _device = Path.Combine(Directory.GetCurrentDirectory(), $"idle-latency-{Environment.ProcessId}-{Guid.NewGuid():n}");

    public void Dispose() => File.Delete(_device);

    [Fact]
    public void ALoopThatSleepsOftenHoldsTheRequestUntilItSleepsSeldom()
    {
        File.WriteAllBytes(_device, []);
        using var idle = new IdleLatency(TimeSpan.FromMicroseconds(7), _device);

        // 1000 sleeps a second.
        TimeSpan now = TimeSpan.FromSeconds(5);
        Assert.Null(idle.BeforeWait(now));
        for (int i = 0; i < 10; i++)
        {
            now += TimeSpan.FromMilliseconds(1);
            _ = idle.BeforeWait(now);
        }

        Assert.True(idle.IsHeld);
        Assert.Equal(7, Asked());

        // The loop comes back though nothing wakes it, or the cores would stay awake for ever.
        TimeSpan longest = Assert.NotNull(idle.BeforeWait(now + TimeSpan.FromMilliseconds(1)));
        Assert.InRange(longest, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(100));
        Assert.Null(idle.BeforeWait(now + TimeSpan.FromMilliseconds(1) + longest));
        Assert.False(idle.IsHeld);
        Assert.Equal(-1, Asked());
    }

    [Theory]
    [InlineData(100, false)]
    [InlineData(400, false)]
    [InlineData(600, true)]
    public void HeartbeatsAloneDoNotKeepCoresAwake(int sleepsPerSecond, bool held)
    {
        File.WriteAllBytes(_device, []);
        using var idle = new IdleLatency(TimeSpan.Zero, _device);
        for (int i = 0; i < sleepsPerSecond; i++)
        {
            _ = idle.BeforeWait(TimeSpan.FromSeconds(1 + ((double)i / sleepsPerSecond)));
        }

        Assert.Equal(held, idle.IsHeld);
        Assert.Equal(held ? 4 : 0, new FileInfo(_device).Length);
    }

    [Fact]
    public void WhatIsHeldStaysHeldWhileTheRateIsBetweenTheTwoBounds()
    {
        File.WriteAllBytes(_device, []);
        using var idle = new IdleLatency(TimeSpan.Zero, _device);
        for (int i = 0; i <= 20; i++)
        {
            _ = idle.BeforeWait(TimeSpan.FromMilliseconds(1000 + i));
        }

        Assert.True(idle.IsHeld);
        for (int i = 0; i < 300; i++)
        {
            _ = idle.BeforeWait(TimeSpan.FromMilliseconds(1020 + (i * 1000.0 / 300)));
        }

        Assert.True(idle.IsHeld);
    }

    [Theory]
    [InlineData("off", null)]
    [InlineData("0", 0)]
    [InlineData("25", 25)]
    public void TheSettingIsANumberOfMicrosecondsOrOff(string text, int? microseconds) =>
        Assert.Equal(microseconds is { } number ? TimeSpan.FromMicroseconds(number) : (TimeSpan?)null, IdleLatency.Parse(text));

    [Theory]
    [InlineData("-1")]
    [InlineData("2 us")]
    [InlineData("1000001")]
    [InlineData("OFF ")]
    public void AnyOtherSettingIsRefusedByName(string text) =>
        Assert.Contains("STORAGE_IDLE_LATENCY_US", Assert.Throws<NotSupportedException>(() => IdleLatency.Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("-1")]
    [InlineData("60us")]
    [InlineData("10001")]
    public void ASpinThatIsNoNumberOfMicrosecondsIsRefusedByName(string text) =>
        Assert.Contains("STORAGE_LOOP_SPIN_US", Assert.Throws<NotSupportedException>(() => ReactorOptions.ParseSpin(text)).Message, StringComparison.Ordinal);

    // A loop that finds its work while it watches does not sleep, and needs cores that are awake no less.
    [Fact]
    public void ALoopThatSpinsAsksAsWell()
    {
        File.WriteAllBytes(_device, []);
        using var fixture = new LoopFixture(new ReactorOptions { Spin = TimeSpan.FromMilliseconds(2), IdleLatency = TimeSpan.FromMicroseconds(3), IdleLatencyDevice = _device });
        Tick(fixture, () => new FileInfo(_device).Length == 4 && Asked() == 3);
    }

    [Fact]
    public void OnlyVirtualMachinesPollByDefault()
    {
        Assert.Equal(TimeSpan.Zero, IdleLatency.Suitable("haltpoll"));
        Assert.Equal(TimeSpan.FromMicroseconds(2), IdleLatency.Suitable("intel_idle"));
    }

    [Fact]
    public void ALoopUnderLoadAsksAndWithdrawsAndOneWithoutTheDeviceSaysSoOnceAndGoesOn()
    {
        File.WriteAllBytes(_device, []);
        using (var fixture = new LoopFixture(new ReactorOptions { IdleLatency = TimeSpan.FromMicroseconds(3), IdleLatencyDevice = _device }))
        {
            Tick(fixture, () => new FileInfo(_device).Length == 4 && Asked() == 3);
            Assert.True(SpinWait.SpinUntil(() => Asked() == -1, TimeSpan.FromSeconds(30)), "the request was never withdrawn");
        }

        var warnings = new List<string>();
        using (var fixture = new LoopFixture(new ReactorOptions { IdleLatency = TimeSpan.Zero, IdleLatencyDevice = _device + "-none" }))
        {
            fixture.Loop.Warned += warnings.Add;
            Tick(fixture, () => warnings.Count > 0);
            fixture.Run(() => { });
        }

        Assert.Contains("STORAGE_IDLE_LATENCY_US=off", Assert.Single(warnings), StringComparison.Ordinal);
    }

    // A timer each half millisecond wakes the loop as traffic would.
    private static void Tick(LoopFixture fixture, Func<bool> until)
    {
        void Next(object? state)
        {
            if (until())
            {
                fixture.Finished.Set();
                return;
            }

            fixture.Loop.Schedule(TimeSpan.FromMicroseconds(200), Next, null);
        }

        fixture.Post(() => Next(null));
        fixture.Await();
    }

    private int Asked()
    {
        byte[] bytes = File.ReadAllBytes(_device);
        return bytes.Length == 4 ? BitConverter.ToInt32(bytes) : int.MinValue;
    }
}
