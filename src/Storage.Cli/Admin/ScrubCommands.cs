using System.CommandLine;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary>Verbs about scrub, damage and lost objects, for the groups <c>pg</c>, <c>osd</c> and <c>pool</c>.</summary>
internal static class ScrubCommands
{
    /// <summary><c>pg scrub</c>, <c>pg deep-scrub</c>.</summary>
    public static Verb OfGroup(ScrubKind kind)
    {
        Argument<string[]> pgs = GroupsArgument();
        return new Verb(NameOf(kind), $"{What(kind)} of placement groups now.", $"storage pg {NameOf(kind)} 2.1f") { pgs }.Does(async (run, cancellation) =>
        {
            var request = new PgScrubRequest { Kind = kind };
            request.Pgids.Add(run.Get(pgs));
            Print(run, await run.Admin.PgScrubAsync(request, cancellation).ConfigureAwait(false), kind);
        });
    }

    /// <summary><c>pg repair</c>.</summary>
    public static Verb Repair()
    {
        Argument<string[]> pgs = GroupsArgument();
        var trust = new Option<string?>("--trust") { Description = "An OSD whose copies are right where neither checksums, the log nor a majority tell; for one PG only." };
        return new Verb(
            "repair",
            "Deep-scrubs placement groups and replaces every copy that is certainly bad; objects that should not exist are removed.",
            "storage pg repair 2.1f",
            "storage pg repair 2.1f --trust osd.3") { pgs, trust }.Does(async (run, cancellation) =>
        {
            var request = new PgScrubRequest { Kind = ScrubKind.Repair };
            request.Pgids.Add(run.Get(pgs));
            if (run.Get(trust) is { } osd)
            {
                request.TrustedOsd = OsdCommands.ParseOsd(osd);
            }

            Print(run, await run.Admin.PgScrubAsync(request, cancellation).ConfigureAwait(false), ScrubKind.Repair);
        });
    }

    /// <summary><c>osd scrub</c>, <c>osd deep-scrub</c>, <c>osd repair</c>.</summary>
    public static Verb OfOsd(ScrubKind kind)
    {
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3, or all.", Arity = ArgumentArity.OneOrMore };
        return new Verb(NameOf(kind), $"{What(kind)} of all placement groups whose primary the OSD is.", $"storage osd {NameOf(kind)} 3", $"storage osd {NameOf(kind)} all") { osds }.Does(async (run, cancellation) =>
        {
            var request = new PgScrubRequest { Kind = kind };
            if (run.Get(osds) is ["all"])
            {
                request.All = true;
            }
            else
            {
                request.Osds.Add(run.Get(osds).Select(OsdCommands.ParseOsd));
            }

            Print(run, await run.Admin.PgScrubAsync(request, cancellation).ConfigureAwait(false), kind);
        });
    }

    /// <summary><c>pool scrub</c>, <c>pool deep-scrub</c>.</summary>
    public static Verb OfPool(ScrubKind kind)
    {
        var pool = new Argument<string>("POOL") { Description = "The pool's name." };
        return new Verb(NameOf(kind), $"{What(kind)} of all placement groups of a pool.", $"storage pool {NameOf(kind)} volumes") { pool }.Does(async (run, cancellation) =>
            Print(run, await run.Admin.PgScrubAsync(new PgScrubRequest { Kind = kind, Pool = run.Get(pool) }, cancellation).ConfigureAwait(false), kind));
    }

    /// <summary><c>pg list-inconsistent</c>.</summary>
    public static Verb ListInconsistent()
    {
        var id = new Argument<string>("PG") { Description = "The PG, as in 2.1f." };
        return new Verb("list-inconsistent", "The objects that scrub found wrong: whose copies, and what about them. As JSON.", "storage pg list-inconsistent 2.1f") { id }.Does(async (run, cancellation) =>
        {
            PgQueryReply reply = await run.Admin.PgListInconsistentAsync(new PgQueryRequest { Pgid = run.Get(id) }, cancellation).ConfigureAwait(false);
            Console.Out.WriteLine(reply.Json);
        });
    }

    /// <summary><c>pg mark-unfound-lost</c>.</summary>
    public static Verb MarkUnfoundLost()
    {
        var id = new Argument<string>("PG") { Description = "The PG, as in 2.1f." };
        var mode = new Argument<string>("MODE") { Description = "revert: back to the older version that is left, if there is one; delete: the objects are gone." };
        mode.AcceptOnlyFromAmong("revert", "delete");
        var sure = new Option<bool>("--yes-i-really-mean-it") { Description = "Confirm: the newest versions of these objects are given up for good." };
        return new Verb("mark-unfound-lost", "Gives up objects whose newest version no OSD has any more.", "storage pg mark-unfound-lost 2.1f revert --yes-i-really-mean-it") { id, mode, sure }.Does(async (run, cancellation) =>
        {
            var request = new PgMarkUnfoundLostRequest
            {
                Pgid = run.Get(id),
                Mode = run.Get(mode) == "revert" ? UnfoundMode.Revert : UnfoundMode.Delete,
                Confirmed = run.Get(sure),
            };
            ChangeReply reply = await run.Admin.PgMarkUnfoundLostAsync(request, cancellation).ConfigureAwait(false);
            run.Print(reply, reply.Message);
        });
    }

    /// <summary><c>osd clear-errors</c>.</summary>
    public static Verb ClearErrors()
    {
        var osds = new Argument<string[]>("OSD") { Description = "OSDs, as 3 or osd.3.", Arity = ArgumentArity.OneOrMore };
        return new Verb("clear-errors", "Counts an OSD's read errors and repairs from now on, as after its disk was seen to.", "storage osd clear-errors 3") { osds }.Does(async (run, cancellation) =>
        {
            var request = new OsdIdsRequest();
            request.Osds.AddRange(run.Get(osds).Select(OsdCommands.ParseOsd));
            OsdIdsReply reply = await run.Admin.OsdClearErrorsAsync(request, cancellation).ConfigureAwait(false);
            run.Print(reply, $"{string.Join(", ", reply.Changed.Select(osd => $"osd.{osd}"))} counts from now on");
        });
    }

    private static Argument<string[]> GroupsArgument() => new("PG") { Description = "PGs, as in 2.1f.", Arity = ArgumentArity.OneOrMore };

    private static string NameOf(ScrubKind kind) => kind switch
    {
        ScrubKind.Deep => "deep-scrub",
        ScrubKind.Repair => "repair",
        _ => "scrub",
    };

    private static string What(ScrubKind kind) => kind switch
    {
        ScrubKind.Deep => "Deep scrub (all data is read and compared)",
        ScrubKind.Repair => "Repair (deep scrub; what is certainly bad is replaced or removed)",
        _ => "Scrub (what copies say of themselves is compared)",
    };

    private static void Print(Invocation run, PgScrubReply reply, ScrubKind kind)
    {
        string failed = reply.Failures.Count == 0 ? "" : $"; not {string.Join("; ", reply.Failures)}";
        run.Print(reply, $"{NameOf(kind)} of {reply.Instructed.Count} pgs ordered{failed}");
    }
}
