using Storage.Cluster;
using Storage.Coding;
using Storage.Osd;
using Xunit;

namespace Storage.Tests.Osd;

public sealed class SnapSetTests
{
    // Made at 2, not changed until 5, changed again after 9; snapshots 3, 4, 5 and 8, 9.
    private static SnapSet Sample() => SnapSet.Empty.Advance(2, null)
        .Advance(5, new SnapClone(5, 100, [5, 4, 3]))
        .Advance(9, new SnapClone(9, 200, [9, 8]));

    [Theory]
    [InlineData(1, 0)] // before it was made
    [InlineData(2, 0)]
    [InlineData(3, 5)]
    [InlineData(5, 5)]
    [InlineData(6, 0)] // removed since, so nothing shows it
    [InlineData(8, 9)]
    [InlineData(9, 9)]
    public void AnOldSnapshotIsShownByTheFirstCloneNotBelowIt(ulong snapshot, ulong shown) => Assert.Equal(shown, Sample().Resolve(snapshot));

    [Fact]
    public void ANewSnapshotIsShownByTheLiveObjectOrNothing()
    {
        Assert.Equal(ObjectId.NoSnapshot, Sample().Resolve(10));
        Assert.Equal(0UL, Sample().WithTombstone(true).Resolve(10));
        Assert.Equal(9UL, Sample().WithTombstone(true).Resolve(9));
    }

    [Fact]
    public void TrimmingDropsClonesThatShowNothingElse()
    {
        var dropped = new List<ulong>();
        SnapSet less = Sample().Trim(SnapshotIntervals.Of(4, 5, 8), dropped);
        Assert.Empty(dropped);
        Assert.Equal(5UL, less.Resolve(3));
        Assert.Equal(0UL, less.Resolve(5));
        Assert.Equal(9UL, less.Resolve(9));
        SnapSet least = less.Trim(SnapshotIntervals.Of(3), dropped);
        Assert.Equal([5], dropped);
        Assert.Single(least.Clones);
        SnapSet same = least.Trim(SnapshotIntervals.Of(3, 4, 5), dropped);
        Assert.Same(least, same);
    }

    [Fact]
    public void ItIsReadAsItWasWritten()
    {
        byte[] packed = Sample().WithTombstone(true).Encode();
        SnapSet set = SnapSet.Decode(packed);
        Assert.Equal(packed, set.Encode());
        SnapHead head = SnapSet.Peek(packed);
        Assert.Equal(9UL, head.Sequence);
        Assert.True(head.IsTombstone);
        for (int length = 0; length < packed.Length; length++)
        {
            Assert.Throws<MalformedDataException>(() => SnapSet.Decode(packed.AsSpan(0, length)));
        }
    }

    [Fact]
    public void IntervalsJoinAndSplit()
    {
        var random = new Random(1);
        SnapshotIntervals set = SnapshotIntervals.Empty, other = SnapshotIntervals.Empty;
        var model = new SortedSet<ulong>();
        var otherModel = new SortedSet<ulong>();
        for (int i = 0; i < 2000; i++)
        {
            ulong id = (ulong)random.Next(1, 40);
            if (random.Next(2) == 0)
            {
                set = set.Add(id);
                model.Add(id);
            }
            else
            {
                set = set.Remove(id);
                model.Remove(id);
            }

            id = (ulong)random.Next(1, 40);
            if (random.Next(2) == 0)
            {
                other = other.Add(id);
                otherModel.Add(id);
            }
            else
            {
                other = other.Remove(id);
                otherModel.Remove(id);
            }

            Assert.Equal(model, set.Ids());
            Assert.Equal(model.Contains(id), set.Contains(id));
            Assert.Equal(model.Intersect(otherModel).Order(), set.Intersect(other).Ids());
            Assert.Equal(model.Except(otherModel).Order(), set.Except(other).Ids());
            Assert.Equal((ulong)model.Count, set.Count);
            Assert.Equal(set, SnapshotIntervals.Of(model.Reverse()));
            var writer = new WireWriter();
            set.Encode(writer);
            var reader = new WireReader(writer.WrittenSpan);
            Assert.Equal(set, SnapshotIntervals.Decode(ref reader));
        }
    }
}
