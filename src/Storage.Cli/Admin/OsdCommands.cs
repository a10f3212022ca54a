using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>osd</c>: the OSDs, and the OSD daemon itself.</summary>
internal static class OsdCommands
{
    public static Command Build() => StorageCommand.Group(
        "osd",
        "OSDs: state and placement, and the daemon itself.",
        Tree(),
        Dump(),
        Usage(),
        Change("out", "Takes OSDs out of data placement; their data moves elsewhere.", (admin, request, cancellation) => admin.OsdOutAsync(request, cancellation)),
        Change("in", "Puts OSDs back into data placement.", (admin, request, cancellation) => admin.OsdInAsync(request, cancellation)),
        Change("down", "Marks OSDs down; one that lives comes up again by itself.", (admin, request, cancellation) => admin.OsdDownAsync(request, cancellation)),
        OsdMaintenance.OkToStop(),
        OsdMaintenance.SafeToDestroy(),
        OsdMaintenance.Purge(),
        Lost(),
        ScrubCommands.OfOsd(ScrubKind.Shallow),
        ScrubCommands.OfOsd(ScrubKind.Deep),
        ScrubCommands.OfOsd(ScrubKind.Repair),
        ScrubCommands.ClearErrors(),
        Reweight("reweight", "Sets how far an OSD is in, 0 to 1.", crush: false),
        Flag("set", "Sets a flag of the cluster: noout, nodown, noup, noin, norecover, nobackfill, norebalance, noscrub, nodeep-scrub, pause.", (admin, request, cancellation) => admin.OsdSetFlagAsync(request, cancellation)),
        Flag("unset", "Clears a flag of the cluster.", (admin, request, cancellation) => admin.OsdUnsetFlagAsync(request, cancellation)),
        StorageCommand.Group(
            "crush",
            "The CRUSH hierarchy and its rules.",
            [Reweight("reweight", "Sets an OSD's weight in the CRUSH map, by custom its size in TiB.", crush: true), TreeNamed("tree"), .. OsdMaintenance.CrushEdits()]),
        OsdDaemonVerbs.Mkfs(),
        OsdDaemonVerbs.Run());

    /// <summary>Reads <c>3</c> or <c>osd.3</c>.</summary>
    public static int ParseOsd(string text)
    {
        ReadOnlySpan<char> number = text.StartsWith("osd.", StringComparison.Ordinal) ? text.AsSpan(4) : text;
        return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out int id)
            ? id
            : throw new CliException($"'{text}' is no OSD; write 3 or osd.3.");
    }

    private static Argument<string> OsdArgument() => new("OSD") { Description = "An OSD, as 3 or osd.3." };

    private static Verb Tree() => TreeNamed("tree");

    private static Verb TreeNamed(string name) => new Verb(name, "The CRUSH hierarchy with each OSD's state.", "storage osd tree").Does(async (run, cancellation) =>
    {
        OsdTreeReply reply = await run.Admin.OsdTreeAsync(new OsdTreeRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            Table table = Terminal.Table(">ID", "CLASS", ">WEIGHT", "TYPE NAME", "STATUS", ">REWEIGHT");
            foreach (OsdTreeNode node in reply.Nodes.Concat(reply.Stray))
            {
                bool device = node.Id >= 0;
                string indent = new(' ', (int)node.Depth * 4);
                table.Row(
                    node.Id,
                    node.DeviceClass,
                    node.CrushWeight.ToString("0.00000", CultureInfo.InvariantCulture),
                    indent + (device ? node.Name : $"{node.Type} {node.Name}"),
                    !device ? "" : node.Exists ? Terminal.Colored(node.Up ? "up" : "down", node.Up) : "none",
                    device ? node.Reweight.ToString("0.00000", CultureInfo.InvariantCulture) : "");
            }

            console.Write(table);
        });
    });

    private static Verb Dump() => new Verb("dump", "Each OSD's entry in the cluster map.", "storage osd dump", "storage osd dump --json").Does(async (run, cancellation) =>
    {
        OsdDumpReply reply = await run.Admin.OsdDumpAsync(new OsdDumpRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            console.WriteLine($"epoch {reply.Epoch}, fsid {reply.Fsid}, flags {(reply.Flags.Count == 0 ? "none" : string.Join(',', reply.Flags))}");
            console.WriteLine(FormattableString.Invariant($"nearfull {reply.NearfullRatio}, backfillfull {reply.BackfillfullRatio}, full {reply.FullRatio}"));
            Table table = Terminal.Table("OSD", "STATUS", "IN", ">WEIGHT", ">UP FROM", ">UP THRU", ">DOWN AT", "ADDRESS", "UUID");
            foreach (OsdInfo osd in reply.Osds)
            {
                table.Row(
                    $"osd.{osd.Id}",
                    Terminal.Colored(osd.Up ? "up" : "down", osd.Up),
                    Terminal.Colored(osd.In ? "in" : "out", osd.In),
                    osd.Reweight,
                    osd.UpFrom,
                    osd.UpThru,
                    osd.DownAt,
                    osd.Address,
                    osd.Uuid);
            }

            console.Write(table);
        });
    });

    private static Verb Usage() => new Verb("df", "Space and PGs of each OSD.", "storage osd df").Does(async (run, cancellation) =>
    {
        OsdDumpReply reply = await run.Admin.OsdDumpAsync(new OsdDumpRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            Table table = Terminal.Table("OSD", "CLASS", ">WEIGHT", ">SIZE", ">USED", ">AVAIL", ">%USE", ">PGS", ">PRIMARY", ">COMMIT", "STATUS");
            foreach (OsdInfo osd in reply.Osds)
            {
                table.Row(
                    $"osd.{osd.Id}",
                    osd.DeviceClass,
                    osd.CrushWeight.ToString("0.00000", CultureInfo.InvariantCulture),
                    Amount.Bytes(osd.TotalBytes),
                    Amount.Bytes(osd.UsedBytes),
                    Amount.Bytes(osd.AvailableBytes),
                    osd.TotalBytes == 0 ? "-" : (100.0 * osd.UsedBytes / osd.TotalBytes).ToString("0.00", CultureInfo.InvariantCulture),
                    osd.Pgs,
                    osd.PrimaryPgs,
                    osd.CommitLatencyMs.ToString("0.00 'ms'", CultureInfo.InvariantCulture),
                    Terminal.Colored(osd.Up ? "up" : "down", osd.Up));
            }

            console.Write(table);
        });
    });

    private static Verb Change(string name, string description, Func<AdminClient, OsdIdsRequest, CancellationToken, Task<OsdIdsReply>> call)
    {
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3.", Arity = ArgumentArity.OneOrMore };
        var verb = new Verb(name, description, $"storage osd {name} 3", $"storage osd {name} osd.1 osd.2") { osds };
        if (name == "out")
        {
            verb.Add(Changes.Sure);
        }

        return verb.Does(async (run, cancellation) =>
        {
            var request = new OsdIdsRequest { Confirmed = run.Get(Changes.Sure) };
            request.Osds.AddRange(run.Get(osds).Select(ParseOsd));
            OsdIdsReply reply = await call(run.Admin, request, cancellation).ConfigureAwait(false);
            run.Print(reply, reply.Message.Length > 0 ? reply.Message
                : reply.Changed.Count > 0 ? $"{string.Join(", ", reply.Changed.Select(id => $"osd.{id}"))} marked {name} (epoch {reply.Epoch})"
                : $"already {name}");
        });
    }

    private static Verb Lost()
    {
        Argument<string> osd = OsdArgument();
        var sure = new Option<bool>("--yes-i-really-mean-it") { Description = "Confirm: PGs stop waiting for this OSD's data, and what only it held is lost." };
        return new Verb("lost", "Gives up the data of an OSD that never comes back.", "storage osd lost 3 --yes-i-really-mean-it") { osd, sure }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.OsdLostAsync(new OsdLostRequest { Osd = ParseOsd(run.Get(osd)), Confirmed = run.Get(sure) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, "marked lost"));
        });
    }

    private static Verb Reweight(string name, string description, bool crush)
    {
        Argument<string> osd = OsdArgument();
        var weight = new Argument<string>("WEIGHT") { Description = crush ? "The weight, 0 or more." : "The share, 0 to 1." };
        string prefix = crush ? "storage osd crush" : "storage osd";
        return new Verb(name, description, $"{prefix} {name} 3 {(crush ? "1.819" : "0.8")}") { osd, weight, Changes.Sure }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.OsdReweightAsync(
                new OsdReweightRequest { Osd = ParseOsd(run.Get(osd)), Weight = Amount.ParseNumber(run.Get(weight)), CrushWeight = crush, Confirmed = run.Get(Changes.Sure) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, "reweighted"));
        });
    }

    private static Verb Flag(string name, string description, Func<AdminClient, OsdFlagRequest, CancellationToken, Task<ChangeReply>> call)
    {
        var flag = new Argument<string>("FLAG") { Description = "The flag's name." };
        return new Verb(name, description, $"storage osd {name} noout") { flag }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await call(run.Admin, new OsdFlagRequest { Flag = run.Get(flag) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, $"{run.Get(flag)} is {name}"));
        });
    }
}

/// <summary>How changes of the map are reported.</summary>
internal static class Changes
{
    public static Option<bool> Sure { get; } = new("--yes-i-really-mean-it") { Description = "Do it also if pools cannot place all their copies then." };

    public static string Line(ChangeReply reply, string done) =>
        reply.Message.Length > 0 ? reply.Message : reply.Changed ? $"{done} (epoch {reply.Epoch})" : $"unchanged (epoch {reply.Epoch})";
}
