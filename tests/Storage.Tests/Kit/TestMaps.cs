using System.Globalization;
using System.Text;
using Storage.Cluster;
using Storage.Crush;

namespace Storage.Tests.Kit;

/// <summary>Small cluster maps: one OSD per host, rule 0 spreads over hosts.</summary>
public static class TestMaps
{
    /// <summary>A CRUSH map with some OSDs, each on a host of its own.</summary>
    public static CrushMap Crush(int osds)
    {
        var text = new StringBuilder("# begin crush map\n");
        for (int i = 0; i < osds; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"device {i} osd.{i}\n");
        }

        text.Append("type 0 osd\ntype 1 host\ntype 2 root\n");
        for (int i = 0; i < osds; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $"host host{i} {{\n id {-2 - i}\n alg straw2\n hash 0\n item osd.{i} weight 1.000\n}}\n");
        }

        text.Append("root default {\n id -1\n alg straw2\n hash 0\n");
        for (int i = 0; i < osds; i++)
        {
            text.Append(CultureInfo.InvariantCulture, $" item host{i} weight 1.000\n");
        }

        text.Append("}\nrule replicated {\n id 0\n type replicated\n min_size 1\n max_size 10\n step take default\n step chooseleaf firstn 0 type host\n step emit\n}\n");
        return CrushMap.CompileText(text.ToString());
    }

    /// <summary>Epoch 2: OSDs that are up and in, and one pool with id 1.</summary>
    public static ClusterMap Create(int osds, string pool = "volumes", int pgCount = 8)
    {
        ClusterMap map = ClusterMap.Create(new Guid("5f1d0000-0000-0000-0000-000000000001"), 0, [], Crush(osds));
        var increment = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        for (int i = 0; i < osds; i++)
        {
            increment.Osds.Add(Osd(i, map.Epoch.Next));
        }

        increment.Pools.Add(new PoolInfo { Id = 1, Name = pool, PgCount = pgCount, Size = Math.Min(3, osds), MinSize = 1, Application = "block" });
        return map.Apply(increment);
    }

    /// <summary>An OSD that is up and in.</summary>
    public static OsdInfo Osd(int number, Epoch upFrom) => new()
    {
        Id = new OsdId(number),
        IsUp = true,
        Weight = OsdInfo.FullWeight,
        Address = new NodeAddress($"osd{number}", 6800),
        Instance = upFrom.Value,
        UpFrom = upFrom,
    };
}
