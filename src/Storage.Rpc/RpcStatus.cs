namespace Storage.Rpc;

/// <summary>The codes of the gRPC protocol; numbers are the wire's.</summary>
public enum StatusCode
{
    /// <summary>Success.</summary>
    Ok = 0,

    /// <summary>The caller cancelled.</summary>
    Cancelled = 1,

    /// <summary>A failure nobody classified, such as an exception in a handler.</summary>
    Unknown = 2,

    /// <summary>The request is wrong whatever the system's state.</summary>
    InvalidArgument = 3,

    /// <summary>Time ran out; the operation may have been carried out or not.</summary>
    DeadlineExceeded = 4,

    /// <summary>The thing named does not exist.</summary>
    NotFound = 5,

    /// <summary>The thing to create exists.</summary>
    AlreadyExists = 6,

    /// <summary>The caller is known but may not do this.</summary>
    PermissionDenied = 7,

    /// <summary>A limit was met, such as the size of a message.</summary>
    ResourceExhausted = 8,

    /// <summary>The system is not in the state that the operation needs; do not retry until it was changed.</summary>
    FailedPrecondition = 9,

    /// <summary>A concurrent change won; read again, then retry.</summary>
    Aborted = 10,

    /// <summary>Past the valid range.</summary>
    OutOfRange = 11,

    /// <summary>No such method, or an encoding that is not supported.</summary>
    Unimplemented = 12,

    /// <summary>A broken protocol or invariant.</summary>
    Internal = 13,

    /// <summary>Not reachable now (no connection, no quorum); retrying is right.</summary>
    Unavailable = 14,

    /// <summary>Data is lost for good.</summary>
    DataLoss = 15,

    /// <summary>The caller is not known.</summary>
    Unauthenticated = 16,
}

/// <summary>How a call ended.</summary>
/// <param name="Code">The code.</param>
/// <param name="Message">One line for people; empty on success. Any Unicode text.</param>
public readonly record struct RpcStatus(StatusCode Code, string Message)
{
    /// <summary>Success.</summary>
    public static RpcStatus Ok => new(StatusCode.Ok, "");

    /// <inheritdoc/>
    public override string ToString() => string.IsNullOrEmpty(Message) ? Code.ToString() : $"{Code}: {Message}";
}
