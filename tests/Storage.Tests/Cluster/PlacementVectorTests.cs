using System.Text.Json;
using Storage.Cluster;
using Storage.Crush;
using Storage.Tests.Crush;
using Xunit;

namespace Storage.Tests.Cluster;

/// <summary>Object → PG → OSDs against osdmaptool's own output for a whole OSD map.</summary>
public sealed class PlacementVectorTests
{
    private static readonly JsonElement s_vectors = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(CrushVectors.Directory, "osdmap.vectors.json"))).RootElement;

    [Fact]
    public void Every_group_lives_where_ceph_puts_it_when_all_osds_are_in() => CheckGroups("all_up_in", []);

    [Fact]
    public void Every_group_lives_where_ceph_puts_it_when_an_osd_is_out() =>
        // osdmaptool takes only the last of several --mark-out, so of the OSDs listed in the file only that one was out.
        CheckGroups("with_outs", [s_vectors.GetProperty("with_outs").GetProperty("outs").EnumerateArray().Last().GetInt32()]);

    [Fact]
    public void Every_object_lives_where_ceph_puts_it()
    {
        ClusterMap map = MapOf([]);
        PoolInfo pool = map.FindPool(1)!;
        int checkedObjects = 0;
        foreach (JsonElement item in s_vectors.GetProperty("objects").EnumerateArray())
        {
            string name = item.GetProperty("name").GetString()!;
            PgId group = ClusterMap.GroupOf(pool, Placement.ObjectOf(name).Hash);
            Assert.Equal(item.GetProperty("pg").GetString(), group.ToString());
            Assert.Equal(Osds(item.GetProperty("osds")), map.Locate(group).Acting.Select(osd => osd.Value));
            checkedObjects++;
        }

        Assert.Equal(100, checkedObjects);
    }

    private static void CheckGroups(string section, int[] outs)
    {
        ClusterMap map = MapOf(outs);
        int groups = 0;
        foreach (JsonProperty entry in s_vectors.GetProperty(section).GetProperty("pgs").EnumerateObject())
        {
            Assert.True(PgId.TryParse(entry.Name, out PgId group));
            PgMapping mapping = map.Locate(group);
            Assert.Equal(Osds(entry.Value.GetProperty("osds")), mapping.Acting.Select(osd => osd.Value));
            Assert.Equal(entry.Value.GetProperty("primary").GetInt32(), mapping.Primary.Value);
            groups++;
        }

        Assert.Equal(s_vectors.GetProperty("pg_num").GetInt32(), groups);
    }

    private static IEnumerable<int> Osds(JsonElement list) => list.EnumerateArray().Select(osd => osd.GetInt32());

    private static ClusterMap MapOf(int[] outs)
    {
        CrushMap crush = CrushMap.Decode(File.ReadAllBytes(Path.Combine(CrushVectors.Directory, "osdmap.crush.bin")));
        ClusterMap map = ClusterMap.Create(Guid.NewGuid(), 0, [], crush);
        var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        for (int osd = 0; osd < s_vectors.GetProperty("num_osds").GetInt32(); osd++)
        {
            increment.Osds.Add(new OsdInfo { Id = new OsdId(osd), IsUp = true, Weight = outs.Contains(osd) ? 0 : OsdInfo.FullWeight });
        }

        increment.Pools.Add(new PoolInfo
        {
            Id = s_vectors.GetProperty("pool").GetInt64(),
            Name = "rbd",
            Size = s_vectors.GetProperty("size").GetInt32(),
            PgCount = s_vectors.GetProperty("pg_num").GetInt32(),
            RuleId = s_vectors.GetProperty("rule").GetInt32(),
        });
        return map.Apply(increment);
    }
}
