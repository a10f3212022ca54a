using System.Text.Json;
using System.Text.Json.Serialization;
using Storage.Cli.Commands;
using Storage.Cluster;

namespace Storage.Cli.Configuration;

/// <summary>A monitor as clients find it.</summary>
/// <param name="Id">Its number.</param>
/// <param name="Name">Its name, as in <c>a</c>.</param>
/// <param name="Address">HOST:PORT for messages.</param>
/// <param name="AdminAddress">HOST:PORT of the admin API.</param>
internal sealed record MonitorEntry(ulong Id, string Name, string Address, string AdminAddress);

/// <summary>A daemon of a local cluster.</summary>
/// <param name="Name">As in <c>osd.0</c>; also its folder, log and pid file within the cluster's data folder.</param>
/// <param name="Role"><c>mon</c>, <c>osd</c>, <c>nbd</c> or <c>s3</c>.</param>
/// <param name="Address">HOST:PORT where it serves its users.</param>
internal sealed record DaemonEntry(string Name, string Role, string Address);

/// <summary>
/// <c>cluster.json</c>: how to reach a cluster, and what runs of it on this machine. Holds no secret.
/// </summary>
internal sealed record ClusterFile
{
    public const string FileName = "cluster.json";
    public const string EnvironmentVariable = "STORAGE_CLUSTER";
    private const int FormatVersion = 1;

    public int Version { get; init; } = FormatVersion;

    public required Guid Fsid { get; init; }

    public required IReadOnlyList<MonitorEntry> Monitors { get; init; }

    public IReadOnlyList<DaemonEntry> Daemons { get; init; } = [];

    public string S3Region { get; init; } = "us-east-1";

    /// <summary>Bytes of each OSD's block file.</summary>
    public long OsdBytes { get; init; }

    /// <summary>Whether the local cluster's daemons are started so that 'storage fault' can hurt them. Takes effect at their next start.</summary>
    public bool FaultInjection { get; init; }

    /// <summary>Whether the local cluster's daemons run in one process.</summary>
    public bool SingleProcess { get; init; }

    /// <summary>The folder it was read from.</summary>
    [JsonIgnore]
    public string Folder { get; init; } = "";

    [JsonIgnore]
    public IReadOnlyList<NodeAddress> MonitorAddresses => [.. Monitors.Select(monitor => AddressRules.Parse(monitor.Address))];

    /// <summary>The local daemon of that name.</summary>
    /// <exception cref="CliException">There is none.</exception>
    public DaemonEntry Daemon(string name) => Daemons.FirstOrDefault(daemon => daemon.Name == name)
        ?? throw new CliException($"no daemon '{name}' in {Folder}; there are {string.Join(", ", Daemons.Select(daemon => daemon.Name))}.");

    /// <summary>The folder of the cluster that a command means.</summary>
    public static string FindFolder(string? data) =>
        Path.GetFullPath(data ?? Environment.GetEnvironmentVariable(EnvironmentVariable) switch
        {
            null or "" => Path.Combine("cluster", "data"),
            string folder => folder,
        });

    /// <summary>Reads the cluster that a command means.</summary>
    /// <exception cref="CliException">There is none, or its file is damaged.</exception>
    public static ClusterFile Find(string? data)
    {
        string folder = FindFolder(data);
        return TryRead(folder)
            ?? throw new CliException($"no cluster in {folder}. Start one with cluster/up --data {folder}, or name another folder with --data or ${EnvironmentVariable}.");
    }

    /// <summary>Reads a folder's cluster; null if there is none.</summary>
    /// <exception cref="CliException">The file is damaged or of another version.</exception>
    public static ClusterFile? TryRead(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (JsonFile.TryRead(path, ConfigurationJson.Default.ClusterFile) is not { } file)
        {
            return null;
        }

        JsonFile.CheckVersion(path, file.Version, FormatVersion);
        return file with { Folder = folder };
    }

    public void Write() => JsonFile.Write(Path.Combine(Folder, FileName), this, ConfigurationJson.Default.ClusterFile);
}
