using FsCheck.Xunit;
using Storage.Cluster;
using Storage.Coding;
using Storage.Crush;
using Xunit;

namespace Storage.Tests.Cluster;

public sealed class ClusterMapTests
{
    private static readonly PgId s_group = new(1, 3);

    [Fact]
    public void A_map_and_its_increments_survive_packing()
    {
        ClusterMap map = NewMap();
        ClusterMapIncrement increment = FullIncrement(map.Epoch.Next);
        ClusterMap direct = map.Apply(increment);
        ClusterMap packed = ClusterMap.Decode(map.Encode()).Apply(ClusterMapIncrement.Decode(increment.ToArray()));
        Assert.Equal(direct.Encode(), packed.Encode());
        Assert.Equal(direct.Encode(), ClusterMap.Decode(direct.Encode()).Encode());
        Assert.Equal("5", direct.Configuration["osd_max_backfills"]);
        Assert.Equal(77, direct.Blocklist[0xABC]);
        Assert.Equal([new OsdId(2), new OsdId(0)], direct.Locate(s_group).Acting);
    }

    [Fact]
    public void An_increment_applies_to_the_epoch_before_it_only() =>
        Assert.Throws<ArgumentException>(() => NewMap().Apply(new ClusterMapIncrement { Epoch = new Epoch(7) }));

    [Fact]
    public void Applying_leaves_the_old_map_as_it_was()
    {
        ClusterMap map = NewMap();
        byte[] before = map.Encode();
        map.Apply(FullIncrement(map.Epoch.Next));
        Assert.Equal(before, map.Encode());
    }

    [Fact]
    public void Osds_that_are_down_leave_the_up_set_and_pg_temp_is_kept_to_those_up()
    {
        ClusterMap map = NewMap().Apply(FullIncrement(new Epoch(2)));
        var down = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        down.Osds.Add(map.FindOsd(new OsdId(2))! with { IsUp = false });
        PgMapping mapping = map.Apply(down).Locate(s_group);
        Assert.Equal([new OsdId(0)], mapping.Acting);
        Assert.DoesNotContain(new OsdId(2), mapping.Up);
    }

    [Fact]
    public void Removing_a_pool_takes_its_exceptions_along_and_never_reuses_its_id()
    {
        ClusterMap map = NewMap().Apply(FullIncrement(new Epoch(2)));
        var remove = new ClusterMapIncrement { Epoch = map.Epoch.Next };
        remove.RemovedPools.Add(1);
        map = map.Apply(remove);
        Assert.Empty(map.PgTemp);
        Assert.False(map.Contains(s_group));
        Assert.Equal(1, map.LastPoolId);
    }

    [Fact]
    public void Damaged_bytes_are_refused_and_never_crash()
    {
        byte[] good = NewMap().Apply(FullIncrement(new Epoch(2))).Encode();
        for (int length = 0; length < good.Length; length++)
        {
            Exception? error = Record.Exception(() => ClusterMap.Decode(good.AsSpan(0, length)));
            Assert.True(error is MalformedDataException or CrushFormatException, $"{length} bytes: {error}");
        }
    }

    [Property]
    public bool Random_bytes_are_refused(byte[] data)
    {
        Exception? error = Record.Exception(() => ClusterMapIncrement.Decode(data));
        return error is null or MalformedDataException;
    }

    [Property]
    public bool Objects_sort_like_their_packed_keys(uint left, uint right)
    {
        var a = new ObjectId("a", left);
        var b = new ObjectId("b", right);
        return Math.Sign(a.CompareTo(b)) == -Math.Sign(b.CompareTo(a)) && (left == right || Math.Sign(a.CompareTo(b)) == Math.Sign(a.SortHash.CompareTo(b.SortHash)));
    }

    private static ClusterMap NewMap() => ClusterMap.Create(
        Guid.Parse("0e4dbf5a-8f0b-4a3c-9f1e-1d2c3b4a5f60"),
        1,
        [new MonitorInfo(1, "a", new NodeAddress("127.0.0.1", 1), new NodeAddress("127.0.0.1", 2))],
        CrushMap.CreateFlat(1, 3));

    private static ClusterMapIncrement FullIncrement(Epoch epoch)
    {
        var increment = new ClusterMapIncrement { Epoch = epoch, ModifiedUnixMilliseconds = 5, Flags = ClusterFlags.NoOut };
        for (int osd = 0; osd < 3; osd++)
        {
            increment.Osds.Add(new OsdInfo { Id = new OsdId(osd), IsUp = true, Weight = OsdInfo.FullWeight, Uuid = Guid.NewGuid(), Address = new NodeAddress("127.0.0.1", 10 + osd), Instance = 7, UpFrom = epoch });
        }

        increment.Pools.Add(new PoolInfo { Id = 1, Name = "volumes", PgCount = 12, RemovedSnapshots = SnapshotIntervals.Of(4, 5, 9), SnapshotSequence = 11, SnapshotBarrier = 3, SnapshotAllocations = [new(77, 11)] });
        increment.PgTemp[s_group] = [new OsdId(2), new OsdId(0)];
        increment.UpmapItems[new PgId(1, 4)] = [(new OsdId(0), new OsdId(1))];
        increment.Blocklisted[0xABC] = 77;
        increment.Configuration["osd_max_backfills"] = "5";
        return increment;
    }
}
