using Storage.Messaging;
using Xunit;

namespace Storage.Tests.Messaging;

public sealed class LifeWatchTests
{
    [Fact]
    public void SilenceCountsFromTheDialAndFromThePing()
    {
        var watch = new LifeWatch(pingAfter: Seconds(1), silence: Seconds(2));
        watch.Asked(Seconds(10));
        Assert.False(watch.IsPingDue(Seconds(11.9)));
        Assert.False(watch.IsSilent(Seconds(11.9)));
        Assert.True(watch.IsSilent(Seconds(12)));

        watch.Heard(Seconds(12));
        Assert.False(watch.IsPingDue(Seconds(12.9)));
        Assert.True(watch.IsPingDue(Seconds(13)));
        Assert.False(watch.IsSilent(Seconds(60)));

        watch.Asked(Seconds(13));
        Assert.False(watch.IsPingDue(Seconds(14.5)));
        Assert.Equal(Seconds(15), watch.Due);
        Assert.True(watch.IsSilent(Seconds(15)));
        watch.Heard(Seconds(14.9));
        Assert.False(watch.IsSilent(Seconds(15)));
    }

    private static TimeSpan Seconds(double seconds) => TimeSpan.FromSeconds(seconds);
}
