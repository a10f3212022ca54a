using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Faults.Injection;
using Storage.Cli.Faults.Scenarios;

namespace Storage.Cli.Faults;

/// <summary><c>fault list</c> and <c>fault status</c>: what there is, and what is in force.</summary>
internal static class FaultListing
{
    public static Verb List() => new Verb("list", "The scenarios that 'fault run' knows.", "storage fault list", "storage fault list --json | jq -r .[].name").Does((run, _) =>
    {
        IReadOnlyList<Scenario> scenarios = ScenarioCatalog.All();
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartArray();
                foreach (Scenario scenario in scenarios)
                {
                    writer.WriteStartObject();
                    writer.WriteString("name", scenario.Name);
                    writer.WriteString("description", scenario.Description);
                    writer.WriteNumber("duration_ms", (long)scenario.Length.TotalMilliseconds);
                    writer.WriteString("file", scenario.File);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            }));
            return Task.CompletedTask;
        }

        Table table = Terminal.Table("SCENARIO", ">FAULTS FOR", "WHAT HAPPENS");
        foreach (Scenario scenario in scenarios)
        {
            table.Row(scenario.Name, Durations.Text(scenario.Length), scenario.Description);
        }

        run.Out.Write(table);
        return Task.CompletedTask;
    });

    public static Verb Status() => new Verb("status", "The faults in force, with the time left.", "storage fault status", "storage fault status --json").Does(async (run, cancellation) =>
    {
        var injector = new FaultInjector(run.Cluster);
        long now = TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();
        IReadOnlyList<ActiveFault> active = injector.Active;
        IReadOnlyList<(string Daemon, FaultInForce Fault)> within = await injector.InForceAsync(cancellation).ConfigureAwait(false);

        // What has ended by itself within the daemons is over, whatever the note says.
        active = [.. active.Where(fault => fault.UntilUnixMs > now || fault.Healer != 0 || within.Any(one => one.Fault.Name.StartsWith(fault.Id, StringComparison.Ordinal)))];
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartObject();
                writer.WriteStartArray("faults");
                foreach (ActiveFault fault in active)
                {
                    writer.WriteStartObject();
                    writer.WriteString("id", fault.Id);
                    writer.WriteString("fault", FaultRequest.NameOf(fault.Kind));
                    writer.WriteString("what", fault.What);
                    WriteNames(writer, "targets", fault.Targets);
                    writer.WriteNumber("started_unix_ms", fault.StartedUnixMs);
                    writer.WriteNumber("remaining_ms", Math.Max(0, fault.UntilUnixMs - now));
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
                writer.WriteStartArray("within_daemons");
                foreach ((string daemon, FaultInForce fault) in within)
                {
                    writer.WriteStartObject();
                    writer.WriteString("daemon", daemon);
                    writer.WriteString("name", fault.Name);
                    writer.WriteString("what", fault.What);
                    writer.WriteNumber("remaining_ms", fault.RemainingMs);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
                writer.WriteEndObject();
            }));
            return;
        }

        if (active.Count == 0 && within.Count == 0)
        {
            run.Out.WriteLine("no faults");
            return;
        }

        Table table = Terminal.Table("FAULT", ">HEALS IN", "WHAT");
        foreach (ActiveFault fault in active)
        {
            table.Row(fault.Id, Durations.Text(TimeSpan.FromMilliseconds(Math.Max(0, fault.UntilUnixMs - now))), fault.What);
        }

        foreach ((string daemon, FaultInForce fault) in within.Where(one => !active.Any(fault => one.Fault.Name.StartsWith(fault.Id, StringComparison.Ordinal))))
        {
            table.Row(fault.Name, Durations.Text(TimeSpan.FromMilliseconds(fault.RemainingMs)), string.Create(CultureInfo.InvariantCulture, $"{daemon}: {fault.What}"));
        }

        run.Out.Write(table);
    });

    public static void WriteNames(Utf8JsonWriter writer, string property, IEnumerable<string> names)
    {
        writer.WriteStartArray(property);
        foreach (string name in names)
        {
            writer.WriteStringValue(name);
        }

        writer.WriteEndArray();
    }
}
