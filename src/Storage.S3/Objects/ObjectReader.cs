using Storage.Client;
using Storage.S3.Backend;

namespace Storage.S3.Objects;

/// <summary>Reads a range of an object, with a bounded number of chunk reads ahead.</summary>
internal sealed class ObjectReader(Pool data, string bucketId, S3Options options)
{
    /// <summary>Hands a range of an object to a sink, in order.</summary>
    /// <param name="segments">All of the object's segments.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes; the range lies within the object.</param>
    /// <param name="sink">Takes the bytes; they are its own only until it returns.</param>
    /// <param name="cancellation">Gives up.</param>
    internal async ValueTask ReadAsync(Segment[] segments, long offset, long length, Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> sink, CancellationToken cancellation)
    {
        var ahead = new Queue<Task<OperationResult>>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        try
        {
            foreach ((string name, long start, int count) in Pieces(segments, offset, length))
            {
                ahead.Enqueue(Chunks.ReadAsync(data, name, start, count, stop.Token).AsTask());
                if (ahead.Count >= options.ChunksInFlight)
                {
                    await DrainAsync(await ahead.Dequeue(), sink, cancellation);
                }
            }

            while (ahead.Count > 0)
            {
                await DrainAsync(await ahead.Dequeue(), sink, cancellation);
            }
        }
        finally
        {
            if (ahead.Count > 0)
            {
                await stop.CancelAsync();
                foreach (Task<OperationResult> read in ahead)
                {
                    await ((Task)read).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    if (read.IsCompletedSuccessfully)
                    {
                        read.Result.Dispose();
                    }
                }
            }
        }
    }

    private static async ValueTask DrainAsync(OperationResult result, Func<ReadOnlyMemory<byte>, CancellationToken, ValueTask> sink, CancellationToken cancellation)
    {
        using (result)
        {
            await sink(result.AllData.Memory, cancellation);
        }
    }

    private IEnumerable<(string Name, long Start, int Count)> Pieces(Segment[] segments, long offset, long length)
    {
        long segmentStart = 0;
        foreach (Segment segment in segments)
        {
            long from = Math.Max(offset, segmentStart) - segmentStart;
            long to = Math.Min(offset + length, segmentStart + segment.Size) - segmentStart;
            while (from < to)
            {
                long chunk = from / segment.Chunk;
                long within = from % segment.Chunk;
                int count = (int)Math.Min(segment.Chunk - within, to - from);
                yield return (Chunks.Name(bucketId, segment.Id, chunk), within, count);
                from += count;
            }

            segmentStart += segment.Size;
        }
    }
}
