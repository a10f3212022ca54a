using Storage.Reactor;
using Storage.Reactor.Files;

namespace Storage.ObjectStore.Device;

/// <summary>A block file or device on the reactor's io_uring.</summary>
public sealed class ReactorBlockDevice : IBlockDevice
{
    private readonly ReactorFile _file;

    /// <summary>Opens a file or device and takes its lock.</summary>
    /// <param name="loop">The loop it completes on.</param>
    /// <param name="path">The path.</param>
    /// <exception cref="IoException">It cannot be opened, or another process has it open.</exception>
    public ReactorBlockDevice(ReactorLoop loop, string path)
    {
        _file = ReactorFile.Open(loop, path, FileAccessFlags.Write | FileAccessFlags.Direct | FileAccessFlags.Exclusive);
        Length = _file.Length;
    }

    /// <inheritdoc/>
    public long Length { get; }

    /// <inheritdoc/>
    public void Read(long offset, BufferSegment destination, BlockCompletion completion) => _file.Read(offset, destination, completion);

    /// <inheritdoc/>
    public void Write(long offset, BufferSegment source, bool durable, BlockCompletion completion) => _file.Write(offset, source, completion, durable);

    /// <inheritdoc/>
    public void Flush(BlockCompletion completion) => _file.DataSync(completion);

    /// <inheritdoc/>
    public void Discard(long offset, long length, BlockCompletion completion) => _file.Discard(offset, length, completion);

    /// <inheritdoc/>
    public void Dispose() => _file.Dispose();
}
