using Storage.Cluster;
using Storage.Rpc.Admin;
using Storage.Simulation.Clusters;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Faults;

// Faults that wait for their moment (Ambush). What they do are the same faults as those at drawn times, so the same is left out.
internal sealed partial class FaultDriver
{
    private const int LongestChain = 2;

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(20);

    private static readonly AmbushCondition[] s_monitorConditions =
    [
        AmbushCondition.NewLeader, AmbushCondition.NewLeader, AmbushCondition.LeaderAhead, AmbushCondition.LeaderAhead, AmbushCondition.CommittedUnknown, AmbushCondition.CommittedUnknown,
        AmbushCondition.Candidate, AmbushCondition.MembersChanging,
    ];

    private static readonly AmbushCondition[] s_conditions =
    [
        AmbushCondition.OwnDiskOnly, AmbushCondition.OwnDiskOnly, AmbushCondition.NobodyHeard, AmbushCondition.ReplicaDiskFirst, AmbushCondition.DivergentCopy,
        AmbushCondition.Asking, AmbushCondition.FetchingLog, AmbushCondition.WaitingForActing, AmbushCondition.WaitingToActivate, AmbushCondition.Activating,
        AmbushCondition.JustActive, AmbushCondition.JustActive, AmbushCondition.LeaseMoved, AmbushCondition.TemporaryGone, AmbushCondition.IntervalHalfKnown, AmbushCondition.JustSplit,
        AmbushCondition.JustUp, AmbushCondition.MarkedDown,
        .. Enumerable.Repeat(AmbushCondition.UnderWay, 9), .. Enumerable.Repeat(AmbushCondition.RareTurn, 4),
        .. Enumerable.Repeat(AmbushCondition.Sent, 5), .. Enumerable.Repeat(AmbushCondition.Received, 5),
        AmbushCondition.NewLeader, AmbushCondition.LeaderAhead, AmbushCondition.CommittedUnknown, AmbushCondition.Candidate, AmbushCondition.MembersChanging,
    ];

    private static readonly AmbushStrike[] s_monitorStrikes =
    [
        AmbushStrike.Crash, AmbushStrike.Crash, AmbushStrike.CrashOther, AmbushStrike.DieAtEffect, AmbushStrike.OtherDiesAtEffect, AmbushStrike.Pause, AmbushStrike.CutOff, AmbushStrike.CutOff,
        AmbushStrike.CutToOther, AmbushStrike.CutFromOther, AmbushStrike.SlowSender, AmbushStrike.SlowReceiver, AmbushStrike.SlowReceiver, AmbushStrike.BreakConnections,
    ];

    private static readonly AmbushStrike[] s_osdStrikes =
    [
        AmbushStrike.Crash, AmbushStrike.Crash, AmbushStrike.CrashOther, AmbushStrike.CrashOther, AmbushStrike.CrashBoth, AmbushStrike.CrashMembers, AmbushStrike.DieAtEffect, AmbushStrike.DieAtEffect,
        AmbushStrike.OtherDiesAtEffect, AmbushStrike.OtherDiesAtEffect, AmbushStrike.Abandon, AmbushStrike.Abandon, AmbushStrike.LeaveAlone, AmbushStrike.LeaveAlone, AmbushStrike.PowerLoss,
        AmbushStrike.Pause, AmbushStrike.PauseOther, AmbushStrike.CutOff, AmbushStrike.CutToOther, AmbushStrike.CutFromOther, AmbushStrike.SlowSender, AmbushStrike.SlowReceiver,
        AmbushStrike.BreakConnections, AmbushStrike.BreakConnections, AmbushStrike.MarkDown, AmbushStrike.MarkOtherDown, AmbushStrike.Flap, AmbushStrike.SlowAnswers, AmbushStrike.ReplaceDisk, AmbushStrike.ReplaceOthersDisk,
        AmbushStrike.SlowDisk, AmbushStrike.SlowOthersDisk, AmbushStrike.Damage, AmbushStrike.TakeOut, AmbushStrike.TakeOtherOut, AmbushStrike.TakeBothOut, AmbushStrike.CrashClient, AmbushStrike.Silence,
        AmbushStrike.Split, AmbushStrike.CrashLeader,
    ];

    // Half of the time it is what does most harm just there.
    private static readonly AmbushStrike[] s_whileOneDiskHasIt =
        [AmbushStrike.Abandon, AmbushStrike.Abandon, AmbushStrike.LeaveAlone, AmbushStrike.Crash, AmbushStrike.PowerLoss, AmbushStrike.CrashOther, AmbushStrike.MarkDown, AmbushStrike.CutOff];

    private static readonly AmbushStrike[] s_whileUnderWay =
    [
        AmbushStrike.BreakConnections, AmbushStrike.BreakConnections, AmbushStrike.DieAtEffect, AmbushStrike.OtherDiesAtEffect, AmbushStrike.CrashOther, AmbushStrike.Crash,
        AmbushStrike.MarkDown, AmbushStrike.MarkOtherDown, AmbushStrike.SlowSender, AmbushStrike.CrashMembers, AmbushStrike.SlowAnswers,
    ];

    private static readonly AmbushStrike[] s_whileRolesMove =
    [
        AmbushStrike.MarkDown, AmbushStrike.Flap, AmbushStrike.Flap, AmbushStrike.CutOff, AmbushStrike.LeaveAlone, AmbushStrike.CrashOther, AmbushStrike.Crash, AmbushStrike.SlowReceiver,
        AmbushStrike.SlowSender, AmbushStrike.Silence, AmbushStrike.TakeBothOut, AmbushStrike.CrashMembers,
    ];

    private static readonly AmbushStrike[] s_whileLeading = [AmbushStrike.SlowSender, AmbushStrike.SlowSender, AmbushStrike.CutOff, AmbushStrike.CutOff, AmbushStrike.Crash, AmbushStrike.CutToOther];

    private AmbushLookout? _lookout;

    private void LieInWait(Fault fault)
    {
        AmbushCondition[] conditions = _cluster.Osds.Length > 0 ? s_conditions : s_monitorConditions;
        Wait(conditions[fault.Targets[0] % conditions.Length], fault.Targets[3], fault.Duration, new Random(fault.Targets[2]), pick: fault.Targets[1]);
    }

    private void Wait(
        AmbushCondition condition, int detail, TimeSpan length, Random random, int pick = 0, AmbushStrike? strike = null, SimulatedNode? only = null, int depth = 0)
    {
        _lookout ??= new AmbushLookout(_cluster, OnMet);
        _lookout.Add(new Ambush(_cluster, condition, detail, random)
        {
            Pick = pick,
            Strike = strike,
            Length = length,
            Until = _cluster.Loop.Now + (depth == 0 ? s_patience : s_patience / 2),
            Only = only,
            Depth = depth,
        });
    }

    // Called from within what a daemon does: it goes on to the end of that first. Now and then a little later.
    private void OnMet(Ambush ambush, SimulatedNode self, SimulatedNode? other)
    {
        TimeSpan delay = ambush.Strike is null && ambush.Random.Next(3) == 0 ? TimeSpan.FromMilliseconds(Exponential.Draw(ambush.Random, 5)) : TimeSpan.Zero;
        After(delay, () => Strike(ambush, self, other ?? AnyOther(ambush.Random, self)));
    }

    private SimulatedNode AnyOther(Random random, SimulatedNode self)
    {
        SimulatedNode[] others = [.. (self is MonitorNode ? _cluster.Monitors.Cast<SimulatedNode>() : _cluster.Osds).Where(node => node != self && node.IsRunning)];
        return others.Length > 0 ? others[random.Next(others.Length)] : self;
    }

    private void Strike(Ambush ambush, SimulatedNode self, SimulatedNode other)
    {
        AmbushStrike[] strikes = ambush.Pick % 2 == 0 ? AptFor(ambush.Condition, self) : self is MonitorNode ? s_monitorStrikes : s_osdStrikes;
        AmbushStrike strike = ambush.Strike ?? strikes[(ambush.Pick >> 1) % strikes.Length];
        Note($"{ambush.Condition} at {self.Name}: {strike}, {other.Name}");
        _cluster.Coverage.Count($"ambush.{ambush.Condition}");
        _cluster.Disturb(ambush.Length * 2);
        if (strike == AmbushStrike.CrashMembers && ambush.Members.Count > 0)
        {
            foreach (OsdNode member in ambush.Members.Where(member => member != self))
            {
                Crash(member, ambush.Length * (0.5 + ambush.Random.NextDouble()), ambush.Random.Next(3));
            }
        }
        else
        {
            Carry(strike, self, other, ambush.Length, ambush.Random);
        }

        if (ambush.Depth < LongestChain && ambush.Random.Next(3) == 0)
        {
            // What comes of a fault is met by the next one.
            AmbushCondition[] next = self is MonitorNode ? s_monitorConditions : s_conditions;
            Wait(
                next[ambush.Random.Next(next.Length)], ambush.Random.Next(1 << 20), TimeSpan.FromSeconds(Exponential.Draw(ambush.Random, 2)),
                new Random(ambush.Random.Next()), pick: ambush.Random.Next(1 << 20), depth: ambush.Depth + 1);
        }
    }

    private static AmbushStrike[] AptFor(AmbushCondition condition, SimulatedNode self) => condition switch
    {
        _ when self is MonitorNode => s_whileLeading,
        AmbushCondition.OwnDiskOnly or AmbushCondition.NobodyHeard or AmbushCondition.ReplicaDiskFirst or AmbushCondition.DivergentCopy => s_whileOneDiskHasIt,
        AmbushCondition.UnderWay or AmbushCondition.Sent or AmbushCondition.Received or AmbushCondition.RareTurn => s_whileUnderWay,
        _ => s_whileRolesMove,
    };

    private void Carry(AmbushStrike strike, SimulatedNode self, SimulatedNode other, TimeSpan length, Random random)
    {
        int number = random.Next(1 << 20);
        switch (strike)
        {
            case AmbushStrike.Crash:
                Crash(self, length, number);
                break;
            case AmbushStrike.CrashOther or AmbushStrike.CrashMembers:
                Crash(other, length, number);
                break;
            case AmbushStrike.CrashBoth:
                Crash(self, length, number);
                Crash(other, length * (0.3 + random.NextDouble()), number);
                break;
            case AmbushStrike.DieAtEffect:
                DieAtEffect(self, length, number % 6);
                break;
            case AmbushStrike.OtherDiesAtEffect:
                DieAtEffect(other, length, number % 6);
                break;
            case AmbushStrike.Abandon:
                // Until it is back for a while nobody writes: what the others do without it leaves no trace in the log.
                TimeSpan away = TimeSpan.FromSeconds(3) + length;
                Crash(self, away, number: 0);
                Silence(away + TimeSpan.FromMilliseconds(500 + (number % 2000)));
                break;
            case AmbushStrike.LeaveAlone:
                foreach (SimulatedNode node in Others(self))
                {
                    Block(self, node, length + TimeSpan.FromSeconds(3));
                }

                Wait(AmbushCondition.NobodyHeard, 0, length, random, strike: AmbushStrike.Abandon, only: self, depth: LongestChain);
                break;
            case AmbushStrike.PowerLoss:
                Inject(Now(FaultKind.PowerLoss, length, 0, 0, number, 0));
                break;
            case AmbushStrike.Pause:
                StandStill(self, length);
                break;
            case AmbushStrike.PauseOther:
                StandStill(other, length);
                break;
            case AmbushStrike.CutOff:
                foreach (SimulatedNode node in Others(self))
                {
                    Block(self, node, length);
                    Block(node, self, length);
                }

                break;
            case AmbushStrike.CutToOther:
                Block(self, other, length);
                break;
            case AmbushStrike.CutFromOther:
                Block(other, self, length);
                break;
            case AmbushStrike.SlowSender or AmbushStrike.SlowReceiver:
                Slow(self, number % 2 == 0 ? Others(self) : Others(self).Concat(_clients), strike == AmbushStrike.SlowReceiver, number, length);
                break;
            case AmbushStrike.Flap when self is OsdNode flapping:
                Slow(self, _cluster.Monitors, receiver: false, 620 + (number % 380), length + TimeSpan.FromSeconds(4));
                Slow(self, _cluster.Monitors, receiver: true, 620 + (number % 380), length + TimeSpan.FromSeconds(4));
                TimeSpan at = TimeSpan.Zero;
                for (int i = 0; i < 2 + (number % 3); i++)
                {
                    After(at, () => MarkDown(flapping));
                    at += TimeSpan.FromMilliseconds(300 + random.Next(2500));
                }

                break;
            case AmbushStrike.SlowAnswers:
                Slow(self, _clients, receiver: false, 500 + (number % 400), length + TimeSpan.FromSeconds(2));
                if (other is OsdNode asked)
                {
                    After(TimeSpan.FromMilliseconds(random.Next(1500)), () => MarkDown(asked));
                }

                break;
            case AmbushStrike.BreakConnections:
                TimeSpan again = TimeSpan.Zero;
                for (int i = 0; i <= number % 4; i++)
                {
                    After(again, () => _cluster.Network.BreakConnections(self.Host, other.Host));
                    again += TimeSpan.FromMilliseconds(Exponential.Draw(random, 40));
                }

                break;
            case AmbushStrike.TakeBothOut:
                if (self is OsdNode first && other is OsdNode second)
                {
                    Inject(Now(FaultKind.OsdOut, length, first.Id.Value));
                    Inject(Now(FaultKind.OsdOut, length * (0.5 + random.NextDouble()), second.Id.Value));
                }

                break;
            case AmbushStrike.CrashClient:
                Inject(Now(FaultKind.CrashClient, length, number));
                break;
            case AmbushStrike.Silence:
                Silence(length);
                break;
            case AmbushStrike.Split:
                Inject(Now(FaultKind.PoolSplit, length, number, number >> 4));
                break;
            case AmbushStrike.CrashLeader:
                Inject(Now(FaultKind.CrashLeader, length, 0, number));
                break;
            default:
                OsdNode? osd = (strike is AmbushStrike.MarkOtherDown or AmbushStrike.ReplaceOthersDisk or AmbushStrike.SlowOthersDisk or AmbushStrike.TakeOtherOut ? other : self) as OsdNode;
                if (osd is not null)
                {
                    CarryOnOsd(strike, osd, length, number);
                }

                break;
        }
    }

    private void CarryOnOsd(AmbushStrike strike, OsdNode osd, TimeSpan length, int number)
    {
        switch (strike)
        {
            case AmbushStrike.MarkDown or AmbushStrike.MarkOtherDown:
                MarkDown(osd);
                break;
            case AmbushStrike.ReplaceDisk or AmbushStrike.ReplaceOthersDisk:
                Inject(Now(FaultKind.ReplaceDisk, length, osd.Id.Value));
                break;
            case AmbushStrike.SlowDisk or AmbushStrike.SlowOthersDisk:
                Inject(Now(FaultKind.SlowDisk, length, osd.Id.Value, number));
                break;
            case AmbushStrike.Damage:
                Inject(Now(number % 3 == 0 ? FaultKind.ReadError : FaultKind.FlipBit, length, osd.Id.Value, number >> 2));
                break;
            default:
                Inject(Now(FaultKind.OsdOut, length, osd.Id.Value));
                break;
        }
    }

    private static Fault Now(FaultKind kind, TimeSpan length, int first = 0, int second = 0, int third = 0, int fourth = 0) =>
        new(TimeSpan.Zero, kind, [first, second, third, fourth], length);

    private SimulatedNode[] Others(SimulatedNode self) => [.. _cluster.Daemons.Where(node => node != self)];

    private void Crash(SimulatedNode node, TimeSpan length, int number) => Inject(node is OsdNode osd
        ? Now(FaultKind.CrashOsd, length, osd.Id.Value, number)
        : Now(FaultKind.CrashMonitor, length, _cluster.Monitors.IndexOf((MonitorNode)node), number));

    private void DieAtEffect(SimulatedNode node, TimeSpan length, int effects)
    {
        if (node.IsRunning)
        {
            node.CrashAfter(effects);
            After(length, node.Start);
        }
    }

    private void MarkDown(OsdNode osd)
    {
        Note($"{osd.Name} is marked down");
        Workload.Watch(_cluster.CommandAsync("OsdDown", new OsdIdsRequest { Osds = { osd.Id.Value } }, OsdIdsReply.Parser), _failed);
    }

    private void Slow(SimulatedNode self, IEnumerable<SimulatedNode> others, bool receiver, int number, TimeSpan length)
    {
        var later = TimeSpan.FromMilliseconds(10 * Math.Pow(300, number % 1000 / 1000.0));
        foreach (SimulatedNode node in others)
        {
            (string from, string to) = receiver ? (node.Host, self.Host) : (self.Host, node.Host);
            _cluster.Network.SlowDown(from, to, later);
            After(length, () => _cluster.Network.SlowDown(from, to, TimeSpan.Zero));
        }
    }

    private void StandStill(SimulatedNode node, TimeSpan length)
    {
        if (node.IsRunning && !node.IsPaused)
        {
            node.Pause();
            After(length, node.Resume);
        }
    }

    private void Block(SimulatedNode from, SimulatedNode to, TimeSpan length)
    {
        if (from != to && !_cluster.Network.IsBlocked(from.Host, to.Host))
        {
            _cluster.Network.Block(from.Host, to.Host);
            After(length, () => _cluster.Network.Unblock(from.Host, to.Host));
        }
    }

    private void Silence(TimeSpan length)
    {
        foreach (SimulatedNode client in _clients)
        {
            StandStill(client, length);
        }
    }
}
