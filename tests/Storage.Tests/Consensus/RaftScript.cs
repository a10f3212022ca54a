using System.Globalization;
using System.Text;
using Storage.Consensus;

namespace Storage.Tests.Consensus;

/// <summary>Carries out scripts of Raft nodes, command by command, and tells what each did. Messages wait until they are delivered; disks are
/// perfect; election timeouts have no jitter.</summary>
internal sealed class RaftScript
{
    private static readonly RaftConfiguration s_nobody = RaftConfiguration.Empty;
    private readonly SortedList<ulong, RaftNode> _nodes = [];
    private readonly Dictionary<ulong, RaftNode> _dead = [];
    private readonly Dictionary<ulong, (HardState State, RaftSnapshot Snapshot, List<RaftEntry> Entries)> _disks = [];
    private readonly List<RaftMessage> _network = [];
    private readonly HashSet<(ulong From, ulong To)> _cut = [];
    private readonly StringBuilder _output = new();
    private int _mostBytes = 1 << 20;

    /// <summary>Carries out one command.</summary>
    /// <param name="line">Words, the first of them the verb.</param>
    /// <returns>What happened, lines with their ends.</returns>
    public string Execute(string line)
    {
        _output.Clear();
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Dictionary<string, string> named = words.Where(word => word.Contains('=', StringComparison.Ordinal)).ToDictionary(word => word.Split('=')[0], word => word.Split('=')[1]);
        string[] plain = [.. words.Skip(1).Where(word => !word.Contains('=', StringComparison.Ordinal))];
        switch (words[0])
        {
            case "nodes":
                _mostBytes = (int)Number(named.GetValueOrDefault("append_bytes", "1048576"));
                var members = new RaftConfiguration(Enumerable.Range(1, (int)Number(plain[0])).Select(id => new NodeId((ulong)id)), Ids(named, "learners"));
                foreach (NodeId id in members.Voters.Concat(members.Learners))
                {
                    Create(id.Value, RaftSnapshot.Bootstrap(members));
                }

                break;
            case "newcomer":
                Create(Number(plain[0]), RaftSnapshot.Bootstrap(s_nobody));
                break;
            case "campaign":
                Node(plain[0]).Campaign();
                break;
            case "tick":
                Tick(plain);
                break;
            case "propose":
                Say(Node(plain[0]).Propose(Encoding.ASCII.GetBytes(plain[1]), out LogPosition at), at);
                break;
            case "configure":
                Say(Node(plain[0]).ProposeConfiguration(new RaftConfiguration(Ids(named, "voters"), Ids(named, "learners")), out LogPosition changed), changed);
                break;
            case "transfer":
                Say(Node(plain[0]).TransferLeadership(new NodeId(Number(plain[1]))), default);
                break;
            case "read":
                Say(Node(plain[0]).ReadIndex(Number(plain[1])), default);
                break;
            case "compact":
                RaftNode compacted = Node(plain[0]);
                RaftSnapshot made = compacted.Compact(compacted.AppliedIndex, Encoding.ASCII.GetBytes("state"), Number(named.GetValueOrDefault("retain", "0")));
                (HardState state, _, List<RaftEntry> entries) = _disks[compacted.Self.Value];
                entries.RemoveAll(entry => entry.Index <= made.Index);
                _disks[compacted.Self.Value] = (state, made, entries);
                Line($"{compacted.Self}: snapshot {made.Index}/{made.Term}, {compacted.LogLength} entries in memory");
                break;
            case "unreachable":
                Node(plain[0]).ReportUnreachable(new NodeId(Number(plain[1])));
                break;
            case "ready":
                Carry(Number(plain[0]));
                break;
            case "deliver":
                Deliver(plain, named, keep: false);
                break;
            case "duplicate":
                Deliver(plain, named, keep: true);
                break;
            case "drop":
                Drop(plain, named);
                break;
            case "stabilize":
                Stabilize(isQuiet: plain.Contains("quietly"));
                break;
            case "step":
                Step(plain[0], named);
                break;
            case "cut":
                Cut(plain, isCut: true);
                break;
            case "heal":
                Cut(plain, isCut: false);
                break;
            case "crash":
                _dead[Number(plain[0])] = Node(plain[0]);
                _nodes.Remove(Number(plain[0]));
                break;
            case "restart":
                ulong again = Number(plain[0]);
                _nodes[again] = new RaftNode(Options(again), new RaftStartState(_disks[again].State, _disks[again].Snapshot, [.. _disks[again].Entries]), new NoJitter());
                Status(again);
                break;
            case "status":
                foreach (ulong id in plain.Length > 0 ? plain.Select(Number) : _nodes.Keys)
                {
                    Status(id);
                }

                break;
            case "log":
                RaftLog log = Node(plain[0]).Log;
                Line($"{plain[0]}: after {log.BaseIndex}: {string.Join(' ', log.Slice(log.BaseIndex + 1, log.LastIndex, long.MaxValue).Select(Words))}");
                break;
            case "network":
                _network.ForEach(message => Line(Words(message)));
                break;
            default:
                throw new FormatException($"no command '{words[0]}'");
        }

        foreach (RaftNode node in _nodes.Values)
        {
            node.CheckInvariants();
        }

        return _output.ToString();
    }

    private void Create(ulong id, RaftSnapshot snapshot)
    {
        _disks[id] = (default, snapshot, []);
        _nodes[id] = new RaftNode(Options(id), new RaftStartState(default, snapshot, []), new NoJitter());
    }

    private RaftOptions Options(ulong id) => new() { Self = new NodeId(id), ElectionTicks = 5, SnapshotRetryTicks = 20, MaxAppendBytes = _mostBytes };

    private RaftNode Node(string id) => _nodes[Number(id)];

    private void Tick(string[] plain)
    {
        int times = plain.Length > 1 ? (int)Number(plain[1]) : 1;
        for (int i = 0; i < times; i++)
        {
            foreach (RaftNode node in plain[0] == "all" ? _nodes.Values : (IEnumerable<RaftNode>)[Node(plain[0])])
            {
                node.Tick();
            }
        }
    }

    private void Say(ProposeResult result, LogPosition position) =>
        Line(result == ProposeResult.Accepted && position.Index > 0 ? $"accepted at {position.Index}/{position.Term}" : result.ToString());

    // What the host does with one Ready.
    private bool Carry(ulong id, bool isQuiet = false)
    {
        RaftNode node = _nodes[id];
        if (!node.HasReady)
        {
            return false;
        }

        Ready ready = node.TakeReady();
        var parts = new List<string>();
        (HardState before, RaftSnapshot snapshot, List<RaftEntry> entries) = _disks[id];
        if (ready.Role != _roles.GetValueOrDefault(id) || ready.Leader != _leaders.GetValueOrDefault(id))
        {
            parts.Add($"{ready.Role}{(ready.Leader.IsNone ? "" : $" under {ready.Leader}")}");
            _roles[id] = ready.Role;
            _leaders[id] = ready.Leader;
        }

        if (ready.MustPersist)
        {
            parts.Add($"writes{(before.Term == ready.HardState.Term && before.Vote == ready.HardState.Vote ? "" : $" term {ready.HardState.Term} vote {ready.HardState.Vote}")}"
                + $"{(ready.Snapshot is { } installed ? $" snapshot {installed.Index}/{installed.Term}" : "")}{(ready.Entries.Count > 0 ? " " + string.Join(' ', ready.Entries.Select(Words)) : "")}");
            if (ready.Snapshot is not null)
            {
                snapshot = ready.Snapshot;
                entries.Clear();
            }

            if (ready.Entries.Count > 0)
            {
                entries.RemoveAll(entry => entry.Index >= ready.Entries[0].Index);
                entries.AddRange(ready.Entries);
            }

            before = ready.HardState;
        }

        _disks[id] = (before, snapshot, entries);
        if (ready.CommittedEntries.Count > 0)
        {
            parts.Add("applies " + string.Join(' ', ready.CommittedEntries.Select(Words)));
        }

        parts.AddRange(ready.ReadStates.Select(read => $"read {read.Token} at {read.Index}"));
        parts.AddRange(ready.FailedReads.Select(read => $"read {read} fails"));
        _network.AddRange(ready.MessagesBeforePersist);
        _network.AddRange(ready.MessagesAfterPersist);
        node.Advance(ready);
        if (parts.Count > 0 && !isQuiet)
        {
            Line($"{id}: {string.Join("; ", parts)}");
        }

        return true;
    }

    private readonly Dictionary<ulong, RaftRole> _roles = [];
    private readonly Dictionary<ulong, NodeId> _leaders = [];

    private void Stabilize(bool isQuiet)
    {
        for (bool busy = true; busy;)
        {
            busy = false;
            foreach (ulong id in _nodes.Keys.ToArray())
            {
                while (Carry(id, isQuiet))
                {
                    busy = true;
                }
            }

            RaftMessage[] messages = [.. _network];
            _network.Clear();
            foreach (RaftMessage message in messages)
            {
                busy |= Arrive(message, isQuiet);
            }
        }
    }

    private bool Arrive(RaftMessage message, bool isQuiet)
    {
        if (_cut.Contains((message.From.Value, message.To.Value)) || !_nodes.TryGetValue(message.To.Value, out RaftNode? node))
        {
            return false;
        }

        if (!isQuiet)
        {
            Line(Words(message));
        }

        node.Step(message);
        return true;
    }

    private void Deliver(string[] plain, Dictionary<string, string> named, bool keep)
    {
        foreach (RaftMessage message in _network.Where(message => Fits(message, plain, named)).ToArray())
        {
            if (!keep)
            {
                _network.Remove(message);
            }

            Arrive(message, isQuiet: false);
        }
    }

    private void Drop(string[] plain, Dictionary<string, string> named)
    {
        int dropped = _network.RemoveAll(message => Fits(message, plain, named));
        Line($"{dropped} lost");
    }

    private static bool Fits(RaftMessage message, string[] plain, Dictionary<string, string> named) =>
        (plain.Length == 0 || plain[0] == $"{message.From}->{message.To}") && (!named.TryGetValue("kind", out string? kind) || kind == message.Kind.ToString());

    private void Step(string kind, Dictionary<string, string> named)
    {
        ulong index = Number(named.GetValueOrDefault("index", "0"));
        string[] entries = named.GetValueOrDefault("entries", "").Split(',', StringSplitOptions.RemoveEmptyEntries);
        var message = new RaftMessage
        {
            Kind = Enum.Parse<RaftMessageKind>(kind),
            From = new NodeId(Number(named["from"])),
            To = new NodeId(Number(named["to"])),
            Term = Number(named["term"]),
            Index = index,
            LogTerm = Number(named.GetValueOrDefault("logterm", "0")),
            Commit = Number(named.GetValueOrDefault("commit", "0")),
            RejectHint = Number(named.GetValueOrDefault("hint", "0")),
            Context = Number(named.GetValueOrDefault("context", "0")),
            Reject = named.GetValueOrDefault("reject") == "yes",
            Transfer = named.GetValueOrDefault("transfer") == "yes",
            Entries = [.. entries.Select((text, i) => new RaftEntry(
                index + (ulong)i + 1, Number(text.Split(':')[0]), EntryKind.Command, Encoding.ASCII.GetBytes(text.Split(':')[1])))],
        };
        _nodes[message.To.Value].Step(message);
        Carry(message.To.Value);
    }

    private void Cut(string[] plain, bool isCut)
    {
        if (plain.Length == 0)
        {
            _cut.Clear();
            return;
        }

        foreach (string word in plain)
        {
            (ulong From, ulong To)[] ways = word.Contains("->", StringComparison.Ordinal)
                ? [(Number(word.Split("->")[0]), Number(word.Split("->")[1]))]
                : [.. _disks.Keys.SelectMany(other => new[] { (Number(word), other), (other, Number(word)) })];
            foreach ((ulong, ulong) way in ways)
            {
                if (isCut)
                {
                    _cut.Add(way);
                }
                else
                {
                    _cut.Remove(way);
                }
            }
        }
    }

    private void Status(ulong id)
    {
        RaftNode node = _nodes[id];
        Line($"{id}: {node.Role} of term {node.Term}{(node.Leader.IsNone ? "" : $" under {node.Leader}")}, log ({node.Log.BaseIndex}, {node.LastIndex}], committed {node.CommitIndex}, applied {node.AppliedIndex}, {node.Configuration}");
    }

    private void Line(string text) => _output.Append(text).Append('\n');

    private static ulong Number(string text) => ulong.Parse(text, CultureInfo.InvariantCulture);

    private static IEnumerable<NodeId> Ids(Dictionary<string, string> named, string key) =>
        named.GetValueOrDefault(key, "").Split(',', StringSplitOptions.RemoveEmptyEntries).Select(text => new NodeId(Number(text)));

    private static string Words(RaftEntry entry) => entry.Kind switch
    {
        EntryKind.Command => $"{entry.Index}/{entry.Term}:{Encoding.ASCII.GetString(entry.Data.Span)}",
        EntryKind.Configuration => $"{entry.Index}/{entry.Term}:({RaftConfiguration.Decode(entry.Data.Span)})",
        _ => $"{entry.Index}/{entry.Term}",
    };

    private static string Words(RaftMessage message)
    {
        var text = new StringBuilder($"   {message.From}->{message.To} {message.Kind} term {message.Term}");
        string rest = message.Kind switch
        {
            RaftMessageKind.PreVote or RaftMessageKind.Vote => $" log {message.Index}/{message.LogTerm}{(message.Transfer ? " transfer" : "")}",
            RaftMessageKind.Append => $" after {message.Index}/{message.LogTerm} commit {message.Commit}{string.Concat(message.Entries.Select(entry => " " + Words(entry)))}",
            RaftMessageKind.AppendResponse when message.Reject => $" rejects {message.Index}, try {message.RejectHint}/{message.LogTerm}",
            RaftMessageKind.AppendResponse => $" has {message.Index}",
            RaftMessageKind.Heartbeat => $" commit {message.Commit}{(message.Context > 0 ? $" round {message.Context}" : "")}",
            RaftMessageKind.HeartbeatResponse => message.Context > 0 ? $" round {message.Context}" : "",
            RaftMessageKind.InstallSnapshot => $" {message.Index}/{message.LogTerm} {message.Snapshot!.Configuration}",
            RaftMessageKind.TimeoutNow => "",
            _ => message.Reject ? " no" : " yes",
        };
        return text.Append(rest).ToString();
    }

    /// <summary>Draws nothing but zeroes: an election timeout is what the options say.</summary>
    private sealed class NoJitter : Random
    {
        public override int Next(int maxValue) => 0;
    }
}
