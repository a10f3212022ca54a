using System.Buffers.Binary;
using Storage.Client;
using Storage.Messaging;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>
/// Clients write numbered values to a few objects, each object by one client, while OSDs crash and return and connections break.
/// A read must show the last acknowledged value or a later one that was sent, and never an older one than a read before it.
/// </summary>
internal static class RandomCrashes
{
    private const int Objects = 6;

    public static void Run(int seed, bool changePool = false)
    {
        var random = new Random(seed);
        int osds = 3 + random.Next(2);
        var cluster = new OsdCluster(osds, pgCount: 2, seed: seed, configure: options => options with { LogEntries = random.Next(2) == 0 ? 5 : 200 });
        cluster.Network.Options.BreakProbability = random.Next(3) == 0 ? 0.002 : 0;
        var sent = new long[Objects];
        var acknowledged = new long[Objects];
        bool stop = false;
        var workers = new Task<bool>[Objects];
        for (int i = 0; i < Objects; i++)
        {
            int number = i;
            ObjectClient client = cluster.NewClient((ulong)(50 + i));
            workers[i] = cluster.Loop.Invoke(() => WorkAsync(client, number));
        }

        for (int round = 0; round < 12; round++)
        {
            cluster.RunFor(random.NextDouble() * (random.Next(4) == 0 ? 12 : 1));
            int victim = random.Next(osds);
            if (changePool && random.Next(2) == 0)
            {
                ChangePool(cluster, random);
            }

            if (random.Next(6) == 0)
            {
                // Power fails everywhere at once.
                for (int osd = 0; osd < osds; osd++)
                {
                    if (cluster.IsAlive(osd))
                    {
                        cluster.Crash(osd);
                    }
                }

                cluster.RunFor(0.1);
                for (int osd = 0; osd < osds; osd++)
                {
                    cluster.Start(osd);
                }
            }
            else if (random.Next(4) == 0)
            {
                // Cut off from the other OSDs and from the monitor, or only from the latter; clients still reach it.
                if (random.Next(2) == 0)
                {
                    cluster.Network.Partition([$"host{victim}"], Enumerable.Range(0, osds).Where(osd => osd != victim).Select(osd => $"host{osd}"));
                }

                cluster.Network.Partition($"host{victim}", "mon");
                cluster.RunFor(random.NextDouble() * 20);
                cluster.Network.HealAll();
            }
            else if (cluster.IsAlive(victim))
            {
                cluster.Crash(victim);
            }
            else
            {
                cluster.Start(victim);
            }
        }

        cluster.Network.Options.BreakProbability = 0;
        for (int osd = 0; osd < osds; osd++)
        {
            if (!cluster.IsAlive(osd))
            {
                cluster.Start(osd);
            }
        }

        cluster.WaitClean(240);
        stop = true;
        cluster.RunUntil(() => workers.All(worker => worker.IsCompleted), "workers end");
        foreach (Task<bool> worker in workers)
        {
            Assert.True(worker.GetAwaiter().GetResult());
        }

        cluster.WaitClean();
        for (uint group = 0; group < cluster.Monitor.Map.FindPool(OsdCluster.Pool)!.PgCount; group++)
        {
            var id = new Storage.Cluster.PgId(OsdCluster.Pool, group);
            cluster.AssertCopiesEqual(id, Enumerable.Range(0, Objects).Select(i => $"object{i}").Where(name =>
                Storage.Cluster.ClusterMap.GroupOf(cluster.Monitor.Map.FindPool(OsdCluster.Pool)!, Storage.Cluster.Placement.HashName(name)) == id));
        }

        static void ChangePool(OsdCluster cluster, Random random) => cluster.EditPool(pool => random.Next(5) switch
        {
            0 when pool.PgCount < 24 => pool with { PgCount = pool.PgCount + 1 + random.Next(pool.PgCount), PlacedPgCount = pool.EffectivePlacedPgCount },
            1 => pool with { PlacedPgCount = 0 },
            2 => pool with { Size = 2 + random.Next(2), MinSize = 2 },
            3 => pool with { PlacedPgCount = (pool.EffectivePlacedPgCount + 1) % pool.PgCount },
            _ => pool with { PgCount = Math.Min(24, pool.PgCount + 1), PlacedPgCount = 0 },
        });

        async Task<bool> WorkAsync(ObjectClient client, int number)
        {
            string name = $"object{number}";
            while (!stop)
            {
                var data = new byte[8192];
                long value = ++sent[number];
                BinaryPrimitives.WriteInt64LittleEndian(data, value);
                BinaryPrimitives.WriteInt64LittleEndian(data.AsSpan(8184), value);
                Assert.Equal(ResultCode.Ok, await OsdCluster.WriteAsync(client, name, data));
                acknowledged[number] = value;
                if (value % 3 == 0)
                {
                    byte[]? read = await OsdCluster.ReadAsync(client, name);
                    Assert.NotNull(read);
                    Assert.Equal(value, BinaryPrimitives.ReadInt64LittleEndian(read));
                    Assert.Equal(value, BinaryPrimitives.ReadInt64LittleEndian(read.AsSpan(8184)));
                }

                await Task.Delay(TimeSpan.FromMilliseconds(20), cluster.Loop.TimeProvider);
            }

            return true;
        }
    }
}
