using Storage.Coding;
using Storage.Reactor.Native;

namespace Storage.Reactor.Files;

/// <summary>How a file is opened.</summary>
[Flags]
public enum FileAccessFlags
{
    /// <summary>Read only, through the page cache.</summary>
    None = 0,

    /// <summary>Read and write.</summary>
    Write = 1,

    /// <summary>Create it if it does not exist (mode 0600).</summary>
    Create = 2,

    /// <summary>Bypass the page cache; offsets, lengths and memory must be aligned to the device's blocks (O_DIRECT).</summary>
    Direct = 4,

    /// <summary>Every write completes only when its data is on stable storage (O_DSYNC).</summary>
    DataSync = 8,

    /// <summary>Take the file's exclusive lock, or fail at once if another process has it (flock).</summary>
    Exclusive = 16,

    /// <summary>Cut an existing file to length 0.</summary>
    Truncate = 32,
}

/// <summary>
/// A file or block device on a loop. Opening and closing are plain, blocking calls meant for start and end of a daemon; reads,
/// writes and syncs complete on the loop.
/// </summary>
public sealed class ReactorFile : IDisposable
{
    private const int ReadWrite = 2, CreateFlag = 0x40, TruncateFlag = 0x200, DataSyncFlag = 0x1000, CloseOnExec = 0x80000;
    private const int PunchHole = 2, KeepSize = 1, ZeroRange = 16;
    private const int SeekEnd = 2, LockExclusive = 2, LockNonBlocking = 4;

    // O_DIRECT is one of the few flags whose value differs between architectures.
    private static readonly int s_direct =
        System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? 0x10000 : 0x4000;

    private readonly ReactorLoop _loop;
    private int _fd;

    private ReactorFile(ReactorLoop loop, string path, int fd)
    {
        _loop = loop;
        Path = path;
        _fd = fd;
    }

    /// <summary>The path it was opened by.</summary>
    public string Path { get; }

    /// <summary>The descriptor, for operations this class does not have.</summary>
    public int Descriptor => _fd;

    /// <summary>Size in bytes of the file or block device, as of now.</summary>
    public long Length
    {
        get
        {
            long length = Libc.Seek(_fd, 0, SeekEnd);
            return length >= 0 ? length : throw new IoException($"cannot tell the size of {Path}", Libc.LastError);
        }
    }

    /// <summary>Opens a file or block device.</summary>
    /// <param name="loop">The loop its operations complete on.</param>
    /// <param name="path">The path.</param>
    /// <param name="access">How it is opened.</param>
    /// <returns>The open file.</returns>
    /// <exception cref="IoException">It cannot be opened, or another process has it locked.</exception>
    public static ReactorFile Open(ReactorLoop loop, string path, FileAccessFlags access)
    {
        ArgumentNullException.ThrowIfNull(loop);
        ArgumentException.ThrowIfNullOrEmpty(path);
        int flags = CloseOnExec
            | (access.HasFlag(FileAccessFlags.Write) ? ReadWrite : 0)
            | (access.HasFlag(FileAccessFlags.Create) ? CreateFlag : 0)
            | (access.HasFlag(FileAccessFlags.Truncate) ? TruncateFlag : 0)
            | (access.HasFlag(FileAccessFlags.Direct) ? s_direct : 0)
            | (access.HasFlag(FileAccessFlags.DataSync) ? DataSyncFlag : 0);
        int fd = Libc.Open(path, flags, 0x180);
        if (fd < 0)
        {
            int error = Libc.LastError;
            string hint = error == IoError.InvalidArgument && access.HasFlag(FileAccessFlags.Direct)
                ? " (the file system may not support O_DIRECT)" : string.Empty;
            throw new IoException($"cannot open {path}{hint}", error);
        }

        if (access.HasFlag(FileAccessFlags.Exclusive) && Libc.Lock(fd, LockExclusive | LockNonBlocking) < 0)
        {
            int error = Libc.LastError;
            _ = Libc.Close(fd);
            throw new IoException($"cannot lock {path}; another process has it open", error);
        }

        return new ReactorFile(loop, path, fd);
    }

    /// <summary>Sets the size of a regular file at once; growing it makes a hole.</summary>
    /// <param name="length">New size in bytes.</param>
    public void SetLength(long length)
    {
        if (Libc.Truncate(_fd, length) < 0)
        {
            throw new IoException($"cannot set the size of {Path} to {length} bytes", Libc.LastError);
        }
    }

    /// <inheritdoc cref="ReactorLoop.Read"/>
    public void Read(long offset, BufferSegment destination, IoCompletion completion) => _loop.Read(Open(), offset, destination, completion);

    /// <inheritdoc cref="ReactorLoop.Write"/>
    public void Write(long offset, BufferSegment source, IoCompletion completion, bool durable = false) =>
        _loop.Write(Open(), offset, source, completion, durable);

    /// <inheritdoc cref="ReactorLoop.WriteVector"/>
    public void WriteVector(long offset, IoVector source, IoCompletion completion, bool durable = false) =>
        _loop.WriteVector(Open(), offset, source, completion, durable);

    /// <inheritdoc cref="ReactorLoop.DataSync"/>
    public void DataSync(IoCompletion completion) => _loop.DataSync(Open(), completion);

    /// <summary>Allocates a range on the disk, so that writes to it need no further allocation.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="completion">Gets 0.</param>
    public void Allocate(long offset, long length, IoCompletion completion) => _loop.Allocate(Open(), 0, offset, length, completion);

    /// <summary>Gives a range back to the file system or disk; it reads as zeroes.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="completion">Gets 0, or -EOPNOTSUPP.</param>
    public void Discard(long offset, long length, IoCompletion completion) =>
        _loop.Allocate(Open(), PunchHole | KeepSize, offset, length, completion);

    /// <summary>Zeroes a range and keeps its space.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="completion">Gets 0, or -EOPNOTSUPP.</param>
    public void Zero(long offset, long length, IoCompletion completion) =>
        _loop.Allocate(Open(), ZeroRange | KeepSize, offset, length, completion);

    /// <summary>Closes the file; operations in flight keep the kernel's own reference and complete.</summary>
    public void Dispose()
    {
        if (_fd >= 0)
        {
            _ = Libc.Close(_fd);
            _fd = -1;
        }
    }

    private int Open()
    {
        Invariant.Holds(_fd >= 0);
        return _fd;
    }
}
