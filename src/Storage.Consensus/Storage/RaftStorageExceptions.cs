namespace Storage.Consensus;

/// <summary>
/// Durable Raft state is damaged, truncated or of an unknown version. Nothing was changed. The node must not vote or
/// lead from it; it is to be replaced by a new member under a new id.
/// </summary>
public sealed class RaftStorageCorruptException : Exception
{
    /// <summary>Creates the exception.</summary>
    public RaftStorageCorruptException() : this("Raft storage is corrupt")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found where.</param>
    public RaftStorageCorruptException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was found where.</param>
    /// <param name="inner">The cause.</param>
    public RaftStorageCorruptException(string message, Exception inner) : base(message, inner)
    {
    }

    /// <summary>Creates the exception for one place.</summary>
    /// <param name="file">The file's path.</param>
    /// <param name="offset">Offset in bytes of the damage.</param>
    /// <param name="reason">What is wrong.</param>
    /// <param name="inner">The cause, if any.</param>
    public RaftStorageCorruptException(string file, long offset, string reason, Exception? inner = null)
        : base($"{file}: offset {offset}: {reason}. Refusing to start; the file is unchanged.", inner)
    {
        File = file;
        Offset = offset;
    }

    /// <summary>The damaged file's path.</summary>
    public string? File { get; }

    /// <summary>Offset in bytes of the damage.</summary>
    public long Offset { get; }
}

/// <summary>A write or sync failed. What the disk holds is unknown: the process must end and start again from disk.</summary>
public sealed class RaftStorageFailedException : Exception
{
    /// <summary>Creates the exception.</summary>
    public RaftStorageFailedException() : this("Raft storage failed")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What failed, and on which file.</param>
    public RaftStorageFailedException(string message) : base(message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What failed, and on which file.</param>
    /// <param name="inner">The cause.</param>
    public RaftStorageFailedException(string message, Exception inner) : base(message, inner)
    {
    }
}
