using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary>Verbs for maintenance of OSDs: may one be stopped or destroyed, purge, edits of the CRUSH hierarchy and rules.</summary>
internal static class OsdMaintenance
{
    public static Verb OkToStop() => Ask(
        "ok-to-stop",
        "Whether I/O goes on in every PG while these OSDs are stopped. Exit code 1 if not.",
        (admin, request, cancellation) => admin.OsdOkToStopAsync(request, cancellation));

    public static Verb SafeToDestroy() => Ask(
        "safe-to-destroy",
        "Whether no PG needs anything on these OSDs' disks. Exit code 1 if one may.",
        (admin, request, cancellation) => admin.OsdSafeToDestroyAsync(request, cancellation));

    public static Verb Purge()
    {
        var osd = new Argument<string>("OSD") { Description = "An OSD that is down, as 3 or osd.3." };
        var sure = new Option<bool>("--yes-i-really-mean-it") { Description = "Purge it although PGs may still need its data." };
        return new Verb("purge", "Removes an OSD from the map and the CRUSH hierarchy for good.", "storage osd out 3", "storage osd safe-to-destroy 3", "storage osd purge 3") { osd, sure }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await run.Admin.OsdPurgeAsync(
                new OsdPurgeRequest { Osd = OsdCommands.ParseOsd(run.Get(osd)), Confirmed = run.Get(sure) }, cancellation).ConfigureAwait(false);
            run.Print(reply, Changes.Line(reply, "purged"));
        });
    }

    /// <summary>The verbs of <c>osd crush</c> besides reweight and tree.</summary>
    public static IEnumerable<Command> CrushEdits() => [AddBucket(), Move(), Remove(), SetClass(), RemoveClass(), Rename(), Rules()];

    private static Verb Ask(string name, string description, Func<AdminClient, OsdIdsRequest, CancellationToken, Task<OsdSafetyReply>> call)
    {
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3.", Arity = ArgumentArity.OneOrMore };
        return new Verb(name, description, $"storage osd {name} 3", $"storage osd {name} 3 4 --json") { osds }.Does(async (run, cancellation) =>
        {
            var request = new OsdIdsRequest();
            request.Osds.AddRange(run.Get(osds).Select(OsdCommands.ParseOsd));
            OsdSafetyReply reply = await call(run.Admin, request, cancellation).ConfigureAwait(false);
            run.Print(reply, console =>
            {
                console.WriteLine(reply.Summary);
                foreach (string reason in reply.Reasons)
                {
                    console.WriteLine("    " + reason);
                }
            });
            return reply.Safe ? 0 : Verb.Failure;
        });
    }

    private static Argument<string[]> LocationArgument() =>
        new("LOCATION") { Description = "Buckets above it, as in root=default rack=r1; those that are missing are made.", Arity = ArgumentArity.ZeroOrMore };

    private static void Locate(Google.Protobuf.Collections.MapField<string, string> target, string[] location)
    {
        foreach (string part in location)
        {
            int at = part.IndexOf('=', StringComparison.Ordinal);
            if (at <= 0 || at == part.Length - 1)
            {
                throw new CliException($"'{part}' is no location; write TYPE=NAME, as in host=node1.");
            }

            target[part[..at]] = part[(at + 1)..];
        }
    }

    private static Verb AddBucket()
    {
        var name = new Argument<string>("NAME") { Description = "The new bucket's name." };
        var type = new Argument<string>("TYPE") { Description = "host, rack, row, datacenter, root, …" };
        Argument<string[]> location = LocationArgument();
        location.DefaultValueFactory = _ => []; // a root has nothing above it
        return new Verb("add-bucket", "Adds a bucket to the CRUSH hierarchy.", "storage osd crush add-bucket rack1 rack root=default") { name, type, location }.Does(async (run, cancellation) =>
        {
            var add = new CrushBucketAdd { Name = run.Get(name), Type = run.Get(type) };
            Locate(add.Location, run.Get(location));
            await EditAsync(run, new CrushEditRequest { AddBucket = add }, cancellation).ConfigureAwait(false);
        });
    }

    private static Verb Move()
    {
        var name = new Argument<string>("NAME") { Description = "A bucket, or an OSD as osd.3." };
        Argument<string[]> location = LocationArgument();
        return new Verb("move", "Moves a bucket or OSD to another place; data moves accordingly.", "storage osd crush move node1 root=default rack=rack1", "storage osd crush move osd.3 root=default host=node2") { name, location, Changes.Sure }.Does(async (run, cancellation) =>
        {
            var move = new CrushMove { Name = run.Get(name) };
            Locate(move.Location, run.Get(location));
            await EditAsync(run, new CrushEditRequest { Move = move }, cancellation).ConfigureAwait(false);
        });
    }

    private static Verb Remove()
    {
        var name = new Argument<string>("NAME") { Description = "An empty bucket, or an OSD as osd.3 (its data moves elsewhere)." };
        return new Verb("remove", "Removes an item from the CRUSH hierarchy.", "storage osd crush remove rack1") { name, Changes.Sure }.Does(
            (run, cancellation) => EditAsync(run, new CrushEditRequest { RemoveItem = run.Get(name) }, cancellation));
    }

    private static Verb SetClass()
    {
        var name = new Argument<string>("CLASS") { Description = "hdd, ssd, nvme or any other name." };
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3.", Arity = ArgumentArity.OneOrMore };
        return new Verb("set-device-class", "Gives OSDs a device class, for rules that take only some kind of device.", "storage osd crush set-device-class ssd 1 2 3") { name, osds, Changes.Sure }.Does((run, cancellation) =>
        {
            if (run.Get(name).Length == 0)
            {
                throw new CliException("a device class has a name, as ssd; osd crush rm-device-class takes it away.");
            }

            var set = new CrushSetClass { DeviceClass = run.Get(name) };
            set.Osds.AddRange(run.Get(osds).Select(OsdCommands.ParseOsd));
            return EditAsync(run, new CrushEditRequest { SetClass = set }, cancellation);
        });
    }

    private static Verb RemoveClass()
    {
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3.", Arity = ArgumentArity.OneOrMore };
        return new Verb("rm-device-class", "Takes OSDs' device class away.", "storage osd crush rm-device-class 1") { osds, Changes.Sure }.Does((run, cancellation) =>
        {
            var set = new CrushSetClass();
            set.Osds.AddRange(run.Get(osds).Select(OsdCommands.ParseOsd));
            return EditAsync(run, new CrushEditRequest { SetClass = set }, cancellation);
        });
    }

    private static Verb Rename()
    {
        var name = new Argument<string>("NAME") { Description = "A bucket." };
        var next = new Argument<string>("NEW") { Description = "Its new name." };
        return new Verb("rename-bucket", "Renames a bucket; no data moves.", "storage osd crush rename-bucket node1 alpha") { name, next }.Does(
            (run, cancellation) => EditAsync(run, new CrushEditRequest { Rename = new CrushRename { Name = run.Get(name), NewName = run.Get(next) } }, cancellation));
    }

    private static Command Rules()
    {
        var list = new Verb("ls", "The rules, their steps and the pools that use them.", "storage osd crush rule ls");
        list.Does(async (run, cancellation) =>
        {
            CrushRuleListReply reply = await run.Admin.CrushRuleListAsync(new CrushRuleListRequest(), cancellation).ConfigureAwait(false);
            run.Print(reply, console =>
            {
                Table table = Terminal.Table(">ID", "NAME", "POOLS", "STEPS");
                foreach (CrushRuleInfo rule in reply.Rules)
                {
                    table.Row(rule.Id, rule.Name, string.Join(", ", rule.Pools), string.Join("; ", rule.Steps));
                }

                console.Write(table);
            });
        });
        var name = new Argument<string>("NAME") { Description = "The rule's name." };
        var root = new Argument<string>("ROOT") { Description = "Where to start, as default." };
        var domain = new Argument<string>("DOMAIN") { Description = "No two copies share one of these: osd, host, rack, …" };
        var deviceClass = new Argument<string>("CLASS") { Description = "Only devices of this class.", Arity = ArgumentArity.ZeroOrOne, DefaultValueFactory = _ => "" };
        Verb create = new Verb("create-replicated", "Makes a rule for pools of copies.", "storage osd crush rule create-replicated fast default host ssd") { name, root, domain, deviceClass }.Does(
            (run, cancellation) => EditAsync(
                run,
                new CrushEditRequest
                {
                    CreateRule = new CrushRuleCreate { Name = run.Get(name), Root = run.Get(root), FailureDomain = run.Get(domain), DeviceClass = run.Get(deviceClass) },
                },
                cancellation));
        var removed = new Argument<string>("NAME") { Description = "A rule that no pool uses." };
        Verb remove = new Verb("rm", "Removes a rule.", "storage osd crush rule rm fast") { removed }.Does(
            (run, cancellation) => EditAsync(run, new CrushEditRequest { RemoveRule = run.Get(removed) }, cancellation));
        return StorageCommand.Group("rule", "Placement rules.", list, create, remove);
    }

    private static async Task EditAsync(Invocation run, CrushEditRequest request, CancellationToken cancellation)
    {
        request.Confirmed = run.Get(Changes.Sure);
        ChangeReply reply = await run.Admin.CrushEditAsync(request, cancellation).ConfigureAwait(false);
        run.Print(reply, reply.Changed ? string.Create(CultureInfo.InvariantCulture, $"{reply.Message} (epoch {reply.Epoch})") : $"unchanged (epoch {reply.Epoch})");
    }
}
