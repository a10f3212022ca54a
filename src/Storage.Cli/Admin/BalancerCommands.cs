using System.CommandLine;
using System.Globalization;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>balancer</c>: evens out PGs over OSDs.</summary>
internal static class BalancerCommands
{
    public static Command Build() => StorageCommand.Group(
        "balancer",
        "Evens out PGs over OSDs by exceptions to CRUSH (upmap).",
        Plan("plan", "Shows what would move, and how even it would be then; changes nothing.", execute: false),
        Plan("run", "Makes the moves; their data moves in the background.", execute: true),
        Switch("on", "Lets the monitors balance by themselves: a few moves at a time, while every PG is clean.", "on"),
        Switch("off", "Leaves balancing to the operator (the default).", "off"));

    private static Verb Plan(string name, string description, bool execute)
    {
        var most = new Option<uint>("--most") { Description = "Move at most so many PGs." };
        return new Verb(name, description, $"storage balancer {name}", $"storage balancer {name} --most 10") { most }.Does(async (run, cancellation) =>
        {
            BalanceReply reply = await run.Admin.BalanceAsync(new BalanceRequest { Execute = execute, MostMoves = run.Get(most) }, cancellation).ConfigureAwait(false);
            run.Print(reply, console =>
            {
                if (reply.Moves.Count > 0)
                {
                    Table shares = Terminal.Table("OSD", ">PGS", ">AFTER", ">SHARE");
                    foreach (BalanceShare share in reply.Shares)
                    {
                        shares.Row($"osd.{share.Osd}", share.Pgs, share.PgsAfter, share.Share.ToString("0.0", CultureInfo.InvariantCulture));
                    }

                    console.Write(shares);
                    foreach (BalanceMove move in reply.Moves)
                    {
                        console.WriteLine($"pg {move.Pgid}: osd.{move.From} -> osd.{move.To}");
                    }
                }

                console.WriteLine(reply.Summary);
            });
        });
    }

    private static Verb Switch(string name, string description, string value) => new Verb(name, description, $"storage balancer {name}").Does(async (run, cancellation) =>
    {
        ChangeReply reply = await run.Admin.ConfigSetAsync(new ConfigSetRequest { Section = "mon", Key = "mon_balancer", Value = value }, cancellation).ConfigureAwait(false);
        run.Print(reply, Changes.Line(reply, $"balancer is {name}"));
    });
}
