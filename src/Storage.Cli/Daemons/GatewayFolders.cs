using System.CommandLine;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;

namespace Storage.Cli.Daemons;

/// <summary>What NBD and S3 gateways have in common: a data folder with nothing but their configuration, or a cluster and an address.</summary>
internal static class GatewayFolders
{
    public static Option<string?> Cluster() => new("--cluster") { Description = "The cluster's data folder, where its monitors stand; default $STORAGE_CLUSTER." };

    public static Verb Mkfs(string role, int port)
    {
        Option<string?> cluster = Cluster();
        var listen = new Option<string>("--listen") { Description = "Where it will listen, HOST:PORT.", Required = true };
        return new Verb("mkfs", "Makes a gateway's data folder: its configuration.", $"storage {role} mkfs --data /var/lib/storage/{role}.0 --listen 127.0.0.1:{port}") { cluster, listen, DaemonOptions.InsecureNetworkOption }.Does((run, _) =>
        {
            string folder = DaemonOptions.Folder(run);
            Format(folder, role, ClusterFile.Find(run.Get(cluster)), run.Get(listen)!, DaemonOptions.InsecureNetwork(run));
            Console.Error.WriteLine($"{role} gateway made in {folder}; start it with: storage {role} run --data {folder}");
            return Task.CompletedTask;
        });
    }

    public static void Format(string folder, string role, ClusterFile cluster, string listen, bool insecureNetwork = false)
    {
        string address = AddressRules.ParseListen(listen, insecureNetwork).ToString();
        if (DaemonFile.Exists(folder))
        {
            throw new CliException($"{folder} holds a daemon already.");
        }

        Directory.CreateDirectory(folder);
        new DaemonFile
        {
            Role = role,
            Fsid = cluster.Fsid,
            Listen = address,
            Monitors = [.. cluster.Monitors.Select(monitor => monitor.Address)],
            Region = role == "s3" ? cluster.S3Region : null,
        }.Write(folder);
    }

    /// <summary>A gateway's configuration from its folder, or from a cluster's folder and --listen.</summary>
    public static DaemonFile Read(Invocation run, string role, string? listen)
    {
        if (run.Data is { Length: > 0 } data && DaemonFile.Exists(data))
        {
            DaemonFile file = DaemonFile.Read(data, role);
            file = listen is null ? file : file with { Listen = listen };
            AddressRules.ParseListen(file.Listen, DaemonOptions.InsecureNetwork(run));
            return file;
        }

        if (listen is null)
        {
            throw new CliException($"name the gateway's data folder with --data DIR (made by storage {role} mkfs), or say where to listen with --listen HOST:PORT.");
        }

        ClusterFile cluster = run.Cluster;
        return new DaemonFile
        {
            Role = role,
            Fsid = cluster.Fsid,
            Listen = AddressRules.ParseListen(listen, DaemonOptions.InsecureNetwork(run)).ToString(),
            Monitors = [.. cluster.Monitors.Select(monitor => monitor.Address)],
            Region = cluster.S3Region,
        };
    }
}
