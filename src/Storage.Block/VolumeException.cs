namespace Storage.Block;

/// <summary>What is wrong with a request about a volume.</summary>
public enum VolumeProblem
{
    /// <summary>The name has not the form of one, or the size is not allowed.</summary>
    Invalid,

    /// <summary>No such pool, volume or snapshot.</summary>
    NotFound,

    /// <summary>The name is taken.</summary>
    Exists,

    /// <summary>Somebody else changed the volume meanwhile; look again and retry.</summary>
    Conflict,

    /// <summary>The volume or snapshot is being removed.</summary>
    Removing,

    /// <summary>The volume has snapshots, which go first.</summary>
    HasSnapshots,

    /// <summary>Somebody else holds the exclusive lock.</summary>
    InUse,
}

/// <summary>A request about a volume cannot be met; the message says why in terms of what was asked.</summary>
public sealed class VolumeException : IOException
{
    /// <summary>Creates the exception.</summary>
    public VolumeException() : this(VolumeProblem.Invalid, "invalid request")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is wrong.</param>
    public VolumeException(string message) : this(VolumeProblem.Invalid, message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What is wrong.</param>
    /// <param name="inner">The cause.</param>
    public VolumeException(string message, Exception inner) : base(message, inner) => Problem = VolumeProblem.Invalid;

    /// <summary>Creates the exception.</summary>
    /// <param name="problem">What kind of problem.</param>
    /// <param name="message">What is wrong.</param>
    public VolumeException(VolumeProblem problem, string message) : base(message) => Problem = problem;

    /// <summary>What kind of problem.</summary>
    public VolumeProblem Problem { get; }
}
