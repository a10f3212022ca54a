namespace Storage.Consensus;

/// <summary>What a node starts from.</summary>
/// <param name="HardState">Term, vote and commit as last persisted.</param>
/// <param name="Snapshot">The newest snapshot; the host restores its state machine from it before the node starts.</param>
/// <param name="Entries">The entries after the snapshot, without gaps.</param>
public sealed record RaftStartState(HardState HardState, RaftSnapshot Snapshot, IReadOnlyList<RaftEntry> Entries);

/// <summary>
/// Where one node keeps its promises. Calls are synchronous and come one at a time; what they took is durable when they
/// return. When a call throws <see cref="RaftStorageFailedException"/> nothing is known about the disk any more: the
/// process must end without sending a message (a later sync may lie).
/// </summary>
public interface IRaftStorage : IDisposable
{
    /// <summary>Reads everything back. Called once, before all others.</summary>
    /// <returns>The state, or null when the storage is new and awaits <see cref="Bootstrap"/>.</returns>
    /// <exception cref="RaftStorageCorruptException">What was once durable is damaged; the node must not start from it.</exception>
    RaftStartState? Load();

    /// <summary>Gives a new storage its first snapshot (see <see cref="RaftSnapshot.Bootstrap"/>).</summary>
    /// <param name="snapshot">The snapshot.</param>
    /// <returns>The state to start from.</returns>
    RaftStartState Bootstrap(RaftSnapshot snapshot);

    /// <summary>
    /// Makes snapshot, entries and hard state of <paramref name="ready"/> durable, in this order and the latter two in one
    /// atomic step. Entries replace those at the same and higher indexes. A change of the commit index alone may stay in
    /// memory until the next call.
    /// </summary>
    /// <param name="ready">What the node handed out.</param>
    void Persist(Ready ready);

    /// <summary>Saves a snapshot made on this node and forgets what it replaces.</summary>
    /// <param name="snapshot">What <see cref="RaftNode.Compact"/> returned.</param>
    void SaveSnapshot(RaftSnapshot snapshot);
}
