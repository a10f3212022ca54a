using Storage.Reactor;

namespace Storage.ObjectStore.Device;

/// <summary>Operations of a block device, for choosing which of them fail.</summary>
[Flags]
public enum BlockOperations
{
    /// <summary>None.</summary>
    None = 0,

    /// <summary>Reads.</summary>
    Reads = 1,

    /// <summary>Writes, durable or not.</summary>
    Writes = 2,

    /// <summary>Flushes, and the sync of durable writes.</summary>
    Syncs = 4,
}

/// <summary>
/// A block device that can be told to be slow or to fail, for tests of failures on real processes. In front of the device only where a
/// daemon allows it. Called on the loop.
/// </summary>
public sealed class FaultyBlockDevice : IBlockDevice
{
    private readonly IEventLoop _loop;
    private readonly IBlockDevice _inner;

    /// <summary>Puts itself in front of a device, which it then owns.</summary>
    /// <param name="loop">The loop it completes on.</param>
    /// <param name="inner">The device.</param>
    public FaultyBlockDevice(IEventLoop loop, IBlockDevice inner)
    {
        ArgumentNullException.ThrowIfNull(inner);
        _loop = loop;
        _inner = inner;
    }

    private enum Kind : byte
    {
        Read,
        Write,
        DurableWrite,
        Flush,
    }

    /// <summary>How long each operation waits before it goes to the device; zero for not at all.</summary>
    public TimeSpan Delay { get; set; }

    /// <summary>Operations that fail with <see cref="IoError.InputOutput"/>, without reaching the device.</summary>
    public BlockOperations Failing { get; set; }

    /// <inheritdoc/>
    public long Length => _inner.Length;

    /// <inheritdoc/>
    public void Read(long offset, BufferSegment destination, BlockCompletion completion) => Submit(Kind.Read, offset, destination, completion);

    /// <inheritdoc/>
    public void Write(long offset, BufferSegment source, bool durable, BlockCompletion completion) =>
        Submit(durable ? Kind.DurableWrite : Kind.Write, offset, source, completion);

    /// <inheritdoc/>
    public void Flush(BlockCompletion completion) => Submit(Kind.Flush, 0, default, completion);

    /// <inheritdoc/>
    public void Discard(long offset, long length, BlockCompletion completion) => _inner.Discard(offset, length, completion);

    /// <inheritdoc/>
    public void Dispose() => _inner.Dispose();

    private bool Fails(Kind kind) => (Failing & kind switch
    {
        Kind.Read => BlockOperations.Reads,
        Kind.Write => BlockOperations.Writes,
        Kind.DurableWrite => BlockOperations.Writes | BlockOperations.Syncs,
        _ => BlockOperations.Syncs,
    }) != 0;

    private void Submit(Kind kind, long offset, BufferSegment data, BlockCompletion completion)
    {
        if (Delay > TimeSpan.Zero)
        {
            data.Buffer?.Retain();
            _loop.Schedule(Delay, static state => ((Delayed)state!).Submit(), new Delayed(this, kind, offset, data, completion));
        }
        else if (Fails(kind))
        {
            _loop.Post(static state => ((BlockCompletion)state!).OnDone(-IoError.InputOutput), completion);
        }
        else
        {
            Pass(kind, offset, data, completion);
        }
    }

    private void Pass(Kind kind, long offset, BufferSegment data, BlockCompletion completion)
    {
        switch (kind)
        {
            case Kind.Read:
                _inner.Read(offset, data, completion);
                break;
            case Kind.Flush:
                _inner.Flush(completion);
                break;
            default:
                _inner.Write(offset, data, kind == Kind.DurableWrite, completion);
                break;
        }
    }

    private sealed class Delayed(FaultyBlockDevice device, Kind kind, long offset, BufferSegment data, BlockCompletion completion)
    {
        public void Submit()
        {
            if (device.Fails(kind))
            {
                completion.OnDone(-IoError.InputOutput);
            }
            else
            {
                device.Pass(kind, offset, data, completion);
            }

            data.Buffer?.Release();
        }
    }
}
