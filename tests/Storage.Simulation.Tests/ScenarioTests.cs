using Xunit;
using Storage.Simulation.Faults;
using Storage.Simulation.Running;

namespace Storage.Simulation.Tests;

public sealed class ScenarioTests
{
    [Fact]
    public void ATextSetsWhatItMentions()
    {
        Scenario scenario = Scenario.Parse("# a comment\nosds = 4\nduration_s = 12.5 # short\nfault crash_osd = 2\nfault Pause = 0.5\n", "mine");
        Assert.Equal(4, scenario.MaxOsds);
        Assert.Equal(TimeSpan.FromSeconds(12.5), scenario.Duration);
        Assert.Equal(new[] { FaultKind.CrashOsd, FaultKind.Pause }, scenario.Faults.Keys);
        Assert.Equal(3, scenario.Size);
    }

    [Theory]
    [InlineData("osd = 4", "line 1")]
    [InlineData("\nosds four", "line 2")]
    [InlineData("fault earthquake = 1", "earthquake")]
    [InlineData("osds = 2", "size")]
    public void AMistakeIsNamed(string text, string expected)
    {
        var error = Assert.Throws<FormatException>(() => Scenario.Parse(text, "mine"));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EverySeedHasItsOwnPlanAndKeepsIt()
    {
        var scenario = new Scenario();
        string[] plans = [.. Enumerable.Range(0, 20).Select(seed => string.Join('\n', FaultPlan.Draw(scenario, new Random(seed)).Faults))];
        Assert.Equal(20, plans.Distinct().Count());
        Assert.Equal(plans[3], string.Join('\n', FaultPlan.Draw(scenario, new Random(3)).Faults));
    }

    [Theory]
    [InlineData("5", true, 5UL, 5UL)]
    [InlineData("5..9", true, 5UL, 9UL)]
    [InlineData("9..5", false, 0UL, 0UL)]
    [InlineData("a..5", false, 0UL, 0UL)]
    public void SeedsAreARange(string text, bool valid, ulong first, ulong last)
    {
        Assert.Equal(valid, SimulationRequest.TryParseSeeds(text, out ulong from, out ulong to));
        if (valid)
        {
            Assert.Equal((first, last), (from, to));
        }
    }
}
