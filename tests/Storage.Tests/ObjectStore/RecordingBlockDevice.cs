using Storage.ObjectStore.Device;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>A disk in memory that remembers every write and flush, so that a test can stop the world after any of them.</summary>
internal sealed class RecordingBlockDevice(IEventLoop loop, byte[] image, bool record = false) : IBlockDevice
{
    public byte[] Image { get; } = image;

    public long Length => Image.Length;

    /// <summary>Writes since the start; an entry without data is a flush.</summary>
    public List<(long Offset, byte[]? Data, bool Durable)> Log { get; } = [];

    /// <summary>Error number that writes return from now on; 0 for none.</summary>
    public int WriteError { get; set; }

    public void Read(long offset, BufferSegment destination, BlockCompletion completion)
    {
        Assert.True(offset % 4096 == 0 && destination.Length % 4096 == 0 && destination.Offset % 4096 == 0);
        PageBuffer buffer = destination.Buffer!.Retain();
        loop.Post(
            _ =>
            {
                Image.AsSpan((int)offset, destination.Length).CopyTo(destination.Span);
                buffer.Release();
                completion.OnDone(destination.Length);
            },
            null);
    }

    public void Write(long offset, BufferSegment source, bool durable, BlockCompletion completion)
    {
        Assert.True(offset % 4096 == 0 && source.Length % 4096 == 0 && source.Offset % 4096 == 0);
        PageBuffer buffer = source.Buffer!.Retain();
        loop.Post(
            _ =>
            {
                if (WriteError == 0)
                {
                    source.Span.CopyTo(Image.AsSpan((int)offset));
                    if (record)
                    {
                        Log.Add((offset, source.Span.ToArray(), durable));
                    }
                }

                buffer.Release();
                completion.OnDone(WriteError == 0 ? source.Length : -WriteError);
            },
            null);
    }

    public void Flush(BlockCompletion completion) => loop.Post(
        _ =>
        {
            if (record)
            {
                Log.Add((0, null, false));
            }

            completion.OnDone(0);
        },
        null);

    public void Dispose()
    {
    }
}
