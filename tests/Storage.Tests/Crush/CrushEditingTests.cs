using Storage.Crush;
using Xunit;

namespace Storage.Tests.Crush;

public class CrushEditingTests
{
    [Fact]
    public void New_devices_make_their_hosts_and_take_data_only_where_they_are()
    {
        CrushMap before = CrushMap.CreateFlat(4, 3);
        CrushMap after = before.WithDevice(12, "osd.12", 2.0, "ssd", [("root", "default"), ("host", "host9")]);
        Assert.Equal(12, before.MaxDevices);
        Assert.Equal(13, after.MaxDevices);
        Assert.Equal("host9", after.GetFailureDomain(12, "host"));
        Assert.Equal("osd.12", after.GetFailureDomain(12, "osd"));
        Assert.Equal([("host", "host9"), ("root", "default")], after.Ancestors(12));
        Assert.Equal("ssd", after.GetDeviceClass(12));
        Assert.True(after.TryGetItemId("default", out int root));
        Assert.Equal(14u * CrushMap.WeightOne, after.GetBucket(root)!.Weight);

        int moved = 0;
        Span<int> a = stackalloc int[3];
        Span<int> b = stackalloc int[3];
        for (uint x = 0; x < 500; x++)
        {
            Assert.Equal(3, before.Map(0, x, a, CrushMappingTests.Full(before)));
            Assert.Equal(3, after.Map(0, x, b, CrushMappingTests.Full(after)));
            Assert.Equal(3, b.ToArray().Select(d => after.GetFailureDomain(d, "host")).Distinct().Count());
            moved += b.ToArray().Except(a.ToArray()).Count();
        }

        Assert.InRange(moved, 100, 500);
    }

    [Fact]
    public void Class_rules_follow_devices_and_keep_shadow_ids()
    {
        CrushMap map = CrushMap.CreateFlat(3, 2);
        for (int device = 0; device < 6; device++)
        {
            map = map.WithDeviceClass(device, device % 2 == 0 ? "ssd" : "hdd");
        }

        map = map.WithReplicatedRule("fast", "default", "host", "ssd");
        int rule = map.FindRule("fast");
        Assert.True(map.TryGetItemId("default~ssd", out int shadow));
        Check(map, device => device % 2 == 0);

        map = map.WithDevice(6, "osd.6", 1, "ssd", [("host", "host0"), ("root", "default")]).WithDevice(7, "osd.7", 1, "nvme", [("host", "host1")]);
        Assert.True(map.TryGetItemId("default~ssd", out int kept));
        Assert.Equal(shadow, kept);
        Check(map, device => device % 2 == 0);
        Assert.Throws<ArgumentException>(() => map.WithReplicatedRule("none", "default", "host", "tape"));
        CrushMap again = CrushMap.CompileText(map.DecompileText());
        Assert.Equal(map.DecompileText(), again.DecompileText());

        void Check(CrushMap m, Func<int, bool> allowed)
        {
            Span<int> result = stackalloc int[3];
            for (uint x = 0; x < 100; x++)
            {
                Assert.Equal(3, m.Map(rule, x, result, CrushMappingTests.Full(m)));
                Assert.All(result.ToArray(), device => Assert.True(allowed(device)));
            }
        }
    }

    [Fact]
    public void Weights_follow_reweighting_moves_and_removal()
    {
        CrushMap map = CrushMap.CreateFlat(3, 2)
            .WithBucket("rack1", "rack", [("root", "default")])
            .WithMovedBucket("host0", [("rack", "rack1"), ("root", "default")])
            .WithReweightedItem("osd.0", 0.5);
        Assert.Equal([("host", "host0"), ("rack", "rack1"), ("root", "default")], map.Ancestors(0));
        Assert.Equal(1.5, Weight("rack1"));
        Assert.Equal(5.5, Weight("default"));
        map = map.WithReweightedItem("rack1", 2);
        Assert.Equal(8, Weight("default"));
        Assert.Throws<ArgumentException>(() => map.WithoutItem("host0"));
        Assert.Throws<ArgumentException>(() => map.WithMovedBucket("rack1", [("host", "host0")]));
        map = map.WithoutItem("osd.0").WithoutItem("osd.1").WithoutItem("host0").WithoutItem("rack1");
        Assert.Equal(4, Weight("default"));
        Assert.DoesNotContain(map.Tree(), n => n.Name is "rack1" or "osd.0");
        Assert.Throws<ArgumentException>(() => map.WithoutItem("osd.0"));
        Assert.Equal(["default", "host1", "osd.2", "osd.3", "host2", "osd.4", "osd.5"], map.Tree().Select(n => n.Name));

        double Weight(string name) => map.TryGetItemId(name, out int id) ? map.GetBucket(id)!.Weight / 65536.0 : -1;
    }

    [Fact]
    public void A_taken_root_cannot_be_removed()
    {
        ArgumentException e = Assert.Throws<ArgumentException>(() => CrushMap.CreateDefault().WithoutItem("default"));
        Assert.Contains("replicated_rule", e.Message, StringComparison.Ordinal);
        Assert.Equal(-1, CrushMap.CreateDefault().WithoutRule("replicated_rule").FindRule("replicated_rule"));
    }

    [Fact]
    public void Edited_maps_round_trip_through_both_forms()
    {
        CrushMap map = CrushMap.CreateFlat(5, 4).WithErasureRule("ec", "default", "host");
        Assert.Equal(map.Encode(), CrushMap.Decode(map.Encode()).Encode());
        Assert.Equal(map.DecompileText(), CrushMap.CompileText(map.DecompileText()).DecompileText());
    }
}
