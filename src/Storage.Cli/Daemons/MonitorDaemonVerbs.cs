using System.CommandLine;
using System.Globalization;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cluster;
using Storage.Monitor;

namespace Storage.Cli.Daemons;

/// <summary><c>mon mkfs</c> and <c>mon run</c>.</summary>
internal static class MonitorDaemonVerbs
{
    public static Verb Mkfs()
    {
        var fsid = new Option<Guid?>("--fsid") { Description = "The cluster's UUID; the same for all monitors." };
        var name = new Option<string>("--name") { Description = "Which of the monitors this is.", Required = true };
        var monitors = new Option<string[]>("--monitor")
        {
            Description = "A founding monitor as NAME=ADDRESS,ADMIN_ADDRESS; once for each, in the same order everywhere.",
            Required = true,
            HelpName = "NAME=ADDR,ADMIN",
        };
        return new Verb(
            "mkfs",
            "Makes the data folder of a founding monitor.",
            "storage mon mkfs --data /var/lib/storage/mon.a --fsid $(uuidgen) --name a --monitor a=127.0.0.1:10800,127.0.0.1:10810") { fsid, name, monitors, DaemonOptions.InsecureNetworkOption }.Does((run, _) =>
        {
            string folder = DaemonOptions.Folder(run);
            bool insecure = DaemonOptions.InsecureNetwork(run);
            MonitorInfo[] all = [.. run.Get(monitors)!.Select((text, index) => ParseMonitor(text, index, insecure))];
            MonitorInfo self = all.FirstOrDefault(monitor => monitor.Name == run.Get(name))
                ?? throw new CliException($"--name {run.Get(name)} is not among the monitors ({string.Join(", ", all.Select(monitor => monitor.Name))}).");
            if (run.Get(fsid) is null && all.Length > 1)
            {
                throw new CliException("give --fsid: all monitors of a cluster need the same one (uuidgen makes one).");
            }

            Format(folder, run.Get(fsid) ?? Guid.NewGuid(), self.Id, all, insecure);
            Console.Error.WriteLine($"mon.{self.Name} made in {folder}; start it with: storage mon run --data {folder}");
            return Task.CompletedTask;
        });
    }

    public static Verb Run() => DaemonOptions.AddTo(new Verb("run", "Runs a monitor in the foreground.", "storage mon run --data /var/lib/storage/mon.a") { DaemonOptions.BindOption }).Does((run, cancellation) =>
    {
        string folder = DaemonOptions.Folder(run);
        MonitorOptions options = MonitorStore.Read(folder);
        AddressRules.Check(options.Self.Address, DaemonOptions.InsecureNetwork(run));
        AddressRules.Check(options.Self.AdminAddress, DaemonOptions.InsecureNetwork(run));
        options = options with { BindHost = DaemonOptions.Bind(run, options.Self.Address) };
        DaemonLogging logging = DaemonOptions.Logging(run);
        return DaemonHost.RunAsync($"mon.{options.Self.Name}", logging, context => new MonitorProcess(context, folder, options, logging, DaemonOptions.FaultFolder(run)), cancellation);
    });

    /// <summary>Makes a monitor's data folder.</summary>
    public static void Format(string folder, Guid fsid, ulong id, IReadOnlyList<MonitorInfo> monitors, bool insecureNetwork = false)
    {
        foreach (MonitorInfo monitor in monitors)
        {
            AddressRules.Check(monitor.Address, insecureNetwork);
            AddressRules.Check(monitor.AdminAddress, insecureNetwork);
        }

        MonitorStore.Format(folder, new MonitorOptions { Fsid = fsid, Id = id, Monitors = monitors }, TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds());
    }

    private static MonitorInfo ParseMonitor(string text, int index, bool insecureNetwork)
    {
        string[] parts = text.Split('=', ',');
        return parts.Length == 3
            ? new MonitorInfo((ulong)index + 1, parts[0], AddressRules.ParseListen(parts[1], insecureNetwork), AddressRules.ParseListen(parts[2], insecureNetwork))
            : throw new CliException(string.Create(CultureInfo.InvariantCulture, $"'{text}' is no monitor; write NAME=ADDRESS,ADMIN_ADDRESS."));
    }
}
