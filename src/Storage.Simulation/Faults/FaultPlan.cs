using System.Globalization;
using Storage.Simulation.Running;

namespace Storage.Simulation.Faults;

/// <summary>Kind of a fault.</summary>
public enum FaultKind
{
    /// <summary>An OSD's process dies and starts again: memory is lost, the disk keeps what was durable and some of the rest.</summary>
    CrashOsd,

    /// <summary>As <see cref="CrashOsd"/>, away for so long that it is marked out and its log overtaken.</summary>
    LongCrash,

    /// <summary>A monitor's process dies and starts again.</summary>
    CrashMonitor,

    /// <summary>The monitor that leads dies and starts again.</summary>
    CrashLeader,

    /// <summary>A process dies in the middle of what it does: between two messages, or between a message and a transaction.</summary>
    CrashAtEffect,

    /// <summary>Several machines lose power at once; their peers learn nothing until connections time out.</summary>
    PowerLoss,

    /// <summary>Some machines cannot reach the others, nor be reached.</summary>
    Partition,

    /// <summary>One machine's packets to another do not arrive; those the other way do.</summary>
    OneWayPartition,

    /// <summary>Messages take long.</summary>
    SlowNetwork,

    /// <summary>Connections break now and then.</summary>
    BreakConnections,

    /// <summary>A process stands still.</summary>
    Pause,

    /// <summary>An operator takes an OSD out, and in again later.</summary>
    OsdOut,

    /// <summary>A disk is replaced by an empty one, at any moment, once the last one that was replaced has been filled again.</summary>
    ReplaceDisk,

    /// <summary>A bit flips on one copy of one object, at any moment.</summary>
    FlipBit,

    /// <summary>An operator raises pg_num: PGs split, and their objects spread over the OSDs afterwards.</summary>
    PoolSplit,

    /// <summary>An operator changes how many copies there are: two become three or three two.</summary>
    PoolSize,

    /// <summary>An operator changes how many copies must be there to serve: two become one or one two.</summary>
    PoolMinSize,

    /// <summary>A client ends without a word, and a new one takes its place.</summary>
    CrashClient,

    /// <summary>An operator marks running OSDs down, one after the other; the first may be cut off from all but clients just before.</summary>
    MarkDown,

    /// <summary>A machine's clock runs too fast or too slow, at most by what leases allow for (<c>OsdOptions.LargestClockDrift</c>).</summary>
    ClockDrift,

    /// <summary>A machine's wall clock jumps.</summary>
    ClockJump,

    /// <summary>A disk takes many times as long as usual.</summary>
    SlowDisk,

    /// <summary>A block can no longer be read: the disk reports an error.</summary>
    ReadError,

    /// <summary>A disk reports an error for a write or a sync; its daemon dies of it and starts again later.</summary>
    WriteError,

    /// <summary>A write lands on another object's block.</summary>
    MisdirectedWrite,

    /// <summary>A disk has room for a few blocks only, for a while.</summary>
    FullDisk,

    /// <summary>An operator lowers an OSD's weight, and raises it again later.</summary>
    Reweight,

    /// <summary>Two or more disks are replaced by empty ones at once: more than the redundancy survives.</summary>
    DestroyDisks,

    /// <summary>An operator adds a monitor; now and then it is started much later.</summary>
    MonitorAdd,

    /// <summary>An operator removes a monitor, which may be the leader, or be down or cut off.</summary>
    MonitorRemove,

    /// <summary>All copies of an object are damaged at once, each in another block.</summary>
    DamageCopies,

    /// <summary>All that a daemon sends to another one takes longer by up to a second; the other way is as fast as ever.</summary>
    SlowLink,

    /// <summary>All clients stand still.</summary>
    Silence,

    /// <summary>Another fault, which comes when the cluster is first in a state of its own (<see cref="AmbushCondition"/>), if that is soon.</summary>
    Ambush,
}

/// <summary>One fault of a plan. All that it leaves open is in its numbers, so that a plan with another fault taken out does the same.</summary>
/// <param name="At">When, since the faults began.</param>
/// <param name="Kind">What.</param>
/// <param name="Targets">Numbers that choose who; each kind reads them modulo what there is.</param>
/// <param name="Duration">How long it lasts, for kinds that last.</param>
public sealed record Fault(TimeSpan At, FaultKind Kind, IReadOnlyList<int> Targets, TimeSpan Duration)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"+{At.TotalSeconds:F3} s {Kind} [{string.Join(',', Targets)}] for {Duration.TotalSeconds:F3} s");
}

/// <summary>The faults of a run, drawn before it begins.</summary>
/// <param name="Faults">In order of time.</param>
public sealed record FaultPlan(IReadOnlyList<Fault> Faults)
{
    /// <summary>Draws a plan.</summary>
    /// <param name="scenario">The mix.</param>
    /// <param name="random">The seed's randomness.</param>
    /// <returns>The plan.</returns>
    public static FaultPlan Draw(Scenario scenario, Random random)
    {
        ArgumentNullException.ThrowIfNull(scenario);
        ArgumentNullException.ThrowIfNull(random);
        var faults = new List<Fault>();
        (FaultKind Kind, double Weight)[] mix = [.. scenario.Faults.Where(f => f.Value > 0).OrderBy(f => f.Key).Select(f => (f.Key, f.Value))];
        if (scenario.FaultInterval <= TimeSpan.Zero || mix.Length == 0)
        {
            return new FaultPlan(faults);
        }

        // Each seed has a mix of its own: some kinds left out, some frequent; and a pace of its own.
        for (int i = 0; i < mix.Length; i++)
        {
            mix[i].Weight *= random.Next(4) == 0 ? 0 : Math.Pow(4, (random.NextDouble() * 2) - 1);
        }

        double total = mix.Sum(m => m.Weight);
        double pace = scenario.FaultInterval.TotalSeconds * Math.Pow(3, (random.NextDouble() * 2) - 1);
        for (double at = Exponential.Draw(random, pace); at < scenario.Duration.TotalSeconds && total > 0; at += Exponential.Draw(random, pace))
        {
            double pick = random.NextDouble() * total;
            FaultKind kind = mix[^1].Kind;
            foreach ((FaultKind candidate, double weight) in mix)
            {
                if (pick < weight)
                {
                    kind = candidate;
                    break;
                }

                pick -= weight;
            }

            int[] targets = [random.Next(1 << 20), random.Next(1 << 20), random.Next(1 << 20), random.Next(1 << 20)];
            double length = kind switch
            {
                FaultKind.LongCrash => 8 + Exponential.Draw(random, 10),
                FaultKind.OsdOut => 1 + Exponential.Draw(random, 8),
                FaultKind.Partition or FaultKind.OneWayPartition or FaultKind.SlowLink => Exponential.Draw(random, 4),
                FaultKind.Pause => Exponential.Draw(random, 1.5),
                FaultKind.Silence => 1 + Exponential.Draw(random, 3),
                FaultKind.Reweight => 2 + Exponential.Draw(random, 8),
                FaultKind.ClockDrift => 3 + Exponential.Draw(random, 10),
                FaultKind.SlowDisk or FaultKind.FullDisk => 1 + Exponential.Draw(random, 4),
                _ => Exponential.Draw(random, 2),
            };
            length *= scenario.FaultLength * (random.Next(6) == 0 ? 3 : 1); // a few outlast every timeout
            faults.Add(new Fault(TimeSpan.FromSeconds(at), kind, targets, TimeSpan.FromSeconds(Math.Min(length, 60))));
        }

        if (random.NextDouble() < scenario.MonitorChangeShare)
        {
            // Beside the mix, so that it stays as it is.
            double every = scenario.MonitorChangeInterval.TotalSeconds * Math.Pow(3, (random.NextDouble() * 2) - 1);
            for (double at = Exponential.Draw(random, every); at < scenario.Duration.TotalSeconds; at += Exponential.Draw(random, every))
            {
                int[] targets = [random.Next(1 << 20), random.Next(1 << 20), random.Next(1 << 20), random.Next(1 << 20)];
                FaultKind kind = random.Next(2) == 0 ? FaultKind.MonitorAdd : FaultKind.MonitorRemove;
                faults.Add(new Fault(TimeSpan.FromSeconds(at), kind, targets, TimeSpan.FromSeconds(Exponential.Draw(random, 10))));
            }

            faults = [.. faults.OrderBy(fault => fault.At)];
        }

        return new FaultPlan(faults);
    }
}
