using Storage.Simulation.Faults;
using Storage.Simulation.Running;
using Xunit;

namespace Storage.Simulation.Tests;

/// <summary>Whole clusters under faults.</summary>
public sealed class ClusterSimulationTests
{
    private static readonly Scenario s_short = new() { Duration = TimeSpan.FromSeconds(25), FaultInterval = TimeSpan.FromSeconds(4) };

    [Fact]
    public void ASeedRepeatsItself()
    {
        SimulationResult first = new SimulationRun(11, s_short).Execute();
        SimulationResult second = new SimulationRun(11, s_short).Execute();
        Assert.Equal(first.TraceHash, second.TraceHash);
        Assert.Equal(first.Events, second.Events);
        Assert.NotEqual(first.TraceHash, new SimulationRun(12, s_short).Execute().TraceHash);
    }

    // The first condition is that a primary's disk has what no other disk has; the first thing to do there is to leave it alone with that.
    [Fact]
    public void AnAmbushStrikesWhenItsConditionHolds()
    {
        Scenario scenario = s_short with
        {
            Plan = new FaultPlan([new Fault(TimeSpan.FromSeconds(3), FaultKind.Ambush, [0, 0, 1, 0], TimeSpan.FromSeconds(2))]),
            Duration = TimeSpan.FromSeconds(15),
        };
        SimulationResult result = new SimulationRun(3, scenario).Execute();
        Assert.Null(result.Failure);
        Assert.Equal(1, result.Coverage.GetValueOrDefault("ambush.OwnDiskOnly"));
        Assert.Equal(1, result.Coverage.GetValueOrDefault("fault.CrashOsd"));
        Scenario read = ScenarioFile.Parse(ScenarioFile.Write(scenario), "copy");
        Assert.Equal(result.TraceHash, new SimulationRun(3, read).Execute().TraceHash);
    }

    [Theory]
    [InlineData("calm", 4)]
    [InlineData("network", 10)]
    [InlineData("crashes", 10)]
    [InlineData("power", 10)]
    [InlineData("rebalance", 10)]
    [InlineData("disks", 12)]
    [InlineData("clocks", 6)]
    [InlineData("full", 6)]
    [InlineData("beyond", 8)]
    [InlineData("monitors", 10)]
    [InlineData("default", 60)]
    public void NothingIsLostAndEverythingConverges(string name, ulong seeds)
    {
        Scenario scenario = Scenario.Load(name);
        using var output = new StringWriter();
        int exit = SimulationRunner.Run(
            new SimulationRequest { FirstSeed = 1, LastSeed = seeds, Jobs = 2, Scenario = scenario, RequiredCoverage = name == "default" ? StandardRuns.RequiredOfFewSeeds : null }, output);
        Assert.True(exit == 0, output.ToString());
    }
}
