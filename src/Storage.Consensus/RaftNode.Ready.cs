using Storage.Coding;

namespace Storage.Consensus;

// What leaves the node.
public sealed partial class RaftNode
{
    private List<RaftMessage> _messagesBefore = [];
    private List<RaftMessage> _messagesAfter = [];
    private Ready? _outstanding;
    private RaftRole _lastRole;
    private NodeId _lastLeader;

    /// <summary>Whether <see cref="TakeReady"/> may be called and has anything to tell.</summary>
    public bool HasReady => _outstanding is null
        && (_appendsDue || _readRoundDue
            || _messagesBefore.Count > 0 || _messagesAfter.Count > 0
            || _snapshotToPersist is not null
            || _log.StableIndex < _log.LastIndex
            || CurrentHardState != _persisted
            || _applied < _commit
            || _readStates.Count > 0 || _failedReads.Count > 0
            || _role != _lastRole || _leader != _lastLeader);

    /// <summary>Takes what is to be done. The next one comes after <see cref="Advance"/> for this one.</summary>
    /// <returns>What is to be done, in the order it says.</returns>
    public Ready TakeReady()
    {
        Invariant.Holds(_outstanding is null, "one Ready at a time");
        if (_role == RaftRole.Leader)
        {
            if (_appendsDue)
            {
                FlushAppends();
            }

            if (_readRoundDue)
            {
                FlushReads();
            }
        }

        HardState hardState = CurrentHardState;
        RaftEntry[] entries = _log.Slice(_log.StableIndex + 1, _log.LastIndex, long.MaxValue);
        ulong firstToApply = Math.Max(_applied, _snapshotToPersist?.Index ?? 0) + 1;
        var ready = new Ready
        {
            HardState = hardState,
            MustPersist = entries.Length > 0 || _snapshotToPersist is not null
                || hardState.Term != _persisted.Term || hardState.Vote != _persisted.Vote,
            Snapshot = _snapshotToPersist,
            Entries = entries,
            MessagesBeforePersist = _messagesBefore,
            MessagesAfterPersist = _messagesAfter,
            CommittedEntries = _log.Slice(firstToApply, _commit, _options.MaxApplyBytes),
            ReadStates = _readStates,
            FailedReads = [.. _failedReads],
            Role = _role,
            Leader = _leader,
        };
        _messagesBefore = [];
        _messagesAfter = [];
        _readStates = [];
        _failedReads.Clear();
        _snapshotToPersist = null;
        _lastRole = _role;
        _lastLeader = _leader;
        _outstanding = ready;
        return ready;
    }

    /// <summary>Tells that all of a <see cref="Ready"/> has been carried out.</summary>
    /// <param name="ready">The one taken last.</param>
    public void Advance(Ready ready)
    {
        ArgumentNullException.ThrowIfNull(ready);
        Invariant.Holds(ReferenceEquals(ready, _outstanding), "the Ready advanced is the one taken");
        _outstanding = null;
        _persisted = ready.HardState;
        if (ready.Entries.Count > 0)
        {
            RaftEntry last = ready.Entries[^1];
            _log.MarkStable(new LogPosition(last.Index, last.Term));
        }

        if (ready.Snapshot is { } snapshot)
        {
            _applied = Math.Max(_applied, snapshot.Index);
        }

        if (ready.CommittedEntries.Count > 0)
        {
            _applied = Math.Max(_applied, ready.CommittedEntries[^1].Index);
        }

        if (_role == RaftRole.Candidate && _persisted.Term == _term && _persisted.Vote == Self)
        {
            RecordVote(Self, granted: true);
        }
        else if (_role == RaftRole.Leader)
        {
            if (_progress.TryGetValue(Self, out Progress? self))
            {
                self.TryUpdateMatch(_log.StableIndex);
            }

            TryCommit();
        }
    }

    private void Send(RaftMessage message)
    {
        // Appends may leave beside the leader's own write: its disk counts in the majority only after Advance. A vote
        // request waits, because with it the candidate has voted.
        bool promise = message.Kind is RaftMessageKind.Vote or RaftMessageKind.VoteResponse or RaftMessageKind.PreVoteResponse
            or RaftMessageKind.AppendResponse or RaftMessageKind.HeartbeatResponse;
        (promise ? _messagesAfter : _messagesBefore).Add(message);
    }
}
