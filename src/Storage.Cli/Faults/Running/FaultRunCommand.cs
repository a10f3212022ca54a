using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Faults.Scenarios;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Running;

/// <summary><c>fault run</c> and <c>fault check</c>.</summary>
internal static class FaultRunCommand
{
    public static Verb Run()
    {
        var name = new Argument<string>("SCENARIO") { Description = "A name from 'fault list', or a scenario file." };
        var seed = new Option<int?>("--seed") { Description = "Repeats the random choices of a run; default from the clock." };
        var duration = new Option<string?>("--duration") { Description = "How long faults are injected, in place of what the scenario says.", HelpName = "TIME" };
        var strict = new Option<bool>("--strict") { Description = "Fail also if a client waited longer than the scenario expects." };
        return new Verb(
            "run",
            "Runs clients against the cluster while a scenario's faults happen, heals everything, and says whether anything was lost. Exit code 0 if nothing was.",
            "storage fault run kill-osd",
            "storage fault run chaos --seed 7 --duration 60s --json") { name, seed, duration, strict }.Does(async (run, cancellation) =>
        {
            Scenario scenario = ScenarioCatalog.Find(run.Get(name));
            if (run.Get(duration) is { } text)
            {
                scenario = scenario with { Length = Durations.Parse(text) };
            }

            int drawn = run.Get(seed) ?? (int)(TimeProvider.System.GetUtcNow().ToUnixTimeSeconds() % 1_000_000);
            Action<string> progress = run.Json ? static _ => { } : Console.Error.WriteLine;
            progress($"scenario {scenario.Name}, seed {drawn.ToString(CultureInfo.InvariantCulture)}: {scenario.Description}");
            RunReport report = await new FaultRun(run.Cluster, run.Admin, scenario, drawn, progress).RunAsync(cancellation).ConfigureAwait(false);
            if (run.Json)
            {
                Console.Out.WriteLine(JsonSerializer.Serialize(report, RunReportJson.Default.RunReport));
            }
            else
            {
                Reporting.Print(run.Out, report);
            }

            return report.Ok && (!run.Get(strict) || report.Unexpected.Count == 0) ? 0 : Verb.Failure;
        });
    }

    public static Verb Check()
    {
        var file = new Argument<string>("HISTORY") { Description = "A file that 'fault run' wrote." };
        return new Verb("check", "Checks a recorded history again. Exit code 0 if it is sound.", "storage fault check cluster/data/faults/kill-osd-7-20260101T120000.jsonl") { file }.Does((run, _) =>
        {
            using var reader = new StreamReader(run.Get(file));
            RecordedHistory history;
            try
            {
                history = RecordedHistory.Load(reader);
            }
            catch (FormatException e)
            {
                throw new CliException($"{run.Get(file)}: {e.Message}.", e);
            }

            RecordedVerdict verdict = RecordedCheck.Run(history.Operations);
            ViolationLine[] violations = [.. verdict.Violations.Select(violation => Reporting.ViolationOf(violation, history.Faults))];
            if (run.Json)
            {
                Console.Out.WriteLine(MessageJson.Write(writer =>
                {
                    writer.WriteStartObject();
                    writer.WriteBoolean("ok", verdict.IsClean);
                    writer.WriteNumber("operations", verdict.Operations);
                    writer.WriteNumber("registers", verdict.Registers);
                    FaultListing.WriteNames(writer, "violations", violations.Select(violation => violation.Register));
                    FaultListing.WriteNames(writer, "undecided", verdict.Undecided);
                    writer.WriteEndObject();
                }));
            }
            else
            {
                foreach (ViolationLine violation in violations)
                {
                    Reporting.PrintViolation(run.Out, violation);
                }

                run.Out.WriteLine(string.Create(
                    CultureInfo.InvariantCulture,
                    $"scenario {history.Header.Scenario}, seed {history.Header.Seed}: {verdict.Operations} operations on {verdict.Registers} blocks and keys, {violations.Length} violations, {verdict.Undecided.Count} undecided"));
            }

            return Task.FromResult(verdict.IsClean ? 0 : Verb.Failure);
        });
    }
}
