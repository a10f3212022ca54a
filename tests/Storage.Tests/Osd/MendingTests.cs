using Storage.Cluster;
using Storage.Messaging;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Tests.Osd.Kit;
using Xunit;

namespace Storage.Tests.Osd;

/// <summary>Objects of which no copy is whole, put together from the blocks that are.</summary>
public sealed class MendingTests
{
    private const int Length = 10_000;

    private static byte[] Random(int seed, int length = Length)
    {
        var data = new byte[length];
        new Random(seed).NextBytes(data);
        return data;
    }

    private static void Damage(OsdCluster cluster, OsdId osd, long offset, BlockDamage damage = BlockDamage.Flipped) =>
        Assert.True(cluster.Store(osd.Value).Damage(new CollectionId(cluster.Group), Placement.ObjectOf("object"), offset, damage));

    private static OsdCluster Filled(int osds, int size, int minSize, out OsdId[] acting, out byte[] data)
    {
        var cluster = new OsdCluster(osds, size: size, minSize: minSize);
        cluster.WaitClean();
        data = Random(1);
        Assert.Equal(ResultCode.Ok, cluster.Write("object", data));
        acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        return cluster;
    }

    [Fact]
    public void CopiesThatAreDamagedInDifferentPlacesMakeAWholeOne()
    {
        OsdCluster cluster = Filled(3, 3, 2, out OsdId[] acting, out byte[] data);
        Damage(cluster, acting[0], 100);
        Damage(cluster, acting[1], 5000, BlockDamage.Unreadable);
        Damage(cluster, acting[2], 9000);
        Assert.Equal(data, cluster.Read("object"));
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["object"]);
        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
    }

    [Fact]
    public void ARepairMendsWhatIsDamagedInAllCopies()
    {
        OsdCluster cluster = Filled(3, 3, 2, out OsdId[] acting, out byte[] data);
        for (int i = 0; i < 3; i++)
        {
            Damage(cluster, acting[i], i * 4096);
        }

        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(1, ScrubTests.Status(cluster).Errors);
        ScrubTests.Scrub(cluster, deep: true, repair: true);
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["object"]);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
        Assert.Equal(data, cluster.Read("object"));
    }

    // An OSD that held a copy until the PG was clean, and has removed it, is asked for nothing: it would not answer.
    [Fact]
    public void WhoRemovedItsCopyIsNotWaitedFor()
    {
        OsdCluster cluster = Filled(4, 3, 2, out OsdId[] acting, out byte[] data);
        OsdId other = Enumerable.Range(0, 4).Select(osd => new OsdId(osd)).Single(osd => !acting.Contains(osd));
        cluster.Monitor.ChangeNow(increment => increment.UpmapItems[cluster.Group] = [(acting[2], other)]);
        cluster.RunUntil(() => cluster.StateOf(cluster.Group) == "active+clean" && cluster.Daemon(acting[2].Value).FindGroup(cluster.Group) is null, "moved");
        Damage(cluster, acting[0], 100);
        Damage(cluster, acting[1], 5000);
        Damage(cluster, other, 9000);
        Assert.Equal(data, cluster.Read("object"));
        cluster.WaitClean();
        cluster.AssertCopiesEqual(cluster.Group, ["object"]);
    }

    // Its bytes are nowhere.
    [Fact]
    public void ABlockThatIsDamagedInAllCopiesStaysSo()
    {
        OsdCluster cluster = Filled(3, 3, 2, out OsdId[] acting, out _);
        foreach (OsdId osd in acting)
        {
            Damage(cluster, osd, 9000);
        }

        Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "object"));
        cluster.RunUntil(() => read.IsCompleted, "the read");
        Assert.Contains(nameof(ResultCode.IoError), read.Exception!.InnerException!.Message, StringComparison.Ordinal);
    }

    // The write that made the clone reached one member only, whose copy has a bad block; the object as it was before, on the other one, is what the clone was made of.
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void ACloneIsMadeOfWhatACopyStillHas(bool primaryLeft)
    {
        var cluster = new OsdCluster(2, size: 2, minSize: 1);
        cluster.WaitClean();
        var snapshots = new SnapshotKit(cluster);
        string before = new([.. Random(1).Select(value => (char)('a' + (value % 26)))]);
        snapshots.Write("object", before);
        OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
        (OsdId left, OsdId gone) = primaryLeft ? (acting[0], acting[1]) : (acting[1], acting[0]);
        Damage(cluster, left, 5000);
        cluster.Crash(gone.Value);
        cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(gone), "it is down");
        ulong snapshot = snapshots.Take();
        snapshots.Write("object", "after");
        cluster.Start(gone.Value);
        cluster.WaitClean();
        Assert.Equal(1, cluster.Reached(gone.Value, RarePath.CloneMadeByLog));
        Assert.Equal("after", snapshots.Read("object"));
        Assert.Equal(before, snapshots.Read("object", snapshot));
        ScrubTests.Scrub(cluster, deep: true);
        Assert.Equal(0, ScrubTests.Status(cluster).Errors);
        Assert.Equal(before, snapshots.Read("object", snapshot));
        snapshots.AssertAllEqual();
    }

    // Only the member that dies last has the newest version, with a bad block that nobody had read; the other one has the version before.
    [Theory]
    [InlineData(0, 4096, 4200)] // another block was written
    [InlineData(4096, 8192, 9000)] // the last block, shorter than others, is bad
    [InlineData(4100, 4200, 5000)] // a part of the bad block was written
    [InlineData(4096, 8192, 5000)] // the bad block was written whole
    [InlineData(9990, 12_000, 9000)] // the object has grown since, in the bad block
    public void TheNewestVersionIsMendedFromAnOlderOne(int from, int to, int damaged)
    {
        foreach ((bool primaryLeft, bool writtenBefore) in new[] { (true, true), (true, false), (false, true), (false, false) })
        {
            OsdCluster cluster = Filled(2, 2, 1, out OsdId[] acting, out byte[] data);
            (OsdId left, OsdId gone) = primaryLeft ? (acting[0], acting[1]) : (acting[1], acting[0]);
            Damage(cluster, left, damaged);
            if (writtenBefore)
            {
                // Into the bad block, on both: the other one's checksum of it is no longer that of what is bad.
                byte[] patch = Random(3, 10);
                Assert.Equal(ResultCode.Ok, cluster.Write("object", patch, damaged - 20));
                patch.CopyTo(data, damaged - 20);
            }

            cluster.Crash(gone.Value);
            cluster.RunUntil(() => !cluster.Monitor.Map.IsUp(gone), "it is down");
            byte[] written = Random(2, to - from);
            Assert.Equal(ResultCode.Ok, cluster.Write("object", written, from));
            Array.Resize(ref data, Math.Max(data.Length, to));
            written.CopyTo(data, from);
            cluster.Start(gone.Value);
            cluster.WaitClean();
            Assert.Equal(data, cluster.Read("object"));
            cluster.AssertCopiesEqual(cluster.Group, ["object"]);
            ScrubTests.Scrub(cluster, deep: true);
            Assert.Equal(0, ScrubTests.Status(cluster).Errors);
        }
    }

    [Fact]
    public void MendingGoesOnWhereConnectionsBreak()
    {
        for (int seed = 1; seed <= 10; seed++)
        {
            var cluster = new OsdCluster(3, seed: seed);
            cluster.WaitClean();
            byte[] data = Random(seed, 200_000);
            Assert.Equal(ResultCode.Ok, cluster.Write("object", data));
            OsdId[] acting = [.. cluster.Monitor.Map.Locate(cluster.Group).Acting];
            for (int block = 0; block < 48; block++)
            {
                Damage(cluster, acting[block % 3], (block * 4096) + 77);
            }

            cluster.Network.Options.BreakProbability = 0.05;
            Task<byte[]?> read = cluster.Loop.Invoke(() => OsdCluster.ReadAsync(cluster.Client, "object"));
            cluster.RunFor(3);
            cluster.Network.Options.BreakProbability = 0;
            cluster.RunUntil(() => read.IsCompleted, "the read");
            Assert.Equal(data, cluster.Loop.Run(() => read, TimeSpan.FromSeconds(1)));
            cluster.WaitClean();
            cluster.AssertCopiesEqual(cluster.Group, ["object"]);
        }
    }
}
