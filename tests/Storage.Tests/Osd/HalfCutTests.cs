using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>OSDs whose network works in one direction only.</summary>
public class HalfCutTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AnOsdThatIsCutOneWayIsMarkedDownOnceAndComesBackWhenOthersAnswer(bool loses)
    {
        var cluster = new OsdCluster(osds: 4);
        cluster.WaitClean();
        for (int other = 1; other < 4; other++)
        {
            cluster.Network.Block(loses ? "host0" : $"host{other}", loses ? $"host{other}" : "host0");
        }

        cluster.RunUntil(() => !cluster.Monitor.Map.FindOsd(new(0))!.IsUp, "osd.0 down", 8);
        cluster.RunFor(10);
        Assert.False(cluster.Monitor.Map.FindOsd(new(0))!.IsUp);
        Assert.Equal(1, cluster.Reached(0, RarePath.WronglyMarkedDown));
        Assert.Equal(3, cluster.Monitor.Map.Osds.Count(osd => osd.IsUp));
        cluster.Network.HealAll();
        cluster.RunUntil(() => cluster.Monitor.Map.FindOsd(new(0))!.IsUp, "osd.0 up", 20);
        cluster.WaitClean();
    }
}
