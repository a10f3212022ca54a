using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// Storage in memory that outlives its node, with the crashes of a real disk: what was begun and not completed may or
/// may not have reached it. For simulations and tests.
/// </summary>
public sealed class MemoryRaftStorage : IRaftStorage
{
    private HardState _hardState;
    private RaftSnapshot? _snapshot;
    private readonly List<RaftEntry> _entries = []; // from _snapshot.Index + 1, or earlier after a snapshot of this node's own
    private Ready? _begun;

    /// <summary>Batches made durable so far.</summary>
    public long PersistCount { get; private set; }

    /// <summary>Whether a batch was begun and not completed.</summary>
    public bool IsBusy => _begun is not null;

    /// <summary>Term, vote and commit as they are durable.</summary>
    public HardState HardState => _hardState;

    /// <summary>The last index that is durable, in the log or covered by the snapshot.</summary>
    public ulong DurableIndex => Math.Max(_entries.Count > 0 ? _entries[^1].Index : 0, _snapshot?.Index ?? 0);

    /// <summary>Whether an entry is durable, in the log or covered by the snapshot.</summary>
    /// <param name="index">Its index.</param>
    /// <param name="term">Its term.</param>
    /// <returns>True if so.</returns>
    public bool Holds(ulong index, ulong term)
    {
        if (_snapshot is not null && index <= _snapshot.Index)
        {
            return true;
        }

        return _entries.Count > 0 && index >= _entries[0].Index && index <= _entries[^1].Index && _entries[(int)(index - _entries[0].Index)].Term == term;
    }

    /// <inheritdoc/>
    public RaftStartState? Load()
    {
        Invariant.Holds(_begun is null, "Crash or CompletePersist comes before Load");
        return _snapshot is null ? null : new RaftStartState(_hardState, _snapshot, [.. _entries]);
    }

    /// <inheritdoc/>
    public RaftStartState Bootstrap(RaftSnapshot snapshot)
    {
        Invariant.Holds(_snapshot is null, "only a new storage is bootstrapped");
        _snapshot = snapshot;
        return Load()!;
    }

    /// <inheritdoc/>
    public void Persist(Ready ready)
    {
        BeginPersist(ready);
        CompletePersist();
    }

    /// <summary>Starts to write a batch; until <see cref="CompletePersist"/> a crash may lose it.</summary>
    /// <param name="ready">The batch.</param>
    public void BeginPersist(Ready ready)
    {
        ArgumentNullException.ThrowIfNull(ready);
        Invariant.Holds(_begun is null, "one batch at a time");
        _begun = ready;
    }

    /// <summary>The batch begun is durable.</summary>
    public void CompletePersist()
    {
        Invariant.Holds(_begun is not null);
        ApplySnapshot(_begun);
        ApplyRecord(_begun);
        _begun = null;
    }

    /// <summary>The power goes: of a batch under way nothing, its snapshot only, or all of it is found again.</summary>
    /// <param name="random">Decides which.</param>
    public void Crash(Random random)
    {
        ArgumentNullException.ThrowIfNull(random);
        if (_begun is { } ready)
        {
            int survives = random.Next(3);
            if (survives >= 1)
            {
                ApplySnapshot(ready);
            }

            if (survives == 2)
            {
                ApplyRecord(ready);
            }

            _begun = null;
        }
    }

    /// <inheritdoc/>
    public void SaveSnapshot(RaftSnapshot snapshot)
    {
        ArgumentNullException.ThrowIfNull(snapshot);
        Invariant.Holds(_snapshot is not null && snapshot.Index > _snapshot.Index);
        _entries.RemoveAll(e => e.Index <= snapshot.Index);
        _snapshot = snapshot;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Nothing to release: the content stays for the next start.
    }

    private void ApplySnapshot(Ready ready)
    {
        if (ready.Snapshot is { } snapshot)
        {
            _snapshot = snapshot;
            _entries.Clear();
            if (_hardState.Commit < snapshot.Index)
            {
                _hardState = _hardState with { Commit = snapshot.Index };
            }

            // A snapshot alone proves that its term was reached, as FileRaftStorage finds when it opens.
            if (_hardState.Term < snapshot.Term)
            {
                _hardState = new HardState(snapshot.Term, NodeId.None, _hardState.Commit);
            }
        }
    }

    private void ApplyRecord(Ready ready)
    {
        if (ready.Entries.Count > 0)
        {
            _entries.RemoveAll(e => e.Index >= ready.Entries[0].Index);
            _entries.AddRange(ready.Entries);
        }

        if (ready.MustPersist)
        {
            _hardState = ready.HardState;
            PersistCount++;
        }
    }
}
