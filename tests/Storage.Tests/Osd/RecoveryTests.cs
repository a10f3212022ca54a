using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

// Reservations, priorities and resumption of recovery and backfill.
public sealed class RecoveryTests
{
    private const int Groups = 12;

    private static OsdCluster Filled(int osds, int objects, int bytes, int size = 3, Func<OsdOptions, OsdOptions>? configure = null)
    {
        var cluster = new OsdCluster(osds, size: size, pgCount: Groups, configure: configure);
        cluster.WaitClean();
        var data = new byte[bytes];
        for (int i = 0; i < objects; i++)
        {
            data[0] = (byte)i;
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", data));
        }

        return cluster;
    }

    // The connection on which a slot was given back breaks before that arrives.
    [Fact]
    public void ASlotWhoseReleaseWasLostIsGivenBackOnTheNextConnection()
    {
        var cluster = new OsdCluster(3);
        cluster.WaitClean();
        Assert.Equal(ResultCode.Ok, cluster.Write("object", new byte[1000]));
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        int member = acting[2].Value;
        (string primary, string target) = ($"host{acting[0].Value}", $"host{member}");
        cluster.Crash(member);
        cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(acting[2]), "it is down");
        for (int i = 0; i < 30; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", new byte[1000]));
        }

        cluster.Start(member);
        StepUntil(HoldsSlot);
        StepUntil(() => cluster.Daemon(member).FindGroup(cluster.Group)!.Missing.Count == 0);
        cluster.Network.Options.BreakAfter = TimeSpan.FromSeconds(2);
        cluster.Network.Block(primary, target);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+clean", "recovered");
        Assert.True(HoldsSlot());
        cluster.RunFor(4);
        Assert.True(HoldsSlot());
        cluster.Network.Unblock(primary, target);
        cluster.RunUntil(() => !HoldsSlot(), "the slot is free", 5);
        cluster.WaitClean();

        bool HoldsSlot() => cluster.Daemon(member).FindGroup(cluster.Group) is { } group && ((IPlacementGroupHost)cluster.Daemon(member)).HoldsSlot(group, SlotKind.Recovery, remote: true);

        void StepUntil(Func<bool> condition)
        {
            for (int i = 0; !condition(); i++)
            {
                Assert.True(i < 1_000_000, "in time");
                cluster.Loop.RunFor(TimeSpan.FromMicroseconds(50));
            }
        }
    }

    // A connection that breaks begins the copying anew, while pieces of the time before and confirmations of them are still about.
    [Fact]
    public void ObjectsCopiedInManyPiecesOverBreakingConnectionsAreTheSame()
    {
        for (int seed = 1; seed <= 12; seed++)
        {
            var cluster = new OsdCluster(3, seed: seed, pgCount: 4, configure: options => options with { RecoveryChunkBytes = 4096, BusyRecoveryChunkBytes = 4096 });
            cluster.WaitClean();
            cluster.Crash(2);
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(2)), "it is down");
            var random = new Random(seed);
            var data = new byte[60_000];
            string[] names = [.. Enumerable.Range(0, 12).Select(i => $"object{i}")];
            foreach (string name in names)
            {
                random.NextBytes(data);
                Assert.Equal(ResultCode.Ok, cluster.Write(name, data));
            }

            cluster.StoreOptions = _ => new MemoryStoreOptions { CommitLatencyMin = TimeSpan.FromMilliseconds(5), CommitLatencyMax = TimeSpan.FromMilliseconds(60) };
            cluster.Start(2);
            cluster.RunUntil(() => cluster.Monitor.Map.IsUp(new OsdId(2)), "it is up");
            cluster.Network.Options.BreakProbability = 0.02;
            cluster.RunFor(4);
            cluster.Network.Options.BreakProbability = 0;
            cluster.WaitClean();
            foreach (string name in names)
            {
                cluster.AssertCopiesEqual(cluster.GroupOf(name), [name]);
            }
        }
    }

    // The source of a pull is asked again on a new connection, and has taken a write meanwhile, for the puller's copy is here though not yet on disk.
    [Fact]
    public void An_object_that_came_is_not_unfound_though_its_source_refuses_to_send_it_again()
    {
        for (int seed = 1; seed <= 8; seed++)
        {
            var cluster = new OsdCluster(3, seed: seed);
            cluster.WaitClean();
            int primary = cluster.Primary(cluster.Group);
            cluster.Crash(primary);
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(primary)), "it is down");
            string[] names = [.. Enumerable.Range(0, 6).Select(i => $"object{i}")];
            foreach (string name in names)
            {
                Assert.Equal(ResultCode.Ok, cluster.Write(name, new byte[1000]));
            }

            var slow = TimeSpan.FromMilliseconds(150);
            cluster.StoreOptions = _ => new MemoryStoreOptions { CommitLatencyMin = slow, CommitLatencyMax = slow };
            cluster.Start(primary);
            cluster.RunUntil(() => cluster.Daemon(primary).FindGroup(cluster.Group) is { Missing.Count: > 0 }, "it misses objects");
            cluster.Network.Options.BreakProbability = 0.05;
            Task<ResultCode>[] writes = [];
            for (int round = 0; round < 3; round++)
            {
                writes = [.. writes, .. cluster.Loop.Run(() => Task.FromResult(names.Select(name => OsdCluster.WriteAsync(cluster.Client, name, [1, 2, 3])).ToArray()), TimeSpan.FromSeconds(1))];
                cluster.RunFor(0.1);
            }

            cluster.Network.Options.BreakProbability = 0;
            cluster.WaitClean();
            cluster.RunUntil(() => writes.All(write => write.IsCompleted), "written");
            foreach (string name in names)
            {
                cluster.AssertCopiesEqual(cluster.Group, [name]);
            }
        }
    }

    private static string[] States(OsdCluster cluster) => [.. Enumerable.Range(0, Groups).Select(seed => cluster.StateOf(new PgId(OsdCluster.Pool, (uint)seed)))];

    private static void Replace(OsdCluster cluster, int osd)
    {
        cluster.Crash(osd);
        cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(osd)), "it is down");
        cluster.ReplaceDisk(osd);
        cluster.Start(osd);
    }

    private static OsdOptions ShortLog(OsdOptions options) => options with { LogEntries = 4, BackfillGroups = 1, RecoveryChunkBytes = 16 << 10, BusyRecoveryChunkBytes = 16 << 10 };

    private static long Reached(OsdCluster cluster, int osds, RarePath path) =>
        Enumerable.Range(0, osds).Where(cluster.IsAlive).Sum(osd => cluster.Daemon(osd).RarePaths[(int)path]);

    [Fact]
    public void No_more_PGs_backfill_to_an_OSD_at_once_than_it_has_slots_for()
    {
        OsdCluster cluster = Filled(3, 240, 64 << 10, configure: ShortLog);
        Replace(cluster, 2);
        int most = 0;
        bool waited = false;
        cluster.RunUntil(
            () =>
            {
                string[] states = States(cluster);
                int backfilling = states.Count(state => state.Contains("+backfilling", StringComparison.Ordinal));
                most = Math.Max(most, backfilling);
                waited |= states.Any(state => state.Contains("backfill_wait", StringComparison.Ordinal));
                return cluster.Monitor.Map.IsUp(new OsdId(2)) && states.All(state => state == "active+clean");
            },
            "clean again",
            300);
        Assert.Equal(1, most);
        Assert.True(waited);
        for (int seed = 0; seed < Groups; seed++)
        {
            cluster.AssertCopiesEqual(new PgId(OsdCluster.Pool, (uint)seed), Enumerable.Range(0, 240).Select(i => $"object{i}").Where(name => Placed(cluster, name) == seed));
        }
    }

    private static int Placed(OsdCluster cluster, string name) =>
        (int)ClusterMap.GroupOf(cluster.Monitor.Map.FindPool(OsdCluster.Pool)!, Placement.ObjectOf(name).Hash).Seed;

    [Fact]
    public void The_death_of_a_primary_frees_the_slots_it_holds_elsewhere()
    {
        OsdCluster cluster = Filled(4, 300, 64 << 10, configure: ShortLog);
        Replace(cluster, 3);
        int primary = -1;
        cluster.RunUntil(
            () =>
            {
                int seed = Array.FindIndex(States(cluster), state => state.Contains("+backfilling", StringComparison.Ordinal));
                primary = seed < 0 ? -1 : cluster.Primary(new PgId(OsdCluster.Pool, (uint)seed));
                return primary is >= 0 and not 3;
            },
            "a PG backfills");
        cluster.Crash(primary);
        cluster.RunFor(10);
        cluster.Start(primary);
        cluster.WaitClean(300);
        Assert.True(Reached(cluster, 4, RarePath.ReservationEndedByInterval) > 0);
    }

    [Fact]
    public void A_target_that_is_too_full_is_not_filled_until_it_has_room()
    {
        OsdCluster cluster = Filled(3, 240, 16 << 10, configure: ShortLog);
        cluster.Monitor.ChangeNow(increment => increment.Configuration["mon/mon_osd_backfillfull_ratio"] = "0.0001");
        Replace(cluster, 2);
        cluster.RunUntil(() => States(cluster).Any(state => state.Contains("backfill_toofull", StringComparison.Ordinal)), "a PG says why it waits");
        Assert.True(Reached(cluster, 3, RarePath.ReservationRejected) > 0);
        Assert.Equal(ResultCode.Ok, cluster.Write("object1", [1, 2, 3]));
        cluster.Monitor.ChangeNow(increment => increment.Configuration["mon/mon_osd_backfillfull_ratio"] = "0.9");
        cluster.WaitClean(300);
    }

    [Fact]
    public void A_backfill_goes_on_from_its_cursor_after_the_target_restarted()
    {
        OsdCluster cluster = Filled(3, 1200, 8 << 10, configure: options => options with { LogEntries = 4, BackfillGroups = 2 });
        Replace(cluster, 2);
        cluster.RunUntil(() => Enumerable.Range(0, Groups).Any(seed => cluster.Daemon(2).QueryJson(new PgId(OsdCluster.Pool, (uint)seed)) is { } json
            && json.Contains("\"complete\": false", StringComparison.Ordinal) && !json.Contains("\"last_backfill\": \"MIN\"", StringComparison.Ordinal)), "a cursor has moved");
        cluster.Crash(2);
        cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(2)), "it is down");
        cluster.Start(2);
        cluster.WaitClean(300);
        Assert.True(Reached(cluster, 3, RarePath.BackfillResumed) > 0);
    }

    [Fact]
    public void An_object_that_a_client_wants_does_not_wait_for_the_others()
    {
        OsdCluster cluster = Filled(3, 200, 1 << 20, configure: options => options with { LogEntries = 1000 });
        int replica = cluster.Monitor.Map.Locate(cluster.Group).Acting[1].Value;
        cluster.Crash(replica);
        cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(new OsdId(replica)), "it is down");
        for (int i = 0; i < 200; i++)
        {
            Assert.Equal(ResultCode.Ok, cluster.Write($"object{i}", [9, 9, 9]));
        }

        cluster.Start(replica);
        cluster.RunUntil(() => States(cluster).Any(state => state.Contains("recover", StringComparison.Ordinal)), "recovery begins");
        TimeSpan asked = cluster.Loop.Now;
        Assert.Equal(ResultCode.Ok, cluster.Write("object199", [1]));
        Assert.True(cluster.Loop.Now - asked < TimeSpan.FromSeconds(2), $"it took {cluster.Loop.Now - asked}");
        cluster.WaitClean(300);
    }
}
