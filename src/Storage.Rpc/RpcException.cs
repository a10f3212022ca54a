namespace Storage.Rpc;

/// <summary>A call failed, or (thrown by a handler) shall fail, with a status.</summary>
public sealed class RpcException : Exception
{
    /// <summary>A failure nobody classified.</summary>
    public RpcException() : this(new RpcStatus(StatusCode.Unknown, ""))
    {
    }

    /// <summary>A failure nobody classified.</summary>
    /// <param name="message">One line for people.</param>
    public RpcException(string message) : this(new RpcStatus(StatusCode.Unknown, message))
    {
    }

    /// <summary>A failure nobody classified, with its cause.</summary>
    /// <param name="message">One line for people.</param>
    /// <param name="inner">The cause, kept on this side of the wire.</param>
    public RpcException(string message, Exception? inner) : this(new RpcStatus(StatusCode.Unknown, message), inner: inner)
    {
    }

    /// <summary>A failure with a code.</summary>
    /// <param name="code">Any but <see cref="StatusCode.Ok"/>.</param>
    /// <param name="message">One line for people.</param>
    /// <param name="inner">The cause, kept on this side of the wire.</param>
    public RpcException(StatusCode code, string message, Exception? inner = null) : this(new RpcStatus(code, message), inner: inner)
    {
    }

    /// <summary>A failure with status and trailers.</summary>
    /// <param name="status">Its code is not <see cref="StatusCode.Ok"/>.</param>
    /// <param name="trailers">Metadata sent with the status; null means none.</param>
    /// <param name="inner">The cause, kept on this side of the wire.</param>
    public RpcException(RpcStatus status, RpcMetadata? trailers = null, Exception? inner = null) : base(status.ToString(), inner)
    {
        if (status.Code == StatusCode.Ok)
        {
            throw new ArgumentException("A failure cannot have the status Ok.", nameof(status));
        }

        Status = status;
        Trailers = trailers ?? new RpcMetadata();
    }

    /// <summary>Code and message.</summary>
    public RpcStatus Status { get; }

    /// <summary>The code.</summary>
    public StatusCode Code => Status.Code;

    /// <summary>Metadata that came, or shall go, with the status.</summary>
    public RpcMetadata Trailers { get; }
}
