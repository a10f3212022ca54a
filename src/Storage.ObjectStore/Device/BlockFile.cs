using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>Blocking positioned I/O on a file or device opened with O_DIRECT: for mkfs, mount and <see cref="ThreadBlockDevice"/>.</summary>
public sealed unsafe partial class BlockFile : IDisposable
{
    private const int ReadWrite = 2;
    private const int Create = 0x40;
    private const int CloseOnExec = 0x80000;
    private const int SeekEnd = 2;
    private const int LockExclusiveNow = 2 | 4;
    private static readonly int s_direct = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x10000 : 0x4000;
    private int _fd;

    private BlockFile(int fd, string path)
    {
        _fd = fd;
        Path = path;
        Length = Seek(fd, 0, SeekEnd);
    }

    /// <summary>The path it was opened by.</summary>
    public string Path { get; }

    /// <summary>Size in bytes when it was opened or allocated.</summary>
    public long Length { get; private set; }

    /// <summary>Opens a file and takes its exclusive lock.</summary>
    /// <param name="path">The path.</param>
    /// <param name="create">Create it if it is missing.</param>
    /// <returns>The file.</returns>
    /// <exception cref="IoException">It cannot be opened, or is in use.</exception>
    public static BlockFile Open(string path, bool create = false)
    {
        int fd = OpenFile(path, ReadWrite | CloseOnExec | s_direct | (create ? Create : 0), 0x180);
        if (fd < 0)
        {
            throw new IoException($"cannot open {path}", Marshal.GetLastPInvokeError());
        }

        if (Lock(fd, LockExclusiveNow) < 0)
        {
            int error = Marshal.GetLastPInvokeError();
            _ = Close(fd);
            throw new IoException($"cannot lock {path}; another process has it open", error);
        }

        return new BlockFile(fd, path);
    }

    /// <summary>Gives a regular file its size and its space on the file system.</summary>
    /// <param name="length">Size in bytes.</param>
    public void Allocate(long length)
    {
        if (Fallocate(_fd, 0, 0, length) < 0)
        {
            throw new IoException($"cannot allocate {length} bytes for {Path}", Marshal.GetLastPInvokeError());
        }

        Length = Seek(_fd, 0, SeekEnd);
    }

    /// <summary>Reads; returns bytes or a negative error number.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="destination">Where to.</param>
    /// <returns>Bytes read, fewer only at the end, or -errno.</returns>
    public int Read(long offset, BufferSegment destination) => Transfer(offset, destination, write: false, durable: false);

    /// <summary>Writes; returns bytes or a negative error number.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="durable">Return only when they are on stable storage.</param>
    /// <returns>Bytes written or -errno.</returns>
    public int Write(long offset, BufferSegment source, bool durable) => Transfer(offset, source, write: true, durable);

    /// <summary>Makes earlier writes durable.</summary>
    /// <returns>0 or -errno.</returns>
    public int Flush()
    {
        int result = DataSync(_fd);
        return result < 0 ? -Marshal.GetLastPInvokeError() : 0;
    }

    /// <summary>Gives a range back to the file system or disk.</summary>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes.</param>
    /// <returns>0 or -errno.</returns>
    public int Discard(long offset, long length)
    {
        const int PunchHoleKeepSize = 3;
        return Fallocate(_fd, PunchHoleKeepSize, offset, length) < 0 ? -Marshal.GetLastPInvokeError() : 0;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_fd >= 0)
        {
            _ = Close(_fd);
            _fd = -1;
        }
    }

    private int Transfer(long offset, BufferSegment data, bool write, bool durable)
    {
        const int WriteDataSync = 2; // RWF_DSYNC
        const int Interrupted = 4;
        Invariant.Holds(_fd >= 0);
        int done = 0;
        while (done < data.Length)
        {
            var vector = new IoVec { Base = data.Buffer!.Address + data.Offset + done, Length = (nuint)(data.Length - done) };
            nint result = write
                ? PositionedWrite(_fd, &vector, 1, offset + done, durable ? WriteDataSync : 0)
                : PositionedRead(_fd, &vector, 1, offset + done, 0);
            if (result < 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error == Interrupted)
                {
                    continue;
                }

                return -error;
            }

            if (result == 0)
            {
                break;
            }

            done += (int)result;
        }

        return done;
    }

    private struct IoVec
    {
        public nint Base;
        public nuint Length;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags, int mode);

    [LibraryImport("libc", EntryPoint = "close", SetLastError = true)]
    private static partial int Close(int fd);

    [LibraryImport("libc", EntryPoint = "flock", SetLastError = true)]
    private static partial int Lock(int fd, int operation);

    [LibraryImport("libc", EntryPoint = "lseek", SetLastError = true)]
    private static partial long Seek(int fd, long offset, int origin);

    [LibraryImport("libc", EntryPoint = "fallocate", SetLastError = true)]
    private static partial int Fallocate(int fd, int mode, long offset, long length);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int DataSync(int fd);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    private static partial nint PositionedRead(int fd, IoVec* vectors, int count, long offset, int flags);

    [LibraryImport("libc", EntryPoint = "pwritev2", SetLastError = true)]
    private static partial nint PositionedWrite(int fd, IoVec* vectors, int count, long offset, int flags);
}
