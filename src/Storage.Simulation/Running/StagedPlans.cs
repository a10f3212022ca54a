using Storage.Simulation.Faults;

namespace Storage.Simulation.Running;

/// <summary>Faults at given times, for what a draw brings about once in thousands of runs. The seed still decides latencies, sizes and what clients do.</summary>
internal static class StagedPlans
{
    private static readonly int[] s_others = [1, 2, 3, 4];

    /// <summary>
    /// One of three OSDs takes writes alone (min_size 1). The others come back and learn of them, and its disk, which is slow, and one more are
    /// destroyed before it has sent them all: what it alone had is found nowhere.
    /// </summary>
    public static FaultPlan Unfound { get; } = new(
    [
        At(3, FaultKind.LongCrash, 8, 1, 1),
        At(3, FaultKind.LongCrash, 8, 2, 1),
        At(10.5, FaultKind.SlowDisk, 10, 0, 999),
        At(11.6, FaultKind.DestroyDisks, 2),
    ]);

    /// <summary>
    /// Twice, an OSD of five goes out and comes back on slow disks: PGs are split while the others are filled, and the copies that these then have
    /// too many take so long to go that OSDs die on it, and that the PGs come back to them.
    /// </summary>
    public static FaultPlan Leaving { get; } = new([.. Leave(3).Concat(Leave(14))]);

    private static IEnumerable<Fault> Leave(double at) =>
    [
        At(at - 0.1, FaultKind.SlowDisk, 1.5, 0, 600),
        .. s_others.Select(osd => At(at - 0.1, FaultKind.SlowDisk, 1.5, osd, 600)),
        At(at, FaultKind.OsdOut, 4),
        At(at + 0.3, FaultKind.PoolSplit, 1, 1, 1),
        .. s_others.Select(osd => At(at + 3.9, FaultKind.SlowDisk, 5, osd, 700)),
        At(at + 5, FaultKind.CrashOsd, 1, 1, 1),
        At(at + 5.2, FaultKind.CrashOsd, 1, 4, 1),
        At(at + 5.3, FaultKind.OsdOut, 3),
        At(at + 5.7, FaultKind.CrashOsd, 1, 2, 1),
        At(at + 6.1, FaultKind.CrashOsd, 1, 3, 1),
    ];

    private static Fault At(double second, FaultKind kind, double length, int target = 0, int how = 0) =>
        new(TimeSpan.FromSeconds(second), kind, [target, how, 0, 0], TimeSpan.FromSeconds(length));
}
