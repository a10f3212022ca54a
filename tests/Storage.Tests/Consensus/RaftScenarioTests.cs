using Storage.Consensus;
using Xunit;

namespace Storage.Tests.Consensus;

public class RaftScenarioTests
{
    private static readonly NodeId s_one = new(1), s_two = new(2), s_three = new(3);

    /// <summary>Nodes with perfect disks and a network that is cut by hand.</summary>
    private sealed class Group
    {
        private readonly Queue<RaftMessage> _network = new();

        public Group(int size)
        {
            var configuration = new RaftConfiguration(Enumerable.Range(1, size).Select(i => new NodeId((ulong)i)));
            foreach (NodeId id in configuration.Voters)
            {
                Nodes.Add(id, new RaftNode(new RaftOptions { Self = id },
                    new RaftStartState(default, RaftSnapshot.Bootstrap(configuration), []), new Random((int)id.Value)));
                Reads.Add(id, []);
                Failed.Add(id, []);
            }
        }

        public SortedList<NodeId, RaftNode> Nodes { get; } = [];

        public HashSet<NodeId> Cut { get; } = [];

        public Dictionary<NodeId, List<ReadState>> Reads { get; } = [];

        public Dictionary<NodeId, List<ulong>> Failed { get; } = [];

        public RaftNode this[NodeId id] => Nodes[id];

        public void Settle()
        {
            bool busy = true;
            while (busy)
            {
                busy = false;
                foreach (RaftNode node in Nodes.Values)
                {
                    while (node.HasReady)
                    {
                        busy = true;
                        Ready ready = node.TakeReady();
                        foreach (RaftMessage message in ready.MessagesBeforePersist.Concat(ready.MessagesAfterPersist))
                        {
                            _network.Enqueue(message);
                        }

                        Reads[node.Self].AddRange(ready.ReadStates);
                        Failed[node.Self].AddRange(ready.FailedReads);
                        node.Advance(ready);
                        node.CheckInvariants();
                    }
                }

                while (_network.TryDequeue(out RaftMessage? message))
                {
                    busy = true;
                    if (!Cut.Contains(message.From) && !Cut.Contains(message.To))
                    {
                        Nodes[message.To].Step(message);
                    }
                }
            }
        }

        public void Tick(int ticks, params NodeId[] only)
        {
            for (int i = 0; i < ticks; i++)
            {
                foreach (RaftNode node in Nodes.Values)
                {
                    if (only.Length == 0 || only.Contains(node.Self))
                    {
                        node.Tick();
                    }
                }

                Settle();
            }
        }

        public void Elect(NodeId id)
        {
            Nodes[id].Campaign();
            Settle();
            Assert.Equal(RaftRole.Leader, Nodes[id].Role);
        }

        public LogPosition Propose(NodeId id, int size = 4)
        {
            Assert.Equal(ProposeResult.Accepted, Nodes[id].Propose(new byte[size], out LogPosition position));
            return position;
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    public void A_group_elects_a_leader_and_commits(int size)
    {
        var group = new Group(size);
        group.Tick(60);
        RaftNode leader = group.Nodes.Values.Single(n => n.Role == RaftRole.Leader);
        LogPosition position = group.Propose(leader.Self);
        group.Settle();
        Assert.All(group.Nodes.Values, n => Assert.Equal((position.Index, leader.Self), (n.AppliedIndex, n.Leader)));
    }

    [Fact]
    public void A_node_that_comes_back_does_not_disturb()
    {
        var group = new Group(3);
        group.Elect(s_one);
        ulong term = group[s_one].Term;
        group.Cut.Add(s_three);
        group.Tick(100);
        Assert.Equal(term, group[s_three].Term); // pre-vote: it never raised its term
        group.Cut.Clear();
        group.Tick(30);
        Assert.Equal((term, RaftRole.Leader), (group[s_one].Term, group[s_one].Role));
        Assert.Equal(s_one, group[s_three].Leader);
    }

    [Fact]
    public void A_leader_that_is_cut_off_steps_down_and_fails_its_reads()
    {
        var group = new Group(3);
        group.Elect(s_one);
        group.Cut.Add(s_one);
        Assert.Equal(ProposeResult.Accepted, group[s_one].ReadIndex(42));
        group.Tick(60);
        Assert.Equal(RaftRole.PreCandidate, group[s_one].Role);
        Assert.Empty(group.Reads[s_one]);
        Assert.Equal([42UL], group.Failed[s_one]);
        Assert.Equal(ProposeResult.NotLeader, group[s_one].ReadIndex(43));
        Assert.Single(group.Nodes.Values, n => n.Role == RaftRole.Leader);
    }

    [Fact]
    public void A_read_answers_at_the_commit_index_of_its_request()
    {
        var group = new Group(3);
        group.Elect(s_one);
        group.Propose(s_one);
        group.Settle();
        group[s_one].ReadIndex(1);
        group.Settle();
        Assert.Equal([new ReadState(group[s_one].CommitIndex, 1)], group.Reads[s_one]);
    }

    [Fact]
    public void Uncommitted_entries_of_a_deposed_leader_are_replaced()
    {
        var group = new Group(3);
        group.Elect(s_one);
        group.Cut.Add(s_one);
        for (int i = 0; i < 20; i++)
        {
            group.Propose(s_one);
        }

        group.Settle();
        group.Tick(60);
        RaftNode leader = group.Nodes.Values.Single(n => n.Role == RaftRole.Leader);
        LogPosition position = group.Propose(leader.Self);
        group.Settle();
        group.Cut.Clear();
        group.Tick(5);
        Assert.Equal(leader.CommitIndex, group[s_one].AppliedIndex);
        Assert.True(group[s_one].Log.Matches(position.Index, position.Term));
        Assert.Equal(leader.LastIndex, group[s_one].LastIndex);
    }

    // The entry that makes it a voter has not reached it, and without its vote nobody leads.
    [Fact]
    public void Who_does_not_know_that_it_is_a_voter_votes_once_its_leader_is_silent()
    {
        for (int seed = 1; seed <= 40; seed++)
        {
            var options = new RaftOptions { Self = s_one };
            var node = new RaftNode(options, new RaftStartState(default, RaftSnapshot.Bootstrap(new RaftConfiguration([s_two])), []), new Random(seed));
            node.Step(new RaftMessage { Kind = RaftMessageKind.Heartbeat, From = s_two, To = s_one, Term = 2 });
            for (int tick = 0; tick < 4 * options.ElectionTicks; tick++)
            {
                node.Tick();
            }

            while (node.HasReady)
            {
                node.Advance(node.TakeReady());
            }

            node.Step(new RaftMessage { Kind = RaftMessageKind.PreVote, From = s_two, To = s_one, Term = 3, Index = 9, LogTerm = 2 });
            Ready ready = node.TakeReady();
            Assert.Contains(ready.MessagesBeforePersist.Concat(ready.MessagesAfterPersist), message => message is { Kind: RaftMessageKind.PreVoteResponse, Reject: false });
        }
    }

    [Fact]
    public void An_entry_of_an_earlier_term_commits_only_with_one_of_the_leaders_own()
    {
        RaftEntry old = new(1, 1, EntryKind.Command, new byte[1]);
        var configuration = new RaftConfiguration([s_one, s_two, s_three]);
        var node = new RaftNode(new RaftOptions { Self = s_one }, new RaftStartState(new(2, default, 0), RaftSnapshot.Bootstrap(configuration), [old]), new Random(1));
        void Persist()
        {
            while (node.HasReady)
            {
                node.Advance(node.TakeReady());
            }
        }

        node.Campaign();
        node.Step(new RaftMessage { Kind = RaftMessageKind.PreVoteResponse, From = s_two, To = s_one, Term = 3 });
        Persist();
        node.Step(new RaftMessage { Kind = RaftMessageKind.VoteResponse, From = s_two, To = s_one, Term = 3 });
        Persist();
        Assert.Equal(RaftRole.Leader, node.Role);
        node.Step(new RaftMessage { Kind = RaftMessageKind.AppendResponse, From = s_two, To = s_one, Term = 3, Index = 1 });
        Assert.Equal(0UL, node.CommitIndex);
        node.Step(new RaftMessage { Kind = RaftMessageKind.AppendResponse, From = s_two, To = s_one, Term = 3, Index = 2 });
        Assert.Equal(2UL, node.CommitIndex);
    }

    [Fact]
    public void A_follower_that_is_far_behind_gets_a_snapshot()
    {
        var group = new Group(3);
        group.Elect(s_one);
        group.Cut.Add(s_three);
        for (int i = 0; i < 10; i++)
        {
            group.Propose(s_one);
        }

        group.Settle();
        group[s_one].Compact(group[s_one].AppliedIndex, new byte[3], retainEntries: 2);
        group.Cut.Clear();
        group.Tick(5);
        Assert.Equal(group[s_one].AppliedIndex, group[s_three].AppliedIndex);
        Assert.Equal(3, group[s_three].Snapshot.Data.Length);
    }

    [Fact]
    public void Leadership_is_handed_over_at_once()
    {
        var group = new Group(3);
        group.Elect(s_one);
        group.Settle();
        Assert.Equal(ProposeResult.Accepted, group[s_one].TransferLeadership(s_three));
        Assert.Equal(ProposeResult.Transferring, group[s_one].Propose(new byte[1], out _));
        group.Settle();
        Assert.Equal(RaftRole.Leader, group[s_three].Role);
        Assert.Equal(RaftRole.Follower, group[s_one].Role);
    }

    [Fact]
    public void Members_change_one_voter_at_a_time_and_a_removed_leader_steps_down()
    {
        var group = new Group(3);
        group.Elect(s_one);
        RaftConfiguration now = group[s_one].Configuration;
        Assert.Equal(ProposeResult.InvalidConfiguration, group[s_one].ProposeConfiguration(now.Without(s_two).Without(s_three), out _));
        Assert.Equal(ProposeResult.Accepted, group[s_one].ProposeConfiguration(now.WithLearner(s_three), out _));
        Assert.Equal(ProposeResult.ConfigurationPending, group[s_one].ProposeConfiguration(now, out _));
        group.Settle();
        Assert.True(group[s_three].Configuration.IsLearner(s_three));
        Assert.Equal(ProposeResult.Accepted, group[s_one].ProposeConfiguration(now, out _));
        group.Settle();
        Assert.Equal(ProposeResult.Accepted, group[s_one].ProposeConfiguration(now.Without(s_one), out _));
        group.Settle();
        Assert.Equal(RaftRole.Follower, group[s_one].Role);
        group.Tick(60);
        Assert.Contains(group.Nodes.Values, n => n.Role == RaftRole.Leader && n.Self != s_one);
    }
}
