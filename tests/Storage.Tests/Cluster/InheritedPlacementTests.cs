using FsCheck.Xunit;
using Storage.Cluster;
using Storage.Crush;
using Xunit;

namespace Storage.Tests.Cluster;

/// <summary>A map takes over what the one before it had worked out; it must place every PG as a map that starts from nothing does.</summary>
public sealed class InheritedPlacementTests
{
    private const int Osds = 24;

    [Property(MaxTest = 60)]
    public void Inherited_placement_is_that_of_a_map_worked_out_afresh(int seed)
    {
        var random = new Random(seed);
        ClusterMap map = NewMap(random);
        for (int step = 0; step < 25; step++)
        {
            foreach (PoolInfo pool in map.Pools)
            {
                for (uint group = 0; group < (uint)pool.PgCount; group++)
                {
                    if (random.Next(4) > 0)
                    {
                        map.Locate(new PgId(pool.Id, group)); // what is known when the next map comes differs
                    }
                }
            }

            map = map.Apply(Draw(map, random));
            ClusterMap fresh = ClusterMap.Decode(map.Encode());
            foreach (PoolInfo pool in map.Pools)
            {
                for (uint group = 0; group < (uint)pool.PgCount; group++)
                {
                    var id = new PgId(pool.Id, group);
                    Assert.Equal(fresh.Locate(id).Up, map.Locate(id).Up);
                    Assert.Equal(fresh.Locate(id).Acting, map.Locate(id).Acting);
                }
            }
        }
    }

    [Fact]
    public void An_osd_that_goes_down_changes_no_mapping_but_its_own()
    {
        ClusterMap map = NewMap(new Random(1));
        PgId[] all = [.. map.Pools.SelectMany(pool => Enumerable.Range(0, pool.PgCount).Select(seed => new PgId(pool.Id, (uint)seed)))];
        PgMapping[] before = [.. all.Select(map.Locate)];
        var down = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        down.Osds.Add(map.FindOsd(new OsdId(3))! with { IsUp = false });
        ClusterMap next = map.Apply(down);
        for (int i = 0; i < all.Length; i++)
        {
            Assert.Equal(!before[i].Up.Contains(new OsdId(3)), ReferenceEquals(before[i], next.Locate(all[i])));
        }
    }

    private static ClusterMapIncrement Draw(ClusterMap map, Random random)
    {
        var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        PoolInfo[] pools = [.. map.Pools];
        PoolInfo pool = pools[random.Next(pools.Length)];
        var group = new PgId(pool.Id, (uint)random.Next(pool.PgCount));
        for (int i = random.Next(1, 4); i > 0; i--)
        {
            var id = new OsdId(random.Next(Osds));
            if (map.FindOsd(id) is { } osd && increment.Osds.All(other => other.Id != id))
            {
                switch (random.Next(6))
                {
                    case 0 or 1:
                        increment.Osds.Add(osd with { IsUp = !osd.IsUp });
                        break;
                    case 2:
                        increment.Osds.Add(osd with { Weight = (uint)random.Next(0, (int)osd.Weight + 1) });
                        break;
                    case 3:
                        increment.Osds.Add(osd with { Weight = OsdInfo.FullWeight });
                        break;
                    case 4:
                        increment.PgTemp[group] = random.Next(3) == 0 ? [] : [id, new OsdId((id.Value + 1) % Osds)];
                        break;
                    default:
                        increment.UpmapItems[group] = random.Next(3) == 0 ? [] : [(map.Locate(group).Up.FirstOrDefault(), id)];
                        break;
                }
            }
        }

        switch (random.Next(12))
        {
            case 0:
                increment.Pools.Add(pool with { PgCount = pool.PgCount + random.Next(1, 9) });
                break;
            case 1:
                increment.Pools.Add(pool with { Size = random.Next(1, 5), MinSize = 1 });
                break;
            case 2:
                increment.Crush = map.Crush.WithReweightedItem($"osd.{random.Next(Osds)}", 1 + random.Next(3)).Encode();
                break;
            case 3 when pools.Length > 1:
                increment.RemovedPools.Add(pool.Id);
                increment.PgTemp.Clear();
                increment.UpmapItems.Clear();
                break;
            case 4 when increment.Osds.Count == 0 && map.FindOsd(new OsdId(Osds - 1)) is { } last:
                increment.RemovedOsds.Add(last.Id);
                break;
            default:
                break;
        }

        return increment;
    }

    private static ClusterMap NewMap(Random random)
    {
        ClusterMap map = ClusterMap.Create(Guid.NewGuid(), 1, [], CrushMap.CreateFlat(6, Osds / 6, failureDomain: random.Next(2) == 0 ? "host" : "osd"));
        var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        for (int i = 0; i < Osds; i++)
        {
            increment.Osds.Add(new OsdInfo { Id = new OsdId(i), Uuid = Guid.NewGuid(), IsUp = true, Weight = OsdInfo.FullWeight });
        }

        for (int i = 1; i <= 2; i++)
        {
            increment.Pools.Add(new PoolInfo { Id = i, Name = $"p{i}", Size = 3, PgCount = 20 + i });
        }

        return map.Apply(increment);
    }
}
