using Storage.Consensus;
using Xunit;

namespace Storage.Tests.Consensus;

public class RaftSimulationTests
{
    [Theory]
    [InlineData(3, 0)]
    [InlineData(3, 50)]
    [InlineData(4, 100)]
    [InlineData(5, 150)]
    public void A_group_under_faults_stays_safe_and_comes_back(int size, int firstSeed)
    {
        int committed = 0, reads = 0, snapshots = 0, terms = 0, changes = 0;
        for (int seed = firstSeed; seed < firstSeed + 50; seed++)
        {
            var group = new SimulatedGroup(size, seed);
            try
            {
                group.Run(1600);
                group.Heal();
                int before = group.Committed;
                group.Run(900);
                Assert.True(group.Committed > before, "no progress after all faults are gone");
            }
            catch (Exception e)
            {
                throw new InvalidOperationException($"size={size} seed={seed}: {e.Message}", e);
            }

            committed += group.Committed;
            reads += group.ReadsAnswered;
            snapshots += group.SnapshotsInstalled;
            terms += group.Terms;
            changes += group.ConfigurationChanges;
        }

        // The faults and the work did happen.
        Assert.True(committed > 2000 && reads > 500 && snapshots > 10 && terms > 80 && changes > 15,
            $"committed={committed} reads={reads} snapshots={snapshots} terms={terms} changes={changes}");
    }

    [Fact]
    public void A_seed_repeats_itself()
    {
        static string Trace(int seed)
        {
            var group = new SimulatedGroup(3, seed);
            group.Run(2000);
            return string.Join(' ', group.Members.Select(m => $"{m.Node?.Term}/{m.Applied}/{m.Hash:x}")) + $" {group.Committed} {group.ReadsAnswered}";
        }

        Assert.Equal(Trace(4711), Trace(4711));
        Assert.NotEqual(Trace(4711), Trace(4712));
    }
}
