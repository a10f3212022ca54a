using System.Globalization;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;

namespace Storage.Cli.Local;

/// <summary>
/// Ports and names of a local cluster, from one base: monitors' messages at +0 to +4, S3 at +8, NBD at +9, monitors' admin API at
/// +10 to +14, OSDs from +20 on.
/// </summary>
internal static class LocalLayout
{
    public const int DefaultPortBase = 10800;
    public const int MostMonitors = 5;
    public const int MostOsds = 40;
    private const int S3Offset = 8;
    private const int NbdOffset = 9;
    private const int AdminOffset = 10;
    private const int OsdOffset = 20;

    /// <summary>The description of a new cluster.</summary>
    public static ClusterFile Plan(string folder, int portBase, int monitors, int osds, long osdBytes)
    {
        if (monitors is < 1 or > MostMonitors)
        {
            throw new CliException($"--mons {monitors}: 1 to {MostMonitors} are possible; 3 or 5 make sense.");
        }

        RequireOsds(osds);
        Daemons.OsdDaemonVerbs.RequireSize(osdBytes);

        if (portBase is < 1024 or > 65535 - OsdOffset - MostOsds)
        {
            throw new CliException($"--port-base {portBase}: 1024 to {65535 - OsdOffset - MostOsds} are possible.");
        }

        static string At(int port) => string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{port}");

        MonitorEntry[] entries =
        [
            .. Enumerable.Range(0, monitors).Select(i => new MonitorEntry((ulong)i + 1, ((char)('a' + i)).ToString(), At(portBase + i), At(portBase + AdminOffset + i))),
        ];
        return new ClusterFile
        {
            Folder = folder,
            Fsid = Guid.NewGuid(),
            Monitors = entries,
            OsdBytes = osdBytes,
            Daemons =
            [
                .. entries.Select(monitor => new DaemonEntry($"mon.{monitor.Name}", "mon", monitor.Address)),
                .. Enumerable.Range(0, osds).Select(i => new DaemonEntry(string.Create(CultureInfo.InvariantCulture, $"osd.{i}"), "osd", At(portBase + OsdOffset + i))),
                new DaemonEntry("nbd.0", "nbd", At(portBase + NbdOffset)),
                new DaemonEntry("s3.0", "s3", At(portBase + S3Offset)),
            ],
        };
    }

    private static void RequireOsds(int osds)
    {
        if (osds is < 1 or > MostOsds)
        {
            throw new CliException($"--osds {osds}: 1 to {MostOsds} are possible.");
        }
    }

    /// <summary>The first of a cluster's ports.</summary>
    public static int BaseOf(ClusterFile cluster) =>
        cluster.Daemons.FirstOrDefault(daemon => daemon.Role == "nbd") is { } nbd
            ? AddressRules.Parse(nbd.Address).Port - NbdOffset
            : cluster.Monitors.Min(monitor => AddressRules.Parse(monitor.Address).Port);

    /// <summary>Addresses for one more monitor.</summary>
    /// <exception cref="CliException">The layout has no room for it.</exception>
    public static (string Address, string AdminAddress) FreeMonitorAddresses(ClusterFile cluster)
    {
        int portBase = BaseOf(cluster);
        for (int i = 0; i < MostMonitors; i++)
        {
            string address = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{portBase + i}");
            string adminAddress = string.Create(CultureInfo.InvariantCulture, $"127.0.0.1:{portBase + AdminOffset + i}");
            if (cluster.Monitors.All(monitor => monitor.Address != address && monitor.AdminAddress != adminAddress))
            {
                return (address, adminAddress);
            }
        }

        throw new CliException($"a local cluster has at most {MostMonitors} monitors; for more give --address, --admin-address and --folder.");
    }

    /// <summary>Bytes for each OSD: 8 GiB, or less where the disk has not room for that twice over.</summary>
    public static long OsdSize(string folder, int osds)
    {
        RequireOsds(osds);
        const long step = 256L << 20;
        const long least = 512L << 20;
        string existing = folder;
        while (!Directory.Exists(existing))
        {
            existing = Path.GetDirectoryName(existing) ?? "/";
        }

        long room = new DriveInfo(existing).AvailableFreeSpace / 2 / osds / step * step;
        return room >= least
            ? Math.Min(room, Daemons.OsdDaemonVerbs.DefaultSize)
            : throw new CliException($"the disk of {existing} has no room for {osds} OSDs of {Amount.Bytes(least)} with half of it left free; name another folder with --data.");
    }
}
