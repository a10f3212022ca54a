using System.Security.Cryptography;
using Storage.Reactor;
using Storage.S3.Authentication;
using Storage.S3.Backend;
using Storage.S3.Protocol;

namespace Storage.S3.Objects;

/// <summary>Writes a body to data objects as it arrives: a bounded number of chunks is under way at once.</summary>
internal sealed class ObjectWriter(Pool data, string bucketId, S3Options options)
{
    /// <summary>The largest part, and the largest object of a single PUT.</summary>
    internal const long LargestPut = 5L << 30;

    /// <summary>Makes a segment with a new id, to be written.</summary>
    internal Segment NewSegment() => new() { Id = RandomNumberGenerator.GetHexString(24, lowercase: true), Size = -1, Chunk = options.ChunkBytes };

    /// <summary>Writes all that a source gives.</summary>
    /// <param name="segment">Its id and chunk size; its intent must be durable.</param>
    /// <param name="source">Fills a buffer; returns 0 at the end.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <returns>The segment with its size. Every chunk is durable.</returns>
    internal async ValueTask<Segment> WriteAsync(Segment segment, Func<Memory<byte>, CancellationToken, ValueTask<int>> source, CancellationToken cancellation)
    {
        var inFlight = new Queue<Task>();
        long size = 0;
        try
        {
            for (long chunk = 0; ; chunk++)
            {
                PageBuffer buffer = BufferPool.Shared.Rent(segment.Chunk);
                int filled;
                try
                {
                    filled = await FillAsync(buffer.Memory[..segment.Chunk], source, cancellation);
                    size += filled;
                    if (size > LargestPut)
                    {
                        throw new S3Exception(S3Error.EntityTooLarge);
                    }

                    if (filled > 0)
                    {
                        buffer.Retain();
                        inFlight.Enqueue(WriteChunkAsync(Chunks.Name(bucketId, segment.Id, chunk), buffer, filled, cancellation));
                    }
                }
                finally
                {
                    buffer.Release();
                }

                if (filled < segment.Chunk)
                {
                    break;
                }

                if (inFlight.Count >= options.ChunksInFlight)
                {
                    await inFlight.Dequeue();
                }
            }

            while (inFlight.Count > 0)
            {
                await inFlight.Dequeue();
            }
        }
        finally
        {
            // After a failure the rest must end before the caller goes on; the first failure is the one to report.
            await Task.WhenAll(inFlight).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return segment with { Size = size };
    }

    /// <summary>Writes a request's body.</summary>
    internal ValueTask<Segment> WriteAsync(Segment segment, PayloadReader body, CancellationToken cancellation) =>
        WriteAsync(segment, body.ReadAsync, cancellation);

    private static async ValueTask<int> FillAsync(Memory<byte> destination, Func<Memory<byte>, CancellationToken, ValueTask<int>> source, CancellationToken cancellation)
    {
        int filled = 0;
        while (filled < destination.Length)
        {
            int count = await source(destination[filled..], cancellation);
            if (count == 0)
            {
                break;
            }

            filled += count;
        }

        return filled;
    }

    private async Task WriteChunkAsync(string name, PageBuffer buffer, int length, CancellationToken cancellation)
    {
        try
        {
            await Chunks.WriteAsync(data, name, buffer.Slice(0, length), cancellation);
        }
        finally
        {
            buffer.Release();
        }
    }
}
