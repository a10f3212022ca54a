using Storage.Coding;

namespace Storage.Consensus;

// Elections: pre-vote, vote, and the hand-over of leadership.
public sealed partial class RaftNode
{
    private readonly SortedList<NodeId, bool> _votes = [];

    /// <summary>Starts an election at once instead of after a timeout, for the first start of a group or by an operator's order.</summary>
    public void Campaign()
    {
        if (_role != RaftRole.Leader && Configuration.IsVoter(Self))
        {
            Campaign(preVote: true, transfer: false);
        }
    }

    private void Campaign(bool preVote, bool transfer)
    {
        preVote &= !Mutations.Active(Mutation.RaftNoPreVote);
        if (preVote)
        {
            // Neither term nor vote move: a node that cannot win must not disturb those who can.
            _votes.Clear();
            _role = RaftRole.PreCandidate;
            _leader = NodeId.None;
            _electionElapsed = 0;
            _electionTimeout = _options.ElectionTicks + _random.Next(_options.ElectionTicks);
        }
        else
        {
            Reset(_term + 1);
            _role = RaftRole.Candidate;
            _vote = Self;
        }

        foreach (NodeId node in Configuration.Voters)
        {
            if (node != Self)
            {
                Send(new RaftMessage
                {
                    Kind = preVote ? RaftMessageKind.PreVote : RaftMessageKind.Vote,
                    From = Self,
                    To = node,
                    Term = preVote ? _term + 1 : _term,
                    Index = _log.LastIndex,
                    LogTerm = _log.LastTerm,
                    Transfer = transfer,
                });
            }
        }

        if (preVote)
        {
            RecordVote(Self, granted: true);
        }

        // The vote for itself counts once it is durable: see Advance.
    }

    private void HandleVoteRequest(RaftMessage message)
    {
        bool preVote = message.Kind == RaftMessageKind.PreVote;
        bool free = Mutations.Active(Mutation.RaftVotesTwice) || _vote == message.From || (_vote.IsNone && _leader.IsNone) || (preVote && message.Term > _term);
        bool granted = free && (Mutations.Active(Mutation.RaftVotesForShorterLogs) || _log.IsUpToDate(message.Index, message.LogTerm));
        if (granted && !preVote)
        {
            _vote = message.From;
            _electionElapsed = 0;
        }

        Send(new RaftMessage
        {
            Kind = preVote ? RaftMessageKind.PreVoteResponse : RaftMessageKind.VoteResponse,
            From = Self,
            To = message.From,
            Term = granted ? message.Term : _term,
            Reject = !granted,
        });
    }

    private void HandleVoteResponse(RaftMessage message)
    {
        bool preVote = message.Kind == RaftMessageKind.PreVoteResponse;
        if (_role != (preVote ? RaftRole.PreCandidate : RaftRole.Candidate))
        {
            return;
        }

        if (preVote && !message.Reject && message.Term != _term + 1)
        {
            return; // answers an earlier question
        }

        RecordVote(message.From, !message.Reject);
    }

    private void RecordVote(NodeId node, bool granted)
    {
        _votes.TryAdd(node, granted);
        int yes = 0, no = 0;
        foreach (NodeId voter in Configuration.Voters)
        {
            if (_votes.TryGetValue(voter, out bool vote))
            {
                yes += vote ? 1 : 0;
                no += vote ? 0 : 1;
            }
        }

        if (yes >= Configuration.Majority)
        {
            if (_role == RaftRole.PreCandidate)
            {
                Campaign(preVote: false, transfer: false);
            }
            else
            {
                BecomeLeader();
            }
        }
        else if (no > Configuration.Voters.Length - Configuration.Majority)
        {
            BecomeFollower(_term, NodeId.None);
        }
    }
}
