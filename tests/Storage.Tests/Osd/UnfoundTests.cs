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

    private static void Lose(OsdCluster cluster, OsdId osd)
    {
        cluster.Monitor.Edit(osd, info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
        cluster.RunFor(3);
    }

    // The primary was away while the other two took writes, and knows of them by the log only. Then one of the two died, and the copies of
    // the other one went bad.
    private static (OsdCluster Cluster, OsdId Holder, OsdId Primary) WithUnfound()
    {
        var cluster = new OsdCluster(3, size: 3, minSize: 1, configure: options => options with { ScrubInterval = TimeSpan.Zero, DeepScrubInterval = TimeSpan.Zero });
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("old", Bytes("one")));
        Assert.Equal(ResultCode.Ok, cluster.Write("other", Bytes("other")));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        (OsdId primary, OsdId holder, OsdId damaged) = (acting[0], acting[1], acting[2]);
        cluster.Crash(primary.Value);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("degraded", StringComparison.Ordinal), "degraded");
        Assert.Equal(ResultCode.Ok, cluster.Write("old", Bytes("two")));
        Assert.Equal(ResultCode.Ok, cluster.Write("new", Bytes("two")));
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.NoRecover);
        cluster.RunFor(1);
        cluster.Start(primary.Value);
        cluster.RunUntil(() => cluster.Primary(cluster.Group) == primary.Value && cluster.StateOf(cluster.Group).Contains("active", StringComparison.Ordinal), "all act");
        cluster.RunFor(1);
        cluster.Crash(holder.Value);
        foreach (string name in new[] { "old", "new" })
        {
            Assert.True(cluster.Store(damaged.Value).FlipBit(new Storage.ObjectStore.CollectionId(cluster.Group), Placement.ObjectOf(name), 1));
        }

        cluster.RunUntil(() => cluster.Monitor.Map.Locate(cluster.Group).Acting.Length == 2 && cluster.StateOf(cluster.Group).Contains("active", StringComparison.Ordinal), "two act");
        cluster.Monitor.ChangeNow(increment => increment.Flags = ClusterFlags.None);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group).Contains("unfound", StringComparison.Ordinal), "unfound");
        return (cluster, holder, primary);
    }
}
