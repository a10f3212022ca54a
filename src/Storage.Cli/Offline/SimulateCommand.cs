using System.CommandLine;
using Storage.Cli.Commands;
using Storage.Simulation.Running;

namespace Storage.Cli.Offline;

/// <summary><c>simulate</c>: whole clusters in one thread on virtual time, under faults drawn from a seed.</summary>
internal static class SimulateCommand
{
    public static Verb Build()
    {
        var seed = new Option<ulong?>("--seed") { Description = "Run this one seed and print its trace hash; the same seed gives the same hash." };
        var seeds = new Option<string?>("--seeds") { Description = "Run these seeds, FIRST..LAST." };
        var jobs = new Option<int>("--jobs") { Description = "Seeds that run at once.", DefaultValueFactory = _ => 1 };
        var scenario = new Option<string>("--scenario")
        {
            Description = $"A fault mix: {string.Join(", ", Scenario.Named.Select(named => named.Name))}, or a file.",
            DefaultValueFactory = _ => "default",
        };
        var keepGoing = new Option<bool>("--keep-going") { Description = "Go on after a seed failed." };
        return new Verb(
            "simulate",
            "Runs whole clusters on virtual time under faults and checks that nothing acknowledged is lost.",
            "storage simulate --seed 42",
            "storage simulate --seeds 1..200 --jobs 2",
            "storage simulate --seeds 1..50 --scenario power")
        {
            seed, seeds, jobs, scenario, keepGoing,
        }.Does((run, cancellation) =>
        {
            ulong first = run.Get(seed) ?? 1;
            ulong last = first;
            if (run.Get(seeds) is { } range && !SimulationRequest.TryParseSeeds(range, out first, out last))
            {
                throw new CliException($"'{range}' is no range of seeds: write FIRST..LAST, as in 1..200.");
            }

            if (run.Get(jobs) is < 1 or > 256)
            {
                throw new CliException("--jobs takes 1 to 256.");
            }

            var request = new SimulationRequest
            {
                FirstSeed = first,
                LastSeed = last,
                Jobs = run.Get(jobs),
                Scenario = Scenario.Load(run.Get(scenario) ?? "default"),
                Json = run.Json,
                ShowProgress = !run.Json && !Console.IsOutputRedirected,
                KeepGoing = run.Get(keepGoing),
            };
            return Task.FromResult(SimulationRunner.Run(request, Console.Out, cancellation));
        });
    }
}
