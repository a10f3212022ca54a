using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Storage.Cli.Commands;
using Storage.Cli.Configuration;
using Storage.Cli.Faults.Injection;
using Storage.Cli.Local;

namespace Storage.Cli.Faults;

/// <summary>
/// Injects faults into a local cluster and heals them. What is done within a daemon ends there by itself; for what is done to a process
/// a healer, a process of its own, waits until the time is up, so that nothing stays broken if this one dies.
/// </summary>
internal sealed partial class FaultInjector(ClusterFile cluster)
{
    private const int BlockSize = 4096;
    private const int SignalKill = 9;
    private static readonly TimeSpan s_stopPatience = TimeSpan.FromSeconds(15);
    private readonly FaultState _state = new(cluster);

    public IReadOnlyList<ActiveFault> Active => _state.Read();

    public DaemonProcess Process(string name) => new(cluster, cluster.Daemon(name));

    /// <summary>Injects a fault.</summary>
    /// <param name="request">What, to whom, for how long.</param>
    /// <param name="grace">Given to whoever injects to heal it himself, before the healer does.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The fault, to be healed; null for what is done in a moment.</returns>
    /// <exception cref="CliException">It cannot be done; the message says what to do.</exception>
    public async Task<ActiveFault?> InjectAsync(FaultRequest request, TimeSpan grace, CancellationToken cancellation)
    {
        DaemonProcess[] targets = [.. request.Targets.Select(Process)];
        string id = "f" + Guid.NewGuid().ToString("n")[..8];
        List<string> involved = [.. request.Targets];
        var command = new FaultCommand { Action = FaultAction.Status, Name = id, DurationMs = (long)request.Duration.TotalMilliseconds };
        switch (request.Kind)
        {
            case FaultKind.Restart:
                foreach (DaemonProcess target in targets)
                {
                    _ = await target.StopAsync(s_stopPatience, cancellation).ConfigureAwait(false);
                    target.Start();
                }

                return null;
            case FaultKind.BitFlip:
                foreach (DaemonProcess target in targets)
                {
                    await FlipAsync(target, request.Count, request.Seed, cancellation).ConfigureAwait(false);
                }

                return null;
            case FaultKind.Kill or FaultKind.Pause when targets.FirstOrDefault(target => target.Pid is null) is { } dead:
                throw new CliException($"{dead.Name} does not run.");
            default:
                break;
        }

        // First the note and the healer: whatever happens next is healed.
        int[] pids = request.Kind == FaultKind.Pause ? [.. targets.Select(target => target.Pid ?? 0).Where(pid => pid > 0)] : [];
        bool needsHealer = request.Kind is FaultKind.Kill or FaultKind.Pause or FaultKind.DiskError;
        long now = TimeProvider.System.GetUtcNow().ToUnixTimeMilliseconds();
        var fault = new ActiveFault
        {
            Id = id,
            Kind = request.Kind,
            What = request.Describe(),
            Targets = request.Targets,
            Involved = involved,
            StartedUnixMs = now,
            UntilUnixMs = now + (long)request.Duration.TotalMilliseconds,
            Healer = needsHealer ? StartHealer(id, request.Duration + grace, pids) : 0,
        };
        try
        {
            await _state.AddAsync(fault, cancellation).ConfigureAwait(false);
            switch (request.Kind)
            {
                case FaultKind.Kill:
                    await Task.WhenAll(targets.Select(target => target.KillAsync(cancellation))).ConfigureAwait(false);
                    break;
                case FaultKind.Pause:
                    Array.ForEach(targets, target => target.Pause());
                    break;
                case FaultKind.Cut:
                    await CutAsync(request, command, involved, cancellation).ConfigureAwait(false);
                    await _state.AddAsync(fault, cancellation).ConfigureAwait(false);
                    break;
                default:
                    foreach (DaemonProcess target in targets)
                    {
                        await FaultClient.SendAsync(
                            target,
                            command with
                            {
                                Action = request.Kind switch { FaultKind.DiskFull => FaultAction.DiskFull, FaultKind.SlowDisk => FaultAction.SlowDisk, _ => FaultAction.DiskError },
                                DelayMs = (long)request.Delay.TotalMilliseconds,
                                Operation = request.Kind == FaultKind.DiskError ? request.Operation : null,
                            },
                            cancellation).ConfigureAwait(false);
                    }

                    break;
            }
        }
        catch (CliException)
        {
            await HealAsync(fault, CancellationToken.None).ConfigureAwait(false);
            throw;
        }

        return fault;
    }

    /// <summary>Undoes a fault; does nothing about what has healed by itself.</summary>
    public async Task HealAsync(ActiveFault fault, CancellationToken cancellation)
    {
        if (fault.Kind == FaultKind.Pause)
        {
            foreach (string name in fault.Targets)
            {
                Process(name).Resume();
            }
        }
        else if (fault.Kind != FaultKind.Kill)
        {
            await TellAllAsync(fault.Involved, new FaultCommand { Action = FaultAction.Heal, Name = fault.Id }, cancellation).ConfigureAwait(false);
        }

        if (fault.Kind is FaultKind.Kill or FaultKind.DiskError)
        {
            foreach (string name in fault.Targets)
            {
                Process(name).Start();
            }
        }

        await _state.RemoveAsync(fault.Id, cancellation).ConfigureAwait(false);
        StopHealer(fault);
    }

    /// <summary>Undoes everything: paused daemons go on, dead ones are started, faults within daemons end.</summary>
    /// <returns>What was undone, for people.</returns>
    public async Task<IReadOnlyList<string>> HealAllAsync(CancellationToken cancellation)
    {
        var undone = new List<string>();
        foreach (DaemonEntry daemon in cluster.Daemons)
        {
            DaemonProcess process = Process(daemon.Name);
            if (process.IsPaused)
            {
                process.Resume();
                undone.Add($"{daemon.Name} goes on");
            }
        }

        foreach (ActiveFault fault in Active)
        {
            await HealAsync(fault, cancellation).ConfigureAwait(false);
            undone.Add($"healed: {fault.What}");
        }

        await TellAllAsync([.. cluster.Daemons.Select(daemon => daemon.Name)], new FaultCommand { Action = FaultAction.Heal }, cancellation).ConfigureAwait(false);
        foreach (DaemonEntry daemon in cluster.Daemons)
        {
            DaemonProcess process = Process(daemon.Name);
            if (process.Pid is null)
            {
                process.Start();
                undone.Add($"{daemon.Name} started");
            }
        }

        return undone;
    }

    /// <summary>Faults in force within the daemons, by daemon; those that do not run or take no faults are left out.</summary>
    public async Task<IReadOnlyList<(string Daemon, FaultInForce Fault)>> InForceAsync(CancellationToken cancellation)
    {
        var all = new List<(string, FaultInForce)>();
        foreach (DaemonEntry daemon in cluster.Daemons)
        {
            DaemonProcess process = Process(daemon.Name);
            if (TakesFaults(process))
            {
                FaultReply? reply = await FaultClient.TrySendAsync(process, new FaultCommand { Action = FaultAction.Status }, cancellation).ConfigureAwait(false);
                all.AddRange((reply?.Active ?? []).Select(fault => (daemon.Name, fault)));
            }
        }

        return all;
    }

    private static bool TakesFaults(DaemonProcess process) => process.Pid is not null && !process.IsPaused && File.Exists(Path.Combine(process.Folder, FaultSocket.FileName));

    private async Task TellAllAsync(IReadOnlyList<string> daemons, FaultCommand command, CancellationToken cancellation)
    {
        foreach (DaemonProcess process in daemons.Select(Process).Where(TakesFaults))
        {
            _ = await FaultClient.TrySendAsync(process, command, cancellation).ConfigureAwait(false);
        }
    }

    // Both ends hold the traffic, so that one that is restarted does not end the cut; gateways, whose number as a client nobody knows,
    // hold it for both.
    private async Task CutAsync(FaultRequest request, FaultCommand command, List<string> involved, CancellationToken cancellation)
    {
        command = command with { Action = FaultAction.Cut };
        var commands = new List<(string Daemon, FaultCommand Command)>();
        foreach (string target in request.Targets)
        {
            if (request.Peers.Count == 0)
            {
                commands.Add((target, command with { Outbound = true, Inbound = !request.OneWay }));
            }

            string[] others = [.. (request.Peers.Count == 0 ? cluster.Daemons.Select(daemon => daemon.Name) : request.Peers).Where(peer => !request.Targets.Contains(peer))];
            if (request.Peers.Count > 0 && others.Length == 0)
            {
                throw new CliException($"{target} cannot be cut from itself.");
            }

            foreach (string peer in others)
            {
                (string? Kind, ulong Id) self = IdentityOf(target), other = IdentityOf(peer);
                if (self.Kind is null && other.Kind is null)
                {
                    if (request.Peers.Count > 0)
                    {
                        throw new CliException($"{target} and {peer} never talk to each other: both are gateways.");
                    }

                    continue;
                }

                if (other.Kind is not null && request.Peers.Count > 0)
                {
                    commands.Add((target, command with { Name = $"{command.Name}.{peer}", PeerKind = other.Kind, PeerId = other.Id, Outbound = true, Inbound = !request.OneWay }));
                }

                if (self.Kind is not null)
                {
                    commands.Add((peer, command with { Name = $"{command.Name}.{target}", PeerKind = self.Kind, PeerId = self.Id, Inbound = true, Outbound = !request.OneWay }));
                }
            }
        }

        foreach ((string daemon, FaultCommand one) in commands)
        {
            DaemonProcess process = Process(daemon);
            bool needed = request.Targets.Contains(daemon) || request.Peers.Contains(daemon);
            if (needed || TakesFaults(process))
            {
                _ = needed
                    ? await FaultClient.SendAsync(process, one, cancellation).ConfigureAwait(false)
                    : await FaultClient.TrySendAsync(process, one, cancellation).ConfigureAwait(false);
                if (!involved.Contains(daemon))
                {
                    involved.Add(daemon);
                }
            }
        }
    }

    private (string? Kind, ulong Id) IdentityOf(string name)
    {
        DaemonEntry daemon = cluster.Daemon(name);
        return daemon.Role switch
        {
            "osd" => ("osd", ulong.Parse(name.AsSpan(4), NumberStyles.None, CultureInfo.InvariantCulture)),
            "mon" => ("mon", cluster.Monitors.First(monitor => $"mon.{monitor.Name}" == name).Id),
            _ => (null, 0),
        };
    }

    /// <summary>Flips one bit in each of some blocks that hold data.</summary>
    private static async Task FlipAsync(DaemonProcess osd, int count, int seed, CancellationToken cancellation)
    {
        FaultReply reply = await FaultClient.SendAsync(osd, new FaultCommand { Action = FaultAction.UsedBlocks, Count = count, Seed = seed }, cancellation).ConfigureAwait(false);
        if (reply.Blocks.Count == 0)
        {
            throw new CliException($"{osd.Name} holds no data yet, so there is nothing to damage.");
        }

        var random = new Random(seed);
        string path = Path.Combine(osd.Folder, ObjectStore.Disk.DiskObjectStore.BlockFileName);
        using SafeFileHandle file = OpenUnlocked(path);
        byte[] one = new byte[1];
        foreach (long block in reply.Blocks)
        {
            long position = block + random.Next(BlockSize);
            _ = RandomAccess.Read(file, one, position);
            one[0] ^= (byte)(1 << random.Next(8));
            RandomAccess.Write(file, one, position);
        }

        RandomAccess.FlushToDisk(file);
    }

    /// <summary>Opens a block file without the lock that .NET would take, and that the daemon holds.</summary>
    private static SafeFileHandle OpenUnlocked(string path)
    {
        const int ReadWrite = 2;
        const int CloseOnExec = 0x80000;
        int fd = OpenFile(path, ReadWrite | CloseOnExec);
        return fd >= 0 ? new SafeFileHandle(fd, ownsHandle: true) : throw new CliException($"cannot open {path}: {Marshal.GetLastPInvokeErrorMessage()}.");
    }

    /// <summary>Starts the process that heals a fault when its time is up, come what may.</summary>
    private int StartHealer(string id, TimeSpan after, int[] pids)
    {
        var start = new ProcessStartInfo("/bin/sh") { RedirectStandardOutput = true, UseShellExecute = false, WorkingDirectory = cluster.Folder };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add("exec 3>&1; { exec 3>&-; exec setsid -- \"$@\" </dev/null >/dev/null 2>&1; } & echo $! >&3");
        start.ArgumentList.Add("sh");
        string wake = pids.Length == 0 ? "" : string.Create(CultureInfo.InvariantCulture, $"kill -CONT {string.Join(' ', pids)}; ");
        string[] healer =
        [
            "/bin/sh", "-c", string.Create(CultureInfo.InvariantCulture, $"sleep {after.TotalSeconds:0.###}; {wake}exec \"$@\""), "sh",
            .. DaemonProcess.Program(), "fault", "heal", id, "--data", cluster.Folder,
        ];
        foreach (string argument in healer)
        {
            start.ArgumentList.Add(argument);
        }

        using Process shell = System.Diagnostics.Process.Start(start) ?? throw new CliException("/bin/sh did not start.");
        string printed = shell.StandardOutput.ReadLine() ?? throw new CliException("the process that would heal the fault did not start, so nothing was done.");
        shell.WaitForExit();
        return int.Parse(printed, NumberStyles.None, CultureInfo.InvariantCulture);
    }

    private static void StopHealer(ActiveFault fault)
    {
        if (fault.Healer == 0 || fault.Healer == Environment.ProcessId)
        {
            return;
        }

        try
        {
            string line = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{fault.Healer}/cmdline"));
            if (line.Contains(fault.Id, StringComparison.Ordinal))
            {
                _ = SendSignal(-fault.Healer, SignalKill); // it leads a session of its own
            }
        }
        catch (IOException)
        {
            // It is gone already.
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "kill", SetLastError = true)]
    private static partial int SendSignal(int pid, int signal);
}
