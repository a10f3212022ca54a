using System.CommandLine;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Daemons;
using Storage.Cli.Local;
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
        Add(),
        Remove(),
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

    private static Verb Add()
    {
        var name = new Argument<string>("NAME") { Description = "A name of its own, as d." };
        var address = new Option<string?>("--address") { Description = "HOST:PORT for messages; with a local cluster chosen by itself." };
        var adminAddress = new Option<string?>("--admin-address") { Description = "HOST:PORT of the admin API." };
        var folder = new Option<string?>("--folder") { Description = "Make its data folder here; then start it with mon run." };
        return new Verb(
            "add",
            "Adds a monitor. It learns first and votes when it has caught up; a local cluster's is started at once.",
            "storage mon add d",
            "storage mon add d --address 127.0.0.1:7000 --admin-address 127.0.0.1:7010 --folder /var/lib/storage/mon.d") { name, address, adminAddress, folder, DaemonOptions.InsecureNetworkOption }.Does(async (run, cancellation) =>
        {
            ClusterFile cluster = run.Cluster;
            if (run.Get(address) is null && run.Get(adminAddress) is null && run.Get(folder) is null && cluster.Daemons.Any(daemon => daemon.Role == "mon"))
            {
                MonAddReply local = await LocalMonitors.AddLocalAsync(
                    cluster, run.Admin, run.Get(name), line => Console.Error.WriteLine(line), cancellation).ConfigureAwait(false);
                run.Print(local, $"mon.{run.Get(name)} votes: {local.Monitors.Count} monitors");
                return;
            }

            if (run.Get(address) is not { } at || run.Get(adminAddress) is not { } adminAt)
            {
                throw new CliException("give --address and --admin-address of the new monitor.");
            }

            MonAddReply added = await LocalMonitors.AddAsync(run.Admin, run.Get(name), at, adminAt, run.Get(folder), DaemonOptions.InsecureNetwork(run), cancellation).ConfigureAwait(false);
            run.Print(added, run.Get(folder) is { } made
                ? $"mon.{run.Get(name)} added with id {added.Id} (epoch {added.Epoch}); start it with: storage mon run --data {made}"
                : $"mon.{run.Get(name)} added with id {added.Id} (epoch {added.Epoch}); make its folder by the same command with --folder on its machine");
        });
    }

    private static Verb Remove()
    {
        var name = new Argument<string>("NAME") { Description = "The monitor." };
        return new Verb("rm", "Removes a monitor; one that leads hands over first. Refused where the others would be no majority.", "storage mon rm c") { name }.Does(async (run, cancellation) =>
        {
            ChangeReply reply = await LocalMonitors.RemoveAsync(run.Cluster, run.Admin, run.Get(name), cancellation).ConfigureAwait(false);
            run.Print(reply, $"mon.{run.Get(name)} is removed (epoch {reply.Epoch})");
        });
    }

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
