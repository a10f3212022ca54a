using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Faults.Injection;
using Storage.Cli.Faults.Running;
using Storage.Cli.Faults.Scenarios;
using Storage.Cli.Local;

namespace Storage.Cli.Faults;

/// <summary><c>fault</c>: hurts a local cluster on purpose, one fault at a time or a scenario with clients and a verdict.</summary>
internal static class FaultCommands
{
    /// <summary>How much longer a fault may last than asked for before the healer steps in.</summary>
    private static readonly TimeSpan s_noGrace = TimeSpan.Zero;

    public static Command Build() => StorageCommand.Group(
        "fault",
        "Failures on purpose, in a cluster on this machine: processes, disks, network. Everything heals by itself. See docs/faults.md.",
        FaultListing.List(),
        FaultListing.Status(),
        Heal(),
        Daemons(FaultKind.Kill, "Ends daemons as a crash would (SIGKILL); they are started again when the time is up.", "storage fault kill osd.1", "storage fault kill mon.leader --for 10s"),
        Daemons(FaultKind.Pause, "Stops daemons where they are (SIGSTOP): they hold their connections and answer nothing. They go on when the time is up.", "storage fault pause osd.primary --for 10s"),
        Restart(),
        DiskFull(),
        BitFlip(),
        SlowDisk(),
        DiskError(),
        Cut(),
        FaultRunCommand.Run(),
        FaultRunCommand.Check());

    private static Argument<string[]> Targets(string what) => new("DAEMON") { Description = $"{what}: {FaultTargets.Syntax}.", Arity = ArgumentArity.OneOrMore };

    private static Argument<string> Osd() => new("OSD") { Description = "An OSD, as in osd.1, osd.any or osd.primary." };

    private static Option<string?> For(FaultKind kind) => new("--for")
    {
        Description = $"How long, as in 500ms, 10s or 2m; default {FaultRequest.DefaultDuration(kind).TotalSeconds:0}s.",
        HelpName = "TIME",
    };

    private static Option<int?> Seed() => new("--seed") { Description = "Makes random choices repeatable." };

    private static TimeSpan Duration(Invocation run, Option<string?> option, FaultKind kind)
    {
        TimeSpan duration = run.Get(option) is { } text ? Durations.Parse(text) : FaultRequest.DefaultDuration(kind);
        return duration > TimeSpan.Zero ? duration : throw new CliException("--for 0: a fault lasts some time; write for example --for 5s.");
    }

    private static Verb Daemons(FaultKind kind, string description, params string[] examples)
    {
        Argument<string[]> targets = Targets("Whom");
        Option<string?> duration = For(kind);
        Option<int?> seed = Seed();
        return new Verb(FaultRequest.NameOf(kind), description, examples) { targets, duration, seed }.Does((run, cancellation) =>
            InjectAsync(run, run.Get(targets), seed, names => new FaultRequest { Kind = kind, Targets = names, Duration = Duration(run, duration, kind) }, cancellation));
    }

    private static Verb Restart()
    {
        Argument<string[]> targets = Targets("Whom");
        Option<int?> seed = Seed();
        return new Verb("restart", "Stops daemons in order (SIGTERM) and starts them again.", "storage fault restart osd.1", "storage fault restart osds") { targets, seed }.Does((run, cancellation) =>
            InjectAsync(run, run.Get(targets), seed, names => new FaultRequest { Kind = FaultKind.Restart, Targets = names }, cancellation));
    }

    private static Verb DiskFull()
    {
        Argument<string> osd = Osd();
        Option<string?> duration = For(FaultKind.DiskFull);
        return new Verb("disk-full", "Makes an OSD behave as if its disk were full: it reports it, and takes no more data.", "storage fault disk-full osd.1 --for 20s") { osd, duration }.Does((run, cancellation) =>
            InjectAsync(run, [run.Get(osd)], null, names => new FaultRequest { Kind = FaultKind.DiskFull, Targets = names, Duration = Duration(run, duration, FaultKind.DiskFull) }, cancellation));
    }

    private static Verb BitFlip()
    {
        Argument<string> osd = Osd();
        var count = new Option<int>("--count") { Description = "Blocks to damage, one bit in each.", DefaultValueFactory = _ => 16 };
        Option<int?> seed = Seed();
        return new Verb(
            "bit-flip",
            "Flips single bits in an OSD's block file, in 4 KiB blocks that hold data. The cluster finds them when it reads or scrubs, and repairs them from other copies.",
            "storage fault bit-flip osd.0 --count 100 --seed 7") { osd, count, seed }.Does((run, cancellation) =>
        {
            int wanted = run.Get(count);
            if (wanted is < 1 or > 100_000)
            {
                throw new CliException($"--count {wanted}: 1 to 100000 are possible.");
            }

            int drawn = run.Get(seed) ?? Environment.ProcessId;
            return InjectAsync(run, [run.Get(osd)], seed, names => new FaultRequest { Kind = FaultKind.BitFlip, Targets = names, Count = wanted, Seed = drawn }, cancellation);
        });
    }

    private static Verb SlowDisk()
    {
        Argument<string> osd = Osd();
        var delay = new Option<string>("--delay") { Description = "Added to every read, write and sync.", DefaultValueFactory = _ => "50ms", HelpName = "TIME" };
        Option<string?> duration = For(FaultKind.SlowDisk);
        return new Verb("slow-disk", "Makes an OSD's disk slow.", "storage fault slow-disk osd.2 --delay 200ms --for 30s") { osd, delay, duration }.Does((run, cancellation) =>
            InjectAsync(
                run, [run.Get(osd)], null,
                names => new FaultRequest { Kind = FaultKind.SlowDisk, Targets = names, Delay = Durations.Parse(run.Get(delay)!), Duration = Duration(run, duration, FaultKind.SlowDisk) },
                cancellation));
    }

    private static Verb DiskError()
    {
        Argument<string> osd = Osd();
        var kind = new Option<string>("--kind") { Description = "Which operations fail: read, write or sync.", Required = true };
        kind.AcceptOnlyFromAmong("read", "write", "sync");
        Option<string?> duration = For(FaultKind.DiskError);
        return new Verb(
            "disk-error",
            "Makes an OSD's disk fail. After a failed write or sync the daemon ends, as it must; it is started again when the time is up.",
            "storage fault disk-error osd.1 --kind write", "storage fault disk-error osd.1 --kind read --for 10s") { osd, kind, duration }.Does((run, cancellation) =>
            InjectAsync(
                run, [run.Get(osd)], null,
                names => new FaultRequest { Kind = FaultKind.DiskError, Targets = names, Operation = run.Get(kind)!, Duration = Duration(run, duration, FaultKind.DiskError) },
                cancellation));
    }

    private static Verb Cut()
    {
        var from = new Argument<string>("A") { Description = $"One side: {FaultTargets.Syntax}." };
        var to = new Argument<string>("B") { Description = "The other side.", DefaultValueFactory = _ => "" };
        var everyone = new Option<bool>("--from-all") { Description = "Cut A from everyone, daemons and clients." };
        var oneWay = new Option<bool>("--one-way") { Description = "Only what A sends is lost; A still hears." };
        Option<string?> duration = For(FaultKind.Cut);
        Option<int?> seed = Seed();
        return new Verb(
            "cut",
            "Cuts the network between daemons, silently: connections stay open and carry nothing, new ones are not answered.",
            "storage fault cut osd.0 osd.1 --for 10s", "storage fault cut mon.leader --from-all", "storage fault cut osd.2 mons --one-way") { from, to, everyone, oneWay, duration, seed }.Does(async (run, cancellation) =>
        {
            string? other = run.Get(to) is { Length: > 0 } named ? named : null;
            if ((other is null) != run.Get(everyone))
            {
                throw new CliException("name the other side, or give --from-all: 'storage fault cut osd.0 osd.1' or 'storage fault cut osd.0 --from-all'.");
            }

            FaultTargets targets = TargetsOf(run, seed);
            IReadOnlyList<string> one = await targets.ResolveAsync(run.Get(from), [], cancellation).ConfigureAwait(false);
            IReadOnlyList<string> peers = other is null ? [] : [.. (await targets.ResolveAsync(other, one, cancellation).ConfigureAwait(false)).Except(one)];
            if (other is not null && peers.Count == 0)
            {
                throw new CliException($"{run.Get(from)} and {other} are the same.");
            }

            await InjectAsync(run, new FaultRequest { Kind = FaultKind.Cut, Targets = one, Peers = peers, OneWay = run.Get(oneWay), Duration = Duration(run, duration, FaultKind.Cut) }, cancellation).ConfigureAwait(false);
        });
    }

    private static Verb Heal()
    {
        var id = new Argument<string>("FAULT") { Description = "One fault, by the id that 'fault status' shows; default all.", DefaultValueFactory = _ => "" };
        return new Verb("heal", "Undoes faults at once: paused daemons go on, dead ones are started, networks and disks are whole again.", "storage fault heal", "storage fault heal f1a2b3c4") { id }.Does(async (run, cancellation) =>
        {
            var injector = new FaultInjector(run.Cluster);
            IReadOnlyList<string> undone;
            if (run.Get(id) is { Length: > 0 } one)
            {
                // The healer asks for what may be healed already: no error.
                ActiveFault? fault = injector.Active.FirstOrDefault(active => active.Id == one);
                undone = fault is null ? [] : [$"healed: {fault.What}"];
                if (fault is not null)
                {
                    await injector.HealAsync(fault, cancellation).ConfigureAwait(false);
                }
            }
            else
            {
                undone = await injector.HealAllAsync(cancellation).ConfigureAwait(false);
            }

            if (run.Json)
            {
                Console.Out.WriteLine(MessageJson.Write(writer =>
                {
                    writer.WriteStartArray();
                    foreach (string line in undone)
                    {
                        writer.WriteStringValue(line);
                    }

                    writer.WriteEndArray();
                }));
                return;
            }

            run.Out.WriteLine(undone.Count == 0 ? "nothing to heal" : string.Join('\n', undone));
        });
    }

    private static FaultTargets TargetsOf(Invocation run, Option<int?>? seed) =>
        new(run.Cluster, run.Admin, seed is not null && run.Get(seed) is { } number ? new Random(number) : new Random());

    private static async Task InjectAsync(
        Invocation run, string[] selectors, Option<int?>? seed, Func<IReadOnlyList<string>, FaultRequest> request, CancellationToken cancellation)
    {
        FaultTargets targets = TargetsOf(run, seed);
        var names = new List<string>();
        foreach (string selector in selectors)
        {
            names.AddRange((await targets.ResolveAsync(selector, names, cancellation).ConfigureAwait(false)).Where(name => !names.Contains(name)));
        }

        await InjectAsync(run, request(names), cancellation).ConfigureAwait(false);
    }

    private static async Task InjectAsync(Invocation run, FaultRequest request, CancellationToken cancellation)
    {
        if (request.Kind is FaultKind.DiskFull or FaultKind.BitFlip or FaultKind.SlowDisk or FaultKind.DiskError
            && request.Targets.FirstOrDefault(name => !name.StartsWith("osd.", StringComparison.Ordinal)) is { } wrong)
        {
            throw new CliException($"{wrong} has no disk that holds objects; name an OSD.");
        }

        ActiveFault? fault = await new FaultInjector(run.Cluster).InjectAsync(request, s_noGrace, cancellation).ConfigureAwait(false);
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartObject();
                writer.WriteString("id", fault?.Id);
                writer.WriteString("fault", FaultRequest.NameOf(request.Kind));
                writer.WriteString("what", request.Describe());
                FaultListing.WriteNames(writer, "targets", request.Targets);
                writer.WriteNumber("for_ms", (long)request.Duration.TotalMilliseconds);
                writer.WriteEndObject();
            }));
            return;
        }

        run.Out.WriteLine(fault is null
            ? $"done: {request.Describe()}"
            : string.Create(CultureInfo.InvariantCulture, $"{request.Describe()}: {fault.Id}, heals in {Durations.Text(request.Duration)} ('storage fault heal' does it now)"));
    }
}
