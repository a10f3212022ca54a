using Storage.ObjectStore.Device;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>A disk in memory that remembers every write and flush, so that a test can stop the world after any of them.</summary>
internal sealed class RecordingBlockDevice(IEventLoop loop, byte[] image, bool record = false) : IBlockDevice
{
    public byte[] Image { get; } = image;

    public long Length => Image.Length;

    /// <summary>Writes and flushes since the start, in the order they completed.</summary>
    public List<DeviceOperation> Log { get; } = [];

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
        int issued = Log.Count;
        loop.Post(
            _ =>
            {
                if (WriteError == 0)
                {
                    source.Span.CopyTo(Image.AsSpan((int)offset));
                    if (record)
                    {
                        Log.Add(new DeviceOperation(offset, source.Span.ToArray(), durable, issued));
                    }
                }

                buffer.Release();
                completion.OnDone(WriteError == 0 ? source.Length : -WriteError);
            },
            null);
    }

    public void Flush(BlockCompletion completion)
    {
        int issued = Log.Count;
        loop.Post(
            _ =>
            {
                if (record)
                {
                    Log.Add(new DeviceOperation(0, null, false, issued));
                }

                completion.OnDone(0);
            },
            null);
    }

    // A discarded range may read as anything.
    public void Discard(long offset, long length, BlockCompletion completion)
    {
        int issued = Log.Count;
        loop.Post(
            _ =>
            {
                byte[] garbage = new byte[length];
                Array.Fill(garbage, (byte)0xDD);
                garbage.CopyTo(Image, offset);
                Discarded += length;
                if (record)
                {
                    Log.Add(new DeviceOperation(offset, garbage, false, issued));
                }

                completion.OnDone(0);
            },
            null);
    }

    public long Discarded { get; private set; }

    public void Dispose()
    {
    }
}

/// <summary>A write, or a flush if it has no data. Issued is the number of operations that had completed when it was issued.</summary>
internal sealed record DeviceOperation(long Offset, byte[]? Data, bool Durable, int Issued)
{
    private const int Sector = 512;

    /// <summary>Brings an image to one of the states that a crash after so many completed operations may leave.</summary>
    public static void Crash(byte[] image, List<DeviceOperation> log, int point, Random random)
    {
        int flushed = 0; // writes that completed before the last completed flush was issued are safe
        for (int i = 0; i < point; i++)
        {
            flushed = log[i].Data is null ? Math.Max(flushed, log[i].Issued) : flushed;
        }

        var unsafeWrites = new List<DeviceOperation>();
        for (int i = 0; i < log.Count; i++)
        {
            DeviceOperation write = log[i];
            if (write.Data is null || (i >= point && write.Issued > point))
            {
                continue;
            }

            if (i < point && (write.Durable || i < flushed))
            {
                write.Data.CopyTo(image, write.Offset);
            }
            else
            {
                unsafeWrites.Add(write);
            }
        }

        // The rest may have reached the disk or not, in any order, each sector for itself.
        foreach (DeviceOperation write in unsafeWrites.OrderBy(_ => random.Next()))
        {
            int how = random.Next(4);
            for (int at = 0; at < write.Data!.Length && how > 0; at += Sector)
            {
                if (how == 1 || random.Next(2) == 0)
                {
                    write.Data.AsSpan(at, Sector).CopyTo(image.AsSpan((int)write.Offset + at));
                }
            }
        }
    }
}
