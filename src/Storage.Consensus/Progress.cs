using Storage.Coding;

namespace Storage.Consensus;

internal enum ProgressState
{
    /// <summary>One append at a time until the logs are known to meet.</summary>
    Probe,

    /// <summary>Appends are pipelined; <see cref="Progress.Next"/> runs ahead of the answers.</summary>
    Replicate,

    /// <summary>A snapshot is under way; no appends.</summary>
    Snapshot,
}

/// <summary>What a leader knows of one member. Match &lt; Next always.</summary>
internal sealed class Progress(NodeId node, ulong next, int maxInflight)
{
    private readonly ulong[] _inflight = new ulong[maxInflight]; // a ring of last indexes, ascending
    private int _inflightStart;
    private int _inflightCount;

    public NodeId Node { get; } = node;

    /// <summary>The member's log agrees with the leader's, durably, up to here.</summary>
    public ulong Match { get; set; }

    public ulong Next { get; set; } = next;

    public ProgressState State { get; private set; }

    /// <summary>In Probe: an append is out, the next waits for its answer or a heartbeat's.</summary>
    public bool ProbeSent { get; set; }

    /// <summary>Heard from since the last check of the quorum.</summary>
    public bool RecentActive { get; set; }

    /// <summary>In Snapshot: the index of the one that was sent, and the tick it was sent at.</summary>
    public ulong PendingSnapshot { get; private set; }

    public ulong SnapshotTick { get; private set; }

    /// <summary>The highest commit index told to this member.</summary>
    public ulong SentCommit { get; set; }

    public bool IsPaused => State switch
    {
        ProgressState.Probe => ProbeSent,
        ProgressState.Replicate => _inflightCount == _inflight.Length,
        _ => true,
    };

    public void BecomeProbe()
    {
        ulong next = State == ProgressState.Snapshot ? Math.Max(Match, PendingSnapshot) + 1 : Match + 1;
        Reset(ProgressState.Probe);
        Next = next;
    }

    public void RetryAfterSnapshotLoss()
    {
        Reset(ProgressState.Probe);
        Next = Match + 1;
    }

    public void BecomeReplicate()
    {
        Reset(ProgressState.Replicate);
        Next = Match + 1;
    }

    public void BecomeSnapshot(ulong index, ulong tick)
    {
        Reset(ProgressState.Snapshot);
        PendingSnapshot = index;
        SnapshotTick = tick;
    }

    public bool TryUpdateMatch(ulong index)
    {
        bool moved = index > Match;
        if (moved)
        {
            Match = index;
            ProbeSent = false;
        }

        Next = Math.Max(Next, index + 1);
        return moved;
    }

    /// <summary>Takes a rejection into account; false when it is stale.</summary>
    public bool TryStepBack(ulong rejected, ulong hint)
    {
        if (State == ProgressState.Replicate)
        {
            if (rejected <= Match)
            {
                return false;
            }

            Next = Match + 1;
            return true;
        }

        if (State == ProgressState.Snapshot || Next - 1 != rejected)
        {
            return false;
        }

        Next = Math.Max(Math.Min(rejected, hint + 1), Match + 1);
        ProbeSent = false;
        return true;
    }

    public void AddInflight(ulong lastIndex)
    {
        Invariant.Holds(_inflightCount < _inflight.Length);
        _inflight[(_inflightStart + _inflightCount++) % _inflight.Length] = lastIndex;
    }

    public void FreeInflightThrough(ulong index)
    {
        while (_inflightCount > 0 && _inflight[_inflightStart] <= index)
        {
            FreeFirstInflight();
        }
    }

    public void FreeFirstInflight()
    {
        if (_inflightCount > 0)
        {
            _inflightStart = (_inflightStart + 1) % _inflight.Length;
            _inflightCount--;
        }
    }

    private void Reset(ProgressState state)
    {
        State = state;
        ProbeSent = false;
        PendingSnapshot = 0;
        _inflightStart = _inflightCount = 0;
    }
}
