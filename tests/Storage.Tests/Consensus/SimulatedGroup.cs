using System.Buffers.Binary;
using Storage.Coding;
using Storage.Consensus;
using Xunit;

namespace Storage.Tests.Consensus;

/// <summary>A Raft group on virtual time under faults, with checkers that know the whole.</summary>
internal sealed class SimulatedGroup
{
    private readonly Random _random;
    private readonly PriorityQueue<Action, (long Time, long Sequence)> _events = new();
    private readonly Dictionary<ulong, NodeId> _leaders = [];
    private readonly List<(ulong Term, ulong Hash)> _committed = [(0, 0)]; // by index; Hash covers all up to it
    private readonly Dictionary<ulong, ulong> _readFloor = [];
    private readonly WireWriter _wire = new();
    private long _time;
    private long _sequence;
    private ulong _nextToken;
    private ulong _nextCommand;

    public SimulatedGroup(int size, int seed)
    {
        _random = new Random(seed);
        var configuration = new RaftConfiguration(Enumerable.Range(1, size).Select(i => new NodeId((ulong)i)));
        foreach (NodeId id in configuration.Voters)
        {
            var member = new Member(id);
            member.Disk.Bootstrap(RaftSnapshot.Bootstrap(configuration));
            Members.Add(member);
            Start(member);
        }
    }

    public List<Member> Members { get; } = [];

    public bool Faults { get; set; } = true;

    public int Committed => _committed.Count - 1;

    public int ReadsAnswered { get; private set; }

    public int SnapshotsInstalled { get; private set; }

    public int Terms => _leaders.Count;

    public int ConfigurationChanges { get; private set; }

    public sealed class Member(NodeId id)
    {
        public NodeId Id { get; } = id;

        public MemoryRaftStorage Disk { get; } = new();

        public RaftNode? Node { get; set; }

        public int Life { get; set; }

        public ulong Hash { get; set; }

        public ulong Applied { get; set; }

        public int Side { get; set; }
    }

    public void Run(int steps)
    {
        for (int i = 0; i < steps; i++)
        {
            _time++;
            while (_events.TryPeek(out _, out (long Time, long Sequence) at) && at.Time <= _time)
            {
                _events.Dequeue()();
            }

            foreach (Member member in Members)
            {
                // Clocks differ: each node ticks at about every fifth step of its own.
                if (member.Node is { } node && _random.Next(5) == 0)
                {
                    node.Tick();
                }
            }

            Workload();
            if (Faults)
            {
                Misfortune();
            }

            foreach (Member member in Members)
            {
                Pump(member);
            }

            CheckStep();
            if (i % 64 == 0)
            {
                CheckLogMatching();
            }
        }
    }

    public void Heal()
    {
        Faults = false;
        foreach (Member member in Members)
        {
            member.Side = 0;
            if (member.Node is null)
            {
                Start(member);
            }
        }
    }

    private void Start(Member member)
    {
        RaftStartState state = member.Disk.Load()!;
        var options = new RaftOptions { Self = member.Id, MaxInflightAppends = 4, MaxAppendBytes = 100, SnapshotRetryTicks = 20 };
        member.Node = new RaftNode(options, state, new Random(_random.Next()));
        member.Applied = state.Snapshot.Index;
        member.Hash = ReadHash(state.Snapshot);
        Assert.Equal(_committed[(int)member.Applied].Hash, member.Hash);
    }

    private static ulong ReadHash(RaftSnapshot snapshot) =>
        snapshot.Data.IsEmpty ? 0 : BinaryPrimitives.ReadUInt64LittleEndian(snapshot.Data.Span);

    private void Crash(Member member)
    {
        member.Node = null;
        member.Life++;
        member.Disk.Crash(_random);
    }

    private void Workload()
    {
        Member member = Members[_random.Next(Members.Count)];
        if (member.Node is not { } node)
        {
            return;
        }

        int dice = _random.Next(100);
        if (dice < 40)
        {
            var data = new byte[8 + _random.Next(40)];
            BinaryPrimitives.WriteUInt64LittleEndian(data, ++_nextCommand);
            node.Propose(data, out _);
        }
        else if (dice < 60)
        {
            ulong token = ++_nextToken;
            if (node.ReadIndex(token) == ProposeResult.Accepted)
            {
                _readFloor[token] = (ulong)Committed;
            }
        }
        else if (dice < 61)
        {
            node.TransferLeadership(Members[_random.Next(Members.Count)].Id);
        }
        else if (dice < 62 && Faults)
        {
            NodeId target = Members[_random.Next(Members.Count)].Id;
            RaftConfiguration now = node.Configuration;
            RaftConfiguration wanted = !now.IsVoter(target) ? now.WithVoter(target)
                : now.Voters.Length <= 2 ? now
                : _random.Next(2) == 0 ? now.WithLearner(target) : now.Without(target);
            if (node.ProposeConfiguration(wanted, out _) == ProposeResult.Accepted)
            {
                ConfigurationChanges++;
            }
        }
        else if (dice < 66 && member.Applied > node.Snapshot.Index && node.Snapshot.Index <= node.AppliedIndex && !member.Disk.IsBusy
            && member.Applied == node.AppliedIndex)
        {
            var data = new byte[8];
            BinaryPrimitives.WriteUInt64LittleEndian(data, member.Hash);
            member.Disk.SaveSnapshot(node.Compact(member.Applied, data, (ulong)_random.Next(8)));
        }
    }

    private void Misfortune()
    {
        int dice = _random.Next(600);
        Member member = Members[_random.Next(Members.Count)];
        switch (dice)
        {
            case < 4 when member.Node is not null:
                Crash(member);
                break;
            case < 12 when member.Node is null:
                Start(member);
                break;
            case < 15:
                foreach (Member each in Members)
                {
                    each.Side = _random.Next(2);
                }

                break;
            case < 20:
                foreach (Member each in Members)
                {
                    each.Side = 0;
                }

                break;
            case 20:
                foreach (Member each in Members.Where(m => m.Node is not null))
                {
                    Crash(each); // the power of the whole room
                }

                break;
            default:
                break;
        }
    }

    private void Pump(Member member)
    {
        if (member.Node is not { } node || !node.HasReady)
        {
            return;
        }

        Ready ready = node.TakeReady();
        Send(ready.MessagesBeforePersist);
        member.Disk.BeginPersist(ready);
        int life = member.Life;
        At(Faults ? _random.Next(4) : 0, () =>
        {
            if (member.Life == life)
            {
                Complete(member, node, ready);
            }
        });
    }

    private void Complete(Member member, RaftNode node, Ready ready)
    {
        member.Disk.CompletePersist();
        Send(ready.MessagesAfterPersist);
        if (ready.Snapshot is { } snapshot)
        {
            SnapshotsInstalled++;
            member.Applied = snapshot.Index;
            member.Hash = ReadHash(snapshot);
            Assert.Equal(_committed[(int)snapshot.Index].Hash, member.Hash);
        }

        foreach (RaftEntry entry in ready.CommittedEntries)
        {
            Assert.Equal(member.Applied + 1, entry.Index);
            member.Applied = entry.Index;
            member.Hash = (member.Hash * 6364136223846793005) + Crc32C.Compute(entry.Data.Span) + entry.Term + (ulong)entry.Kind;
            if (entry.Index == (ulong)_committed.Count)
            {
                _committed.Add((entry.Term, member.Hash));
            }

            Assert.Equal(_committed[(int)entry.Index], (entry.Term, member.Hash)); // state-machine safety
        }

        foreach (ReadState read in ready.ReadStates)
        {
            ReadsAnswered++;
            Assert.True(read.Index >= _readFloor[read.Token], $"stale read: index {read.Index}, committed when asked {_readFloor[read.Token]}");
        }

        node.Advance(ready);
    }

    private void Send(IReadOnlyList<RaftMessage> messages)
    {
        foreach (RaftMessage message in messages)
        {
            int copies = !Faults ? 1 : _random.Next(20) switch { 0 or 1 => 0, 2 => 2, _ => 1 };
            for (int i = 0; i < copies; i++)
            {
                _wire.Clear();
                RaftMessageCodec.Write(_wire, message);
                byte[] bytes = _wire.ToArray();
                int delay = !Faults ? 1 : _random.Next(50) == 0 ? _random.Next(200) : 1 + _random.Next(6);
                At(delay, () => Deliver(message.From, message.To, bytes));
            }
        }
    }

    private void Deliver(NodeId from, NodeId to, byte[] bytes)
    {
        Member source = Members[(int)from.Value - 1], target = Members[(int)to.Value - 1];
        if (source.Side == target.Side)
        {
            target.Node?.Step(RaftMessageCodec.Read(bytes));
        }
    }

    private void At(int delay, Action action) => _events.Enqueue(action, (_time + delay, _sequence++));

    private void CheckStep()
    {
        foreach (Member member in Members)
        {
            if (member.Node is not { } node)
            {
                continue;
            }

            if (node.Role == RaftRole.Leader && _leaders.TryAdd(node.Term, node.Self))
            {
                // Leader completeness, at the moment of election: all that is committed is in the new leader's log.
                Assert.True(node.LastIndex >= (ulong)Committed);
                for (ulong index = Math.Max(1, node.Log.BaseIndex); index <= (ulong)Committed; index++)
                {
                    Assert.True(node.Log.Matches(index, _committed[(int)index].Term));
                }
            }

            if (node.Role == RaftRole.Leader)
            {
                Assert.Equal(_leaders[node.Term], node.Self); // election safety
            }
        }
    }

    private void CheckLogMatching()
    {
        foreach (Member a in Members)
        {
            a.Node?.CheckInvariants();
            foreach (Member b in Members)
            {
                if (a.Id < b.Id && a.Node is not null && b.Node is not null)
                {
                    CheckLogMatching(a.Node.Log, b.Node.Log);
                }
            }
        }
    }

    private static void CheckLogMatching(RaftLog a, RaftLog b)
    {
        bool agreed = false;
        for (ulong index = Math.Min(a.LastIndex, b.LastIndex); index > Math.Max(a.BaseIndex, b.BaseIndex); index--)
        {
            if (a[index].Term == b[index].Term)
            {
                agreed = true;
                Assert.True(a[index].Data.Span.SequenceEqual(b[index].Data.Span));
            }
            else
            {
                Assert.False(agreed, $"logs agree after {index} and not at it");
            }
        }
    }
}
