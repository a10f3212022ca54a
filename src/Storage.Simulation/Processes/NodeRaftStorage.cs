using Storage.Consensus;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Processes;

/// <summary>A monitor's log: a process that dies while it writes leaves it to the crash what of the batch is found again.</summary>
internal sealed class NodeRaftStorage(NodeLoop loop, MemoryRaftStorage inner, Coverage coverage) : IRaftStorage
{
    private ulong _lastIndex;

    public RaftStartState? Load() => inner.Load();

    public RaftStartState Bootstrap(RaftSnapshot snapshot) => inner.Bootstrap(snapshot);

    public void Persist(Ready ready)
    {
        if (loop.TryAct())
        {
            inner.Persist(ready);
            if (ready.Snapshot is not null)
            {
                coverage.Count("mon.snapshot_installed");
            }

            if (ready.Entries.Count > 0 && ready.Entries[0].Index <= _lastIndex)
            {
                coverage.Count("mon.log_overwritten");
            }

            _lastIndex = ready.Entries.Count > 0 ? ready.Entries[^1].Index : _lastIndex;
            loop.Trace.Tick(TraceKind.Commit, loop.Name, loop.TrueNow);
        }
        else if (!inner.IsBusy)
        {
            coverage.Count("mon.died_persisting");
            inner.BeginPersist(ready); // the crash that follows decides
        }
    }

    public void SaveSnapshot(RaftSnapshot snapshot)
    {
        if (loop.TryAct())
        {
            coverage.Count("mon.log_compacted");
            inner.SaveSnapshot(snapshot);
        }
    }

    public void Dispose()
    {
        // The content outlives the process.
    }
}
