using Microsoft.Extensions.Logging;
using Storage.Messaging;
using Storage.Messaging.Memory;
using Storage.Simulation.Checking;
using Storage.Simulation.Processes;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Clusters;

/// <summary>A process on a machine of its own, and what outlives it. Starts, dies and starts again.</summary>
internal abstract class SimulatedNode
{
    private readonly EntityKind _kind;
    private readonly ulong _id;
    private MemoryTransport? _network;

    protected SimulatedNode(SimulatedCluster cluster, EntityKind kind, ulong id, string name, string host)
    {
        Cluster = cluster;
        _kind = kind;
        _id = id;
        Name = name;
        Host = host;
        Clock = cluster.DrawClock();
    }

    public SimulatedCluster Cluster { get; }

    /// <summary>As in <c>osd.2</c>.</summary>
    public string Name { get; }

    /// <summary>Its machine.</summary>
    public string Host { get; }

    /// <summary>Its machine's clocks.</summary>
    public MachineClock Clock { get; }

    /// <summary>Whether its process runs, be it paused.</summary>
    public bool IsRunning { get; private set; }

    public bool IsPaused => Loop is { IsPaused: true };

    /// <summary>Times it was started.</summary>
    public int Starts { get; private set; }

    /// <summary>What tells its present life from others; 0 before the first.</summary>
    public ulong Instance { get; private set; }

    public NodeLoop? Loop { get; private set; }

    public void Start()
    {
        if ((IsRunning && Loop!.IsAlive) || !MayStart)
        {
            return;
        }

        Crash(); // it died in a callback that has not returned to the loop yet
        IsRunning = true;
        Starts++;
        var loop = new NodeLoop(Cluster.Loop, Cluster.Trace, Name, Clock) { Lookout = Cluster.Lookouts?.Invoke(this) };
        Loop = loop;
        ulong instance = (ulong)Cluster.NextRandom().NextInt64(1, long.MaxValue);
        Instance = instance;
        _network = Cluster.Network.CreateTransport(Host, new PeerIdentity(_kind, IdOf(instance), instance), Cluster.Fsid);
        var transport = new NodeTransport(loop, _network) { Watch = CreateWatch() };
        Note($"starts (life {Starts})");
        loop.Run(_ => Boot(loop, transport, instance, new NodeLogger(loop, Cluster.Coverage.OnLog)), null);
    }

    /// <summary>Ends the process at once.</summary>
    /// <param name="power">Its machine goes too: peers are not told.</param>
    public void Crash(bool power = false)
    {
        if (!IsRunning)
        {
            return;
        }

        IsRunning = false;
        Cluster.Crashes++;
        Note(power ? "loses power" : "dies");
        Loop!.Kill();
        Cluster.Network.Crash(_network!, power);
        OnDead();
    }

    /// <summary>Ends the process when it is about to have an effect.</summary>
    /// <param name="effects">Effects that it still has before.</param>
    public void CrashAfter(int effects)
    {
        if (IsRunning)
        {
            Note($"will die after {effects} more effects");
            int life = Starts;
            Loop!.DieAfter(effects, () =>
            {
                if (Starts == life)
                {
                    Crash();
                }
            });
        }
    }

    /// <summary>Ends <see cref="CrashAfter"/>.</summary>
    public void Disarm() => Loop?.Disarm();

    public void Pause()
    {
        if (IsRunning && !IsPaused)
        {
            Note("stands still");
            Loop!.Pause();
        }
    }

    public void Resume()
    {
        if (IsPaused)
        {
            Note("goes on");
            Loop!.Resume();
        }
    }

    protected void Note(string text) => Cluster.Trace.Add(TraceKind.Fault, Name, Cluster.Loop.Now, text);

    /// <summary>Whether there is any use in starting it.</summary>
    protected virtual bool MayStart => true;

    /// <summary>The id that a life shows to others.</summary>
    protected virtual ulong IdOf(ulong instance) => _id;

    /// <summary>Looks at what one life receives and sends; null for nobody.</summary>
    protected virtual IMessageWatch? CreateWatch() => null;

    /// <summary>Creates and starts the daemon; called as the process.</summary>
    protected abstract void Boot(NodeLoop loop, NodeTransport transport, ulong instance, ILogger logger);

    /// <summary>The process is gone; what it had not made durable is lost or not, as the disk decides.</summary>
    protected abstract void OnDead();
}
