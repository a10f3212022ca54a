using Storage.Reactor;
using Xunit;

namespace Storage.Tests.Reactor;

/// <summary>Buffers that go out and come back.</summary>
public sealed class BufferPoolTests
{
    [Fact]
    public void Threads_never_get_the_same_buffer_and_none_is_lost()
    {
        var pool = new BufferPool(idleBudget: 48 * PageBuffer.PageSize); // little: some are given back to the system meanwhile
        Exception? failed = null;
        Thread[] threads = [.. Enumerable.Range(0, 4).Select(id => new Thread(() => Use(pool, id, ref failed)))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        Assert.Null(failed);
        Assert.Equal(0, pool.Outstanding);
    }

    [Fact]
    public void Going_out_and_coming_back_allocates_nothing()
    {
        var pool = new BufferPool();
        var held = new PageBuffer[32];
        Cycle();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Cycle();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Cycle()
        {
            for (int i = 0; i < held.Length; i++)
            {
                held[i] = pool.Rent(4096 << (i % 3));
            }

            foreach (PageBuffer buffer in held)
            {
                buffer.Release();
            }
        }
    }

    private static void Use(BufferPool pool, int id, ref Exception? failed)
    {
        try
        {
            var random = new Random(id);
            var held = new List<PageBuffer>();
            for (int i = 0; i < 50_000; i++)
            {
                if (held.Count == 0 || (held.Count < 20 && random.Next(2) == 0))
                {
                    PageBuffer buffer = pool.Rent(random.Next(2) == 0 ? 4096 : 8192);
                    buffer.Span[0] = (byte)id;
                    held.Add(buffer);
                }
                else
                {
                    int at = random.Next(held.Count);
                    Assert.Equal((byte)id, held[at].Span[0]);
                    held[at].Release();
                    held.RemoveAt(at);
                }
            }

            held.ForEach(buffer => buffer.Release());
        }
        catch (Exception error)
        {
            Volatile.Write(ref failed, error);
        }
    }
}
