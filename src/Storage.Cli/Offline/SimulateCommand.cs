using System.CommandLine;
using Storage.Cli.Commands;
#if MUTATIONS
using Storage.Coding;
#endif
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
        var follow = new Option<bool>("--follow") { Description = "Print every event as it happens." };
        var watch = new Option<string?>("--watch") { Description = "Print every event and where the copies of a PG stand whenever that changes; of an object too, as in 1.3/name." };
        var standard = new Option<bool>("--standard") { Description = "Run the standard set of seeds of every scenario; fails if a named rare path is never reached." };
        var requireCoverage = new Option<bool>("--require-coverage") { Description = "Fail if these seeds never reach a named rare path." };
        var shrink = new Option<int>("--shrink") { Description = "Seconds to look for a smaller scenario that fails alike; 0 for none.", DefaultValueFactory = _ => 60 };
        var keepGoing = new Option<bool>("--keep-going") { Description = "Go on after a seed failed." };
#if MUTATIONS
        var mutation = new Option<string?>("--mutation") { Description = "Run with one deliberate bug; see --mutations." };
        var mutations = new Option<bool>("--mutations") { Description = "List the deliberate bugs: name, scenario, and the seeds within which the simulator finds it." };
        var find = new Option<string?>("--find-mutations") { Description = "Run these bugs (NAME,NAME or all), each in its scenario until a seed fails; --seeds sets the range." };
        var patience = new Option<int>("--patience") { Description = "Seconds for each of --find-mutations.", DefaultValueFactory = _ => 3600 };
        var mutant = new Option<int>("--mutant") { Description = "Run with one of the changes that tests/mutants made.", DefaultValueFactory = _ => 0 };
        var findMutants = new Option<string?>("--find-mutants") { Description = "Run the changes of this list (tests/mutants), each in the seeds that reach it until one fails; results go to FILE.results." };
#endif
        return new Verb(
            "simulate",
            "Runs whole clusters on virtual time under faults and checks that nothing acknowledged is lost.",
            "storage simulate --seed 42",
            "storage simulate --seeds 1..200 --jobs 2",
            "storage simulate --seeds 1..50 --scenario power")
        {
            seed, seeds, jobs, scenario, keepGoing, follow, watch, standard, requireCoverage, shrink,
#if MUTATIONS
            mutation, mutations, find, patience, mutant, findMutants,
#endif
        }.Does((run, cancellation) =>
        {
#if MUTATIONS
            if (run.Get(mutations))
            {
                foreach (MutationTarget target in MutationTargets.All)
                {
                    Console.Out.WriteLine($"{target.Mutation}\t{target.Scenario}\t{target.Seeds}\t{(target.IsOpen ? "open" : "found")}");
                }

                return Task.FromResult(0);
            }

            if (run.Get(mutation) is { } name)
            {
                Mutations.Selected = FindMutation(name).Mutation;
            }

            Mutations.Mutant = run.Get(mutant);
            if (run.Get(findMutants) is { } list)
            {
                return Task.FromResult(MutantRuns.Run(list, Console.Out, cancellation));
            }

#endif
            ulong first = run.Get(seed) ?? 1;
            ulong last = first;
            if (run.Get(seeds) is { } range && !SimulationRequest.TryParseSeeds(range, out first, out last))
            {
                throw new CliException($"'{range}' is no range of seeds: write FIRST..LAST, as in 1..200.");
            }

#if MUTATIONS
            if (run.Get(find) is { } names)
            {
                IEnumerable<MutationTarget> chosenTargets = names == "all"
                    ? MutationTargets.All
                    : [.. names.Split(',', StringSplitOptions.TrimEntries).Select(FindMutation).Distinct()];
                return Task.FromResult(MutationRuns.Run(
                    chosenTargets, first, run.Get(seeds) is null ? null : (int)(last - first + 1), TimeSpan.FromSeconds(run.Get(patience)), Console.Out, cancellation));
            }

#endif
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
                Follow = run.Get(follow) || run.Get(watch) is not null,
                Watch = run.Get(watch),
                RequiredCoverage = run.Get(requireCoverage) ? StandardRuns.Required : null,
                ShrinkFor = TimeSpan.FromSeconds(Math.Clamp(run.Get(shrink), 0, 86_400)),
            };
            return Task.FromResult(run.Get(standard)
                ? SimulationRunner.RunStandard(request, Console.Out, cancellation)
                : SimulationRunner.Run(request, Console.Out, cancellation));
        });
    }

#if MUTATIONS

    private static MutationTarget FindMutation(string name) =>
        MutationTargets.All.FirstOrDefault(target => string.Equals(target.Mutation.ToString(), name, StringComparison.OrdinalIgnoreCase))
        ?? throw new CliException($"There is no mutation '{name}': storage simulate --mutations lists them.");
#endif
}
