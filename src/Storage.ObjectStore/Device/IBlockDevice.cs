using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>
/// A block file or raw device, opened for direct I/O: offsets, lengths and memory are multiples of 4 KiB. Called on the
/// loop, completes on the loop. The device holds a reference on the buffer until the completion.
/// </summary>
public interface IBlockDevice : IDisposable
{
    /// <summary>Size in bytes.</summary>
    long Length { get; }

    /// <summary>Reads.</summary>
    /// <param name="offset">First byte on the device.</param>
    /// <param name="destination">Where the bytes go.</param>
    /// <param name="completion">Gets the bytes read or a negative error number; may have several operations in flight.</param>
    void Read(long offset, BufferSegment destination, BlockCompletion completion);

    /// <summary>Writes.</summary>
    /// <param name="offset">First byte on the device.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="durable">Complete only when these bytes are on stable storage.</param>
    /// <param name="completion">Gets the bytes written or a negative error number.</param>
    void Write(long offset, BufferSegment source, bool durable, BlockCompletion completion);

    /// <summary>Makes every write that has completed durable.</summary>
    /// <param name="completion">Gets 0 or a negative error number.</param>
    void Flush(BlockCompletion completion);

    /// <summary>Tells the disk that a range holds nothing any more; what it reads as afterwards is not defined.</summary>
    /// <param name="offset">First byte on the device.</param>
    /// <param name="length">Bytes.</param>
    /// <param name="completion">Gets 0, or a negative error number where the disk does not know such a thing.</param>
    void Discard(long offset, long length, BlockCompletion completion);
}

/// <summary>Receives the results of a device's operations.</summary>
public abstract class BlockCompletion : IoCompletion
{
    /// <summary>Called on the loop once per operation.</summary>
    /// <param name="result">Bytes, or the negative error number.</param>
    public abstract void OnDone(int result);

    /// <inheritdoc/>
    protected override void OnCompleted(int result, uint flags) => OnDone(result);
}
