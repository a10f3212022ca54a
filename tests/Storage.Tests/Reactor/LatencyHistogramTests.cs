using Storage.Reactor;
using Xunit;

namespace Storage.Tests.Reactor;

public sealed class LatencyHistogramTests
{
    [Theory]
    [InlineData(0.5, 500)]
    [InlineData(0.99, 990)]
    [InlineData(1, 1000)]
    public void PercentilesAreWithinABucket(double share, double microseconds)
    {
        var histogram = new LatencyHistogram();
        for (int i = 1000; i > 0; i--)
        {
            histogram.Add(TimeSpan.FromMicroseconds(i));
        }

        Assert.InRange(histogram.Percentile(share).TotalMicroseconds, microseconds, microseconds * 1.032);
        Assert.Equal(500.5, histogram.Mean.TotalMicroseconds, 0.1);
        Assert.Equal(1000, histogram.Longest.TotalMicroseconds);
    }

    [Fact]
    public void WithoutLatenciesAllIsZero()
    {
        var histogram = new LatencyHistogram();
        Assert.Equal((TimeSpan.Zero, TimeSpan.Zero, TimeSpan.Zero), (histogram.Mean, histogram.Longest, histogram.Percentile(0.99)));
    }
}
