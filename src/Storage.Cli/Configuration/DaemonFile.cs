using Storage.Cli.Commands;
using Storage.Cluster;

namespace Storage.Cli.Configuration;

/// <summary><c>daemon.json</c> in an OSD's or a gateway's data folder: who it is and where its cluster is. Written by mkfs.</summary>
internal sealed record DaemonFile
{
    public const string FileName = "daemon.json";
    private const int FormatVersion = 1;

    public int Version { get; init; } = FormatVersion;

    /// <summary><c>osd</c>, <c>nbd</c> or <c>s3</c>.</summary>
    public required string Role { get; init; }

    public required Guid Fsid { get; init; }

    /// <summary>An OSD's number; unused for gateways.</summary>
    public int Id { get; init; }

    /// <summary>HOST:PORT to listen on.</summary>
    public required string Listen { get; init; }

    /// <summary>The monitors' addresses for messages.</summary>
    public required IReadOnlyList<string> Monitors { get; init; }

    /// <summary>S3 gateways: the region that signatures name.</summary>
    public string? Region { get; init; }

    /// <summary>Reads a data folder's file.</summary>
    /// <exception cref="CliException">There is none, it is damaged, or it is of another role.</exception>
    public static DaemonFile Read(string folder, string role)
    {
        string path = Path.Combine(folder, FileName);
        DaemonFile file = JsonFile.TryRead(path, ConfigurationJson.Default.DaemonFile)
            ?? throw new CliException($"{path} is missing: this folder holds no {role} (make one with storage {role} mkfs --data {folder}).");
        JsonFile.CheckVersion(path, file.Version, FormatVersion);
        return file.Role == role ? file : throw new CliException($"{path} is the folder of an {file.Role} daemon, not of an {role} daemon.");
    }

    public static bool Exists(string folder) => File.Exists(Path.Combine(folder, FileName));

    public void Write(string folder) => JsonFile.Write(Path.Combine(folder, FileName), this, ConfigurationJson.Default.DaemonFile);

    public IReadOnlyList<NodeAddress> MonitorAddresses() => [.. Monitors.Select(AddressRules.Parse)];
}

/// <summary><c>s3-credentials.json</c> of a local cluster; readable by its owner only.</summary>
/// <param name="User">The user's id.</param>
/// <param name="AccessKey">Access key id.</param>
/// <param name="SecretKey">Secret access key.</param>
internal sealed record S3Credentials(string User, string AccessKey, string SecretKey)
{
    public const string FileName = "s3-credentials.json";

    public static S3Credentials? TryRead(string folder) =>
        JsonFile.TryRead(Path.Combine(folder, FileName), ConfigurationJson.Default.S3Credentials);

    public void Write(string folder) =>
        JsonFile.Write(Path.Combine(folder, FileName), this, ConfigurationJson.Default.S3Credentials, ownerOnly: true);
}
