using System.CommandLine;
using Spectre.Console;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Daemons;

namespace Storage.Cli.Local;

/// <summary>The local cluster's verbs: <c>cluster up|down</c>, <c>daemon start|stop|kill</c>, <c>daemons</c>, <c>endpoints</c>.</summary>
internal static class LocalCommands
{
    private static readonly TimeSpan s_stopPatience = TimeSpan.FromSeconds(15);

    public static Command Cluster() => StorageCommand.Group("cluster", "A whole cluster on this machine; what cluster/up and cluster/down call.", Up(), Down(), ClusterProcess.Run());

    public static Verb Endpoints() => new Verb("endpoints", "Where clients connect, with the local cluster's S3 keys.", "storage endpoints", "storage endpoints --json | jq -r .s3").Does((run, _) =>
    {
        ClusterFile cluster = run.Cluster;
        S3Credentials? keys = S3Credentials.TryRead(cluster.Folder);
        (string Name, string? Value)[] entries =
        [
            ("nbd", AddressOf(cluster, "nbd") is { } nbd ? $"nbd://{nbd}" : null),
            ("s3", AddressOf(cluster, "s3") is { } s3 ? $"http://{s3}" : null),
            ("s3_access_key", keys?.AccessKey),
            ("s3_secret_key", keys?.SecretKey),
            ("s3_region", cluster.S3Region),
            ("admin", cluster.Monitors.Count > 0 ? $"http://{cluster.Monitors[0].AdminAddress}" : null),
        ];
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartObject();
                foreach ((string name, string? value) in entries)
                {
                    writer.WriteString(name, value);
                }

                writer.WriteEndObject();
            }));
        }
        else
        {
            foreach ((string name, string? value) in entries)
            {
                run.Out.WriteLine($"{name,-14} {value ?? "-"}");
            }
        }

        return Task.CompletedTask;
    });

    public static Verb Daemons() => new Verb("daemons", "The daemons of a local cluster, with process ids.", "storage daemons", "storage daemons --json").Does((run, _) =>
    {
        ClusterFile cluster = run.Cluster;
        DaemonProcess[] all = [.. cluster.Daemons.Select(daemon => new DaemonProcess(cluster, daemon))];
        if (run.Json)
        {
            Console.Out.WriteLine(MessageJson.Write(writer =>
            {
                writer.WriteStartArray();
                foreach (DaemonProcess process in all)
                {
                    int? pid = process.Pid;
                    writer.WriteStartObject();
                    writer.WriteString("name", process.Name);
                    writer.WriteString("role", process.Daemon.Role);
                    writer.WritePropertyName("pid");
                    if (pid is null)
                    {
                        writer.WriteNullValue();
                    }
                    else
                    {
                        writer.WriteNumberValue(pid.Value);
                    }

                    writer.WriteBoolean("running", pid is not null);
                    writer.WriteString("data", process.Folder);
                    writer.WriteString("address", process.Daemon.Address);
                    writer.WriteString("log", process.LogFile);
                    writer.WriteEndObject();
                }

                writer.WriteEndArray();
            }));
            return Task.CompletedTask;
        }

        Table table = Terminal.Table("NAME", "ROLE", ">PID", "STATE", "ADDRESS", "DATA");
        foreach (DaemonProcess process in all)
        {
            int? pid = process.Pid;
            table.Row(process.Name, process.Daemon.Role, pid?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? "-",
                Terminal.Colored(pid is null ? "stopped" : "running", pid is not null), process.Daemon.Address, process.Folder);
        }

        run.Out.Write(table);
        return Task.CompletedTask;
    });

    public static Command Daemon() => StorageCommand.Group(
        "daemon",
        "Starts and stops single daemons of a local cluster.",
        Control("start", "Starts daemons that do not run.", (process, _) =>
        {
            process.Start();
            return Task.CompletedTask;
        }),
        Control("stop", "Stops daemons in order (SIGTERM).", (process, cancellation) => process.StopAsync(s_stopPatience, cancellation)),
        Control("kill", "Ends daemons as a crash would (SIGKILL).", (process, cancellation) => process.KillAsync(cancellation)));

    private static Verb Control(string name, string description, Func<DaemonProcess, CancellationToken, Task> act)
    {
        var names = new Argument<string[]>("NAME") { Description = "Daemons, as in osd.1.", Arity = ArgumentArity.OneOrMore };
        return new Verb(name, description, $"storage daemon {name} osd.1") { names }.Does((run, cancellation) =>
        {
            ClusterFile cluster = run.Cluster;
            DaemonProcess[] processes = [.. run.Get(names).Select(one => new DaemonProcess(cluster, cluster.Daemon(one)))];
            if (cluster.SingleProcess)
            {
                throw new CliException("all daemons of this cluster are one process; cluster/down stops it, cluster/up starts it.");
            }

            return Task.WhenAll(processes.Select(process => act(process, cancellation)));
        });
    }

    private static Verb Up()
    {
        var portBase = new Option<int?>("--port-base") { Description = $"First of the ports; default {LocalLayout.DefaultPortBase}." };
        var monitors = new Option<int?>("--mons") { Description = "Monitors; default 3." };
        var osds = new Option<int?>("--osds") { Description = "OSDs; default 3." };
        var size = new Option<string?>("--osd-size") { Description = "Size of each OSD's block file; default 8 GiB, less on a small disk." };
        var noFaults = new Option<bool>("--no-fault-injection") { Description = "A new cluster's daemons take no faults from 'storage fault'." };
        var single = new Option<bool>("--single-process") { Description = "Run all daemons in one process from now on: the fastest way on a small machine." };
        return new Verb("up", "Starts a local cluster, making it first if the folder is new.", "storage cluster up --data /tmp/c1 --port-base 20000", "storage cluster up --data /tmp/c1 --single-process") { portBase, monitors, osds, size, noFaults, single }
            .Does((run, cancellation) =>
            {
                string folder = ClusterFile.FindFolder(run.Data);
                var request = new LocalRequest(folder, run.Get(portBase), run.Get(monitors), run.Get(osds), run.Get(size) is { } text ? Amount.ParseBytes(text) : null, !run.Get(noFaults), run.Get(single));
                return new LocalCluster(request, run.Out).UpAsync(cancellation);
            });
    }

    private static Verb Down() => new Verb("down", "Stops a local cluster; its data stays.", "storage cluster down --data /tmp/c1").Does(async (run, cancellation) =>
    {
        ClusterFile cluster = run.Cluster;
        if (cluster.SingleProcess)
        {
            StopOutcome outcome = await new DaemonProcess(cluster, cluster.Daemons[0]).StopAsync(s_stopPatience, cancellation).ConfigureAwait(false);
            run.Out.WriteLine($"cluster: {Describe(outcome)}");
            return;
        }

        // Gateways first, then OSDs, monitors last: each goes while what it needs is there.
        foreach (string[] roles in (string[][])[["nbd", "s3"], ["osd"], ["mon"]])
        {
            DaemonProcess[] processes = [.. cluster.Daemons.Where(daemon => roles.Contains(daemon.Role)).Select(daemon => new DaemonProcess(cluster, daemon))];
            StopOutcome[] outcomes = await Task.WhenAll(processes.Select(process => process.StopAsync(s_stopPatience, cancellation))).ConfigureAwait(false);
            foreach ((DaemonProcess process, StopOutcome outcome) in processes.Zip(outcomes))
            {
                run.Out.WriteLine($"{process.Name}: {Describe(outcome)}");
            }
        }
    });

    private static string Describe(StopOutcome outcome) => outcome switch { StopOutcome.Stopped => "stopped", StopOutcome.Killed => "killed, it did not stop in time", _ => "was not running" };

    private static string? AddressOf(ClusterFile cluster, string role) => cluster.Daemons.FirstOrDefault(daemon => daemon.Role == role)?.Address;
}
