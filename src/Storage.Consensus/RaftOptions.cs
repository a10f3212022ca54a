namespace Storage.Consensus;

/// <summary>Settings of one node. Times are in ticks; the host decides how long a tick is.</summary>
public sealed record RaftOptions
{
    /// <summary>This node.</summary>
    public required NodeId Self { get; init; }

    /// <summary>Silence after which a follower campaigns is drawn from [this, 2 × this); also the leader's lease.</summary>
    public int ElectionTicks { get; init; } = 10;

    /// <summary>Ticks between heartbeats; well below <see cref="ElectionTicks"/>.</summary>
    public int HeartbeatTicks { get; init; } = 1;

    /// <summary>Bytes of entries in one append; a larger entry goes alone.</summary>
    public long MaxAppendBytes { get; init; } = 1 << 20;

    /// <summary>Appends under way to one follower.</summary>
    public int MaxInflightAppends { get; init; } = 64;

    /// <summary>Bytes of one proposal.</summary>
    public int MaxProposalBytes { get; init; } = 16 << 20;

    /// <summary>Bytes proposed and not yet committed, beyond which proposals are answered <see cref="ProposeResult.Busy"/>.</summary>
    public long MaxUncommittedBytes { get; init; } = 64 << 20;

    /// <summary>Bytes of entries to apply in one <see cref="Ready"/>.</summary>
    public long MaxApplyBytes { get; init; } = 16 << 20;

    /// <summary>Ticks after which a snapshot without an answer is sent again.</summary>
    public int SnapshotRetryTicks { get; init; } = 100;

    internal void Validate()
    {
        if (Self.IsNone)
        {
            throw new ArgumentException("a node needs an id other than 0");
        }

        if (HeartbeatTicks < 1 || ElectionTicks <= HeartbeatTicks)
        {
            throw new ArgumentException($"election ticks ({ElectionTicks}) must exceed heartbeat ticks ({HeartbeatTicks}), which must be at least 1");
        }

        if (MaxAppendBytes < 1 || MaxInflightAppends < 1 || MaxProposalBytes < 1 || MaxUncommittedBytes < 1 || MaxApplyBytes < 1 || SnapshotRetryTicks < 1)
        {
            throw new ArgumentException("limits of a Raft node must be positive");
        }
    }
}

/// <summary>What a node is at the moment.</summary>
public enum RaftRole
{
    /// <summary>Follows a leader or waits for one.</summary>
    Follower,

    /// <summary>Asks whether an election could be won, in the old term.</summary>
    PreCandidate,

    /// <summary>Asks for votes in a new term.</summary>
    Candidate,

    /// <summary>Leads its term.</summary>
    Leader,
}

/// <summary>What became of a proposal, a read or a request to the leader.</summary>
public enum ProposeResult
{
    /// <summary>
    /// Taken. A proposal is decided when its position is among the committed entries with the same term, and lost for
    /// certain when another term is committed at its index.
    /// </summary>
    Accepted,

    /// <summary>Ask <see cref="RaftNode.Leader"/> (none: wait for an election).</summary>
    NotLeader,

    /// <summary>Leadership is being handed over; try again soon, or at the new leader.</summary>
    Transferring,

    /// <summary>Too much is uncommitted; try again later.</summary>
    Busy,

    /// <summary>Larger than <see cref="RaftOptions.MaxProposalBytes"/>.</summary>
    TooLarge,

    /// <summary>A change of members before this one, or the leader's first entry, is not committed yet; try again soon.</summary>
    ConfigurationPending,

    /// <summary>The change would move more than one voter or leave none, or the target is no voter.</summary>
    InvalidConfiguration,
}
