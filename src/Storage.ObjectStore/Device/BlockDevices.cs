using System.Runtime.InteropServices;
using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>Opens the block device that suits a loop.</summary>
public static partial class BlockDevices
{
    /// <summary>Opens a file or device: on the loop's own io_uring if it has one, else with positioned I/O on threads.</summary>
    /// <param name="loop">The loop it completes on.</param>
    /// <param name="path">The path.</param>
    /// <returns>The device.</returns>
    /// <exception cref="IoException">It cannot be opened, or another process has it open.</exception>
    public static IBlockDevice Open(IEventLoop loop, string path) =>
        loop is ReactorLoop reactor ? new ReactorBlockDevice(reactor, path) : new ThreadBlockDevice(loop, path);

    /// <summary>True if a path leads to a raw device and not to a file.</summary>
    /// <param name="path">The path; links are followed.</param>
    /// <exception cref="IoException">It cannot be opened.</exception>
    public static bool IsRawDevice(string path)
    {
        const nuint GetSize = 0x80081272; // BLKGETSIZE64: only block devices answer
        const int ReadOnlyCloseOnExec = 0x80000;
        int file = OpenFile(path, ReadOnlyCloseOnExec); // by hand: .NET would take a lock, and the store holds one
        if (file < 0)
        {
            throw new IoException($"cannot open {path}", Marshal.GetLastPInvokeError());
        }

        bool isDevice = Control(file, GetSize, out _) == 0;
        _ = Close(file);
        return isDevice;
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFile(string path, int flags);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int file);

    [LibraryImport("libc", EntryPoint = "ioctl")]
    private static partial int Control(int file, nuint request, out ulong size);
}
