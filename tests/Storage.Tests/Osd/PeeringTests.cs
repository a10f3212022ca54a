using System.Text;
using Storage.Client;
using Storage.Cluster;
using Storage.Coding;
using Storage.Messaging;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Osd.Protocol;
using Storage.Tests.Messaging;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>Which log counts, what becomes of entries that do not, who may serve, and which operations are recognised.</summary>
public sealed class PeeringTests
{
    private const ulong Dying = 9;

    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    [Fact]
    public void IntervalsFromBeforeTheLastCleanOneAreForgottenAndOthersAreNot()
    {
        var history = new PgHistory { Created = new Epoch(2), KnownFrom = new Epoch(2) };
        history.Past.Add(Interval(2, 4));
        history.Past.Add(Interval(5, 9));
        history.Past.Add(Interval(10, 12));
        history.Prune();
        Assert.Equal(3, history.Past.Count);
        history.Merge(new PgHistory { Created = new Epoch(2), KnownFrom = new Epoch(2), LastEpochClean = new Epoch(9), MapEpoch = new Epoch(13) });
        Assert.Equal([Interval(5, 9).First, Interval(10, 12).First], history.Past.Select(interval => interval.First));
    }

    [Fact]
    public void AGapIsFilledByAPeerThatKnowsWhatHappenedAndByNoOther()
    {
        var history = new PgHistory { Created = new Epoch(2), LastEpochClean = new Epoch(5), KnownFrom = new Epoch(20), MapEpoch = new Epoch(20) };
        history.Past.Add(Interval(5, 8)); // cut off where maps were skipped
        Assert.True(history.HasGap);
        history.Merge(new PgHistory { Created = new Epoch(2), KnownFrom = new Epoch(3), MapEpoch = new Epoch(15) });
        Assert.True(history.HasGap, "a peer that ends before our knowledge begins leaves a gap");
        var peer = new PgHistory { Created = new Epoch(2), KnownFrom = new Epoch(3), MapEpoch = new Epoch(19) };
        peer.Past.Add(Interval(5, 12));
        peer.Past.Add(Interval(13, 19));
        Assert.True(history.Merge(peer));
        Assert.False(history.HasGap);
        Assert.Equal([(5u, 12u), (13u, 19u)], history.Past.Select(interval => (interval.First.Value, interval.Last.Value)));
    }

    // A PG moves to a new primary, which fetches the log from an OSD that is no member any more; that one dies before it answers, and comes back
    // with an empty disk. Neither makes a new interval.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ThePrimaryAsksAnotherHolderWhereTheOneItFetchesTheLogFromIsGone(bool returns)
    {
        // Of equal logs that of the lowest number is fetched.
        var cluster = new OsdCluster(4, pgCount: 16);
        cluster.WaitClean();
        PgId group = Enumerable.Range(0, 16).Select(seed => new PgId(OsdCluster.Pool, (uint)seed)).First(id => cluster.Monitor.Map.Locate(id).Acting is { } all && all[0] == all.Min());
        string name = Enumerable.Range(0, 1000).Select(i => $"object{i}").First(candidate => cluster.GroupOf(candidate) == group);
        Assert.Equal(ResultCode.Ok, cluster.Write(name, Bytes("one")));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(group).Acting];
        OsdId left = acting[0];
        OsdId added = Enumerable.Range(0, 4).Select(osd => new OsdId(osd)).Single(osd => !acting.Contains(osd));
        cluster.Monitor.ChangeNow(increment => increment.UpmapItems[group] = [(left, added)]);
        for (int i = 0; cluster.Daemon(added.Value).QueryJson(group)?.Contains($"the log from {left}", StringComparison.Ordinal) != true; i++)
        {
            Assert.True(i < 10_000, "the log is fetched");
            cluster.Loop.RunFor(TimeSpan.FromMicroseconds(10));
        }

        cluster.Crash(left.Value);
        if (returns)
        {
            cluster.ReplaceDisk(left.Value);
            cluster.Start(left.Value);
        }

        cluster.RunUntil(() => cluster.StateOf(group).StartsWith("active", StringComparison.Ordinal), "active", 30);
        Assert.Equal("one", Encoding.UTF8.GetString(cluster.Read(name)!));
        cluster.RunUntil(() => cluster.StateOf(group) == "active+clean", "clean");
        cluster.AssertCopiesEqual(group, [name]);
    }

    [Fact]
    public void ACleanGroupRemembersNoIntervalsAndADegradedOneDoes()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+undersized+degraded", "degraded");
        Assert.DoesNotContain("\"past_intervals\": []", Query(cluster), StringComparison.Ordinal);
        cluster.Start(replica);
        cluster.WaitClean();
        Assert.Contains("\"past_intervals\": []", Query(cluster), StringComparison.Ordinal);
    }

    // The primary dies with a write that nobody else has. Where the others then wrote nothing, its last_update is the highest of all; its
    // last_epoch_started is not, and what it alone has must not come back: the others have shown that it was never done.
    [Theory]
    [InlineData("create", true)]
    [InlineData("create", false)]
    [InlineData("modify", true)]
    [InlineData("modify", false)]
    [InlineData("delete", true)]
    [InlineData("delete", false)]
    public void DivergentEntriesOfAReturningMemberAreUndone(string kind, bool othersWrote)
    {
        OsdCluster cluster = Calm();
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("kept", Bytes("one")));
        ObjectOperation operation = kind == "delete" ? new ObjectOperation().Add(OperationCode.Remove) : new ObjectOperation().AddData(OperationCode.WriteFull, 0, Bytes("divergent"));
        int primary = DieWith(cluster, kind == "create" ? "made" : "kept", operation, default);
        Assert.Equal("one", Text(cluster.Read("kept")));
        Assert.Null(cluster.Read("made"));
        if (othersWrote)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write("other", Bytes("two")));
        }

        cluster.Start(primary);
        cluster.WaitClean();
        Assert.Equal("one", Text(cluster.Read("kept")));
        Assert.Null(cluster.Read("made"));
        Assert.True(cluster.Reached(primary, RarePath.DivergentRolledBack) > 0);
        cluster.AssertCopiesEqual(cluster.Group, ["kept", "made", "other"]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    public void NobodyHearsOfAWriteThatALostMemoryHeldAlone(int seed)
    {
        var cluster = new OsdCluster(3, seed: seed);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("kept", Bytes("one")));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        (int first, int slow, int other) = (acting[0].Value, acting[1].Value, acting[2].Value);
        var latency = TimeSpan.FromSeconds(3);
        cluster.StoreOptions = osd => osd == slow ? new MemoryStoreOptions { CommitLatencyMin = latency, CommitLatencyMax = latency } : new MemoryStoreOptions();
        cluster.Crash(slow);
        cluster.Start(slow);
        cluster.WaitClean();
        cluster.Crash(first);
        cluster.Monitor.MarkDown(new OsdId(first));
        cluster.RunUntil(() => cluster.Primary(cluster.Group) == slow && cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "the slow one serves");
        Assert.Equal("one", Text(cluster.Read("kept")));

        // A write that the primary logs, that its disk has not got yet, and that nobody else hears of.
        cluster.Network.Partition([$"host{slow}"], [$"host{other}"]);
        Task<ResultCode> write = cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, "kept", Bytes("two")));
        cluster.RunFor(0.1);
        Assert.False(write.IsCompleted);
        cluster.Start(first);
        cluster.RunFor(1);
        cluster.Crash(slow);
        cluster.Monitor.MarkDown(new OsdId(slow));
        cluster.Network.Heal($"host{slow}", $"host{other}");
        cluster.RunFor(1);

        cluster.StoreOptions = _ => new MemoryStoreOptions();
        cluster.Start(slow);
        cluster.WaitClean();
        cluster.RunUntil(() => write.IsCompleted, "the write is answered");
        Assert.Equal("two", Text(cluster.Read("kept")));
        cluster.AssertCopiesEqual(cluster.Group, ["kept"]);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ADivergentCloneIsUndoneWithItsObject(bool othersWrote)
    {
        OsdCluster cluster = Calm();
        cluster.WaitClean();
        var snapshots = new SnapshotKit(cluster);
        snapshots.Write("kept", "one");
        ulong snapshot = snapshots.Take();
        var context = new OperationContext(snapshots.Context);
        int primary = DieWith(cluster, "kept", new ObjectOperation().AddData(OperationCode.WriteFull, 0, Bytes("divergent")), context);
        if (othersWrote)
        {
            snapshots.Write("kept", "two");
        }

        cluster.Start(primary);
        cluster.WaitClean();
        Assert.Equal(othersWrote ? "two" : "one", snapshots.Read("kept"));
        Assert.Equal("one", snapshots.Read("kept", snapshot));
        Assert.True(cluster.Reached(primary, RarePath.DivergentRolledBack) > 0);
        snapshots.AssertAllEqual();
    }

    [Fact]
    public void OfEqualLogsTheOneWithTheLongestTailCountsAndNobodyIsBackfilledForLackOfEntries()
    {
        var cluster = new OsdCluster(3, configure: options => options with { LogEntries = options.Instance == 101 ? 8 : 200 });
        cluster.WaitClean();
        for (int i = 0; i < 60; i++)
        {
            cluster.Write($"object{i % 7}", Bytes($"content {i}"));
        }

        foreach (OsdId osd in cluster.Monitor.Map.Locate(cluster.Group).Acting.ToArray())
        {
            cluster.Crash(osd.Value);
            cluster.RunFor(1);
            cluster.Write("object1", Bytes($"without {osd}"));
            cluster.Start(osd.Value);
            cluster.WaitClean();
            Assert.Equal(0, cluster.Reached(osd.Value, RarePath.LogGap));
            cluster.AssertCopiesEqual(cluster.Group, Enumerable.Range(0, 7).Select(i => $"object{i}"));
        }
    }

    // A primary is cut off from everything but one reader that has the old map; the others are told at once that it is down.
    [Theory]
    [InlineData("cut off")]
    [InlineData("cut off, members start anew")]
    [InlineData("cut off after late answers")]
    public void ACutOffPrimaryShowsNothingOldOnceTheNewOneTookAWrite(string how)
    {
        OsdCluster cluster = Calm();
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("old")));
        ObjectClient writer = cluster.NewClient(8);
        Assert.Equal("old", Text(cluster.Loop.Run(() => OsdCluster.ReadAsync(writer, "a"), TimeSpan.FromSeconds(10))));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        string old = $"host{acting[0].Value}";
        string[] others = [$"host{acting[1].Value}", $"host{acting[2].Value}"];
        if (how == "cut off after late answers")
        {
            foreach (string other in others)
            {
                cluster.Network.Block(other, old);
            }

            cluster.RunFor(1.2);
            foreach (string other in others)
            {
                cluster.Network.Block(old, other);
            }

            cluster.RunFor(0.8);
            foreach (string other in others)
            {
                cluster.Network.Unblock(other, old);
            }

            cluster.RunFor(0.02);
        }

        cluster.Network.Partition([old, "client7"], [.. others, "mon", "client8"]);
        cluster.Monitor.MarkDown(acting[0]);
        if (how == "cut off, members start anew")
        {
            foreach (OsdId osd in acting[1..])
            {
                cluster.Crash(osd.Value);
                cluster.Start(osd.Value);
            }
        }

        Task<ResultCode> write = cluster.Loop.Invoke(() => OsdCluster.WriteAsync(writer, "a", Bytes("new")));
        TimeSpan done = TimeSpan.MaxValue;
        int before = 0;
        var reads = new List<(TimeSpan Started, Task<byte[]?> Read)>();
        for (int i = 0; i < 400; i++)
        {
            reads.Add((cluster.Loop.Now, cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "a"))));
            cluster.RunFor(0.02);
            if (done == TimeSpan.MaxValue && write.IsCompleted)
            {
                done = cluster.Loop.Now;
                before = reads.Count(read => read.Read.IsCompletedSuccessfully);
            }
        }

        Assert.True(write.IsCompleted);
        Assert.Equal(ResultCode.Ok, cluster.Loop.Run(() => write, TimeSpan.FromSeconds(1)));
        Assert.True(before > 0, "the old primary served for a while");
        Assert.DoesNotContain(reads, read => read.Started >= done && read.Read.IsCompletedSuccessfully && Text(read.Read.Result) == "old");
    }

    [Fact]
    public void MessagesOfAnotherIntervalAreRefused()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        OsdId[] acting = cluster.Monitor.Map.Locate(cluster.Group).Acting;
        foreach (OsdId osd in acting)
        {
            PlacementGroup group = cluster.Daemon(osd.Value).FindGroup(cluster.Group)!;
            OsdId from = osd == acting[0] ? acting[1] : acting[0];
            var header = new GroupHeader(cluster.Group, group.MapEpoch, group.Interval);
            Assert.True(group.Accepts(from, in header, OsdMessageType.InfoReply));
            GroupHeader earlier = header with { Interval = new Epoch(group.Interval.Value - 1) };
            GroupHeader later = header with { Interval = group.Interval.Next };
            foreach (MessageType type in new[] { OsdMessageType.InfoReply, OsdMessageType.ReplicaWrite, OsdMessageType.ReplicaWriteReply, OsdMessageType.LeaseReply, OsdMessageType.Push })
            {
                Assert.False(group.Accepts(from, in earlier, type));
                Assert.False(group.Accepts(from, in later, type));
            }
        }
    }

    [Fact]
    public void APrimaryThatRestartsAtOnceBeginsANewInterval()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("one")));
        int primary = cluster.Primary(cluster.Group);
        Epoch interval = cluster.Daemon(primary).FindGroup(cluster.Group)!.Interval;
        Task<ResultCode> write = cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, "a", Bytes("two")));
        cluster.Crash(primary);
        cluster.Start(primary);
        cluster.RunUntil(() => write.IsCompleted, "the write");
        cluster.WaitClean();
        Assert.True(cluster.Daemon(primary).FindGroup(cluster.Group)!.Interval > interval);
        Assert.Equal("two", Text(cluster.Read("a")));
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void OneMemberAloneServesOnlyWithMinSizeOne(int minSize)
    {
        var cluster = new OsdCluster(3, size: 3, minSize: minSize);
        cluster.WaitClean();
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        cluster.Crash(acting[1].Value);
        cluster.Crash(acting[2].Value);
        Task<ResultCode> write = cluster.Loop.Invoke(() => OsdCluster.WriteAsync(cluster.Client, "a", Bytes("one")));
        cluster.RunFor(20);
        Assert.Equal(minSize == 1, write.IsCompletedSuccessfully);
        cluster.Start(acting[1].Value);
        cluster.Start(acting[2].Value);
        cluster.WaitClean();
        Assert.Equal("one", Text(cluster.Read("a")));
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    // The answer to an exclusive creation is lost; a second creation would fail.
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ARetryIsRecognisedAfterFailoverAndBeyondTheLog(bool beyondLog)
    {
        var cluster = new OsdCluster(3, configure: options => options with { LogEntries = beyondLog ? 4 : 1000 });
        cluster.WaitClean();
        ObjectClient client = cluster.NewClient(8);
        Assert.Null(cluster.Loop.Run(() => OsdCluster.ReadAsync(client, "new"), TimeSpan.FromSeconds(10)));
        int primary = cluster.Primary(cluster.Group);
        cluster.Network.Block($"host{primary}", "client8");
        Task<ResultCode> create = cluster.Loop.Invoke(() => RunAsync(client, "new", new ObjectOperation().Add(OperationCode.Create, length: 1), default));
        cluster.RunFor(0.3);
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"other{i}", Bytes("x")));
        }

        Assert.False(create.IsCompleted);
        cluster.Crash(primary); // the client stays cut off from it, so that a late answer cannot stand in for the retry's
        cluster.RunUntil(() => create.IsCompleted, "the retry");
        Assert.Equal(ResultCode.Ok, cluster.Loop.Run(() => create, TimeSpan.FromSeconds(1)));
        Assert.True(cluster.Reached(cluster.Primary(cluster.Group), beyondLog ? RarePath.DuplicateBeyondLog : RarePath.DuplicateAnswered) > 0);
    }

    // Monitors went on while no OSD heard them, and keep nothing of it.
    [Theory]
    [InlineData("all there")]
    [InlineData("one starts later")]
    [InlineData("one is declared lost")]
    public void WhenEverybodySkippedMapsEveryOsdIsAskedAndTheProcessesGoOn(string how)
    {
        var cluster = new OsdCluster(4, size: 3, minSize: 2);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("one")));
        int absent = cluster.Monitor.Map.Locate(cluster.Group).Acting[2].Value;
        if (how != "all there")
        {
            cluster.Crash(absent);
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(absent)) && cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "degraded");
            Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("two")));
        }

        int[] there = [.. Enumerable.Range(0, 4).Where(cluster.IsAlive)];
        OsdDaemon[] daemons = [.. there.Select(cluster.Daemon)];
        foreach (int osd in there)
        {
            cluster.Network.Partition("mon", $"host{osd}");
        }

        for (int i = 0; i < 12; i++)
        {
            cluster.Monitor.ChangeNow(increment => increment.Flags = i % 2 == 0 ? ClusterFlags.NoScrub : ClusterFlags.None);
        }

        cluster.RunFor(20);
        foreach (OsdDaemon daemon in daemons)
        {
            Assert.True(daemon.Map!.Epoch < cluster.Monitor.Map.Epoch);
        }

        cluster.Monitor.OldestKept = cluster.Monitor.Map.Epoch;
        cluster.Network.HealAll();
        cluster.RunUntil(() => there.All(osd => cluster.Reached(osd, RarePath.LifeEndedAtGap) > 0 && cluster.Daemon(osd).IsUp), "all up in a new life");
        if (how != "all there")
        {
            cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("down", StringComparison.Ordinal), "down");
            Assert.Contains($"waits for osd.{absent} (down): it may have accepted writes in an interval that nobody knows of", Query(cluster), StringComparison.Ordinal);
            cluster.RunFor(10);
            Assert.StartsWith("down", cluster.StateOf(cluster.Group), StringComparison.Ordinal);
            if (how == "one starts later")
            {
                cluster.Start(absent);
            }
            else
            {
                cluster.Monitor.Edit(new OsdId(absent), info => info with { LostAt = cluster.Monitor.Map.Epoch.Next });
            }
        }

        cluster.RunUntil(() => cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "active");
        Assert.Equal(how == "all there" ? "one" : "two", Text(cluster.Read("a")));
        Assert.True(there.Sum(osd => cluster.Reached(osd, RarePath.HistoryGapCovered)) > 0);
        Assert.All(daemons, daemon => Assert.True(daemon.IsRunning));
        if (!cluster.IsAlive(absent))
        {
            cluster.Start(absent);
        }

        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("three")));
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    // Default seed 400069: an OSD that comes back hears from one with a new disk, which has no maps from before that disk, before it hears
    // from any monitor. Had it gone on with that one's newest map, nobody would have known who served in between.
    [Fact]
    public void AReturningOsdTakesNoWholeMapFromAPeer()
    {
        var cluster = new OsdCluster(3, configure: options => options with { ListenAddress = options.ListenAddress with { Port = 6800 } });
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("one")));
        cluster.Network.Partition("host0", "mon");
        cluster.Crash(0);
        for (int i = 0; i < 3; i++)
        {
            cluster.Monitor.ChangeNow(increment => increment.Flags = i % 2 == 0 ? ClusterFlags.NoScrub : ClusterFlags.None);
        }

        cluster.Start(0);
        var update = new WireWriter();
        new MapUpdate(cluster.Monitor.Map.Encode(), []).Encode(update);
        var peer = new ScriptHandler { Opened = connection => connection.Send(MessageType.MapUpdate, update.WrittenSpan) };
        cluster.Network.CreateTransport("host3", new PeerIdentity(EntityKind.Osd, 3, 99), MapAuthority.Fsid).Connect(new NodeAddress("host0", 6800), peer);
        cluster.RunUntil(() => peer.Trace.Count > 0, "the peer's map is sent");
        cluster.RunFor(0.1);
        cluster.Network.HealAll();
        cluster.RunUntil(() => cluster.Daemon(0).IsUp, "back");
        cluster.WaitClean();
        Assert.Equal(0, cluster.Reached(0, RarePath.MapsSkipped));
        Assert.Equal("one", Text(cluster.Read("a")));
    }

    // The pool is made larger and small again. A new member hears of that before the primary's order to take part in the larger one reaches it.
    [Fact]
    public void ACopyIsNotBegunForAnIntervalThatIsOver()
    {
        var cluster = new OsdCluster(3, size: 2, minSize: 1);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("a", Bytes("one")));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        int primary = acting[0].Value, third = 3 - acting.Sum(osd => osd.Value);
        cluster.EditPool(pool => pool with { Size = 3 });
        while (cluster.Daemon(primary).FindGroup(cluster.Group)!.Phase != GroupPhase.WaitActivate)
        {
            cluster.Loop.RunFor(TimeSpan.FromMicroseconds(50));
        }

        Assert.Null(cluster.Daemon(third).FindGroup(cluster.Group));
        cluster.Network.Block($"host{primary}", $"host{third}");
        cluster.RunUntil(() => cluster.Daemon(primary).FindGroup(cluster.Group)!.Phase == GroupPhase.Activating, "the order is on its way");
        cluster.EditPool(pool => pool with { Size = 2 });
        cluster.RunUntil(() => cluster.Daemon(third).Map!.Epoch == cluster.Monitor.Map.Epoch, "the third OSD has the map");
        cluster.RunFor(0.2);
        cluster.Network.Unblock($"host{primary}", $"host{third}");
        cluster.WaitClean();
        Assert.True(cluster.Reached(third, RarePath.ActivationOutdated) > 0);
        Assert.Null(cluster.Daemon(third).FindGroup(cluster.Group));

        cluster.EditPool(pool => pool with { Size = 3 });
        cluster.RunUntil(() => cluster.Daemon(third).FindGroup(cluster.Group) is not null, "a copy for the interval that lasts");
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["a"]);
    }

    private static PastInterval Interval(uint first, uint last) => new(new Epoch(first), new Epoch(last), [new OsdId(0)], new Epoch(1));

    private static string Query(OsdCluster cluster) => cluster.Daemon(cluster.Primary(cluster.Group)).QueryJson(cluster.Group)!;

    private static string? Text(byte[]? data) => data is null ? null : Encoding.UTF8.GetString(data);

    private static OsdCluster Calm() => new(3, configure: options => options with { ScrubInterval = TimeSpan.Zero, DeepScrubInterval = TimeSpan.Zero });

    private static async Task<ResultCode> RunAsync(ObjectClient client, string name, ObjectOperation operation, OperationContext context)
    {
        using OperationResult result = await client.ExecuteAsync(OsdCluster.Pool, name, operation, context);
        operation.Clear();
        return result.Result;
    }

    // The primary writes something that reaches no other member, and dies; so does the client, in effect.
    private static int DieWith(OsdCluster cluster, string name, ObjectOperation operation, OperationContext context)
    {
        ObjectClient client = cluster.NewClient(Dying);
        cluster.Loop.Run(() => OsdCluster.ReadAsync(client, "kept"), TimeSpan.FromSeconds(10));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        string[] others = [$"host{acting[1].Value}", $"host{acting[2].Value}"];
        string primary = $"host{acting[0].Value}";
        cluster.Network.Partition([primary, $"client{Dying}"], others);
        PgVersion before = cluster.Daemon(acting[0].Value).FindGroup(cluster.Group)!.Info.LastUpdate;
        Task<ResultCode> write = cluster.Loop.Invoke(() => RunAsync(client, name, operation, context));
        cluster.RunFor(0.3);
        Assert.False(write.IsCompleted);
        Assert.True(cluster.Daemon(acting[0].Value).FindGroup(cluster.Group)!.Info.LastUpdate > before, "the primary logged it");
        cluster.Network.Partition([$"client{Dying}"], [primary, "mon"]);
        cluster.Crash(acting[0].Value);
        cluster.Monitor.MarkDown(acting[0]);
        cluster.RunUntil(() => cluster.Primary(cluster.Group) != acting[0].Value && cluster.StateOf(cluster.Group).StartsWith("active", StringComparison.Ordinal), "the others serve");

        // What was on its way when it died may arrive only now, in another interval.
        foreach (string other in others)
        {
            cluster.Network.Heal(primary, other);
        }

        cluster.RunFor(1);
        return acting[0].Value;
    }
}
