using System.Globalization;
using Storage.Cli.Commands;

namespace Storage.Cli.Faults;

/// <summary>What can be done to a local cluster's daemons.</summary>
internal enum FaultKind
{
    /// <summary>SIGKILL; healed by starting the daemon again.</summary>
    Kill,

    /// <summary>SIGSTOP; healed by SIGCONT.</summary>
    Pause,

    /// <summary>Stopped in order and started again, at once.</summary>
    Restart,

    /// <summary>An OSD's store takes no more data.</summary>
    DiskFull,

    /// <summary>Single bits of blocks in use change in an OSD's block file; healed by the cluster.</summary>
    BitFlip,

    /// <summary>Every operation of an OSD's disk waits.</summary>
    SlowDisk,

    /// <summary>Reads, writes or syncs of an OSD's disk fail. A failed write or sync ends the daemon; healed by starting it again.</summary>
    DiskError,

    /// <summary>Daemons do not hear each other.</summary>
    Cut,
}

/// <summary>A fault to inject, its daemons named.</summary>
internal sealed record FaultRequest
{
    public required FaultKind Kind { get; init; }

    /// <summary>Names of daemons.</summary>
    public required IReadOnlyList<string> Targets { get; init; }

    /// <summary>Cut: names of the other side; empty for everyone.</summary>
    public IReadOnlyList<string> Peers { get; init; } = [];

    /// <summary>Cut: only what the targets send is lost.</summary>
    public bool OneWay { get; init; }

    /// <summary>When it is healed by itself; zero for what is done in a moment.</summary>
    public TimeSpan Duration { get; init; }

    public TimeSpan Delay { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>Disk error: <c>read</c>, <c>write</c> or <c>sync</c>.</summary>
    public string Operation { get; init; } = "write";

    /// <summary>Bit flip: how many.</summary>
    public int Count { get; init; } = 16;

    public int Seed { get; init; }

    /// <summary>How long a fault lasts where nothing else is said.</summary>
    public static TimeSpan DefaultDuration(FaultKind kind) => kind switch
    {
        FaultKind.Kill or FaultKind.DiskError => TimeSpan.FromSeconds(20),
        FaultKind.Pause => TimeSpan.FromSeconds(10),
        FaultKind.Cut => TimeSpan.FromSeconds(15),
        FaultKind.DiskFull or FaultKind.SlowDisk => TimeSpan.FromSeconds(30),
        _ => TimeSpan.Zero,
    };

    /// <summary>For people.</summary>
    public string Describe()
    {
        string targets = string.Join(", ", Targets);
        return Kind switch
        {
            FaultKind.Kill => $"kill {targets}",
            FaultKind.Pause => $"pause {targets}",
            FaultKind.Restart => $"restart {targets}",
            FaultKind.DiskFull => $"disk full on {targets}",
            FaultKind.BitFlip => string.Create(CultureInfo.InvariantCulture, $"flip {Count} bits on {targets}"),
            FaultKind.SlowDisk => string.Create(CultureInfo.InvariantCulture, $"slow disk on {targets}, {Delay.TotalMilliseconds:0} ms"),
            FaultKind.DiskError => $"disk error on every {Operation} of {targets}",
            _ => $"cut {targets} {(OneWay ? "to" : "from")} {(Peers.Count == 0 ? "everyone" : string.Join(", ", Peers))}{(OneWay ? ", one way" : "")}",
        };
    }

    /// <summary>Names as people write them: <c>disk-full</c>.</summary>
    public static string NameOf(FaultKind kind) => kind switch
    {
        FaultKind.DiskFull => "disk-full",
        FaultKind.BitFlip => "bit-flip",
        FaultKind.SlowDisk => "slow-disk",
        FaultKind.DiskError => "disk-error",
        _ => kind.ToString().ToLowerInvariant(),
    };

    public static FaultKind ParseKind(string name) =>
        Enum.GetValues<FaultKind>().Cast<FaultKind?>().FirstOrDefault(kind => NameOf(kind!.Value) == name)
        ?? throw new CliException($"no fault '{name}'; there are {string.Join(", ", Enum.GetValues<FaultKind>().Select(NameOf))}.");
}

/// <summary>Lengths of time as people write them.</summary>
internal static class Durations
{
    /// <summary>Reads <c>500ms</c>, <c>10s</c>, <c>2m</c>.</summary>
    /// <exception cref="CliException">It is none.</exception>
    public static TimeSpan Parse(string text)
    {
        (string number, double scale) = text switch
        {
            _ when text.EndsWith("ms", StringComparison.Ordinal) => (text[..^2], 0.001),
            _ when text.EndsWith('s') => (text[..^1], 1.0),
            _ when text.EndsWith('m') => (text[..^1], 60.0),
            _ => (text, 1.0),
        };
        return double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double value) && value * scale <= 3600
            ? TimeSpan.FromSeconds(value * scale)
            : throw new CliException($"'{text}' is no duration up to an hour; write for example 500ms, 10s or 2m.");
    }

    public static string Text(TimeSpan time) => time < TimeSpan.FromSeconds(1)
        ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalMilliseconds:0} ms")
        : string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.0} s");
}
