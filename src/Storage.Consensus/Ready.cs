namespace Storage.Consensus;

/// <summary>A confirmed read: once the state machine has applied <paramref name="Index"/>, its state answers the read.</summary>
/// <param name="Index">The commit index when the read was asked for.</param>
/// <param name="Token">The token given to <see cref="RaftNode.ReadIndex"/>.</param>
public readonly record struct ReadState(ulong Index, ulong Token);

/// <summary>
/// What the host has to carry out, in this order:
/// <list type="number">
/// <item>send <see cref="MessagesBeforePersist"/> (may also go out beside step 2);</item>
/// <item>make <see cref="Snapshot"/>, <see cref="Entries"/> and <see cref="HardState"/> durable (<see cref="IRaftStorage.Persist"/>);</item>
/// <item>send <see cref="MessagesAfterPersist"/>: they are promises about what step 2 made durable;</item>
/// <item>restore the state machine from <see cref="Snapshot"/>, then apply <see cref="CommittedEntries"/>;</item>
/// <item>answer <see cref="ReadStates"/> whose index is applied, fail <see cref="FailedReads"/>;</item>
/// <item>call <see cref="RaftNode.Advance"/>.</item>
/// </list>
/// Messages and ticks may be given to the node between the steps.
/// </summary>
public sealed class Ready
{
    /// <summary>Term, vote and commit.</summary>
    public required HardState HardState { get; init; }

    /// <summary>Whether step 2 has anything that must be on disk before step 3; false when only the commit index moved.</summary>
    public required bool MustPersist { get; init; }

    /// <summary>A snapshot from the leader that replaces the whole log and state; null as a rule.</summary>
    public required RaftSnapshot? Snapshot { get; init; }

    /// <summary>Entries to append; they replace whatever the disk has at these and higher indexes.</summary>
    public required IReadOnlyList<RaftEntry> Entries { get; init; }

    /// <summary>Messages that promise nothing about this node's disk.</summary>
    public required IReadOnlyList<RaftMessage> MessagesBeforePersist { get; init; }

    /// <summary>Messages that must not leave before step 2 is done.</summary>
    public required IReadOnlyList<RaftMessage> MessagesAfterPersist { get; init; }

    /// <summary>Entries to apply, in order, each exactly once per start; all kinds, so that the applied index has no gaps.</summary>
    public required IReadOnlyList<RaftEntry> CommittedEntries { get; init; }

    /// <summary>Reads confirmed by a majority.</summary>
    public required IReadOnlyList<ReadState> ReadStates { get; init; }

    /// <summary>Tokens of reads that cannot be confirmed because leadership was lost; the client asks the new leader.</summary>
    public required IReadOnlyList<ulong> FailedReads { get; init; }

    /// <summary>The node's role when this was made.</summary>
    public required RaftRole Role { get; init; }

    /// <summary>The leader as known when this was made, or none.</summary>
    public required NodeId Leader { get; init; }
}
