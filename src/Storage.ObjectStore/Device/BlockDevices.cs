using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>Opens the block device that suits a loop.</summary>
public static class BlockDevices
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
    public static bool IsRawDevice(string path)
    {
        FileSystemInfo target = File.ResolveLinkTarget(path, returnFinalTarget: true) ?? new FileInfo(path);
        return target.FullName.StartsWith("/dev/", StringComparison.Ordinal) && target.Attributes.HasFlag(FileAttributes.Device);
    }
}
