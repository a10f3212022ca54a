using Xunit;
using Storage.Simulation.Running;

namespace Storage.Simulation.Tests;

/// <summary>Monitors under faults, with operators who set and read settings.</summary>
public sealed class RaftSimulationTests
{
    private static readonly Scenario s_scenario = Scenario.Load("raft") with { Duration = TimeSpan.FromSeconds(40) };

    [Theory]
    [InlineData(1)]
    [InlineData(77)]
    public void ASeedRepeatsItself(ulong seed)
    {
        SimulationResult first = new SimulationRun(seed, s_scenario).Execute();
        SimulationResult second = new SimulationRun(seed, s_scenario).Execute();
        Assert.Equal(first.TraceHash, second.TraceHash);
        Assert.Equal(first.Events, second.Events);
        Assert.NotEqual(first.TraceHash, new SimulationRun(seed + 1, s_scenario).Execute().TraceHash);
    }

    [Fact]
    public void SettingsAreLinearizableUnderFaults()
    {
        using var output = new StringWriter();
        int exit = SimulationRunner.Run(new SimulationRequest { FirstSeed = 1, LastSeed = 150, Jobs = 2, Scenario = s_scenario }, output);
        Assert.True(exit == 0, output.ToString());
        Assert.Contains("mon.leader_change", output.ToString(), StringComparison.Ordinal);
    }
}
