using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Daemons;
using Storage.Cluster;
using Storage.Monitor;
using Storage.Rpc;
using Storage.Rpc.Admin;
using MonitorInfo = Storage.Cluster.MonitorInfo;

namespace Storage.Cli.Local;

/// <summary><c>mon add</c> and <c>mon rm</c>: the map, and for a local cluster also the folder, the process and the files that name the monitors.</summary>
internal static class LocalMonitors
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(100);

    /// <summary>Adds a monitor that somebody starts elsewhere: makes its folder if that is to be on this machine.</summary>
    public static async Task<MonAddReply> AddAsync(AdminClient admin, string name, string address, string adminAddress, string? folder, bool insecureNetwork, CancellationToken cancellation)
    {
        // What cannot work is found out before the map has a monitor that never comes.
        NodeAddress[] addresses = [AddressRules.Parse(address), AddressRules.Parse(adminAddress)];
        foreach (NodeAddress one in addresses)
        {
            AddressRules.Check(one, insecureNetwork || folder is null);
        }

        if (folder is not null)
        {
            MonStatusReply status = await admin.MonStatusAsync(new MonStatusRequest(), cancellation).ConfigureAwait(false);
            bool isMember = status.Monitors.FirstOrDefault(monitor => monitor.Name == name) is { } member && IsFolderOf(folder, status.Fsid, member);
            if (!isMember)
            {
                RequireNewFolder(folder);
                Array.ForEach(addresses, RequireFree);
            }
        }

        MonAddReply added = await admin.MonAddAsync(new MonAddRequest { Name = name, Address = address, AdminAddress = adminAddress }, cancellation).ConfigureAwait(false);
        if (folder is not null && !MonitorStore.IsFormatted(folder))
        {
            MonitorInfo[] all = [.. added.Monitors.Select(monitor => new MonitorInfo(
                monitor.Id, monitor.Name, AddressRules.Parse(monitor.Address), AddressRules.Parse(monitor.AdminAddress)))];
            MonitorDaemonVerbs.Format(folder, Guid.Parse(added.Fsid, CultureInfo.InvariantCulture), added.Id, all, insecureNetwork);
        }

        return added;
    }

    private static bool IsFolderOf(string folder, string fsid, Rpc.Admin.MonitorInfo member) =>
        MonitorStore.IsFormatted(folder) && MonitorStore.Read(folder) is var made && made.Id == member.Id && made.Fsid.ToString() == fsid;

    // The folder of a removed monitor, or of another cluster, would never be let in.
    private static void RequireNewFolder(string folder)
    {
        if (MonitorStore.IsFormatted(folder))
        {
            MonitorOptions made = MonitorStore.Read(folder);
            throw new CliException($"{folder} holds mon.{made.Self.Name} (id {made.Id}) of cluster {made.Fsid}: a new monitor needs a new folder. Name another one, or remove this one if its monitor is gone for good.");
        }

        // An interrupted attempt may have left the beginnings of one.
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).FirstOrDefault(path => Path.GetFileName(path) is not ("raft" or "monitor.json.new")) is { } other)
        {
            throw new CliException($"{folder} is not empty ({Path.GetFileName(other)}); a new monitor needs a new folder.");
        }
    }

    // An address of another machine cannot be tried here, nor one that is bound where the daemon runs.
    private static void RequireFree(NodeAddress address)
    {
        using var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ExclusiveAddressUse = false };
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Parse(address.Host), address.Port));
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            throw new CliException($"something else on this machine has {address} already; choose another address.", e);
        }
        catch (SocketException e) when (e.SocketErrorCode == SocketError.AddressNotAvailable)
        {
            // Not of this machine, or told to others and mapped to it.
        }
    }

    /// <summary>Adds a monitor to a local cluster, starts it, and waits until it votes.</summary>
    public static async Task<MonAddReply> AddLocalAsync(ClusterFile cluster, AdminClient admin, string name, Action<string> report, CancellationToken cancellation)
    {
        (string address, string adminAddress) = cluster.Monitors.FirstOrDefault(monitor => monitor.Name == name) is { } known
            ? (known.Address, known.AdminAddress)
            : LocalLayout.FreeMonitorAddresses(cluster);
        if (cluster.SingleProcess)
        {
            throw new CliException("all daemons of this cluster run in one process, which starts with the monitors it was made with; give --address, --admin-address and --folder for one that runs beside it.");
        }

        string folder = Path.Combine(cluster.Folder, "mon." + name);
        MonAddReply added = await AddAsync(admin, name, address, adminAddress, folder, insecureNetwork: false, cancellation).ConfigureAwait(false);
        var daemon = new DaemonEntry("mon." + name, "mon", address);
        cluster = cluster with
        {
            Monitors = [.. cluster.Monitors.Where(monitor => monitor.Name != name), new MonitorEntry(added.Id, name, address, adminAddress)],
            Daemons = [.. cluster.Daemons.Where(other => other.Role == "mon" && other.Name != daemon.Name), daemon, .. cluster.Daemons.Where(other => other.Role != "mon")],
        };
        Write(cluster);
        report($"mon.{name} added at {address} (epoch {added.Epoch}); starting it");
        var process = new DaemonProcess(cluster, daemon);
        process.Start();
        await WaitAsync($"mon.{name} does not become a voter; see {Path.Combine(cluster.Folder, "log", daemon.Name + ".log")}", cancellation, async () =>
        {
            if (process.Pid is null)
            {
                throw new CliException($"mon.{name} ended as it started; it is in the map and has no vote: mend it and start it (daemon start), or take it out (mon rm {name}).\n{process.LogTail(5)}");
            }

            MonStatusReply status = await admin.MonStatusAsync(new MonStatusRequest(), cancellation).ConfigureAwait(false);
            return status.Monitors.Any(monitor => monitor.Name == name && monitor.State is MonitorState.Follower or MonitorState.Leader);
        }).ConfigureAwait(false);
        return added;
    }

    /// <summary>Removes a monitor; one of a local cluster is stopped and its folder put aside.</summary>
    public static async Task<ChangeReply> RemoveAsync(ClusterFile cluster, AdminClient admin, string name, CancellationToken cancellation)
    {
        ChangeReply removed = await admin.MonRemoveAsync(new MonRemoveRequest { Name = name }, cancellation).ConfigureAwait(false);
        if (cluster.Daemons.FirstOrDefault(daemon => daemon.Role == "mon" && daemon.Name == "mon." + name) is not { } entry)
        {
            return removed;
        }

        // It ends by itself when the others no longer need its voice.
        var process = new DaemonProcess(cluster, entry);
        long start = Stopwatch.GetTimestamp();
        while (process.Pid is not null && Stopwatch.GetElapsedTime(start) < s_patience)
        {
            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }

        await process.StopAsync(TimeSpan.FromSeconds(5), cancellation).ConfigureAwait(false);
        if (Directory.Exists(process.Folder))
        {
            string aside = Path.Combine(cluster.Folder, "removed");
            Directory.CreateDirectory(aside);
            Directory.Move(process.Folder, Path.Combine(aside, $"mon.{name}-{removed.Epoch}"));
        }

        Write(cluster with
        {
            Monitors = [.. cluster.Monitors.Where(monitor => monitor.Name != name)],
            Daemons = [.. cluster.Daemons.Where(daemon => daemon != entry)],
        });
        return removed;
    }

    // What the daemons read at their next start; until then they know the monitors from the map.
    private static void Write(ClusterFile cluster)
    {
        cluster.Write();
        foreach (DaemonEntry daemon in cluster.Daemons.Where(daemon => daemon.Role != "mon"))
        {
            string folder = Path.Combine(cluster.Folder, daemon.Name);
            if (DaemonFile.Exists(folder))
            {
                (DaemonFile.Read(folder, daemon.Role) with { Monitors = [.. cluster.Monitors.Select(monitor => monitor.Address)] }).Write(folder);
            }
        }
    }

#pragma warning disable CA1068 // a function reads best as the last argument
    private static async Task WaitAsync(string failure, CancellationToken cancellation, Func<Task<bool>> check)
#pragma warning restore CA1068
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                if (await check().ConfigureAwait(false))
                {
                    return;
                }
            }
            catch (RpcException e) when (e.Code is StatusCode.Unavailable or StatusCode.DeadlineExceeded)
            {
                // The quorum changes its members at this moment.
            }

            if (Stopwatch.GetElapsedTime(start) > s_patience)
            {
                throw new CliException(failure);
            }

            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }
    }
}
