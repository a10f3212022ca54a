using Storage.Cluster;
using Storage.Consensus;
using Storage.Monitor;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Xunit;
using MonitorInfo = Storage.Cluster.MonitorInfo;

namespace Storage.Tests.Monitor;

// Monitors come and go on a live cluster.
public sealed partial class MonitorClusterTests
{
    [Fact]
    public void TheQuorumGrowsFromThreeToFiveAndShrinksToOne()
    {
        Node d = Join("d");
        Node e = Join("e");
        AwaitVoters(5);
        Kill(Leader()!);
        Kill(_nodes.First(node => node.Daemon is { IsLeader: false } && node != d && node != e));
        Change(2); // three of five go on

        foreach (Node dead in _nodes.Where(node => node.Daemon is null).ToArray())
        {
            Ask(d, "MonRemove", new MonRemoveRequest { Name = dead.Options.Self.Name }, ChangeReply.Parser);
            _nodes.Remove(dead);
        }

        AwaitVoters(3);
        while (_nodes.Count > 1)
        {
            Node gone = _nodes[0];
            Ask(_nodes[^1], "MonRemove", new MonRemoveRequest { Name = gone.Options.Self.Name }, ChangeReply.Parser);
            AwaitVoters(_nodes.Count - 1, except: gone);
            Assert.True(_loop.RunUntil(() => gone.Daemon!.Failure is not null, TimeSpan.FromSeconds(15)), "the removed monitor does not end");
            Assert.Contains("was removed from the cluster", gone.Daemon!.Failure!.Message, StringComparison.Ordinal);
            _nodes.Remove(gone);
            Change(2);
        }

        Assert.Contains("only monitor", Fail(_nodes[0], "MonRemove", new MonRemoveRequest { Name = _nodes[0].Options.Self.Name }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ARemovedLeaderHandsOverFirst()
    {
        Node leader = Leader()!;
        Ask(leader, "MonRemove", new MonRemoveRequest { Name = leader.Options.Self.Name }, ChangeReply.Parser);
        Assert.True(_loop.RunUntil(() => leader.Daemon!.Failure is not null, TimeSpan.FromSeconds(20)));
        _nodes.Remove(leader);
        AwaitVoters(2);

        // It stays away: its own log says that it is removed, or the others do not let it in.
        leader.Daemon = null;
        try
        {
            Start(leader);
            _loop.RunUntil(() => leader.Daemon!.Failure is not null, TimeSpan.FromSeconds(10));
            Assert.False(leader.Daemon!.IsLeader);
        }
        catch (InvalidOperationException failure)
        {
            Assert.Contains("was removed", failure.Message, StringComparison.Ordinal);
        }

        Change(2);
    }

    [Fact]
    public void ANewMonitorThatNeverStartsDoesNotCountForTheMajority()
    {
        MonAddReply added = Add("d");
        Assert.True(_loop.RunUntil(() => Leader()?.Daemon!.Raft!.Configuration.Learners.Length == 1, TimeSpan.FromSeconds(5)));
        Kill(_nodes.First(node => !node.Daemon!.IsLeader));
        Change(2);
        Assert.Equal(3, Leader()!.Daemon!.Raft!.Configuration.Voters.Length);
        Assert.False(Add("d").Changed);
        Assert.Equal(added.Id, Add("d").Id);
    }

    [Fact]
    public void ANewMonitorThatWasRemovedBeforeItStartedIsTold()
    {
        MonAddReply added = Add("d");
        Ask(Leader()!, "MonRemove", new MonRemoveRequest { Name = "d" }, ChangeReply.Parser);
        Node late = Make("d", added);
        Assert.True(_loop.RunUntil(() => late.Daemon!.Failure is not null, TimeSpan.FromSeconds(15)), "it waits for ever to be let in");
        Assert.Contains("was removed from the cluster", late.Daemon!.Failure!.Message, StringComparison.Ordinal);
        _nodes.Remove(late);
        Change(2);
    }

    [Fact]
    public void ANewcomerAnswersPingsAndShowsItsMapOnceItHasCaughtUp()
    {
        Node d = Join("d");
        var pinger = new Pinger(_network, d.Options.Self.Address);
        Assert.True(_loop.RunUntil(() => d.Daemon!.LeaderId != 0 && d.Daemon.Map is not null, TimeSpan.FromSeconds(5)));
        Assert.False(d.Daemon!.Raft!.Configuration.IsVoter(new NodeId(d.Options.Id)));

        // The leader cannot give it a vote without the others.
        Node leader = Leader()!;
        foreach (Node other in _nodes.Where(node => node != d && node != leader))
        {
            _network.Partition(leader.Options.Self.Address.Host, other.Options.Self.Address.Host);
        }

        pinger.Subscribe();
        pinger.Ping();
        _loop.RunFor(TimeSpan.FromMilliseconds(300));
        Assert.NotEqual(0UL, d.Daemon.LeaderId);
        Assert.Equal(0, pinger.Answers);
        Assert.Equal(0, pinger.Maps);
        Epoch before = d.Daemon.Map!.Epoch;
        _network.HealAll();
        AwaitVoters(4);
        pinger.Ping();
        Assert.True(_loop.RunUntil(() => pinger.Answers == 1 && pinger.Maps == 1, TimeSpan.FromSeconds(1)));
        Assert.Equal(before, d.Daemon.Map.Epoch); // nothing but its having caught up made it tell
    }

    [Fact]
    public void ARemovalThatWouldStopTheQuorumIsRefused()
    {
        Node dead = _nodes.First(node => !node.Daemon!.IsLeader);
        Kill(dead);
        Node alive = _nodes.First(node => node.Daemon is { IsLeader: false });
        Assert.True(_loop.RunUntil(() => Ask(alive, "MonStatus", new MonStatusRequest(), MonStatusReply.Parser).Quorum.Count == 2, TimeSpan.FromSeconds(20)));
        RpcException refused = Fail(alive, "MonRemove", new MonRemoveRequest { Name = alive.Options.Self.Name });
        Assert.Equal(StatusCode.FailedPrecondition, refused.Code);
        Assert.Contains("no majority", refused.Message, StringComparison.Ordinal);
        Ask(alive, "MonRemove", new MonRemoveRequest { Name = dead.Options.Self.Name }, ChangeReply.Parser);
        _nodes.Remove(dead);
        AwaitVoters(2);
    }

    [Fact]
    public void AMonitorThatWasWipedComesBackUnderANewIdAndCatchesUpBySnapshot()
    {
        Change(60);
        Node wiped = _nodes.First(node => !node.Daemon!.IsLeader);
        Kill(wiped);
        Node other = _nodes.First(node => node.Daemon is not null);
        Assert.True(_loop.RunUntil(() => Ask(other, "MonStatus", new MonStatusRequest(), MonStatusReply.Parser).Quorum.Count == 2, TimeSpan.FromSeconds(20)));
        Ask(other, "MonRemove", new MonRemoveRequest { Name = wiped.Options.Self.Name }, ChangeReply.Parser);
        _nodes.Remove(wiped);
        Node again = Join(wiped.Options.Self.Name);
        Assert.NotEqual(wiped.Options.Id, again.Options.Id);
        AwaitVoters(3);
        Assert.True(again.Daemon!.Raft!.Snapshot.Index > 0);
    }

    [Fact]
    public void AMonitorThatWasAwayWhileAllOthersWereReplacedIsFoundByThem()
    {
        Node away = _nodes.First(node => !node.Daemon!.IsLeader);
        Kill(away);
        Node[] old = [.. _nodes.Where(node => node != away)];
        Node d = Join("d");
        Join("e");
        Assert.True(_loop.RunUntil(() => Leader()?.Daemon!.Raft!.Configuration is { Voters.Length: 5 }, TimeSpan.FromSeconds(20)));
        foreach (Node gone in old)
        {
            Ask(d, "MonRemove", new MonRemoveRequest { Name = gone.Options.Self.Name }, ChangeReply.Parser);
            Assert.True(_loop.RunUntil(() => gone.Daemon!.Failure is not null, TimeSpan.FromSeconds(15)), "the removed monitor does not end");
            _nodes.Remove(gone);
        }

        Start(away);
        AwaitVoters(3);
    }

    private MonAddReply Add(string name) => Ask(
        _nodes.First(node => node.Daemon is not null), "MonAdd", new MonAddRequest { Name = name, Address = $"mon-{name}:6789", AdminAddress = $"mon-{name}:6790" }, MonAddReply.Parser);

    private Node Join(string name) => Make(name, Add(name));

    private Node Make(string name, MonAddReply added)
    {
        Assert.Equal(name, added.Monitors[^1].Name);
        Assert.NotEmpty(added.Monitors);
        MonitorInfo[] all = [.. added.Monitors.Select(monitor => new MonitorInfo(monitor.Id, monitor.Name, Parse(monitor.Address), monitor.AdminAddress.Length == 0 ? default : Parse(monitor.AdminAddress)))];
        var node = new Node(new MonitorOptions { Fsid = Fsid, Id = added.Id, Monitors = all, SnapshotEntries = 20, RetainedEntries = 5 });
        MonitorStore.BootstrapRaft(node.Storage, node.Options);
        _nodes.Add(node);
        Start(node);
        return node;

        static NodeAddress Parse(string text) => NodeAddress.TryParse(text, out NodeAddress address) ? address : default;
    }

    private void AwaitVoters(int count, Node? except = null) => Assert.True(
        _loop.RunUntil(
            () => _nodes.Where(node => node.Daemon is not null && node != except).All(node => node.Daemon!.Raft!.Configuration is { } members
                && members.Voters.Length == count && members.Learners.IsEmpty && node.Daemon.Map?.Epoch == Leader()?.Daemon!.Map!.Epoch),
            TimeSpan.FromSeconds(20)),
        $"no {count} voters: " + string.Join("; ", _nodes.Select(node => $"{node.Options.Self.Name}: {node.Daemon?.Raft!.Configuration}")));
}
