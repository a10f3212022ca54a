using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.Tests.Messaging;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>An OSD comes back with an empty disk under its old number.</summary>
public sealed class NewDiskTests
{
    // Default seed 8004465: a monitor that had not heard of the last changes gave the new disk a map from before its OSD last served. By that map the disk seemed
    // to have been there all the time, and the PG went on without a write that only the old disk had.
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void ADiskIsNotTakenForTheOneBeforeItWhereItsFirstMapIsAnOldOne(int place)
    {
        var cluster = new OsdCluster(2, size: 2, minSize: 1, configure: options => options with { ListenAddress = options.ListenAddress with { Port = 6800 } });
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Encoding.UTF8.GetBytes("one")));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        int outdated = acting[1 - place].Value, replaced = acting[place].Value;
        byte[] old = cluster.Monitor.Map.Encode();

        cluster.Crash(outdated);
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Encoding.UTF8.GetBytes("two")));
        cluster.Crash(replaced);
        cluster.RunFor(10);
        cluster.ReplaceDisk(replaced);
        cluster.Network.Partition($"host{replaced}", "mon");
        cluster.Start(replaced);
        var update = new WireWriter();
        new MapUpdate(old, []).Encode(update);
        var peer = new ScriptHandler { Opened = connection => connection.Send(MessageType.MapUpdate, update.WrittenSpan) };
        cluster.Network.CreateTransport("host3", new PeerIdentity(EntityKind.Osd, 3, 99), MapAuthority.Fsid).Connect(new NodeAddress($"host{replaced}", 6800), peer);
        cluster.RunUntil(() => cluster.Daemon(replaced).Map is not null, "the old map");
        cluster.Network.HealAll();
        cluster.Start(outdated);
        cluster.RunUntil(() => cluster.Daemon(replaced).IsUp && cluster.Daemon(outdated).IsUp, "both up");
        cluster.RunFor(10);

        Assert.Equal("down", cluster.StateOf(cluster.Group));
        int primary = cluster.Monitor.Map.Locate(cluster.Group).Primary.Value;
        Assert.Contains("disk that is new since epoch", cluster.Daemon(primary).QueryJson(cluster.Group), StringComparison.Ordinal);
    }
}
