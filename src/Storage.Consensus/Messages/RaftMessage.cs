namespace Storage.Consensus;

/// <summary>Kinds of message. Values stand on the wire.</summary>
public enum RaftMessageKind : byte
{
    /// <summary>Would you vote for me in <see cref="RaftMessage.Term"/>? Changes nobody's term.</summary>
    PreVote = 1,

    /// <summary>Answer to <see cref="PreVote"/>.</summary>
    PreVoteResponse = 2,

    /// <summary>Vote for me.</summary>
    Vote = 3,

    /// <summary>Answer to <see cref="Vote"/>; leaves only once the vote is durable.</summary>
    VoteResponse = 4,

    /// <summary>Entries after (<see cref="RaftMessage.Index"/>, <see cref="RaftMessage.LogTerm"/>).</summary>
    Append = 5,

    /// <summary>Answer to <see cref="Append"/> and <see cref="InstallSnapshot"/>: durable up to <see cref="RaftMessage.Index"/>, or rejected.</summary>
    AppendResponse = 6,

    /// <summary>The leader is alive; <see cref="RaftMessage.Context"/> confirms reads.</summary>
    Heartbeat = 7,

    /// <summary>Answer to <see cref="Heartbeat"/>, with its context.</summary>
    HeartbeatResponse = 8,

    /// <summary>A snapshot for a follower whose next entry the leader no longer has.</summary>
    InstallSnapshot = 9,

    /// <summary>Leadership is handed over: campaign now.</summary>
    TimeoutNow = 10,
}

/// <summary>One message between members. Immutable; which fields count depends on <see cref="Kind"/>.</summary>
public sealed class RaftMessage
{
    /// <summary>What it is.</summary>
    public required RaftMessageKind Kind { get; init; }

    /// <summary>The sender.</summary>
    public required NodeId From { get; init; }

    /// <summary>The receiver.</summary>
    public required NodeId To { get; init; }

    /// <summary>The sender's term; in a pre-vote and a granted answer to it, the term that is asked for.</summary>
    public required ulong Term { get; init; }

    /// <summary>Votes: the candidate's last index. Append: index before the entries. Response: last durable index, or the index rejected.</summary>
    public ulong Index { get; init; }

    /// <summary>Votes: the candidate's last term. Append: the term at <see cref="Index"/>. Rejection: the term at <see cref="RejectHint"/>.</summary>
    public ulong LogTerm { get; init; }

    /// <summary>Append and heartbeat: the commit index the receiver may take over.</summary>
    public ulong Commit { get; init; }

    /// <summary>A rejection: where the leader should try next.</summary>
    public ulong RejectHint { get; init; }

    /// <summary>Heartbeats and their answers: the newest round of reads to confirm.</summary>
    public ulong Context { get; init; }

    /// <summary>Responses: refused.</summary>
    public bool Reject { get; init; }

    /// <summary>Vote: the leader itself asked for this election, so its lease does not stand against it.</summary>
    public bool Transfer { get; init; }

    /// <summary>Append: the entries, from <see cref="Index"/> + 1 without gaps.</summary>
    public IReadOnlyList<RaftEntry> Entries { get; init; } = [];

    /// <summary>Install snapshot: the snapshot.</summary>
    public RaftSnapshot? Snapshot { get; init; }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Kind} {From}->{To} term={Term} index={Index}/{LogTerm} commit={Commit} entries={Entries.Count}{(Reject ? $" reject hint={RejectHint}" : "")}";
}
