using System.Text;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>Objects whose newest version only a dead OSD has, and groups that wait for a dead OSD.</summary>
public sealed class UnfoundTests
{
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void AnUnfoundObjectIsGivenUpOnlyAfterItsLastHolderWasDeclaredLost(bool revert)
    {
        (OsdCluster cluster, OsdId holder, OsdId other) = WithUnfound();
        OsdDaemon daemon = cluster.Daemon(other.Value);
        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "old"));
        cluster.RunFor(5);
        Assert.False(read.IsCompleted, "an operation on an unfound object waits");
        string json = daemon.QueryJson(cluster.Group)!;
        Assert.Contains("\"unfound\"", json, StringComparison.Ordinal);
        Assert.Matches($"\"may_be_on\": \\[\\s*{holder.Value}\\s*\\]", json);
        Assert.Contains("recovery_unfound", cluster.StateOf(cluster.Group), StringComparison.Ordinal);

        Assert.False(daemon.TryGiveUpUnfound(cluster.Group, revert, out string text));
        Assert.Contains(holder.ToString(), text, StringComparison.Ordinal);
        Lose(cluster, holder);
        Assert.True(daemon.TryGiveUpUnfound(cluster.Group, revert, out text), text);
        cluster.RunUntil(() => read.IsCompleted, "the read");
        byte[]? found = cluster.Loop.Run(() => read, TimeSpan.FromSeconds(1));
        Assert.Equal(revert ? "one" : null, found is null ? null : Encoding.UTF8.GetString(found));
        Assert.Null(cluster.Read("new"));
        Assert.Equal(ResultCode.Ok, cluster.Write("old", Bytes("three")));

        // The lost disk comes back after all: what was given up stays given up, and its copies become what the others are.
        cluster.Start(holder.Value);
        cluster.WaitClean();
        Assert.Equal("three", Encoding.UTF8.GetString(cluster.Read("old")!)[..5]);
        Assert.Null(cluster.Read("new"));
        cluster.AssertCopiesEqual(cluster.Group, ["old", "new", "other"]);
        cluster.RunFor(10);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
    }

    [Fact]
    public void WhatWasGivenUpStaysSoForAMemberThatCatchesUpLater()
    {
        (OsdCluster cluster, OsdId holder, OsdId other) = WithUnfound();
        Lose(cluster, holder);
        Assert.True(cluster.Daemon(other.Value).TryGiveUpUnfound(cluster.Group, true, out string text), text);
        cluster.RunFor(1);
        cluster.Crash(other.Value);
        cluster.RunFor(2);
        cluster.Start(other.Value);
        cluster.Start(holder.Value);
        cluster.WaitClean();
        Assert.Equal("one", Encoding.UTF8.GetString(cluster.Read("old")!));
        cluster.AssertCopiesEqual(cluster.Group, ["old", "new", "other"]);
    }

    [Fact]
    public void AnUnfoundObjectThatComesBackIsFound()
    {
        (OsdCluster cluster, OsdId holder, _) = WithUnfound();
        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "old"));
        cluster.RunFor(2);
        cluster.Start(holder.Value);
        cluster.WaitClean();
        Assert.Equal("two", Encoding.UTF8.GetString(cluster.Loop.Run(() => read, TimeSpan.FromSeconds(5))!));
        Assert.False(cluster.Daemon(cluster.Primary(cluster.Group)).TryGiveUpUnfound(cluster.Group, true, out string text));
        Assert.Contains("no unfound", text, StringComparison.Ordinal);
    }

    [Fact]
    public void AGroupStaysDownUntilTheOsdItWaitsForIsDeclaredLost()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        cluster.Write("a", Bytes("one"));
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        cluster.Crash(acting[0].Value);
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("two")));
        cluster.Crash(acting[1].Value);
        cluster.RunFor(5);
        cluster.Start(acting[0].Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("down", StringComparison.Ordinal), "down");
        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "a"));
        cluster.RunFor(20);
        Assert.False(read.IsCompleted);
        string json = cluster.Daemon(acting[0].Value).QueryJson(cluster.Group)!;
        Assert.Matches($"\"blocked_by\": \\[\\s*{acting[1].Value}\\s*\\]", json);
        Lose(cluster, acting[1]);
        cluster.RunUntil(() => read.IsCompleted, "the read goes on");
        Assert.Equal("one", Encoding.UTF8.GetString(cluster.Loop.Run(() => read, TimeSpan.FromSeconds(1))!));
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("new")));
        cluster.Start(acting[1].Value);
        cluster.WaitClean();
        Assert.Equal("new", Encoding.UTF8.GetString(cluster.Read("a")!));
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    // The live object's newest version is lost, the clones that its lost writes made are not, or the other way round. Whatever is put back has to
    // name the clones that there are.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhatIsGivenUpAgreesWithTheClonesThatAreLeft(bool revert)
    {
        SnapshotKit snapshots = null!;
        ulong[] taken = new ulong[3];
        (OsdCluster cluster, OsdId holder, OsdId other) = WithUnfound(
            before =>
            {
                snapshots = new SnapshotKit(before);
                snapshots.Write("first", "first one");
                taken[0] = snapshots.Take();
                snapshots.Write("old", "old since the first");
                taken[1] = snapshots.Take();
            },
            _ =>
            {
                snapshots.Write("old", "old since the second"); // makes clone 2
                snapshots.Write("first", "first two"); // makes clone 2, for both snapshots, of what the member that is away has too
                snapshots.Write("new", "new since the second");
                snapshots.Write("none", "none since the second");
                taken[2] = snapshots.Take();
                snapshots.Write("new", "new since the third"); // makes clone 3
                snapshots.Write("old", "old since the third"); // makes clone 3
                snapshots.Write("first", "first three"); // makes clone 3
                Assert.Equal(ResultCode.Ok, snapshots.Run("none", new ObjectOperation().Add(OperationCode.Remove))); // clone 3 under a tombstone
            },
            id => id.Snapshot == (id.Name is "old" or "new" ? ObjectId.NoSnapshot : taken[2]));
        Lose(cluster, holder);
        Assert.True(cluster.Daemon(other.Value).TryGiveUpUnfound(cluster.Group, revert, out string text), text);
        cluster.RunFor(10);
        Assert.Equal(revert ? "old since the first" : null, snapshots.Read("old"));
        Assert.Equal("old since the first", snapshots.Read("old", taken[1]));
        Assert.Equal("old since the second", snapshots.Read("old", taken[2]));
        Assert.Null(snapshots.Read("new"));
        Assert.Equal("new since the second", snapshots.Read("new", taken[2]));
        Assert.Equal("first three", snapshots.Read("first"));
        Assert.Equal("first one", snapshots.Read("first", taken[1]));
        Assert.Null(snapshots.Read("first", taken[2]));
        Assert.Null(snapshots.Read("none", taken[2]));
        snapshots.AssertAllEqual();
        cluster.Start(holder.Value);
        cluster.WaitClean();
        snapshots.AssertAllEqual();
        Assert.Equal("old since the second", snapshots.Read("old", taken[2]));
        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);

        // Work goes on, and what is trimmed leaves nothing behind.
        foreach (string name in new[] { "old", "new", "first", "none" })
        {
            snapshots.Write(name, "again");
        }

        snapshots.Remove(taken);
        cluster.WaitClean();
        cluster.RunFor(20);
        snapshots.AssertAllEqual();
        Assert.All(snapshots.Objects(other.Value), id => Assert.Equal(ObjectId.NoSnapshot, id.Snapshot));
        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
    }

    private static void Lose(OsdCluster cluster, OsdId osd)
    {
        cluster.Monitor.Edit(osd, info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.RunFor(3);
    }

    // The primary was away while the other two took writes, and knows of them by the log only. Then one of the two died, and the copies of
    // the other one went bad.
    private static (OsdCluster Cluster, OsdId Holder, OsdId Primary) WithUnfound() => WithUnfound(
        cluster =>
        {
            Assert.Equal(ResultCode.Ok, cluster.Write("old", Bytes("one")));
            Assert.Equal(ResultCode.Ok, cluster.Write("other", Bytes("other")));
        },
        cluster =>
        {
            Assert.Equal(ResultCode.Ok, cluster.Write("old", Bytes("two")));
            Assert.Equal(ResultCode.Ok, cluster.Write("new", Bytes("two")));
        },
        id => id.Name != "other");

    private static (OsdCluster Cluster, OsdId Holder, OsdId Primary) WithUnfound(Action<OsdCluster> before, Action<OsdCluster> meanwhile, Func<ObjectId, bool> isBad)
    {
        var cluster = new OsdCluster(3, size: 3, minSize: 1, configure: options => options with { ScrubInterval = TimeSpan.Zero, DeepScrubInterval = TimeSpan.Zero });
        cluster.WaitClean();
        before(cluster);
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        (OsdId primary, OsdId holder, OsdId damaged) = (acting[0], acting[1], acting[2]);
        cluster.Crash(primary.Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("degraded", StringComparison.Ordinal), "degraded");
        meanwhile(cluster);
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.NoRecover);
        cluster.RunFor(1);
        cluster.Start(primary.Value);
        cluster.RunUntil(() => cluster.Primary(cluster.Group) == primary.Value && cluster.StateOf(cluster.Group).Contains("active", StringComparison.Ordinal), "all act");
        cluster.RunFor(1);
        cluster.Crash(holder.Value);
        foreach (ObjectId id in new SnapshotKit(cluster).Objects(damaged.Value).Where(isBad))
        {
            Assert.True(cluster.Store(damaged.Value).FlipBit(new Storage.ObjectStore.CollectionId(cluster.Group), id, 1));
        }

        cluster.RunUntil(() => cluster.Monitor.Map.Locate(cluster.Group).Acting.Length == 2 && cluster.StateOf(cluster.Group).Contains("active", StringComparison.Ordinal), "two act");
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.None);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("unfound", StringComparison.Ordinal), "unfound");
        return (cluster, holder, primary);
    }
}
