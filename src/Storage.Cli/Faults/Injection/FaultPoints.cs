using System.Globalization;
using Storage.Cli.Commands;
using Storage.Messaging;
using Storage.Messaging.Tcp;
using Storage.ObjectStore.Device;
using Storage.ObjectStore.Disk;
using Storage.Reactor;

namespace Storage.Cli.Faults.Injection;

/// <summary>
/// Where faults get into a daemon: its messenger, its block device and its store's space. On the daemon's loop. Every fault ends by
/// itself; of those that share a place (a delay, an error) the latest counts.
/// </summary>
internal sealed class FaultPoints(IEventLoop loop)
{
    private static readonly TimeSpan s_longest = TimeSpan.FromHours(1);
    private readonly List<Fault> _disk = [];

    public MessageFilter Filter { get; } = new(loop);

    /// <summary>An OSD's disk; null in other daemons.</summary>
    public FaultyBlockDevice? Device { get; set; }

    /// <summary>An OSD's store; null in other daemons.</summary>
    public DiskObjectStore? Store { get; set; }

    /// <summary>Carries a command out.</summary>
    /// <exception cref="CliException">It makes no sense here.</exception>
    public FaultReply Run(FaultCommand command)
    {
        if (command.Version != FaultCommand.FormatVersion)
        {
            throw new CliException($"the command has version {command.Version}; this daemon knows {FaultCommand.FormatVersion}.");
        }

        IReadOnlyList<long> blocks = [];
        switch (command.Action)
        {
            case FaultAction.Status:
                break;
            case FaultAction.Heal:
                Heal(command.Name);
                break;
            case FaultAction.Cut:
                Cut(command);
                break;
            case FaultAction.UsedBlocks:
                blocks = NeedStore().PickUsedBlocks(Math.Clamp(command.Count, 0, 100_000), new Random(command.Seed));
                break;
            default:
                Injure(command);
                break;
        }

        return new FaultReply { Active = Active(), Blocks = blocks };
    }

    private static string NameOf(FaultCommand command) => command.Name is { Length: > 0 and <= 100 } name ? name : throw new CliException("the fault has no name.");

    private static TimeSpan DurationOf(FaultCommand command)
    {
        var duration = TimeSpan.FromMilliseconds(command.DurationMs);
        return duration > TimeSpan.Zero && duration <= s_longest ? duration : throw new CliException($"a fault may last up to {s_longest.TotalHours:0} h, not {duration}.");
    }

    private DiskObjectStore NeedStore() => Store ?? throw new CliException("this daemon has no disk; name an OSD.");

    private void Cut(FaultCommand command)
    {
        EntityKind? kind = command.PeerKind switch
        {
            null => null,
            "mon" => EntityKind.Monitor,
            "osd" => EntityKind.Osd,
            "client" => EntityKind.Client,
            _ => throw new CliException($"peer kind '{command.PeerKind}' does not exist."),
        };
        CutDirections directions = (command.Inbound ? CutDirections.Inbound : 0) | (command.Outbound ? CutDirections.Outbound : 0);
        if (directions == CutDirections.None)
        {
            throw new CliException("a cut needs a direction.");
        }

        Filter.Cut(NameOf(command), new PeerSelector(kind, kind is null ? null : command.PeerId), directions, DurationOf(command));
    }

    private void Injure(FaultCommand command)
    {
        _ = NeedStore();
        string name = NameOf(command);
        TimeSpan duration = DurationOf(command);
        BlockOperations failing = command.Action != FaultAction.DiskError ? BlockOperations.None : command.Operation switch
        {
            "read" => BlockOperations.Reads,
            "write" => BlockOperations.Writes,
            "sync" => BlockOperations.Syncs,
            _ => throw new CliException($"'{command.Operation}' is no disk operation; there are read, write and sync."),
        };
        var delay = TimeSpan.FromMilliseconds(command.DelayMs);
        if (command.Action == FaultAction.SlowDisk && (delay <= TimeSpan.Zero || delay > TimeSpan.FromMinutes(1)))
        {
            throw new CliException("a slow disk's delay is 1 ms to 1 min.");
        }

        string what = command.Action switch
        {
            FaultAction.DiskFull => "disk full",
            FaultAction.SlowDisk => string.Create(CultureInfo.InvariantCulture, $"every disk operation waits {command.DelayMs} ms"),
            _ => $"disk error on every {command.Operation}",
        };
        HealDisk(name);
        _disk.Add(new Fault(name, what, loop.Now + duration, loop.Schedule(duration, _ => Heal(name), null), failing, delay, command.Action == FaultAction.DiskFull));
        ApplyDisk();
    }

    private void Heal(string? name)
    {
        // A cut of several peers has a part for each.
        foreach (MessageCut cut in Filter.Cuts.Where(cut => name is null || cut.Name == name || cut.Name.StartsWith(name + ".", StringComparison.Ordinal)).ToArray())
        {
            Filter.Heal(cut.Name);
        }

        HealDisk(name);
        if (Store is not null)
        {
            ApplyDisk();
        }
    }

    private void HealDisk(string? name)
    {
        foreach (Fault fault in _disk.Where(fault => name is null || fault.Name == name).ToArray())
        {
            fault.Timer.Cancel();
            _disk.Remove(fault);
        }
    }

    private void ApplyDisk()
    {
        Device!.Delay = _disk.LastOrDefault(fault => fault.Delay > TimeSpan.Zero)?.Delay ?? TimeSpan.Zero;
        Device.Failing = _disk.Aggregate(BlockOperations.None, (all, fault) => all | fault.Failing);
        Store!.WithholdSpace(_disk.Any(fault => fault.Full) ? long.MaxValue : 0);
    }

    private List<FaultInForce> Active() =>
    [
        .. Filter.Cuts.Select(cut => new FaultInForce(cut.Name, $"cut from {cut.Peer}, {cut.Directions.ToString().ToLowerInvariant()}", (long)(cut.Ends - loop.Now).TotalMilliseconds)),
        .. _disk.Select(fault => new FaultInForce(fault.Name, fault.What, (long)(fault.Ends - loop.Now).TotalMilliseconds)),
    ];

    private sealed record Fault(string Name, string What, TimeSpan Ends, ILoopTimer Timer, BlockOperations Failing, TimeSpan Delay, bool Full);
}
