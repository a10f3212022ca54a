using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>status</c>, <c>health</c>, <c>log</c>: how the cluster is.</summary>
internal static class StatusCommands
{
    private static readonly TimeSpan s_watchInterval = TimeSpan.FromSeconds(1);

    public static Command Status()
    {
        var watch = new Option<bool>("--watch", "-w") { Description = "Print again every second until interrupted." };
        var verb = new Verb("status", "The cluster at a glance: health, daemons, data and traffic.", "storage status", "storage status --watch", "storage status --json | jq .health") { watch };
        return verb.Does(async (run, cancellation) =>
        {
            if (run.Get(watch) && !run.Json && !Console.IsOutputRedirected)
            {
                await WatchAsync(run, cancellation).ConfigureAwait(false);
                return;
            }

            do
            {
                StatusReply reply = await run.Admin.StatusAsync(new StatusRequest(), cancellation).ConfigureAwait(false);
                run.Print(reply, console => Print(console, reply));
                if (run.Get(watch))
                {
                    await Task.Delay(s_watchInterval, cancellation).ConfigureAwait(false);
                }
            }
            while (run.Get(watch));
        });
    }

    /// <summary>Redraws in place: the old text is written over, so that nothing flickers.</summary>
    private static async Task WatchAsync(Invocation run, CancellationToken cancellation)
    {
        Console.Write("\u001b[2J");
        while (true)
        {
            using var text = new StringWriter();
            IAnsiConsole page = Terminal.Create(text, redirected: false);
            page.Profile.Width = run.Out.Profile.Width;
            try
            {
                Print(page, await run.Admin.StatusAsync(new StatusRequest(), cancellation).ConfigureAwait(false));
            }
            catch (Rpc.RpcException e) when (e.Code is Rpc.StatusCode.Unavailable or Rpc.StatusCode.DeadlineExceeded)
            {
                page.WriteLine($"no answer from the monitors: {e.Status.Message}");
            }

            page.WriteLine();
            page.WriteLine($"{TimeProvider.System.GetLocalNow():HH:mm:ss}   (Ctrl-C ends)");
            Console.Write("\u001b[H" + text.ToString().Replace("\n", "\u001b[K\n", StringComparison.Ordinal) + "\u001b[J");
            await Task.Delay(s_watchInterval, cancellation).ConfigureAwait(false);
        }
    }

    public static Command Health()
    {
        var detail = new Option<bool>("--detail") { Description = "List each affected daemon, PG or pool." };
        var verb = new Verb("health", "Health checks. Exit code 0 unless the cluster cannot be asked.", "storage health", "storage health --detail") { detail, Mute(), Unmute() };
        return verb.Does(async (run, cancellation) =>
        {
            HealthReply reply = await run.Admin.HealthAsync(new HealthRequest { Detail = run.Get(detail) }, cancellation).ConfigureAwait(false);
            run.Print(reply, console =>
            {
                console.Write(HealthText(reply.Status));
                console.WriteLine(reply.Checks.Count == 0 ? "" : " " + string.Join("; ", reply.Checks.Where(check => !check.Muted).Select(check => check.Summary))
                    + (reply.Checks.Any(check => check.Muted) ? $" (muted: {string.Join(", ", reply.Checks.Where(check => check.Muted).Select(check => check.Code))})" : ""));
                foreach (HealthCheck check in run.Get(detail) ? reply.Checks : [])
                {
                    console.WriteLine(CheckLine(check));
                    foreach (string line in check.Detail)
                    {
                        console.WriteLine("    " + line);
                    }
                }
            });
        });
    }

    private static Verb Mute()
    {
        var code = new Argument<string>("CODE") { Description = "The check's code, as OSD_DOWN." };
        var duration = new Option<string?>("--for") { Description = "Ends by itself after this time, as 30m, 4h or 2d; else until unmuted." };
        return new Verb("mute", "Takes a check out of the cluster's status; it is still shown.", "storage health mute OSD_DOWN --for 4h") { code, duration }.Does(async (run, cancellation) =>
        {
            uint seconds = run.Get(duration) is { } text ? (uint)Amount.ParseDuration(text).TotalSeconds : 0;
            ChangeReply reply = await run.Admin.HealthMuteAsync(new HealthMuteRequest { Code = run.Get(code), DurationSeconds = seconds }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"{run.Get(code)} muted{(seconds == 0 ? "" : " for " + run.Get(duration))}"));
        });
    }

    private static Verb Unmute()
    {
        var code = new Argument<string>("CODE") { Description = "The check's code." };
        return new Verb("unmute", "Ends a mute.", "storage health unmute OSD_DOWN") { code }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.HealthUnmuteAsync(new HealthUnmuteRequest { Code = run.Get(code) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"{run.Get(code)} unmuted"));
        });
    }

    public static Command Log()
    {
        var count = new Argument<uint>("COUNT") { Description = "How many entries.", DefaultValueFactory = _ => 50 };
        Verb last = new Verb("last", "The newest entries of the cluster's log, oldest first.", "storage log last", "storage log last 200 --json") { count }
            .Does(async (run, cancellation) =>
            {
                LogLastReply reply = await run.Admin.LogLastAsync(new LogLastRequest { Count = run.Get(count) }, cancellation).ConfigureAwait(false);
                run.Print(reply, console =>
                {
                    foreach (LogEntry entry in reply.Entries)
                    {
                        string time = DateTimeOffset.FromUnixTimeMilliseconds(entry.TimeUnixMs).ToString("yyyy-MM-ddTHH:mm:ss.fffK", CultureInfo.InvariantCulture);
                        console.WriteLine($"{time} {entry.Source} [{entry.Level.ToString().ToUpperInvariant()}] {entry.Message}");
                    }
                });
            });
        return StorageCommand.Group("log", "The cluster's log.", last);
    }

    /// <summary>HEALTH_OK and the like, in its colour.</summary>
    public static Text HealthText(HealthStatus status) => new(
        HealthName(status),
        new Style(status switch
        {
            HealthStatus.Ok => Color.Green,
            HealthStatus.Warn => Color.Yellow,
            _ => Color.Red,
        }));

    public static string HealthName(HealthStatus status) => status switch
    {
        HealthStatus.Ok => "HEALTH_OK",
        HealthStatus.Warn => "HEALTH_WARN",
        HealthStatus.Err => "HEALTH_ERR",
        _ => "HEALTH_UNKNOWN",
    };

    private static string CheckLine(HealthCheck check) =>
        $"[{(check.Severity == HealthStatus.Err ? "ERR" : "WRN")}] {check.Code}: {check.Summary}{(check.Muted ? " (muted)" : "")}";

    private static void Print(IAnsiConsole console, StatusReply status)
    {
        console.WriteLine("  cluster:");
        console.WriteLine($"    id:     {status.Fsid}");
        console.Write("    health: ");
        console.Write(HealthText(status.Health));
        console.WriteLine();
        foreach (HealthCheck check in status.Checks)
        {
            console.WriteLine($"            {check.Summary}{(check.Muted ? " (muted)" : "")}");
        }

        console.WriteLine();
        console.WriteLine("  services:");
        QuorumSummary quorum = status.Quorum ?? new QuorumSummary();
        IEnumerable<string> outside = quorum.Monitors.Except(quorum.InQuorum);
        console.WriteLine($"    mon: {quorum.Monitors.Count} daemons, quorum {string.Join(',', quorum.InQuorum)}"
            + (outside.Any() ? $", out of quorum: {string.Join(',', outside)}" : "")
            + $" (leader {quorum.Leader}, since {Amount.Duration(TimeSpan.FromMilliseconds(quorum.AgeMs))})");
        OsdSummary osds = status.Osds ?? new OsdSummary();
        console.WriteLine($"    osd: {osds.Total} osds: {osds.Up} up, {osds.In} in (epoch {status.Epoch})"
            + (osds.RemappedPgs > 0 ? $"; {osds.RemappedPgs} remapped pgs" : ""));
        if (status.Flags.Count > 0)
        {
            console.WriteLine($"    flags: {string.Join(',', status.Flags)}");
        }

        console.WriteLine();
        console.WriteLine("  data:");
        UsageSummary usage = status.Usage ?? new UsageSummary();
        console.WriteLine($"    pools:   {status.Pools} pools, {Amount.Count(status.Pgs)} pgs");
        console.WriteLine($"    objects: {Amount.Count(usage.Objects)} objects, {Amount.Bytes(usage.StoredBytes)}");
        console.WriteLine($"    usage:   {Amount.Bytes(usage.UsedBytes)} used, {Amount.Bytes(usage.AvailableBytes)} / {Amount.Bytes(usage.TotalBytes)} avail");
        string label = "pgs:";
        RecoverySummary recovery = status.Recovery ?? new RecoverySummary();
        foreach (string line in DataAtRisk(recovery))
        {
            console.WriteLine($"    {label,-8} {line}");
            label = "";
        }

        foreach (PgStateCount state in status.PgStates.OrderByDescending(state => state.Count))
        {
            console.WriteLine($"    {label,-8} {Amount.Count(state.Count)} {state.State}");
            label = "";
        }

        PrintProgress(console, status);
        IoRates io = status.ClientIo ?? new IoRates();
        bool recovers = recovery.BytesPerSecond > 0 || recovery.ObjectsPerSecond > 0;
        if (io.ReadOpsPerSecond + io.WriteOpsPerSecond > 0 || recovers)
        {
            console.WriteLine();
            console.WriteLine("  io:");
            console.WriteLine($"    client:   {Amount.Bytes(io.ReadBytesPerSecond)}/s rd, {Amount.Bytes(io.WriteBytesPerSecond)}/s wr, {Amount.Count(io.ReadOpsPerSecond)} op/s rd, {Amount.Count(io.WriteOpsPerSecond)} op/s wr");
        }

        if (recovers)
        {
            console.WriteLine($"    recovery: {Amount.Bytes(recovery.BytesPerSecond)}/s, {Amount.Count(recovery.ObjectsPerSecond)} objects/s");
        }
    }

    private static void PrintProgress(IAnsiConsole console, StatusReply status)
    {
        if (status.Progress.Count == 0)
        {
            return;
        }

        const int width = 24;
        console.WriteLine();
        console.WriteLine("  progress:");
        foreach (ProgressItem item in status.Progress)
        {
            int done = (int)(item.Fraction * width);
            string bar = new string('=', done) + (done < width ? ">" : "") + new string('.', Math.Max(0, width - done - 1));
            string rest = item.Fraction >= 1 ? $"done in {Amount.Duration(TimeSpan.FromSeconds(item.ElapsedSeconds))}"
                : item.HasRemainingSeconds ? $"about {Amount.Duration(TimeSpan.FromSeconds(item.RemainingSeconds))}"
                : "waiting";
            console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"    [{bar}] {item.Fraction * 100:0}%  {item.Message}, {rest}"));
        }
    }

    private static IEnumerable<string> DataAtRisk(RecoverySummary recovery)
    {
        string Share(ulong part) => recovery.ObjectCopies == 0
            ? $"{part}"
            : string.Create(CultureInfo.InvariantCulture, $"{part}/{recovery.ObjectCopies} ({100.0 * part / recovery.ObjectCopies:0.000}%)");

        if (recovery.DegradedObjects > 0)
        {
            yield return $"{Share(recovery.DegradedObjects)} object copies degraded";
        }

        if (recovery.MisplacedObjects > 0)
        {
            yield return $"{Share(recovery.MisplacedObjects)} object copies misplaced";
        }

        if (recovery.UnfoundObjects > 0)
        {
            yield return $"{recovery.UnfoundObjects} objects unfound";
        }
    }
}
