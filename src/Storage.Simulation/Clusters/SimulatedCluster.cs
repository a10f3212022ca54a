using System.Globalization;
using Google.Protobuf;
using Storage.Cluster;
using Storage.Messaging.Memory;
using Storage.Monitor;
using Storage.Reactor;
using Storage.Reactor.Virtual;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Simulation.Checking;
using Storage.Simulation.Running;
using Storage.Simulation.Tracing;
using MonitorInfo = Storage.Cluster.MonitorInfo;

namespace Storage.Simulation.Clusters;

/// <summary>All processes of a run on one loop of virtual time, with a network, disks, and an operator.</summary>
internal sealed class SimulatedCluster
{
    /// <summary>The pool that clients work on.</summary>
    public const string PoolName = "objects";

    private const int MessagePort = 6789;
    private readonly Random _random;
    private readonly List<MonitorNode> _monitors = [];
    private readonly MonitorWatch _monitorWatch;
    private readonly GroupWatch _groupWatch;
    private readonly WorkWatch _workWatch;
    private Task _lastCommand = Task.CompletedTask;

    public SimulatedCluster(Scenario scenario, Random random, EventTrace trace, Coverage coverage)
    {
        Scenario = scenario;
        _random = random;
        Trace = trace;
        Coverage = coverage;
        Loop = new VirtualLoop();
        Network = new MemoryNetwork(Loop, NextRandom(), new MemoryNetworkOptions { Pool = Buffers });
        byte[] fsid = new byte[16];
        _random.NextBytes(fsid);
        Fsid = new Guid(fsid);
        MonitorInfo[] founders = [.. Enumerable.Range(0, scenario.Monitors).Select(i => new MonitorInfo(
            (ulong)i + 1, ((char)('a' + i)).ToString(), new NodeAddress($"mon{(char)('a' + i)}", MessagePort), default))];
        _monitors.AddRange(founders.Select(info => new MonitorNode(this, info, founders)));
        int osds = _random.Next(scenario.MinOsds, scenario.MaxOsds + 1);
        Osds = [.. Enumerable.Range(0, osds).Select(i => new OsdNode(this, i))];
        _monitorWatch = new MonitorWatch(this);
        _groupWatch = new GroupWatch(this);
        _workWatch = new WorkWatch(this);
        Operator = new Processes.NodeLoop(Loop, trace, "operator", DrawClock());
    }

    public Scenario Scenario { get; }

    public VirtualLoop Loop { get; }

    public MemoryNetwork Network { get; }

    public EventTrace Trace { get; }

    public Coverage Coverage { get; }

    public Guid Fsid { get; }

    /// <summary>What network and disks hand data over in.</summary>
    public BufferPool Buffers { get; } = new(idleBudget: 0);

    /// <summary>Disks and names of the objects on them that were damaged, repaired since or not.</summary>
    public HashSet<(OsdId Osd, string Name)> Damaged { get; } = [];

    /// <summary>OSDs whose disks were replaced by empty ones since the cluster was last seen clean.</summary>
    public HashSet<OsdNode> Destroyed { get; } = [];

    /// <summary>Whether an operator declared disks lost, and what was acknowledged with them.</summary>
    public bool IsDataGivenUp { get; set; }

    /// <summary>Whether a disk had no room at any time.</summary>
    public bool WasFull { get; set; }

    /// <summary>Processes that died so far; what they held is not given back.</summary>
    public int Crashes { get; set; }

    /// <summary>All monitors that there ever were; those that the cluster removed may go on running.</summary>
    public List<MonitorNode> Monitors => _monitors;

    /// <summary>The monitors that the newest map names.</summary>
    public IEnumerable<MonitorNode> Members => _monitors.Where(IsMember);

    public OsdNode[] Osds { get; }

    /// <summary>Where the operator's commands run.</summary>
    public Processes.NodeLoop Operator { get; }

    /// <summary>The snapshots, in runs that take some.</summary>
    public Workloads.SnapshotRegistry? Snapshots { get; set; }

    /// <summary>The pool that clients work on; 0 until it was made.</summary>
    public long Pool { get; private set; }

    public IEnumerable<SimulatedNode> Daemons => ((IEnumerable<SimulatedNode>)Monitors).Concat(Osds);

    /// <summary>Where a process that starts now looks for monitors.</summary>
    public IReadOnlyList<NodeAddress> MonitorAddresses => [.. Members.Select(monitor => monitor.Info.Address)];

    /// <summary>The newest map that any monitor has applied.</summary>
    public ClusterMap? NewestMap
    {
        get
        {
            ClusterMap? newest = null;
            foreach (MonitorNode monitor in _monitors)
            {
                if (monitor.Daemon?.Map is { } map && (newest is null || map.Epoch > newest.Epoch))
                {
                    newest = map;
                }
            }

            return newest;
        }
    }

    public MonitorNode? Leader => Monitors.FirstOrDefault(m => m.Daemon is { IsLeader: true } && !m.IsPaused);

    /// <summary>A random source of its own for a part of the run, so that one part's draws do not shift another's.</summary>
    public Random NextRandom() => new(_random.Next());

    /// <summary>Draws a machine's clocks. Wall clocks differ, and nothing but what people see may depend on them; running clocks begin
    /// anywhere and run nearly alike.</summary>
    public Processes.MachineClock DrawClock() =>
        new(Loop, TimeSpan.FromSeconds(_random.Next(1, 1_000_000)), TimeSpan.FromMilliseconds(_random.Next(-30_000, 30_000)))
        {
            Rate = 1 + ((_random.NextDouble() - 0.5) * 2e-4),
        };

    /// <summary>Whether another disk than an OSD's has damage that was not repaired.</summary>
    /// <param name="name">In objects of this name; null for any that was ever damaged.</param>
    /// <param name="but">The OSD whose disk does not count.</param>
    public bool HasDamage(string? name, OsdNode? but)
    {
        foreach ((OsdId osd, string damaged) in Damaged)
        {
            if (osd != but?.Id && (name is null || damaged == name) && Osds[osd.Value].Disk.HasDamage(damaged))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Starts all daemons and makes the pool; runs the loop until everything is clean.</summary>
    /// <exception cref="SimulationFailedException">It did not come up in time.</exception>
    public void Form()
    {
        foreach (MonitorNode monitor in Monitors)
        {
            monitor.Start();
        }

        Await(() => Leader?.Daemon?.Map is not null, TimeSpan.FromSeconds(30), "no monitor leads a founded cluster");
        if (Osds.Length == 0)
        {
            return;
        }

        foreach (OsdNode osd in Osds)
        {
            Command("OsdCreate", osd.CreateRequest(), OsdCreateReply.Parser);
            osd.Start();
        }

        Await(() => NewestMap is { } map && Osds.All(o => map.IsUp(o.Id)), TimeSpan.FromSeconds(30), "not every OSD came up");
        PoolCreateReply pool = Command(
            "PoolCreate",
            new PoolCreateRequest
            {
                Name = PoolName,
                Size = (uint)Scenario.Size,
                MinSize = (uint)Scenario.MinSize,
                PgNum = (uint)Scenario.PgCount,
                FailureDomain = "host",
                Application = "simulation",
            },
            PoolCreateReply.Parser);
        Pool = pool.PoolId;
        Await(IsClean, TimeSpan.FromSeconds(60), "the new pool did not become clean");
    }

    /// <summary>Whether the newest map names a monitor, or there is no map yet.</summary>
    public bool IsMember(MonitorNode monitor) => NewestMap is not { } map || map.Monitors.Any(known => known.Id == monitor.Info.Id);

    /// <summary>Makes the folder of a monitor that was added.</summary>
    /// <param name="added">What the cluster answered.</param>
    /// <returns>The monitor, not started; null if it has a folder already.</returns>
    public MonitorNode? Install(MonAddReply added)
    {
        MonitorInfo[] all = [.. added.Monitors.Select(monitor => new MonitorInfo(
            monitor.Id, monitor.Name, NodeAddress.TryParse(monitor.Address, out NodeAddress address) ? address : default, default))];
        if (_monitors.Exists(monitor => monitor.Info.Id == added.Id))
        {
            return null;
        }

        var node = new MonitorNode(this, all.Single(monitor => monitor.Id == added.Id), all);
        _monitors.Add(node);
        return node;
    }

    /// <summary>Who is told of what a daemon does, from its next start on; null for nobody.</summary>
    public Func<SimulatedNode, Processes.ILookout?>? Lookouts { get; set; }

    /// <summary>A fault of OSDs, their disks or their network begins.</summary>
    /// <param name="length">How long it lasts at most.</param>
    public void Disturb(TimeSpan length) => _workWatch.Disturb(length);

    /// <summary>Nothing has disturbed OSDs, disks and network for long, and the disks are not slow.</summary>
    public bool IsQuiet => _workWatch.IsQuiet;

    /// <summary>Looks at the whole cluster between events.</summary>
    /// <exception cref="SimulationFailedException">Something is as it must never be.</exception>
    public void CheckInvariants()
    {
        foreach (OsdNode osd in Osds)
        {
            osd.CheckInvariants();
        }

        _monitorWatch.Check();
        _groupWatch.Check();
        _workWatch.Check();
    }

    /// <summary>Runs the loop until a condition holds.</summary>
    /// <exception cref="SimulationFailedException">It does not within the time.</exception>
    public void Await(Func<bool> condition, TimeSpan within, string otherwise)
    {
        // Looked at every few milliseconds of virtual time: conditions cost more than events.
        TimeSpan limit = Loop.Now + within;
        while (!condition())
        {
            if (Loop.Now >= limit)
            {
                throw new SimulationFailedException(string.Create(CultureInfo.InvariantCulture, $"{otherwise} within {within.TotalSeconds} s"));
            }

            Loop.RunFor(TimeSpan.FromMilliseconds(20));
        }
    }

    /// <summary>Whether all PGs are active and clean by what their primaries say, all daemons run, and the map shows it.</summary>
    public bool IsClean() => WhyNotClean() is null;

    /// <summary>What keeps the cluster from being clean.</summary>
    /// <returns>The first reason found, or null.</returns>
    public string? WhyNotClean()
    {
        if (Leader is null || NewestMap is not { } map)
        {
            return "no leader";
        }

        foreach (OsdNode osd in Osds)
        {
            if (!osd.IsRunning || osd.IsPaused || !map.IsUp(osd.Id) || map.FindOsd(osd.Id) is not { IsIn: true })
            {
                return $"{osd.Name} is not up and in";
            }
        }

        if (map.FindPool(Pool) is not { } pool)
        {
            return null;
        }

        if (pool.PlacedPgCount != 0)
        {
            return $"pgp_num is {pool.PlacedPgCount} of {pool.PgCount}";
        }

        for (uint seed = 0; seed < pool.PgCount; seed++)
        {
            var group = new PgId(Pool, seed);
            PgMapping mapping = map.Locate(group);
            if (!mapping.Acting.AsSpan().SequenceEqual(mapping.Up) || mapping.Up.Length != pool.Size)
            {
                return $"pg {group} has up [{string.Join(',', mapping.Up)}], acting [{string.Join(',', mapping.Acting)}]";
            }

            OsdNode primary = Osds[mapping.Primary.Value];
            if (primary.StateOf(group) is not { } state || state.Map != map.Epoch || !state.IsClean)
            {
                return $"pg {group} on {primary.Name} is {primary.StateOf(group)?.Text ?? "not there"}, acting [{string.Join(',', mapping.Acting)}]";
            }
        }

        return null;
    }

    /// <summary>What each monitor thinks of the quorum.</summary>
    public string ExplainMonitors() => string.Join('\n', _monitors.Select(monitor => string.Create(
        CultureInfo.InvariantCulture,
        $"{monitor.Name} ({monitor.Info.Id}{(IsMember(monitor) ? "" : ", removed")}): {(monitor.Daemon is { Raft: { } raft } daemon ? $"{raft.Role} of term {raft.Term}, log to {raft.LastIndex}, committed {raft.CommitIndex}, {raft.Configuration}, map {daemon.Map?.Epoch} names {string.Join(',', daemon.Map?.Monitors.Select(m => m.Id) ?? [])}" : "does not run")}")));

    /// <summary>What primaries say of the PGs that are not clean.</summary>
    public string ExplainGroups()
    {
        if (NewestMap is not { } map || map.FindPool(Pool) is not { } pool)
        {
            return "";
        }

        var lines = new List<string>();
        for (uint seed = 0; seed < pool.PgCount; seed++)
        {
            var group = new PgId(Pool, seed);
            if (map.Locate(group).Primary is { IsSome: true } primary && Osds[primary.Value] is { IsRunning: true } osd
                && osd.StateOf(group) is { IsClean: false })
            {
                lines.Add($"{osd.Name}: {osd.Explain(group)}{(osd.ScrubStatusOf(group) is { Errors: > 0 } ? "\n" + osd.ListInconsistent(group) : "")}");
            }
        }

        return string.Join('\n', lines.Take(3));
    }

    /// <summary>Whether a PG has lost every copy that was whole.</summary>
    public bool HasIncompleteGroup()
    {
        ClusterMap map = NewestMap!;
        return Enumerable.Range(0, map.FindPool(Pool)!.PgCount).Select(seed => new PgId(Pool, (uint)seed)).Any(group =>
            map.Locate(group).Primary is { IsSome: true } primary && Osds[primary.Value].StateOf(group) is { Text: "incomplete" });
    }

    /// <summary>Whether an operator's command waits for its answer: it may change the map at any moment.</summary>
    public bool HasCommandsUnderWay => !_lastCommand.IsCompleted;

    /// <summary>An operator's command, tried until a monitor carries it out; runs the loop meanwhile.</summary>
    /// <exception cref="SimulationFailedException">Nobody carried it out in time, or it was refused.</exception>
    public TReply Command<TReply>(string method, IMessage request, MessageParser<TReply> parser)
        where TReply : IMessage<TReply>
    {
        Task<TReply> task = CommandAsync(method, request, parser);
        Await(() => task.IsCompleted, TimeSpan.FromSeconds(60), $"no answer to {method}");
        return task.GetAwaiter().GetResult();
    }

    /// <summary>An operator's command, tried until a monitor carries it out, after all that were given before it.</summary>
    public Task<TReply> CommandAsync<TReply>(string method, IMessage request, MessageParser<TReply> parser)
        where TReply : IMessage<TReply>
    {
        Operator.Enter();
        try
        {
            Task<TReply> task = TryAsync(_lastCommand, method, request.ToByteArray(), parser);
            _lastCommand = task;
            return task;
        }
        finally
        {
            Operator.Leave();
        }
    }

    private async Task<TReply> TryAsync<TReply>(Task before, string method, byte[] request, MessageParser<TReply> parser)
        where TReply : IMessage<TReply>
    {
        await before.ConfigureAwait(ConfigureAwaitOptions.ContinueOnCapturedContext | ConfigureAwaitOptions.SuppressThrowing); // whoever gave it sees to that
        for (int attempt = 0; ; attempt++)
        {
            MonitorNode[] members = [.. Members];
            MonitorNode monitor = members[attempt % members.Length];
            if (monitor.Daemon is not null)
            {
                try
                {
                    ReadOnlyMemory<byte> reply = await monitor.AskAsync(new AdminRequest(method, request), TimeSpan.FromSeconds(15), Operator.TimeProvider);
                    return parser.ParseFrom(reply.Span);
                }
                catch (RpcException e) when (e.Status.Code is StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Aborted)
                {
                    Coverage.Count("operator.retry");
                }
                catch (TimeoutException)
                {
                    Coverage.Count("operator.timeout");
                }
            }

            await Task.Delay(TimeSpan.FromMilliseconds(300), Operator.TimeProvider);
        }
    }
}

/// <summary>What a PG's primary says of it.</summary>
/// <param name="Text">As operators see it.</param>
/// <param name="Map">Epoch of the map that it has.</param>
/// <param name="IsClean">Active, with all copies complete.</param>
internal sealed record GroupState(string Text, Epoch Map, bool IsClean);
