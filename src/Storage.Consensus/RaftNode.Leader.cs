using Storage.Coding;

namespace Storage.Consensus;

// The leader: proposals, replication, commit, check-quorum.
public sealed partial class RaftNode
{
    private readonly SortedList<NodeId, Progress> _progress = [];
    private NodeId _transferee;
    private long _uncommittedBytes;
    private bool _appendsDue; // proposals and commits of one turn leave in one append per follower

    /// <summary>Proposes a command.</summary>
    /// <param name="data">The command; not changed afterwards.</param>
    /// <param name="position">Where it stands in the log if accepted.</param>
    /// <returns>Whether it was accepted, which says nothing yet about its being committed.</returns>
    public ProposeResult Propose(ReadOnlyMemory<byte> data, out LogPosition position)
    {
        position = default;
        if (_role != RaftRole.Leader)
        {
            return ProposeResult.NotLeader;
        }

        if (!_transferee.IsNone)
        {
            return ProposeResult.Transferring;
        }

        if (data.Length > _options.MaxProposalBytes)
        {
            return ProposeResult.TooLarge;
        }

        if (_uncommittedBytes > 0 && _uncommittedBytes + data.Length > _options.MaxUncommittedBytes)
        {
            return ProposeResult.Busy;
        }

        position = AppendOwn(EntryKind.Command, data);
        return ProposeResult.Accepted;
    }

    /// <summary>Proposes new members. At most one voter may come or go; learners are free.</summary>
    /// <param name="configuration">The members wanted.</param>
    /// <param name="position">Where the change stands in the log if accepted.</param>
    /// <returns>Whether it was accepted.</returns>
    public ProposeResult ProposeConfiguration(RaftConfiguration configuration, out LogPosition position)
    {
        ArgumentNullException.ThrowIfNull(configuration);
        position = default;
        if (_role != RaftRole.Leader)
        {
            return ProposeResult.NotLeader;
        }

        if (!_transferee.IsNone)
        {
            return ProposeResult.Transferring;
        }

        if (configuration.Voters.IsEmpty || Configuration.VoterDistance(configuration) > 1)
        {
            return ProposeResult.InvalidConfiguration;
        }

        // Without an entry of its own term committed, a leader may not know of a change its predecessor had committed,
        // and the majorities of two changes made side by side need not meet.
        if (_configurations[^1].Index > _commit || !HasCommittedInTerm)
        {
            return ProposeResult.ConfigurationPending;
        }

        position = AppendOwn(EntryKind.Configuration, configuration.Encode());
        return ProposeResult.Accepted;
    }

    /// <summary>Hands leadership to another voter. Given up after an election timeout; proposals wait meanwhile.</summary>
    /// <param name="target">The voter.</param>
    /// <returns>Whether the hand-over has begun.</returns>
    public ProposeResult TransferLeadership(NodeId target)
    {
        if (_role != RaftRole.Leader)
        {
            return ProposeResult.NotLeader;
        }

        if (target == Self || !Configuration.IsVoter(target))
        {
            return ProposeResult.InvalidConfiguration;
        }

        _transferee = target;
        _electionElapsed = 0;
        Progress progress = _progress[target];
        if (progress.Match == _log.LastIndex)
        {
            SendTimeoutNow(target);
        }
        else
        {
            TrySendAppend(progress, evenEmpty: true);
        }

        return ProposeResult.Accepted;
    }

    /// <summary>The host could not send to a member: what was under way to it is probably lost.</summary>
    /// <param name="node">The member.</param>
    public void ReportUnreachable(NodeId node)
    {
        if (_progress.TryGetValue(node, out Progress? progress))
        {
            switch (progress.State)
            {
                case ProgressState.Replicate:
                    progress.BecomeProbe();
                    break;
                case ProgressState.Snapshot:
                    progress.RetryAfterSnapshotLoss();
                    progress.ProbeSent = true; // waits for a sign of life
                    break;
                default:
                    break;
            }
        }
    }

    private bool HasCommittedInTerm => _log.TryGetTerm(_commit, out ulong term) && term == _term;

    private void BecomeLeader()
    {
        Reset(_term);
        _role = RaftRole.Leader;
        _leader = Self;
        SyncProgress();
        AppendOwn(EntryKind.Empty, default);
        BroadcastHeartbeat(); // tells of the new leader even those whose appends wait
    }

    private void TickLeader()
    {
        if (_electionElapsed >= _options.ElectionTicks)
        {
            _electionElapsed = 0;
            _transferee = NodeId.None;
            if (!HeardFromQuorum() && !Mutations.Active(Mutation.RaftNoCheckQuorum))
            {
                BecomeFollower(_term, NodeId.None);
                return;
            }
        }

        if (++_heartbeatElapsed >= _options.HeartbeatTicks)
        {
            _heartbeatElapsed = 0;
            BroadcastHeartbeat();
        }
    }

    private bool HeardFromQuorum()
    {
        int active = 0;
        foreach (NodeId voter in Configuration.Voters)
        {
            active += voter == Self || _progress[voter].RecentActive ? 1 : 0;
        }

        foreach (Progress progress in _progress.Values)
        {
            progress.RecentActive = false;
        }

        return active >= Configuration.Majority;
    }

    private LogPosition AppendOwn(EntryKind kind, ReadOnlyMemory<byte> data)
    {
        var entry = new RaftEntry(_log.LastIndex + 1, _term, kind, data);
        _log.Append(in entry);
        _uncommittedBytes += data.Length;
        _appendsDue = true;
        if (kind == EntryKind.Configuration)
        {
            NoteConfiguration(in entry);
            SyncProgress();
        }

        return new LogPosition(entry.Index, entry.Term);
    }

    private void SyncProgress()
    {
        for (int i = _progress.Count - 1; i >= 0; i--)
        {
            if (!Configuration.Contains(_progress.Keys[i]))
            {
                _progress.RemoveAt(i);
            }
        }

        AddProgress(Configuration.Voters);
        AddProgress(Configuration.Learners);
        if (!_transferee.IsNone && !Configuration.IsVoter(_transferee))
        {
            _transferee = NodeId.None;
        }
    }

    private void AddProgress(System.Collections.Immutable.ImmutableArray<NodeId> nodes)
    {
        foreach (NodeId node in nodes)
        {
            if (!_progress.ContainsKey(node))
            {
                // Active at first, so that a leader is not deposed before a newcomer could answer.
                _progress.Add(node, new Progress(node, _log.LastIndex + 1, node == Self ? 1 : _options.MaxInflightAppends)
                {
                    Match = node == Self ? _log.StableIndex : 0,
                    RecentActive = true,
                });
            }
        }
    }

    private void FlushAppends()
    {
        _appendsDue = false;
        foreach (Progress progress in _progress.Values)
        {
            if (progress.Node != Self)
            {
                SendPending(progress, progress.SentCommit < _commit);
            }
        }
    }

    private void SendPending(Progress progress, bool evenEmpty)
    {
        while (TrySendAppend(progress, evenEmpty))
        {
            evenEmpty = false;
        }
    }

    private bool TrySendAppend(Progress progress, bool evenEmpty)
    {
        if (progress.IsPaused)
        {
            return false;
        }

        ulong previous = progress.Next - 1;
        if (!_log.TryGetTerm(previous, out ulong previousTerm))
        {
            Invariant.Holds(previous < _log.BaseIndex);
            SendSnapshot(progress);
            return false;
        }

        RaftEntry[] entries = _log.Slice(progress.Next, _log.LastIndex, _options.MaxAppendBytes);
        if (entries.Length == 0 && !evenEmpty)
        {
            return false;
        }

        progress.SentCommit = _commit;
        if (progress.State == ProgressState.Probe)
        {
            progress.ProbeSent = true;
        }
        else if (entries.Length > 0)
        {
            progress.Next = entries[^1].Index + 1;
            progress.AddInflight(entries[^1].Index);
        }

        Send(new RaftMessage
        {
            Kind = RaftMessageKind.Append,
            From = Self,
            To = progress.Node,
            Term = _term,
            Index = previous,
            LogTerm = previousTerm,
            Commit = _commit,
            Entries = entries,
        });
        return true;
    }

    private void SendSnapshot(Progress progress)
    {
        if (!progress.RecentActive)
        {
            return; // nobody there to take so much data
        }

        progress.BecomeSnapshot(_snapshot.Index, _ticks);
        Send(new RaftMessage
        {
            Kind = RaftMessageKind.InstallSnapshot,
            From = Self,
            To = progress.Node,
            Term = _term,
            Index = _snapshot.Index,
            LogTerm = _snapshot.Term,
            Commit = _snapshot.Index,
            Snapshot = _snapshot,
        });
    }

    private void SendTimeoutNow(NodeId target) =>
        Send(new RaftMessage { Kind = RaftMessageKind.TimeoutNow, From = Self, To = target, Term = _term });

    private void BroadcastHeartbeat()
    {
        foreach (Progress progress in _progress.Values)
        {
            if (progress.Node != Self)
            {
                Send(new RaftMessage
                {
                    Kind = RaftMessageKind.Heartbeat,
                    From = Self,
                    To = progress.Node,
                    Term = _term,
                    // Beyond its match a follower may hold another leader's entries, which it must not commit.
                    Commit = Math.Min(progress.Match, _commit),
                    Context = _readRound,
                });
            }
        }
    }

    private void HandleAppendResponse(RaftMessage message)
    {
        if (_role != RaftRole.Leader || !_progress.TryGetValue(message.From, out Progress? progress))
        {
            return;
        }

        progress.RecentActive = true;
        if (message.Reject)
        {
            LogPosition conflict = _log.FindConflict(message.RejectHint, message.LogTerm);
            if (progress.TryStepBack(message.Index, conflict.Index))
            {
                if (progress.State == ProgressState.Replicate)
                {
                    progress.BecomeProbe();
                }

                TrySendAppend(progress, evenEmpty: true);
            }

            return;
        }

        if (message.Index > _log.LastIndex)
        {
            return; // no answer to anything this leader sent
        }

        bool wasPaused = progress.IsPaused;
        bool moved = progress.TryUpdateMatch(message.Index);
        if (!moved && !(progress.State == ProgressState.Probe && progress.Match == message.Index))
        {
            return;
        }

        switch (progress.State)
        {
            case ProgressState.Probe:
                progress.BecomeReplicate();
                break;
            case ProgressState.Snapshot when progress.Match >= _log.BaseIndex:
                progress.BecomeReplicate();
                break;
            case ProgressState.Replicate:
                progress.FreeInflightThrough(message.Index);
                break;
            default:
                break;
        }

        TryCommit();
        if (_role != RaftRole.Leader)
        {
            return; // the commit was of a configuration without this node
        }

        SendPending(progress, evenEmpty: wasPaused && progress.SentCommit < _commit);
        if (_transferee == progress.Node && progress.Match == _log.LastIndex)
        {
            SendTimeoutNow(_transferee);
        }
    }

    private void HandleHeartbeatResponse(RaftMessage message)
    {
        if (_role != RaftRole.Leader || !_progress.TryGetValue(message.From, out Progress? progress))
        {
            return;
        }

        progress.RecentActive = true;
        progress.ProbeSent = false;
        switch (progress.State)
        {
            case ProgressState.Replicate when progress.IsPaused:
                progress.FreeFirstInflight(); // lets one append through, in case all that are out were lost
                break;
            case ProgressState.Snapshot when _ticks - progress.SnapshotTick >= (ulong)_options.SnapshotRetryTicks:
                progress.RetryAfterSnapshotLoss();
                break;
            default:
                break;
        }

        if (progress.Match < _log.LastIndex || progress.State == ProgressState.Probe)
        {
            // Even empty: when the last append was lost, only a rejection of the next one brings that to light.
            TrySendAppend(progress, evenEmpty: true);
        }

        AcknowledgeReads(message.From, message.Context);
    }

    private void TryCommit()
    {
        RaftConfiguration configuration = Configuration;
        Span<ulong> matches = stackalloc ulong[configuration.Voters.Length];
        for (int i = 0; i < matches.Length; i++)
        {
            matches[i] = _progress[configuration.Voters[i]].Match;
        }

        matches.Sort();
        ulong agreed = matches[^(Mutations.Active(Mutation.RaftCommitsWithoutMajority) ? 1 : configuration.Majority)];

        // An entry of an earlier term may be on a majority and still be overwritten; only one of this term commits all
        // before it (Raft §5.4.2).
        if (agreed <= _commit || !_log.TryGetTerm(agreed, out ulong term) || (term != _term && !Mutations.Active(Mutation.RaftCommitsOlderTerms)))
        {
            return;
        }

        for (ulong index = _commit + 1; index <= agreed; index++)
        {
            _uncommittedBytes = Math.Max(0, _uncommittedBytes - _log[index].Data.Length);
        }

        _commit = agreed;
        _appendsDue = true;
        StartPendingReads();
        if (!configuration.Contains(Self) && _configurations[^1].Index <= _commit)
        {
            FlushAppends(); // the others learn of the commit that ends this leadership
            BecomeFollower(_term, NodeId.None);
        }
    }
}
