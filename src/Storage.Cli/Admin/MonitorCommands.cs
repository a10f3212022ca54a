using System.CommandLine;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
using Storage.Rpc.Admin;

namespace Storage.Cli.Admin;

/// <summary><c>mon</c>: the monitors, and the monitor daemon itself.</summary>
internal static class MonitorCommands
{
    public static Command Build() => StorageCommand.Group(
        "mon",
        "Monitors: state, and the daemon itself.",
        Status(),
        Dump(),
        MonitorDaemonVerbs.Mkfs(),
        MonitorDaemonVerbs.Run());

    private static Verb Status() => new Verb("status", "Each monitor's state, the leader and the quorum.", "storage mon status").Does(async (run, cancellation) =>
    {
        MonStatusReply reply = await run.Admin.MonStatusAsync(new MonStatusRequest(), cancellation).ConfigureAwait(false);
        run.Print(reply, console =>
        {
            console.WriteLine($"fsid {reply.Fsid}, epoch {reply.Epoch}, term {reply.Term}, leader {(reply.Leader.Length > 0 ? reply.Leader : "none")}, quorum {string.Join(',', reply.Quorum)}");
            Table table = Terminal.Table("NAME", "STATE", "ADDRESS", "ADMIN", ">BEHIND");
            foreach (MonitorInfo monitor in reply.Monitors)
            {
                table.Row(
                    monitor.Name,
                    Terminal.Colored(monitor.State.ToString().ToLowerInvariant(), monitor.State is MonitorState.Leader or MonitorState.Follower),
                    monitor.Address,
                    monitor.AdminAddress,
                    monitor.LagEntries);
            }

            console.Write(table);
        });
    });

    private static Verb Dump()
    {
        var epoch = new Option<uint>("--epoch") { Description = "The map of that epoch; default the current one." };
        return new Verb("dump", "The whole cluster map, as JSON.", "storage mon dump", "storage mon dump --epoch 12") { epoch }.Does(async (run, cancellation) =>
        {
            MapGetReply reply = await run.Admin.MapGetAsync(new MapGetRequest { Epoch = run.Get(epoch), Json = true }, cancellation).ConfigureAwait(false);
            Console.Out.WriteLine(reply.Json);
        });
    }
}
