#if MUTATIONS
using System.Diagnostics;
using System.Globalization;
using Storage.Coding;

namespace Storage.Simulation.Running;

/// <summary>Runs deliberate bugs one after the other in one process, each until a seed fails: <c>storage simulate --find-mutations</c>.</summary>
public static class MutationRuns
{
    /// <summary>Runs them; prints a line for each.</summary>
    /// <param name="chosen">Which ones, in this order.</param>
    /// <param name="first">The first seed.</param>
    /// <param name="seeds">Seeds for each, at most; null for as many as its target says.</param>
    /// <param name="patience">Longest time for each; what is not found by then counts as not found.</param>
    /// <param name="output">Where the lines go.</param>
    /// <param name="cancellation">Stops after the seed under way.</param>
    /// <returns>Exit code: 0 if each was found that is not known to be open.</returns>
    public static int Run(IEnumerable<MutationTarget> chosen, ulong first, int? seeds, TimeSpan patience, TextWriter output, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(chosen);
        ArgumentNullException.ThrowIfNull(output);
        int found = 0, open = 0;
        var survivors = new List<string>();
        foreach (MutationTarget target in chosen)
        {
            Mutations.Selected = target.Mutation;
            Scenario scenario = Scenario.Load(target.Scenario);
            ulong last = first + (ulong)(seeds ?? target.Seeds) - 1;
            var clock = Stopwatch.StartNew();
            SimulationResult? failed = null;
            ulong seed = first;
            for (; seed <= last && failed is null && clock.Elapsed < patience && !cancellation.IsCancellationRequested; seed++)
            {
                SimulationResult result = new SimulationRun(seed, scenario).Execute();
                failed = result.Failure is null ? null : result;
            }

            if (failed is not null)
            {
                found++;
            }
            else if (target.IsOpen)
            {
                open++;
            }
            else
            {
                survivors.Add(target.Mutation.ToString());
            }

            string how = failed is not null ? "found" : target.IsOpen ? "not found, known (docs/mutations.md)" : "SURVIVED";
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{target.Mutation,-28} {target.Scenario,-10} {how} {(failed is not null ? "by" : "in")} {seed - first} seeds, {clock.Elapsed.TotalSeconds:F0} s{(failed is null ? "" : ": " + OneLine(failed.Failure!))}"));
            output.Flush();
            if (cancellation.IsCancellationRequested)
            {
                return 1;
            }
        }

        output.WriteLine($"{found} found, {open} known not to be, {survivors.Count} not found{(survivors.Count > 0 ? ": " + string.Join(' ', survivors) : "")}");
        return survivors.Count == 0 ? 0 : 1;
    }

    private static string OneLine(string text)
    {
        string line = string.Join(' ', text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        return line.Length > 140 ? line[..140] : line;
    }
}
#endif
