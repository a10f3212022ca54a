namespace Storage.Consensus;

/// <summary>What an entry carries.</summary>
public enum EntryKind : byte
{
    /// <summary>A command of the state machine.</summary>
    Command = 1,

    /// <summary>Nothing: a new leader's first entry, which commits those before it.</summary>
    Empty = 2,

    /// <summary>An encoded <see cref="RaftConfiguration"/>, in force from the moment it is appended.</summary>
    Configuration = 3,
}

/// <summary>One entry of the replicated log.</summary>
/// <param name="Index">Position, from 1, without gaps.</param>
/// <param name="Term">The term of the leader that appended it; never decreases along the log.</param>
/// <param name="Kind">What it carries.</param>
/// <param name="Data">The bytes; never changed once proposed.</param>
public readonly record struct RaftEntry(ulong Index, ulong Term, EntryKind Kind, ReadOnlyMemory<byte> Data)
{
    // What an entry takes on the wire and in a record beside its data; used to count bytes against limits.
    internal const int OverheadBytes = 13;

    internal long SizeBytes => Data.Length + OverheadBytes;
}

/// <summary>A place in the log: the term tells which of the entries that ever stood at the index is meant.</summary>
/// <param name="Index">Position in the log; 0 is before the first entry.</param>
/// <param name="Term">Term of the entry there.</param>
public readonly record struct LogPosition(ulong Index, ulong Term);

/// <summary>What a node must find again after a crash.</summary>
/// <param name="Term">The newest term seen; never decreases.</param>
/// <param name="Vote">Who got this node's vote in <paramref name="Term"/>, or none.</param>
/// <param name="Commit">An index known committed; may be behind after a crash, never ahead.</param>
public readonly record struct HardState(ulong Term, NodeId Vote, ulong Commit);
