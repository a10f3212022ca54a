using System.Globalization;
using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Storage.Osd;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Simulation.Clusters;
using Storage.Simulation.Tracing;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Faults;

/// <summary>Carries a plan out on a cluster, and heals everything in the end. What the redundancy does not promise to survive is left out.</summary>
internal sealed partial class FaultDriver
{
    private const double LargestDrift = OsdOptions.LargestClockDrift * 0.99;
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(100);

    private readonly SimulatedCluster _cluster;
    private readonly IReadOnlyList<SimulatedNode> _clients;
    private readonly Action<Exception> _failed;
    private readonly HashSet<OsdNode> _out = [];
    private readonly HashSet<OsdNode> _light = [];
    private bool _sizesChanged;
    private int _groupsAsked;
    private bool _isOver;
    private const int MostGroups = 12;
    private const int MostMonitors = 7;
    private readonly HashSet<MonitorNode> _leaving = [];
    private int _monitorsMade;
    private int _monitorsAsked;

    public FaultDriver(SimulatedCluster cluster, IReadOnlyList<SimulatedNode> clients, Action<Exception> failed)
    {
        _cluster = cluster;
        _clients = clients;
        _failed = failed;
    }

    /// <summary>Schedules a plan, from now on.</summary>
    public void Start(FaultPlan plan)
    {
        foreach (Fault fault in plan.Faults)
        {
            _cluster.Loop.Schedule(fault.At, _ => Inject(fault), null);
        }
    }

    /// <summary>Ends all faults: processes run, ways are open, OSDs are in.</summary>
    public void HealAll()
    {
        _isOver = true;
        _lookout?.Clear();
        Note("all faults end");
        _cluster.Network.HealAll();
        _cluster.Network.EndSlowness();
        _cluster.Network.Options.BreakProbability = 0;
        _cluster.Network.Options.DelayProbability = 0;
        foreach (SimulatedNode node in _cluster.Daemons.Concat(_clients))
        {
            node.Disarm();
            node.Resume();
            node.Start();
            node.Clock.Rate = 1;
        }

        if (Pool is { } pool && _cluster.Coverage.Counts.Keys.Any(key => key.StartsWith("fault.Pool", StringComparison.Ordinal)))
        {
            SetPool("size", Math.Max(_cluster.Scenario.Size, pool.Size));
            SetPool("min_size", Math.Min(2, _cluster.Scenario.Size));
        }

        foreach (OsdNode osd in _cluster.Osds)
        {
            if (osd.Disk.Slowness > 1)
            {
                osd.SlowDown(1);
            }

            osd.LimitSpace(null);
            osd.DirectWrites();
            if (_light.Remove(osd))
            {
                Reweight(osd, 1);
            }

            if (_out.Contains(osd))
            {
                TakeIn(osd);
            }
        }
    }

    /// <summary>
    /// Makes what an operator asked for true once more, some time after the end of all faults: a command that a monitor could not bring to a
    /// leader may have taken effect late, after the one that was to undo it.
    /// </summary>
    public void Settle()
    {
        if (_cluster.NewestMap is not { } map)
        {
            return;
        }

        RemoveUnknownMembers(map);
        foreach (OsdNode osd in _cluster.Osds)
        {
            if (map.FindOsd(osd.Id) is { IsIn: false })
            {
                _cluster.Coverage.Count("operator.overtaken");
                _out.Add(osd);
                TakeIn(osd);
            }
        }

        if (Pool is { } pool && _sizesChanged && (pool.Size < _cluster.Scenario.Size || pool.MinSize != Math.Min(2, _cluster.Scenario.Size)))
        {
            _cluster.Coverage.Count("operator.overtaken");
            SetPool("size", Math.Max(_cluster.Scenario.Size, pool.Size));
            SetPool("min_size", Math.Min(2, _cluster.Scenario.Size));
        }
    }

    private void Inject(Fault fault)
    {
        if (_isOver)
        {
            return;
        }

        if (_cluster.Osds.Length == 0 && fault.Kind is FaultKind.CrashOsd or FaultKind.LongCrash or FaultKind.OsdOut or FaultKind.ReplaceDisk or FaultKind.FlipBit
            or FaultKind.PoolSplit or FaultKind.PoolSize or FaultKind.PoolMinSize
            or FaultKind.SlowDisk or FaultKind.ReadError or FaultKind.WriteError or FaultKind.MisdirectedWrite or FaultKind.FullDisk or FaultKind.Reweight or FaultKind.DestroyDisks or FaultKind.MarkDown or FaultKind.DamageCopies)
        {
            return;
        }

        if (fault.Kind is not (FaultKind.Ambush or FaultKind.OsdOut or FaultKind.Reweight or FaultKind.PoolSplit or FaultKind.PoolSize or FaultKind.PoolMinSize))
        {
            _cluster.Disturb(fault.Duration * 2);
        }

        OsdNode? osd = _cluster.Osds.Length > 0 ? _cluster.Osds[fault.Targets[0] % _cluster.Osds.Length] : null;
        MonitorNode monitor = _cluster.Monitors[fault.Targets[0] % _cluster.Monitors.Count];
        SimulatedNode[] daemons = [.. _cluster.Daemons];
        SimulatedNode any = daemons[fault.Targets[1] % daemons.Length];
        bool done = true;
        switch (fault.Kind)
        {
            case FaultKind.CrashOsd or FaultKind.LongCrash:
                done = CrashFor(osd!, fault.Duration, power: fault.Targets[1] % 3 == 0);
                break;
            case FaultKind.CrashMonitor:
                done = CrashFor(monitor, fault.Duration, power: fault.Targets[1] % 3 == 0);
                break;
            case FaultKind.CrashLeader:
                done = _cluster.Leader is { } leader && CrashFor(leader, fault.Duration, power: fault.Targets[1] % 3 == 0);
                break;
            case FaultKind.CrashAtEffect:
                SimulatedNode victim = osd is null || fault.Targets[2] % 4 == 0 ? any : osd;
                done = victim.IsRunning;
                victim.CrashAfter(fault.Targets[3] % 40);
                After(fault.Duration, victim.Start);
                break;
            case FaultKind.PowerLoss:
                PowerLoss(fault, daemons);
                break;
            case FaultKind.Partition:
                Partition(fault);
                break;
            case FaultKind.OneWayPartition:
                string from = daemons[fault.Targets[0] % daemons.Length].Host;
                string to = any.Host;
                done = from != to && !_cluster.Network.IsBlocked(from, to);
                if (done)
                {
                    Note($"{from} cannot reach {to}");
                    _cluster.Network.Block(from, to);
                    After(fault.Duration, () =>
                    {
                        Note($"{from} reaches {to} again");
                        _cluster.Network.Unblock(from, to);
                    });
                }

                break;
            case FaultKind.SlowNetwork:
                Note("the network is slow");
                _cluster.Network.Options.DelayProbability = 0.02 * (1 + (fault.Targets[0] % 20));
                After(fault.Duration, () => _cluster.Network.Options.DelayProbability = 0);
                break;
            case FaultKind.SlowLink:
                string sender = daemons[fault.Targets[0] % daemons.Length].Host;
                string receiver = any.Host;
                if (fault.Targets[3] % 4 == 0 && _clients.Count > 0)
                {
                    receiver = _clients[fault.Targets[1] % _clients.Count].Host;
                    (sender, receiver) = fault.Targets[3] % 8 == 0 ? (sender, receiver) : (receiver, sender);
                }

                done = sender != receiver;
                if (done)
                {
                    var later = TimeSpan.FromMilliseconds(10 * Math.Pow(100, fault.Targets[2] % 1000 / 1000.0));
                    Note(string.Create(CultureInfo.InvariantCulture, $"what {sender} sends to {receiver} takes {later.TotalMilliseconds:F0} ms longer"));
                    _cluster.Network.SlowDown(sender, receiver, later);
                    After(fault.Duration, () => _cluster.Network.SlowDown(sender, receiver, TimeSpan.Zero));
                }

                break;
            case FaultKind.BreakConnections:
                Note("connections break");
                _cluster.Network.Options.BreakProbability = 0.002 * (1 + (fault.Targets[0] % 20));
                After(fault.Duration, () => _cluster.Network.Options.BreakProbability = 0);
                break;
            case FaultKind.Pause:
                SimulatedNode paused = fault.Targets[2] % 3 == 0 && _clients.Count > 0 ? _clients[fault.Targets[0] % _clients.Count] : any;
                done = paused.IsRunning && !paused.IsPaused;
                paused.Pause();
                After(fault.Duration, paused.Resume);
                break;
            case FaultKind.OsdOut:
                done = TakeOut(osd!, fault.Duration);
                break;
            case FaultKind.ReplaceDisk:
                // One at a time is what the redundancy survives; a damaged copy elsewhere would be the second.
                done = Pool is { Size: > 1 } && MayLoseCopy && _cluster.Destroyed.Count == 0 && !_cluster.HasDamage(null, osd!) && !HoldsAlone(osd!);
                if (done)
                {
                    Destroy(osd!, fault.Duration);
                }

                break;
            case FaultKind.DestroyDisks:
                int count = Math.Min(_cluster.Osds.Length, 2 + (fault.Targets[1] % 2));
                for (int i = 0; i < count; i++)
                {
                    Destroy(_cluster.Osds[(fault.Targets[0] + i) % _cluster.Osds.Length], fault.Duration * (1 + (i * 0.3)));
                }

                break;
            case FaultKind.FlipBit or FaultKind.ReadError:
                done = osd!.Damage(fault.Targets[1], fault.Kind == FaultKind.FlipBit ? BlockDamage.Flipped : BlockDamage.Unreadable, name => MayDamage(name, osd));
                break;
            case FaultKind.DamageCopies:
                done = DamageCopies(fault.Targets[1], osd!);
                break;
            case FaultKind.MisdirectedWrite:
                osd!.MisdirectWrite(fault.Targets[1], name => MayDamage(name, osd));
                break;
            case FaultKind.WriteError:
                done = osd!.FailWrites();
                After(fault.Duration, osd.Start);
                break;
            case FaultKind.FullDisk:
                osd!.LimitSpace(fault.Targets[1] % 12);
                After(fault.Duration, () => osd.LimitSpace(null));
                break;
            case FaultKind.SlowDisk:
                osd!.SlowDown(3 * Math.Pow(40, fault.Targets[1] % 1000 / 1000.0));
                After(fault.Duration, () => osd.SlowDown(1));
                break;
            case FaultKind.ClockDrift:
                SimulatedNode drifting = Any(fault.Targets[1]);
                double drift = LargestDrift * Math.Pow(0.02, fault.Targets[2] % 1000 / 1000.0) * (fault.Targets[3] % 2 == 0 ? 1 : -1);
                Note(string.Create(CultureInfo.InvariantCulture, $"{drifting.Name}'s clock runs at {1 + drift:F4}"));
                drifting.Clock.Rate = 1 + drift;
                After(fault.Duration, () => drifting.Clock.Rate = 1);
                break;
            case FaultKind.ClockJump:
                SimulatedNode jumping = Any(fault.Targets[1]);
                var jump = TimeSpan.FromSeconds((fault.Targets[2] % 7200) - 3600);
                Note(string.Create(CultureInfo.InvariantCulture, $"{jumping.Name}'s wall clock jumps by {jump.TotalSeconds} s"));
                jumping.Clock.WallSkew += jump;
                break;
            case FaultKind.Reweight:
                // With as many OSDs as copies each is needed at its full weight.
                done = _cluster.Osds.Length > _cluster.Scenario.Size && _light.Add(osd!);
                if (done)
                {
                    Reweight(osd!, 0.2 + (fault.Targets[1] % 700 / 1000.0));
                    After(fault.Duration, () =>
                    {
                        if (_light.Remove(osd!))
                        {
                            Reweight(osd!, 1);
                        }
                    });
                }

                break;
            case FaultKind.PoolSplit:
                // Not while the change before is under way: a request for fewer PGs than there are would be refused.
                done = Pool is { PgCount: < MostGroups } whole && whole.PgCount >= _groupsAsked && SetPool(
                    "pg_num", _groupsAsked = Math.Min(MostGroups, whole.PgCount + 1 + (fault.Targets[0] % whole.PgCount)), spread: fault.Targets[1] % 2 == 0);
                break;
            case FaultKind.PoolSize:
                done = Pool is { } sized && (sized.Size != 2 || _cluster.Osds.Length > 2) && SetPool("size", sized.Size == 2 ? 3 : 2);
                break;
            case FaultKind.PoolMinSize:
                // One copy is enough only while none is damaged.
                done = Pool is { Size: > 1 } served && (served.MinSize == 1 || _cluster.Damaged.Count == 0) && SetPool("min_size", served.MinSize == 1 ? 2 : 1);
                break;
            case FaultKind.CrashClient:
                done = _clients.Count > 0 && CrashFor(_clients[fault.Targets[0] % _clients.Count], fault.Duration, power: false);
                break;
            case FaultKind.MarkDown:
                MarkDown(fault);
                break;
            case FaultKind.Silence:
                Note("all clients are silent");
                Silence(fault.Duration);
                break;
            case FaultKind.Ambush:
                LieInWait(fault);
                break;
            case FaultKind.MonitorAdd:
                done = _cluster.Members.Count() + _monitorsAsked < MostMonitors;
                if (done)
                {
                    Workload.Watch(AddMonitorAsync(isLate: fault.Targets[1] % 5 == 0 ? fault.Duration : TimeSpan.Zero), _failed);
                }

                break;
            case FaultKind.MonitorRemove:
                MonitorNode[] members = [.. _cluster.Members];
                MonitorNode leaving = fault.Targets[1] % 3 == 0 && _cluster.Leader is { } led ? led : members[fault.Targets[0] % members.Length];
                done = _cluster.Osds.Length == 0 || !IsLastFounder(leaving);
                if (done)
                {
                    _leaving.Add(leaving);
                    Workload.Watch(RemoveMonitorAsync(leaving.Info.Name), _failed);
                }

                break;
            default:
                throw new NotSupportedException($"fault {fault.Kind}");
        }

        _cluster.Coverage.Count($"fault.{fault.Kind}{(done ? "" : ".skipped")}");
    }

    private Storage.Cluster.PoolInfo? Pool => _cluster.NewestMap?.FindPool(_cluster.Pool);

    private bool SetPool(string key, int value, bool spread = false)
    {
        Note($"the pool's {key} becomes {value}");
        _sizesChanged |= key is "size" or "min_size";
        string name = Pool!.Name;
        Workload.Watch(Set(key), _failed);
        if (spread)
        {
            Workload.Watch(Set("pgp_num"), _failed);
        }

        return true;

        Task Set(string setting) => _cluster.CommandAsync(
            "PoolSet", new PoolSetRequest { Name = name, Key = setting, Value = value.ToString(System.Globalization.CultureInfo.InvariantCulture), Confirmed = true }, ChangeReply.Parser);
    }

    private SimulatedNode Any(int pick)
    {
        SimulatedNode[] all = [.. _cluster.Daemons.Concat(_clients)];
        return all[pick % all.Length];
    }

    private void Destroy(OsdNode osd, TimeSpan away)
    {
        osd.Crash(power: true);
        osd.ReplaceDisk();
        if (_cluster.Destroyed.Count == 0)
        {
            _cluster.Loop.Schedule(s_poll, _ => PollFilled(), null);
        }

        _cluster.Destroyed.Add(osd);
        After(away, osd.Start);
    }

    private void PollFilled()
    {
        if (_cluster.IsClean())
        {
            _cluster.Destroyed.Clear();
        }
        else
        {
            _cluster.Loop.Schedule(s_poll, _ => PollFilled(), null);
        }
    }

    private void Reweight(OsdNode osd, double weight)
    {
        Note(string.Create(CultureInfo.InvariantCulture, $"{osd.Name} gets weight {weight:F2}"));
        Workload.Watch(_cluster.CommandAsync("OsdReweight", new OsdReweightRequest { Osd = osd.Id.Value, Weight = weight, Confirmed = true }, ChangeReply.Parser), _failed);
    }

    private bool CrashFor(SimulatedNode node, TimeSpan away, bool power)
    {
        if (!node.IsRunning)
        {
            return false;
        }

        node.Crash(power);
        After(away, node.Start);
        return true;
    }

    private void PowerLoss(Fault fault, SimulatedNode[] daemons)
    {
        // A third of the time everything, else some.
        bool all = fault.Targets[0] % 3 == 0;
        for (int i = 0; i < daemons.Length; i++)
        {
            if (all || (fault.Targets[1] >> (i % 20) & 1) != 0)
            {
                CrashFor(daemons[i], fault.Duration * (1 + ((fault.Targets[2] + (i * 7)) % 10 * 0.05)), power: true);
            }
        }

        // Now and then those who wrote are gone too, for longer: what was under way is left to who has it, and nothing new comes soon.
        if (all && fault.Targets[3] % 2 == 0)
        {
            foreach (SimulatedNode client in _clients)
            {
                if (CrashFor(client, (fault.Duration * 1.5) + TimeSpan.FromMilliseconds(fault.Targets[3] % 3000), power: true))
                {
                    _cluster.Coverage.Count("fault.CrashClient");
                }
            }
        }
    }

    private void Partition(Fault fault)
    {
        string[] hosts = [.. _cluster.Daemons.Concat(_clients).Select(n => n.Host)];
        string[] island = [.. hosts.Where((_, i) => (fault.Targets[0] >> (i % 20) & 1) != 0)];
        string[] rest = [.. hosts.Except(island)];
        Note($"{string.Join(' ', island)} cut off from {string.Join(' ', rest)}");
        _cluster.Network.Partition(island, rest);
        After(fault.Duration, () =>
        {
            Note($"{string.Join(' ', island)} joined with {string.Join(' ', rest)}");
            foreach (string one in island)
            {
                foreach (string other in rest)
                {
                    _cluster.Network.Heal(one, other);
                }
            }
        });
    }

    // The map ends a primary's interval while it may still hold a lease, and again before all have followed.
    private void MarkDown(Fault fault)
    {
        int first = fault.Targets[0] % _cluster.Osds.Length;
        if (fault.Targets[1] % 2 == 0)
        {
            string island = _cluster.Osds[first].Host;
            string[] rest = [.. _cluster.Daemons.Select(n => n.Host).Where(host => host != island)];
            Note($"{island} cut off from all daemons");
            _cluster.Network.Partition([island], rest);
            After(fault.Duration, () =>
            {
                Note($"{island} joined again");
                foreach (string other in rest)
                {
                    _cluster.Network.Heal(island, other);
                }
            });
        }

        TimeSpan at = TimeSpan.FromMilliseconds(fault.Targets[2] % 1500);
        for (int i = 0; i <= fault.Targets[3] % 4; i++)
        {
            OsdNode osd = _cluster.Osds[(first + ((fault.Targets[1] >> 1) * i)) % _cluster.Osds.Length];
            After(at, () => MarkDown(osd));
            at += TimeSpan.FromMilliseconds(50 + (fault.Targets[2] % 700));
        }
    }

    private bool TakeOut(OsdNode osd, TimeSpan away)
    {
        // As many must stay in as there are copies.
        if (_out.Count >= _cluster.Osds.Length - _cluster.Scenario.Size || !_out.Add(osd))
        {
            return false;
        }

        Note($"{osd.Name} is taken out");
        Workload.Watch(_cluster.CommandAsync("OsdOut", new OsdIdsRequest { Osds = { osd.Id.Value }, Confirmed = true }, OsdIdsReply.Parser), _failed);
        After(away, () => TakeIn(osd));
        return true;
    }

    private void TakeIn(OsdNode osd)
    {
        if (_out.Remove(osd))
        {
            Note($"{osd.Name} is taken in");
            Workload.Watch(_cluster.CommandAsync("OsdIn", new OsdIdsRequest { Osds = { osd.Id.Value } }, OsdIdsReply.Parser), _failed);
        }
    }

    private void After(TimeSpan delay, Action action) => _cluster.Loop.Schedule(
        delay,
        _ =>
        {
            if (!_isOver)
            {
                action();
            }
        },
        null);

    private void Note(string text) => _cluster.Trace.Add(TraceKind.Fault, "-", _cluster.Loop.Now, text);
}
