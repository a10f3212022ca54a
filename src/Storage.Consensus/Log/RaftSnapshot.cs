namespace Storage.Consensus;

/// <summary>The state machine's state after one entry, in place of the log up to it. Immutable.</summary>
/// <param name="Index">The last entry the state contains; 0 for a group's birth.</param>
/// <param name="Term">That entry's term.</param>
/// <param name="Configuration">The members as of <paramref name="Index"/>.</param>
/// <param name="Data">The state, in the state machine's own format.</param>
public sealed record RaftSnapshot(ulong Index, ulong Term, RaftConfiguration Configuration, ReadOnlyMemory<byte> Data)
{
    /// <summary>
    /// The snapshot a group is born with. Each first member saves the same one before its first start; a node that is
    /// to be added later starts from <see cref="RaftConfiguration.Empty"/>.
    /// </summary>
    /// <param name="configuration">The first members.</param>
    /// <returns>A snapshot of nothing, at index 0.</returns>
    public static RaftSnapshot Bootstrap(RaftConfiguration configuration) => new(0, 0, configuration, default);
}
