using Storage.Coding;

namespace Storage.Consensus;

/// <summary>
/// One member of a Raft group as a state machine: messages and ticks in, a <see cref="Ready"/> out. It does no I/O, has
/// no clock, and draws from the given <see cref="Random"/> only the length of election timeouts. Not thread-safe.
/// </summary>
/// <remarks>
/// A configuration is in force from the moment its entry is in the log, committed or not, and one change moves at most
/// one voter, after the change before it is committed; so majorities of the old and the new members always meet.
/// </remarks>
public sealed partial class RaftNode
{
    private readonly RaftOptions _options;
    private readonly Random _random;
    private readonly RaftLog _log;

    // Configurations by the index of their entry, ascending: the first one is in force at the log's last snapshot, the
    // last one is in force now.
    private readonly List<(ulong Index, RaftConfiguration Configuration)> _configurations = [];

    private ulong _term;
    private NodeId _vote;
    private ulong _commit;             // applied <= commit <= log.LastIndex
    private ulong _applied;            // handed to the host and advanced past
    private RaftSnapshot _snapshot;    // the newest; snapshot.Index <= applied, except while it awaits Advance
    private HardState _persisted;      // what the disk is known to hold

    private RaftRole _role;
    private NodeId _leader;
    private int _electionElapsed;
    private int _heartbeatElapsed;
    private int _electionTimeout;      // in [ElectionTicks, 2 × ElectionTicks)
    private ulong _ticks;

    /// <summary>Creates a node as a follower.</summary>
    /// <param name="options">Settings.</param>
    /// <param name="start">What the storage holds; the state machine is as of its snapshot.</param>
    /// <param name="random">Source of election jitter.</param>
    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    /// <exception cref="RaftStorageCorruptException">The start state contradicts itself.</exception>
    public RaftNode(RaftOptions options, RaftStartState start, Random random)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(start);
        ArgumentNullException.ThrowIfNull(random);
        options.Validate();
        _options = options;
        _random = random;
        _snapshot = start.Snapshot;
        _log = new RaftLog(new LogPosition(_snapshot.Index, _snapshot.Term), start.Entries);
        _term = start.HardState.Term;
        _vote = start.HardState.Vote;
        _commit = Math.Max(start.HardState.Commit, _snapshot.Index);
        _applied = _snapshot.Index;
        if (_commit > _log.LastIndex || _log.LastTerm > _term)
        {
            throw new RaftStorageCorruptException(
                $"node {options.Self}: hard state has term {_term} and commit {_commit}, the log ends at {_log.LastIndex} in term {_log.LastTerm}");
        }

        _persisted = CurrentHardState;
        _configurations.Add((_snapshot.Index, _snapshot.Configuration));
        foreach (RaftEntry entry in start.Entries)
        {
            NoteConfiguration(in entry);
        }

        BecomeFollower(_term, NodeId.None);
        _lastRole = _role;
    }

    /// <summary>This node.</summary>
    public NodeId Self => _options.Self;

    /// <summary>The newest term seen.</summary>
    public ulong Term => _term;

    /// <summary>The role.</summary>
    public RaftRole Role => _role;

    /// <summary>The leader of <see cref="Term"/> as far as known, or none.</summary>
    public NodeId Leader => _leader;

    /// <summary>The highest index known committed.</summary>
    public ulong CommitIndex => _commit;

    /// <summary>The highest index that the host has applied.</summary>
    public ulong AppliedIndex => _applied;

    /// <summary>The last index of the log.</summary>
    public ulong LastIndex => _log.LastIndex;

    /// <summary>The newest snapshot.</summary>
    public RaftSnapshot Snapshot => _snapshot;

    /// <summary>Entries held in memory, which is those since the last compaction.</summary>
    public ulong LogLength => _log.LastIndex - _log.BaseIndex;

    /// <summary>The members now, which may not be committed yet.</summary>
    public RaftConfiguration Configuration => _configurations[^1].Configuration;

    /// <summary>Whether <see cref="Configuration"/> is committed: no earlier one counts any more.</summary>
    public bool IsConfigurationCommitted => _configurations[^1].Index <= _commit;

    internal RaftLog Log => _log;

    /// <summary>Configurations with the index of their entry: the first is in force at the last snapshot, the last one now.</summary>
    internal List<(ulong Index, RaftConfiguration Configuration)> Configurations => _configurations;

    private HardState CurrentHardState => new(_term, _vote, _commit);

    /// <summary>Lets one tick pass.</summary>
    public void Tick()
    {
        _ticks++;
        _electionElapsed++;
        if (_role == RaftRole.Leader)
        {
            TickLeader();
        }
        else if (_electionElapsed >= _electionTimeout)
        {
            _electionElapsed = 0;
            if (Configuration.IsVoter(Self))
            {
                Campaign(preVote: true, transfer: false);
            }
            else
            {
                // Who does not know yet that it is a voter may be the one whose vote is wanted: it must not hold to a leader that is silent.
                _leader = NodeId.None;
            }
        }
    }

    /// <summary>
    /// Tells that a member's process has ended, as a refused connection shows. If it led, this node no longer counts as one that hears a leader, and
    /// campaigns within a few ticks instead of an election's silence: voters one after the other, in their order. A mistake does no harm: those who still
    /// hear the leader refuse this node, which follows again at the next heartbeat.
    /// </summary>
    /// <param name="node">The member.</param>
    public void ReportDead(NodeId node)
    {
        if (_role != RaftRole.Follower || node.IsNone || _leader != node)
        {
            return;
        }

        int rank = Configuration.Voters.Count(voter => voter != node && voter.Value < Self.Value);
        _leader = NodeId.None;
        _electionElapsed = Math.Max(_electionElapsed, _electionTimeout - 1 - (2 * rank));
    }

    /// <summary>Takes a message. One that is stale, meant for somebody else or makes no sense is dropped.</summary>
    /// <param name="message">The message.</param>
    public void Step(RaftMessage message)
    {
        ArgumentNullException.ThrowIfNull(message);
        if (message.To != Self || message.From == Self || message.From.IsNone)
        {
            return;
        }

        if (message.Term > _term)
        {
            if (!StepHigherTerm(message))
            {
                return;
            }
        }
        else if (message.Term < _term)
        {
            StepLowerTerm(message);
            return;
        }

        switch (message.Kind)
        {
            case RaftMessageKind.PreVote:
            case RaftMessageKind.Vote:
                HandleVoteRequest(message);
                break;
            case RaftMessageKind.PreVoteResponse:
            case RaftMessageKind.VoteResponse:
                HandleVoteResponse(message);
                break;
            case RaftMessageKind.Append:
                if (AcceptLeader(message))
                {
                    HandleAppend(message);
                }

                break;
            case RaftMessageKind.Heartbeat:
                if (AcceptLeader(message))
                {
                    HandleHeartbeat(message);
                }

                break;
            case RaftMessageKind.InstallSnapshot:
                if (AcceptLeader(message))
                {
                    HandleInstallSnapshot(message);
                }

                break;
            case RaftMessageKind.AppendResponse:
                HandleAppendResponse(message);
                break;
            case RaftMessageKind.HeartbeatResponse:
                HandleHeartbeatResponse(message);
                break;
            case RaftMessageKind.TimeoutNow:
                if (_role == RaftRole.Follower && Configuration.IsVoter(Self))
                {
                    Campaign(preVote: false, transfer: true);
                }

                break;
            default:
                break; // a kind of a later version: the codec refuses it, a host that bypasses the codec may not
        }
    }

    /// <summary>Replaces the log up to an applied index by a snapshot that the host made.</summary>
    /// <param name="index">The index the data stands for; at most <see cref="AppliedIndex"/>, above the last snapshot's.</param>
    /// <param name="data">The state machine's state after <paramref name="index"/>; not changed afterwards.</param>
    /// <param name="retainEntries">Entries up to <paramref name="index"/> to keep in memory for followers that are a little behind.</param>
    /// <returns>The snapshot, to be given to <see cref="IRaftStorage.SaveSnapshot"/>.</returns>
    public RaftSnapshot Compact(ulong index, ReadOnlyMemory<byte> data, ulong retainEntries)
    {
        if (index > _applied || index <= _snapshot.Index || !_log.TryGetTerm(index, out ulong term))
        {
            throw new ArgumentOutOfRangeException(nameof(index), $"{index} is not in ({_snapshot.Index}, {_applied}]");
        }

        int inForce = _configurations.FindLastIndex(c => c.Index <= index);
        _snapshot = new RaftSnapshot(index, term, _configurations[inForce].Configuration, data);
        _configurations.RemoveRange(0, inForce);
        _log.CompactTo(index > retainEntries ? Math.Max(index - retainEntries, _log.BaseIndex) : _log.BaseIndex);
        return _snapshot;
    }

    /// <summary>Checks the whole state; for simulations, after each event.</summary>
    /// <exception cref="InvariantException">The state contradicts itself.</exception>
    public void CheckInvariants()
    {
        Invariant.Holds(_commit <= _log.LastIndex);
        Invariant.Holds(_applied <= _commit);
        Invariant.Holds(_log.BaseIndex <= _log.StableIndex && _log.StableIndex <= _log.LastIndex);
        Invariant.Holds(_log.BaseIndex <= _snapshot.Index);
        Invariant.Holds(_log.LastTerm <= _term);
        Invariant.Holds(_persisted.Term <= _term);
        Invariant.Holds((_role == RaftRole.Leader) == (_leader == Self));
        Invariant.Holds(_configurations.Count > 0);
        for (int i = 1; i < _configurations.Count; i++)
        {
            Invariant.Holds(_configurations[i - 1].Index < _configurations[i].Index);
            Invariant.Holds(
                _configurations[i - 1].Configuration.Voters.IsEmpty || _configurations[i - 1].Configuration.VoterDistance(_configurations[i].Configuration) <= 1,
                "majorities before and after a change meet"); // a newcomer's folder names nobody
            Invariant.Holds(_role != RaftRole.Leader || _configurations[i - 1].Index <= _commit, "one change at a time");
        }

        Invariant.Holds(_configurations[^1].Index <= _log.LastIndex);
        for (ulong index = Math.Max(_log.InOrderTo, _log.BaseIndex) + 1; index <= _log.LastIndex; index++)
        {
            Invariant.Holds(_log.TryGetTerm(index - 1, out ulong before) && before <= _log[index].Term);
        }

        _log.InOrderTo = _log.LastIndex;

        foreach (Progress progress in _progress.Values)
        {
            Invariant.Holds(progress.Match < progress.Next);
            Invariant.Holds(progress.Match <= _log.LastIndex);
        }
    }

    private bool StepHigherTerm(RaftMessage message)
    {
        if (message.Kind is RaftMessageKind.PreVote or RaftMessageKind.Vote
            && !message.Transfer && !_leader.IsNone && _electionElapsed < _options.ElectionTicks)
        {
            return false; // heard from a leader within its lease: a node that missed some heartbeats must not depose it
        }

        if (message.Kind == RaftMessageKind.PreVote || (message.Kind == RaftMessageKind.PreVoteResponse && !message.Reject))
        {
            return true; // the term is one that is only being asked for
        }

        bool fromLeader = message.Kind is RaftMessageKind.Append or RaftMessageKind.Heartbeat or RaftMessageKind.InstallSnapshot;
        BecomeFollower(message.Term, fromLeader ? message.From : NodeId.None);
        return true;
    }

    private void StepLowerTerm(RaftMessage message)
    {
        switch (message.Kind)
        {
            // Silence would leave a leader of an old term in office for ever when this node, with its higher term, is
            // too far behind to win and too new to follow.
            case RaftMessageKind.Append or RaftMessageKind.Heartbeat or RaftMessageKind.InstallSnapshot:
                Send(new RaftMessage { Kind = RaftMessageKind.AppendResponse, From = Self, To = message.From, Term = _term, Reject = true });
                break;
            case RaftMessageKind.PreVote:
                Send(new RaftMessage { Kind = RaftMessageKind.PreVoteResponse, From = Self, To = message.From, Term = _term, Reject = true });
                break;
            default:
                break;
        }
    }

    private bool AcceptLeader(RaftMessage message)
    {
        Invariant.Holds(_role != RaftRole.Leader, "a term has one leader");
        if (_role != RaftRole.Follower || _leader != message.From)
        {
            Invariant.Holds(_role != RaftRole.Follower || _leader.IsNone, "a term has one leader");
            BecomeFollower(_term, message.From);
        }

        _electionElapsed = 0;
        return true;
    }

    private void BecomeFollower(ulong term, NodeId leader)
    {
        Reset(term);
        _role = RaftRole.Follower;
        _leader = leader;
    }

    private void Reset(ulong term)
    {
        Invariant.Holds(term >= _term);
        if (term > _term)
        {
            _term = term;
            _vote = NodeId.None;
        }

        _leader = NodeId.None;
        _electionElapsed = 0;
        _heartbeatElapsed = 0;
        _electionTimeout = _options.ElectionTicks + _random.Next(_options.ElectionTicks);
        _votes.Clear();
        _progress.Clear();
        _transferee = NodeId.None;
        _uncommittedBytes = 0;
        _appendsDue = false;
        FailReads();
    }
}
