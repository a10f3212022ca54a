using System.CommandLine;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>pg</c>: placement groups.</summary>
internal static class PgCommands
{
    public static Command Build() => StorageCommand.Group("pg", "Placement groups: where they are and how they do.", List("ls"), List("dump"), Query(),
        ScrubCommands.OfGroup(ScrubKind.Shallow), ScrubCommands.OfGroup(ScrubKind.Deep), ScrubCommands.Repair(), ScrubCommands.ListInconsistent(), ScrubCommands.MarkUnfoundLost());

    private static Verb List(string name)
    {
        bool dump = name == "dump";
        var pool = new Option<string?>("--pool") { Description = "Only PGs of this pool." };
        var osd = new Option<string?>("--osd") { Description = "Only PGs that have this OSD in their acting or up set." };
        var primary = new Option<string?>("--primary") { Description = "Only PGs whose primary is this OSD." };
        var state = new Option<string?>("--state") { Description = "Only PGs in this state, as in degraded." };
        return new Verb(
            name,
            dump ? "All placement groups with every figure." : "Placement groups by pool, OSD or state.",
            $"storage pg {name}",
            $"storage pg {name} --pool volumes --state degraded") { pool, osd, primary, state }.Does(async (run, cancellation) =>
        {
            var request = new PgListRequest { Pool = run.Get(pool) ?? "", State = run.Get(state) ?? "" };
            if (run.Get(osd) is { } member)
            {
                request.Osd = OsdCommands.ParseOsd(member);
            }

            if (run.Get(primary) is { } first)
            {
                request.Primary = OsdCommands.ParseOsd(first);
            }

            PgListReply reply = await run.Admin.PgListAsync(request, cancellation).ConfigureAwait(false);
            run.Print(reply, console =>
            {
                Table table = dump
                    ? Terminal.Table("PG", ">OBJECTS", ">BYTES", ">DEGRADED", ">MISPLACED", ">UNFOUND", ">LOG", "STATE", "UP", "ACTING", "PRIMARY", "VERSION", ">SINCE", ">STARTED", ">CLEAN", ">SCRUB ERRORS")
                    : Terminal.Table("PG", ">OBJECTS", ">BYTES", ">DEGRADED", "STATE", "UP", "ACTING", "PRIMARY", "VERSION");
                foreach (PgInfo pg in reply.Pgs)
                {
                    string primaryName = pg.Primary < 0 ? "none" : $"osd.{pg.Primary}";
                    bool good = pg.State == "active+clean" || (pg.State.StartsWith("active+clean+scrubbing", StringComparison.Ordinal) && pg.ScrubErrors == 0);
                    if (dump)
                    {
                        table.Row(
                            pg.Pgid, Amount.Count(pg.Objects), Amount.Bytes(pg.Bytes), pg.Degraded, pg.Misplaced, pg.Unfound, pg.LogEntries,
                            Terminal.Colored(pg.State, good), Set(pg.Up), Set(pg.Acting), primaryName, pg.Version, pg.IntervalSince, pg.LastEpochStarted,
                            pg.LastEpochClean, pg.ScrubErrors);
                    }
                    else
                    {
                        table.Row(
                            pg.Pgid, Amount.Count(pg.Objects), Amount.Bytes(pg.Bytes), pg.Degraded, Terminal.Colored(pg.State, good), Set(pg.Up), Set(pg.Acting),
                            primaryName, pg.Version);
                    }
                }

                console.Write(table);
                console.WriteLine($"{reply.Total} pgs, epoch {reply.Epoch}");
            });
        });
    }

    private static Verb Query()
    {
        var id = new Argument<string>("PG") { Description = "The PG, as in 2.1f." };
        return new Verb("query", "Everything about one placement group, as JSON.", "storage pg query 1.a") { id }.Does(async (run, cancellation) =>
        {
            PgQueryReply reply = await run.Admin.PgQueryAsync(new PgQueryRequest { Pgid = run.Get(id) }, cancellation).ConfigureAwait(false);
            Console.Out.WriteLine(reply.Json);
        });
    }

    private static string Set(IEnumerable<int> osds) => $"[{string.Join(',', osds.Select(id => id < 0 ? "none" : $"{id}"))}]";
}
