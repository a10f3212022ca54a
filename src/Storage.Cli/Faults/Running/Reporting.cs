using System.Globalization;
using Spectre.Console;
using Storage.Simulation.Histories.Recorded;

namespace Storage.Cli.Faults.Running;

/// <summary>Makes a report's parts out of a history, and prints it.</summary>
internal static class Reporting
{
    private const int TimelineLines = 40;
    private const int ViolationsShown = 5;

    public static IReadOnlyList<FaultLine> FaultLines(IEnumerable<RecordedFault> faults, IReadOnlyList<Stall> stalls) =>
    [
        .. faults.OrderBy(fault => fault.StartedUs).Select(fault =>
        {
            Stall[] during = [.. Stalls.During(stalls, fault)];
            return new FaultLine(fault.What, fault.StartedUs / 1000, (fault.EndedUs - fault.StartedUs) / 1000, Milliseconds(Stalls.Longest(during, writes: false)), Milliseconds(Stalls.Longest(during, writes: true)));
        }),
    ];

    public static IReadOnlyList<ClientLine> ClientLines(IReadOnlyList<RecordedOperation> operations) =>
    [
        .. operations.Where(operation => operation.Client != "final").GroupBy(operation => operation.Client[..operation.Client.IndexOf('.', StringComparison.Ordinal)], StringComparer.Ordinal)
            .OrderBy(gateway => gateway.Key, StringComparer.Ordinal)
            .Select(gateway => new ClientLine(
                gateway.Key,
                gateway.Count(),
                gateway.Count(operation => operation.Kind is RecordedKind.Read),
                gateway.Count(operation => operation.Kind is RecordedKind.Write),
                gateway.Count(operation => operation.Kind is not (RecordedKind.Read or RecordedKind.Write)),
                gateway.Count(operation => operation.Result == RecordedResult.Failed),
                gateway.Count(operation => operation.Result == RecordedResult.Unknown))),
    ];

    public static IReadOnlyDictionary<string, int> Errors(IEnumerable<RecordedOperation> operations) => operations
        .Where(operation => operation is { Result: RecordedResult.Failed, Client: not "final" })
        .GroupBy(operation => $"{operation.Client[..operation.Client.IndexOf('.', StringComparison.Ordinal)]}: {operation.Error}", StringComparer.Ordinal)
        .OrderByDescending(group => group.Count()).Take(8)
        .ToDictionary(group => group.Key, group => group.Count(), StringComparer.Ordinal);

    public static StallLine? StallLineOf(Stall? stall) => stall is null ? null : new StallLine(Milliseconds(stall), stall.StartedUs / 1000, stall.Client);

    /// <summary>What happened to a register, operations and faults in one order; the last part of it, where the contradiction mostly is.</summary>
    public static ViolationLine ViolationOf(RecordedViolation violation, IEnumerable<RecordedFault> faults)
    {
        IEnumerable<(long At, string Text)> lines = violation.Timeline.Select(operation => (operation.BeganUs, Line(operation)))
            .Concat(faults.SelectMany(fault => new[] { (fault.StartedUs, $"{Seconds(fault.StartedUs),9}              fault: {fault.What}"), (fault.EndedUs, $"{Seconds(fault.EndedUs),9}              healed: {fault.What}") }));
        return new ViolationLine(violation.Register, violation.Explanation, [.. lines.OrderBy(line => line.At).Select(line => line.Text).TakeLast(TimelineLines)]);
    }

    public static void Print(IAnsiConsole console, RunReport report)
    {
        console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"scenario {report.Scenario}, seed {report.Seed}: {Durations.Text(TimeSpan.FromMilliseconds(report.DurationMs))}"));
        console.WriteLine("  faults:                                                       lasted   longest wait: reads    writes");
        foreach (FaultLine fault in report.Faults)
        {
            console.WriteLine($"    {Text(fault.AtMs),7}  {fault.What,-48} {(fault.ForMs > 0 ? Text(fault.ForMs) : "-"),9}  {Text(fault.LongestReadMs),20} {Text(fault.LongestWriteMs),9}");
        }

        foreach (string skipped in report.Skipped)
        {
            console.WriteLine($"    not injected: {skipped}");
        }

        console.WriteLine("  clients:");
        foreach (ClientLine client in report.Clients)
        {
            console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"    {client.Gateway}: {client.Operations} operations ({client.Reads} reads, {client.Writes} writes, {client.Others} others), {client.Errors} errors, {client.Unknown} without an answer"));
        }

        foreach ((string error, int count) in report.Errors)
        {
            console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"      {count} x {error}"));
        }

        console.WriteLine($"  longest wait: reads {StallText(report.LongestRead)}; writes {StallText(report.LongestWrite)}");
        console.WriteLine($"  recovery: {(report.RecoveryMs is { } recovery ? $"healthy {Text(recovery)} after the last heal" : "did not become healthy")}{(report.KilledAllAtEnd ? "; then every daemon was killed and started again" : "")}");
        console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  checked: {report.Operations} operations on {report.Registers} blocks and keys, all of them read back"));
        foreach (string line in report.Health)
        {
            console.WriteLine($"  health: {line}");
        }

        foreach (ViolationLine violation in report.Violations.Take(ViolationsShown))
        {
            PrintViolation(console, violation);
        }

        if (report.Violations.Count > ViolationsShown)
        {
            console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  … and {report.Violations.Count - ViolationsShown} more; 'storage fault check' lists all"));
        }

        foreach (string line in report.Unreadable)
        {
            console.WriteLine($"  unreadable: {line}");
        }

        foreach (string line in report.Unexpected)
        {
            console.WriteLine($"  unexpected: {line}");
        }

        console.Write(new Text($"  verdict: {report.Verdict}", new Style(report.Ok ? Color.Green : Color.Red)));
        console.WriteLine();
        console.WriteLine($"  history: {report.History}");
    }

    public static void PrintViolation(IAnsiConsole console, ViolationLine violation)
    {
        console.WriteLine($"  VIOLATION at {violation.Register}: {violation.Explanation.Replace("\n", "\n    ", StringComparison.Ordinal)}");
        foreach (string line in violation.Timeline)
        {
            console.WriteLine("    " + line);
        }
    }

    private static long Milliseconds(Stall? stall) => stall is null ? 0 : (long)stall.Length.TotalMilliseconds;

    private static string Text(long milliseconds) => Durations.Text(TimeSpan.FromMilliseconds(milliseconds));

    private static string StallText(StallLine? stall) => stall is null ? "none" : $"{Text(stall.Ms)} (at {Text(stall.AtMs)}, {stall.Client})";

    private static string Seconds(long microseconds) => (microseconds / 1e6).ToString("0.000", CultureInfo.InvariantCulture);

    private static string Line(RecordedOperation operation)
    {
        ulong value = operation.Registers[0].Value;
        string text = value switch
        {
            RecordedValue.Missing => "nothing",
            RecordedValue.Present => "present",
            RecordedValue.Damaged => "DAMAGED",
            _ => value.ToString(CultureInfo.InvariantCulture),
        };
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{Seconds(operation.BeganUs),9} .. {Seconds(operation.EndedUs),9} {operation.Client,-8} #{operation.Id} {operation.Kind.ToString().ToLowerInvariant()} {text} -> {operation.Result.ToString().ToLowerInvariant()}{(operation.Error is null ? "" : $" ({operation.Error})")}");
    }
}
