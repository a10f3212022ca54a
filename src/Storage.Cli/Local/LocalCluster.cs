using System.Diagnostics;
using System.Globalization;
using Spectre.Console;
using Storage.Block;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Daemons;
using Storage.Cluster;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Rpc.Client;
using Storage.S3;
using Storage.S3.Backend;
using Storage.S3.Users;

namespace Storage.Cli.Local;

/// <summary>
/// Brings a local cluster up: makes what is missing, starts what does not run, waits until all is well. Every step may be repeated,
/// so an interrupted start is finished by the next one.
/// </summary>
internal sealed class LocalCluster(LocalRequest request, IAnsiConsole console)
{
    private const string VolumePool = "volumes";
    private const string DemoVolume = "demo";
    private const string DemoUser = "demo";
    private const long DemoBytes = 4L << 30;
    private const int VolumePgs = 32;
    private const int S3Pgs = 8;
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan s_settling = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(120);
    private readonly Stopwatch _clock = Stopwatch.StartNew();

    public async Task UpAsync(CancellationToken cancellation)
    {
        ClusterFile? known = ClusterFile.TryRead(request.Folder);
        bool isNew = known is null;
        if (request.SingleProcess && known is not { SingleProcess: true })
        {
            // Made and registered as separate processes, then put together: one process cannot start before all of it is there.
            await StartAsync(isNew, guide: false, cancellation).ConfigureAwait(false);
            await PutTogetherAsync(cancellation).ConfigureAwait(false);
        }

        await StartAsync(isNew, guide: true, cancellation).ConfigureAwait(false);
    }

    private async Task PutTogetherAsync(CancellationToken cancellation)
    {
        ClusterFile cluster = ClusterFile.TryRead(request.Folder)!;
        foreach (string[] roles in (string[][])[["nbd", "s3"], ["osd"], ["mon"]])
        {
            await Task.WhenAll(cluster.Daemons.Where(daemon => roles.Contains(daemon.Role)).Select(daemon => new DaemonProcess(cluster, daemon).StopAsync(s_patience, cancellation))).ConfigureAwait(false);
        }

        (cluster with { SingleProcess = true }).Write();
        Step("its daemons run in one process from now on");
    }

    private async Task StartAsync(bool asNew, bool guide, CancellationToken cancellation)
    {
        bool isNew = ClusterFile.TryRead(request.Folder) is null;
        ClusterFile cluster = isNew ? Create() : Existing();
        DaemonProcess[] processes = [.. cluster.Daemons.Select(daemon => new DaemonProcess(cluster, daemon))];
        int already = processes.Count(process => process.Pid is not null);
        if (already > 0)
        {
            Step($"{already} of {processes.Length} daemons run already");
        }

        // Stores are made while the monitors start; they need nothing from each other.
        string[] lost = FormatMonitors(cluster, isNew);
        foreach (string name in lost)
        {
            Step($"{name} has lost its folder, and with it what it promised to the others: replace it with 'mon rm' and 'mon add'");
        }

        processes = [.. processes.Where(process => !lost.Contains(process.Name))];
        Start(processes, "mon");
        Task<List<(int Id, Guid Uuid)>> stores = Task.Run(() => FormatOsdsAsync(cluster), cancellation);
        FormatGateways(cluster);

        using var channel = new RpcChannel(cluster.Monitors.Select(monitor => monitor.AdminAddress), new RpcChannelOptions { ConnectTimeout = TimeSpan.FromSeconds(1) });
        var admin = new AdminClient(channel, TimeSpan.FromSeconds(15));
        await WaitAsync("monitors in quorum", processes, cancellation, async () =>
        {
            MonStatusReply status = await admin.MonStatusAsync(new MonStatusRequest(), cancellation).ConfigureAwait(false);
            return (status.Leader.Length > 0 && status.Quorum.Count >= cluster.Monitors.Count - lost.Length, $"{status.Quorum.Count} of {cluster.Monitors.Count}");
        }).ConfigureAwait(false);

        foreach ((int id, Guid uuid) in await stores.ConfigureAwait(false))
        {
            await RegisterOsdAsync(cluster, admin, id, uuid, cancellation).ConfigureAwait(false);
        }

        Start(processes, "osd");
        Start(processes, "nbd");
        Start(processes, "s3");
        int osds = cluster.Daemons.Count(daemon => daemon.Role == "osd");
        await WaitAsync("OSDs up", processes, cancellation, async () =>
        {
            StatusReply status = await admin.StatusAsync(new StatusRequest(), cancellation).ConfigureAwait(false);
            return (status.Osds.Up >= osds, $"{status.Osds.Up} of {osds}");
        }).ConfigureAwait(false);

        uint size = (uint)Math.Min(osds, 3);
        uint minSize = size - (size > 1 ? 1u : 0u);
        await CreatePoolAsync(admin, VolumePool, size, minSize, VolumePgs, "block", cancellation).ConfigureAwait(false);
        await CreatePoolAsync(admin, new S3Options().IndexPool, size, minSize, S3Pgs, "object", cancellation).ConfigureAwait(false);
        await CreatePoolAsync(admin, new S3Options().DataPool, size, minSize, S3Pgs * 2, "object", cancellation).ConfigureAwait(false);
        await WaitAsync("placement groups active and clean", processes, cancellation, async () =>
        {
            StatusReply status = await admin.StatusAsync(new StatusRequest(), cancellation).ConfigureAwait(false);
            ulong clean = status.PgStates.Where(state => state.State == "active+clean" || state.State.StartsWith("active+clean+scrubbing", StringComparison.Ordinal)).Aggregate(0UL, (sum, state) => sum + state.Count);
            return (status.Pgs > 0 && clean == status.Pgs, $"{clean} of {status.Pgs}");
        }).ConfigureAwait(false);

        S3Credentials keys = await CreateDemoAsync(cluster, cancellation).ConfigureAwait(false);
        bool healthy = false;
        long since = Stopwatch.GetTimestamp();
        await WaitAsync("health", processes, cancellation, async () =>
        {
            HealthReply health = await admin.HealthAsync(new HealthRequest(), cancellation).ConfigureAwait(false);
            healthy = health.Status == HealthStatus.Ok;

            // A cluster with a history may have warnings that stay, such as a disk's read errors: it is up all the same.
            bool settled = !isNew && health.Status == HealthStatus.Warn && Stopwatch.GetElapsedTime(since) > s_settling;
            return (healthy || settled, health.Checks.Count == 0 ? StatusCommandsText(health) : health.Checks[0].Summary);
        }).ConfigureAwait(false);
        await WaitForGatewaysAsync(cluster, processes, cancellation).ConfigureAwait(false);
        if (guide)
        {
            PrintGuide(cluster, keys, asNew, healthy);
        }
    }

    private static string StatusCommandsText(HealthReply health) => Storage.Cli.Admin.StatusCommands.HealthName(health.Status);

    private ClusterFile Create()
    {
        int osds = request.Osds ?? 3;
        ClusterFile cluster = LocalLayout.Plan(
            request.Folder, request.PortBase ?? LocalLayout.DefaultPortBase, request.Monitors ?? 3, osds, request.OsdBytes ?? LocalLayout.OsdSize(request.Folder, osds)) with { FaultInjection = request.FaultInjection };
        Directory.CreateDirectory(request.Folder);
        RefuseTakenPorts(cluster);
        cluster.Write();
        Step($"new cluster {cluster.Fsid} in {request.Folder}: {cluster.Monitors.Count} monitors, {osds} OSDs of {Amount.Bytes(cluster.OsdBytes)}");
        return cluster;
    }

    private ClusterFile Existing()
    {
        ClusterFile cluster = ClusterFile.TryRead(request.Folder)!;
        int osds = cluster.Daemons.Count(daemon => daemon.Role == "osd");
        string? conflict =
            request.Monitors is { } monitors && monitors != cluster.Monitors.Count ? $"--mons {monitors}, but it has {cluster.Monitors.Count}"
            : request.Osds is { } wanted && wanted != osds ? $"--osds {wanted}, but it has {osds}"
            : request.PortBase is { } port && port != LocalLayout.BaseOf(cluster) ? $"--port-base {port}, but its is {LocalLayout.BaseOf(cluster)}"
            : null;
        return conflict is null
            ? cluster
            : throw new CliException($"{request.Folder} holds a cluster already and cannot be changed this way: {conflict}. Leave the option out, or name another folder with --data.");
    }

    /// <summary>Finds out before anything is made whether another cluster has these ports.</summary>
    private static void RefuseTakenPorts(ClusterFile cluster)
    {
        foreach (string address in cluster.Daemons.Select(daemon => daemon.Address).Concat(cluster.Monitors.Select(monitor => monitor.AdminAddress)))
        {
            NodeAddress parsed = AddressRules.Parse(address);
            try
            {
                using var probe = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Parse(parsed.Host), parsed.Port);
                probe.Start();
            }
            catch (System.Net.Sockets.SocketException e)
            {
                throw new CliException($"port {parsed.Port} is not free ({e.Message}); choose others with --port-base.", e);
            }
        }
    }

    /// <summary>Makes the folders of the founding monitors.</summary>
    /// <returns>Monitors that have run before and whose folders are gone: under their old ids they must not come back.</returns>
    private static string[] FormatMonitors(ClusterFile cluster, bool isNew)
    {
        var lost = new List<string>();
        Storage.Cluster.MonitorInfo[] all = [.. cluster.Monitors.Select(monitor => new Storage.Cluster.MonitorInfo(monitor.Id, monitor.Name, AddressRules.Parse(monitor.Address), AddressRules.Parse(monitor.AdminAddress)))];
        foreach (Storage.Cluster.MonitorInfo monitor in all)
        {
            string folder = Path.Combine(cluster.Folder, $"mon.{monitor.Name}");
            if (Monitor.MonitorStore.IsFormatted(folder))
            {
                continue;
            }

            if (!isNew && File.Exists(Path.Combine(cluster.Folder, "log", $"mon.{monitor.Name}.log")))
            {
                lost.Add("mon." + monitor.Name);
            }
            else
            {
                MonitorDaemonVerbs.Format(folder, cluster.Fsid, monitor.Id, all);
            }
        }

        return [.. lost];
    }

    /// <summary>Makes the stores that are missing.</summary>
    /// <returns>The OSDs to be registered: those that were just made, and those of which a start before did not get that far.</returns>
    private static async Task<List<(int Id, Guid Uuid)>> FormatOsdsAsync(ClusterFile cluster)
    {
        var made = new List<(int, Guid)>();
        DaemonEntry[] osds = [.. cluster.Daemons.Where(daemon => daemon.Role == "osd")];
        await Parallel.ForAsync(0, osds.Length, async (id, _) =>
        {
            string folder = Path.Combine(cluster.Folder, osds[id].Name);
            if (DaemonFile.Exists(folder))
            {
                return;
            }

            if (Directory.Exists(folder))
            {
                Directory.Delete(folder, recursive: true); // a start before was cut off in the middle of making it
            }

            // Derived, so that a second try registers the same OSD and not another one.
            Guid uuid = OsdUuid(cluster.Fsid, id);
            await OsdDaemonVerbs.FormatAsync(folder, cluster.OsdBytes, uuid, new DaemonFile
            {
                Role = "osd",
                Fsid = cluster.Fsid,
                Id = id,
                Listen = osds[id].Address,
                Monitors = [.. cluster.Monitors.Select(monitor => monitor.Address)],
            }).ConfigureAwait(false);
        }).ConfigureAwait(false);
        for (int id = 0; id < osds.Length; id++)
        {
            made.Add((id, OsdUuid(cluster.Fsid, id)));
        }

        return made;
    }

    private static Guid OsdUuid(Guid fsid, int id)
    {
        Span<byte> seed = stackalloc byte[20];
        fsid.TryWriteBytes(seed);
        BitConverter.TryWriteBytes(seed[16..], id);
        return new Guid(System.Security.Cryptography.SHA256.HashData(seed).AsSpan(0, 16));
    }

    private static async Task RegisterOsdAsync(ClusterFile cluster, AdminClient admin, int id, Guid uuid, CancellationToken cancellation)
    {
        var create = new OsdCreateRequest { Uuid = uuid.ToString(), Osd = id, CrushWeight = OsdDaemonVerbs.WeightOf(cluster.OsdBytes), DeviceClass = "ssd" };
        create.Location.Add("root", "default");
        create.Location.Add("host", "localhost");
        await admin.OsdCreateAsync(create, cancellation).ConfigureAwait(false);
    }

    private static void FormatGateways(ClusterFile cluster)
    {
        foreach (DaemonEntry daemon in cluster.Daemons.Where(daemon => daemon.Role is "nbd" or "s3"))
        {
            string folder = Path.Combine(cluster.Folder, daemon.Name);
            if (!DaemonFile.Exists(folder))
            {
                GatewayFolders.Format(folder, daemon.Role, cluster, daemon.Address);
            }
        }
    }

    private static void Start(DaemonProcess[] processes, string role)
    {
        foreach (DaemonProcess process in processes.Where(process => process.Daemon.Role == role))
        {
            process.Start();
        }
    }

    private static Task<PoolCreateReply> CreatePoolAsync(AdminClient admin, string name, uint size, uint minSize, uint pgs, string application, CancellationToken cancellation) =>
        admin.PoolCreateAsync(
            new PoolCreateRequest
            {
                Name = name,
                Size = size,
                MinSize = minSize,
                PgNum = pgs,
                FailureDomain = "osd",
                Application = application,
                IfNotExists = true,
                Type = PoolType.Replicated,
            },
            cancellation);

    /// <summary>The volume and the S3 user to try things with.</summary>
    private async Task<S3Credentials> CreateDemoAsync(ClusterFile cluster, CancellationToken cancellation)
    {
        if (S3Credentials.TryRead(cluster.Folder) is { } known)
        {
            return known;
        }

        ClientSession session = await ClientSession.OpenAsync(
            cluster.Fsid, cluster.MonitorAddresses, failure => throw new InvalidOperationException("the event loop ended", failure)).ConfigureAwait(false);
        await using (session.ConfigureAwait(false))
        {
            var volumes = new VolumeStore(session.Client, TimeProvider.System, ClientSession.NewRandom());
            try
            {
                await volumes.CreateAsync(new VolumeName(VolumePool, DemoVolume), DemoBytes, cancellation: cancellation).ConfigureAwait(false);
                Step($"volume {DemoVolume}: {Amount.Bytes(DemoBytes)}, thin");
            }
            catch (VolumeException e) when (e.Problem == VolumeProblem.Exists)
            {
                // A start before made it.
            }

            var users = new UserStore(session.Client, new S3Options(), TimeProvider.System);
            S3User user = await users.FindAsync(DemoUser, cancellation).ConfigureAwait(false)
                ?? await users.CreateAsync(DemoUser, "Demo user", "", "", cancellation).ConfigureAwait(false);
            var keys = new S3Credentials(user.FullId, user.Keys[0].AccessKey, user.Keys[0].SecretKey);
            keys.Write(cluster.Folder);
            Step($"S3 user {user.FullId}");
            return keys;
        }
    }

    private async Task WaitForGatewaysAsync(ClusterFile cluster, DaemonProcess[] processes, CancellationToken cancellation)
    {
        foreach (DaemonEntry daemon in cluster.Daemons.Where(daemon => daemon.Role is "nbd" or "s3"))
        {
            NodeAddress address = AddressRules.Parse(daemon.Address);
            await WaitAsync($"{daemon.Role} gateway", processes, cancellation, async () =>
            {
                using var probe = new System.Net.Sockets.TcpClient();
                try
                {
                    await probe.ConnectAsync(address.Host, address.Port, cancellation).ConfigureAwait(false);
                    return (true, $"on {address}");
                }
                catch (System.Net.Sockets.SocketException e)
                {
                    return (false, e.Message);
                }
            }).ConfigureAwait(false);
        }
    }

    /// <summary>Waits for a condition while the daemons live.</summary>
#pragma warning disable CA1068 // a function reads best as the last argument
    private async Task WaitAsync(string what, DaemonProcess[] processes, CancellationToken cancellation, Func<Task<(bool Done, string Progress)>> check)
#pragma warning restore CA1068
    {
        long start = Stopwatch.GetTimestamp();
        string shown = "";
        bool live = console.Profile.Capabilities.Interactive;
        for (int round = 1; ; round++)
        {
            string progress;
            try
            {
                (bool done, progress) = await check().ConfigureAwait(false);
                if (done)
                {
                    if (live && shown.Length > 0)
                    {
                        console.Write("\r\u001b[K");
                    }

                    Step($"{what}: {progress}");
                    return;
                }
            }
            catch (RpcException e) when (e.Code is StatusCode.Unavailable or StatusCode.DeadlineExceeded)
            {
                progress = "no monitor answers yet";
            }

            if (live && progress != shown)
            {
                console.Write($"\r\u001b[K         waiting for {what}: {progress} ");
                shown = progress;
            }

            DaemonProcess? dead = round % 10 == 0 ? processes.FirstOrDefault(process => process.WasStarted && process.Pid is null) : null;
            if (dead is not null)
            {
                throw new CliException($"{dead.Name} ended while waiting for {what}. The end of its log, {dead.LogFile}:\n{dead.LogTail(12)}");
            }

            if (Stopwatch.GetElapsedTime(start) > s_patience)
            {
                throw new CliException($"gave up waiting for {what} after {s_patience.TotalSeconds:0} s: {progress}. The daemons' logs are in {Path.Combine(request.Folder, "log")}.");
            }

            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }
    }

    private void Step(string text) => console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{_clock.Elapsed.TotalSeconds,6:0.0}s  {text}"));

    private void PrintGuide(ClusterFile cluster, S3Credentials keys, bool isNew, bool healthy)
    {
        string nbd = cluster.Daemons.First(daemon => daemon.Role == "nbd").Address;
        string s3 = cluster.Daemons.First(daemon => daemon.Role == "s3").Address;
        string data = Environment.GetEnvironmentVariable("STORAGE_DATA_IS_DEFAULT") == "1" ? "" : $" --data {request.Folder}";
        console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"""

            The cluster is {(isNew ? "" : "back ")}up{(healthy ? " and healthy" : ", with warnings: see storage health --detail")} ({_clock.Elapsed.TotalSeconds:0.0} s). Things to try:

              cluster/storage{data} status
              cluster/storage{data} osd tree
              qemu-img convert -n -O raw disk.img nbd://{nbd}/{DemoVolume}
              nbdinfo nbd://{nbd}/{DemoVolume}
              export AWS_ACCESS_KEY_ID={keys.AccessKey} AWS_SECRET_ACCESS_KEY=$(cluster/storage{data} endpoints --json | sed -n 's/.*"s3_secret_key": "\(.*\)".*/\1/p') AWS_DEFAULT_REGION={cluster.S3Region}
              aws --endpoint-url http://{s3} s3 mb s3://bucket
              aws --endpoint-url http://{s3} s3 cp file s3://bucket/key
              cluster/down{data}
            """));
    }
}
