using Storage.Consensus;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>A monitor's log: a process that dies while it writes leaves it to the crash what of the batch is found again.</summary>
internal sealed class NodeRaftStorage(NodeLoop loop, MemoryRaftStorage inner) : IRaftStorage
{
    public RaftStartState? Load() => inner.Load();

    public RaftStartState Bootstrap(RaftSnapshot snapshot) => inner.Bootstrap(snapshot);

    public void Persist(Ready ready)
    {
        if (loop.TryAct())
        {
            inner.Persist(ready);
            loop.Trace.Tick(TraceKind.Commit, loop.Name, loop.Now);
        }
        else if (!inner.IsBusy)
        {
            inner.BeginPersist(ready); // the crash that follows decides
        }
    }

    public void SaveSnapshot(RaftSnapshot snapshot)
    {
        if (loop.TryAct())
        {
            inner.SaveSnapshot(snapshot);
        }
    }

    public void Dispose()
    {
        // The content outlives the process.
    }
}
