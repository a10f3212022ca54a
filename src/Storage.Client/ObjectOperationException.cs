using Storage.Messaging;

namespace Storage.Client;

/// <summary>The cluster refused an operation.</summary>
public sealed class ObjectOperationException : IOException
{
    /// <summary>Creates the exception.</summary>
    public ObjectOperationException() : this(ResultCode.IoError, "operation failed")
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What failed.</param>
    public ObjectOperationException(string message) : this(ResultCode.IoError, message)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What failed.</param>
    /// <param name="inner">The cause.</param>
    public ObjectOperationException(string message, Exception inner) : base(message, inner) => Result = ResultCode.IoError;

    /// <summary>Creates the exception.</summary>
    /// <param name="result">The cluster's answer.</param>
    /// <param name="message">What failed, naming the object.</param>
    public ObjectOperationException(ResultCode result, string message) : base(message) => Result = result;

    /// <summary>The cluster's answer.</summary>
    public ResultCode Result { get; }
}
