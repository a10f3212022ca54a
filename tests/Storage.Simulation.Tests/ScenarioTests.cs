using Xunit;
using Storage.Simulation.Faults;
using Storage.Simulation.Running;

namespace Storage.Simulation.Tests;

public sealed class ScenarioTests
{
    [Fact]
    public void AFileSetsWhatItMentions()
    {
        Scenario scenario = ScenarioFile.Parse("""{ "max_osds": 4, "duration_s": 12.5, /* relative */ "faults": { "crash_osd": 2, "pause": 0.5 } }""", "mine");
        Assert.Equal(4, scenario.MaxOsds);
        Assert.Equal(TimeSpan.FromSeconds(12.5), scenario.Duration);
        Assert.Equal(new[] { FaultKind.CrashOsd, FaultKind.Pause }, scenario.Faults.Keys);
        Assert.Equal(3, scenario.Size);
        Assert.Null(scenario.Plan);
    }

    [Theory]
    [InlineData("{ \"osd\": 4 }", "osd")]
    [InlineData("{ \"objects\": \"four\" }", "objects")]
    [InlineData("{\n \"objects\": }", "line 2")]
    [InlineData("{ \"faults\": { \"earthquake\": 1 } }", "earthquake")]
    [InlineData("{ \"osds\": 2 }", "size")]
    [InlineData("[]", "mine")]
    public void AMistakeIsNamed(string text, string expected)
    {
        var error = Assert.Throws<FormatException>(() => ScenarioFile.Parse(text, "mine"));
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void AWrittenScenarioReplaysTheRunExactly()
    {
        Scenario scenario = new() { Duration = TimeSpan.FromSeconds(8), FaultInterval = TimeSpan.FromSeconds(2) };
        SimulationResult drawn = new SimulationRun(50_021, scenario).Execute();
        Scenario read = ScenarioFile.Parse(ScenarioFile.Write(scenario with { Plan = drawn.Plan }), "copy");
        Assert.Equal(drawn.TraceHash, new SimulationRun(50_021, read).Execute().TraceHash);
    }

    // The run is made up: it fails as soon as two certain faults are in the plan and two clients are there.
    [Fact]
    public void WhatDoesNotMatterIsLeftOut()
    {
        Scenario scenario = new();
        FaultPlan plan = FaultPlan.Draw(scenario with { FaultInterval = TimeSpan.FromSeconds(1) }, new Random(4));
        Fault one = plan.Faults[3], other = plan.Faults[^2];
        SimulationResult Run(ulong seed, Scenario tried) => new()
        {
            Seed = seed,
            Scenario = tried.Name,
            Failure = tried.Plan!.Faults.Contains(one) && tried.Plan.Faults.Contains(other) && tried.Clients >= 2 ? $"checking: object-{tried.Objects} is wrong" : null,
            TraceHash = 0,
            Events = 0,
            VirtualTime = default,
            Calls = 0,
            UnknownCalls = 0,
            Plan = tried.Plan!,
            Coverage = new Dictionary<string, long>(),
            Timeline = [],
        };
        Scenario smallest = new ScenarioShrinker(Run(1, scenario with { Plan = plan }), scenario, TimeSpan.FromSeconds(20), Run).Shrink();
        Assert.Equal([one, other], smallest.Plan!.Faults);
        Assert.Equal(2, smallest.Clients);
        Assert.Equal(1, smallest.Objects);
    }

    [Fact]
    public void TheScenarioFilesThatAreShippedCanBeRead()
    {
        DirectoryInfo? root = new(AppContext.BaseDirectory);
        while (root is not null && !File.Exists(Path.Combine(root.FullName, "Storage.sln")))
        {
            root = root.Parent;
        }

        string[] files = Directory.GetFiles(Path.Combine(root!.FullName, "cluster", "faults", "simulation"), "*.json");
        Assert.NotEmpty(files);
        Assert.All(files, file => Scenario.Load(file));
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
