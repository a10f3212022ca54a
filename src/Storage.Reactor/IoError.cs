using System.Globalization;

namespace Storage.Reactor;

/// <summary>An error number of the kernel, or none; prints its name.</summary>
/// <param name="Errno">The positive error number; 0 is no error.</param>
public readonly record struct IoError(int Errno)
{
    /// <summary>EPERM.</summary>
    public const int NotPermitted = 1;

    /// <summary>ENOENT.</summary>
    public const int NotFound = 2;

    /// <summary>EINTR.</summary>
    public const int Interrupted = 4;

    /// <summary>EIO.</summary>
    public const int InputOutput = 5;

    /// <summary>EAGAIN.</summary>
    public const int TryAgain = 11;

    /// <summary>ENOMEM.</summary>
    public const int OutOfMemory = 12;

    /// <summary>EBUSY.</summary>
    public const int Busy = 16;

    /// <summary>EINVAL.</summary>
    public const int InvalidArgument = 22;

    /// <summary>EMFILE.</summary>
    public const int TooManyFiles = 24;

    /// <summary>ENOSPC.</summary>
    public const int NoSpace = 28;

    /// <summary>EPIPE.</summary>
    public const int BrokenPipe = 32;

    /// <summary>ENOSYS.</summary>
    public const int NotImplemented = 38;

    /// <summary>ETIME: io_uring's own timeout.</summary>
    public const int TimerExpired = 62;

    /// <summary>EPROTO: the peer broke the protocol.</summary>
    public const int Protocol = 71;

    /// <summary>EADDRINUSE.</summary>
    public const int AddressInUse = 98;

    /// <summary>ECONNABORTED.</summary>
    public const int ConnectionAborted = 103;

    /// <summary>ECONNRESET: the peer's process is gone or has given up the connection.</summary>
    public const int ConnectionReset = 104;

    /// <summary>ETIMEDOUT: the peer's machine or the network between does not answer.</summary>
    public const int TimedOut = 110;

    /// <summary>ECONNREFUSED: the machine answers, no process listens.</summary>
    public const int ConnectionRefused = 111;

    /// <summary>EINPROGRESS.</summary>
    public const int InProgress = 115;

    /// <summary>EHOSTUNREACH.</summary>
    public const int HostUnreachable = 113;

    /// <summary>ECANCELED: closed or cancelled by this side.</summary>
    public const int Canceled = 125;

    /// <summary>No error: the peer closed in order.</summary>
    public static IoError None => default;

    /// <summary>True if there is no error.</summary>
    public bool IsNone => Errno == 0;

    /// <summary>The symbolic name and number.</summary>
    /// <returns>For example <c>ECONNREFUSED (111)</c>.</returns>
    public override string ToString() => Errno == 0 ? "none" : string.Create(CultureInfo.InvariantCulture, $"{Name(Errno)} ({Errno})");

    /// <summary>The symbolic name of an error number.</summary>
    /// <param name="errno">The positive number.</param>
    /// <returns>For example <c>EIO</c>; <c>errno</c> for one that is not in the table.</returns>
    public static string Name(int errno) => errno switch
    {
        1 => "EPERM", 2 => "ENOENT", 4 => "EINTR", 5 => "EIO", 6 => "ENXIO", 9 => "EBADF", 11 => "EAGAIN", 12 => "ENOMEM",
        13 => "EACCES", 14 => "EFAULT", 16 => "EBUSY", 17 => "EEXIST", 19 => "ENODEV", 20 => "ENOTDIR", 21 => "EISDIR",
        22 => "EINVAL", 23 => "ENFILE", 24 => "EMFILE", 27 => "EFBIG", 28 => "ENOSPC", 30 => "EROFS", 32 => "EPIPE",
        38 => "ENOSYS", 62 => "ETIME", 71 => "EPROTO", 74 => "EBADMSG", 84 => "EILSEQ", 90 => "EMSGSIZE", 95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT", 98 => "EADDRINUSE", 99 => "EADDRNOTAVAIL", 100 => "ENETDOWN", 101 => "ENETUNREACH",
        103 => "ECONNABORTED", 104 => "ECONNRESET", 105 => "ENOBUFS", 107 => "ENOTCONN", 110 => "ETIMEDOUT",
        111 => "ECONNREFUSED", 112 => "EHOSTDOWN", 113 => "EHOSTUNREACH", 114 => "EALREADY", 121 => "EREMOTEIO",
        122 => "EDQUOT", 125 => "ECANCELED", _ => "errno",
    };
}

/// <summary>A system call failed while something was set up; errors of running operations go to their completion instead.</summary>
public sealed class IoException : IOException
{
    /// <summary>Creates the exception.</summary>
    public IoException() : this("I/O error", IoError.InputOutput)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was tried.</param>
    public IoException(string message) : this(message, IoError.InputOutput)
    {
    }

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was tried.</param>
    /// <param name="inner">The cause.</param>
    public IoException(string message, Exception inner) : base(message, inner) => Error = new IoError(IoError.InputOutput);

    /// <summary>Creates the exception.</summary>
    /// <param name="message">What was tried, and on what.</param>
    /// <param name="errno">The positive error number.</param>
    public IoException(string message, int errno) : base($"{message}: {new IoError(errno)}") => Error = new IoError(errno);

    /// <summary>The kernel's error.</summary>
    public IoError Error { get; }
}
