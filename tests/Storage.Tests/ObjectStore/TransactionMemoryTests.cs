using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Reactor;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>Whose memory the values of a transaction are.</summary>
public sealed class TransactionMemoryTests
{
    private static readonly CollectionId s_collection = new(new PgId(1, 2));
    private static readonly ObjectId s_object = ObjectId.Intern("volume.1"u8, 77);

    [Fact]
    public void A_value_is_the_transactions_own()
    {
        byte[] value = [1, 2, 3];
        var first = new Transaction();
        first.SetAttribute(s_collection, s_object, "_", value);
        value[0] = 9;
        var second = new Transaction();
        second.Append(first);
        first.Clear();
        first.SetAttribute(s_collection, s_object, "_", [7, 7, 7]);
        Assert.Equal([1, 2, 3], second.Steps[0].Value.ToArray());
        Assert.Equal([7, 7, 7], first.Steps[0].Value.ToArray());
    }

    [Fact]
    public void Values_stay_while_more_are_added()
    {
        var transaction = new Transaction();
        for (int i = 0; i < 300; i++)
        {
            transaction.SetAttribute(s_collection, s_object, "a", new byte[i].AsSpan());
            transaction.SetAttribute(s_collection, s_object, "b", [(byte)i, (byte)(i >> 8)]);
        }

        for (int i = 0; i < 300; i++)
        {
            Assert.Equal(i, transaction.Steps[2 * i].Value.Length);
            Assert.Equal([(byte)i, (byte)(i >> 8)], transaction.Steps[(2 * i) + 1].Value.ToArray());
        }
    }

    [Fact]
    public void A_pooled_transaction_of_a_small_write_allocates_nothing()
    {
        var pool = new BufferPool();
        PageBuffer data = pool.Rent(4096);
        var made = new Transaction();
        var received = new Transaction();
        var applied = new Transaction();
        var writer = new WireWriter();
        Cycle();
        long before = GC.GetAllocatedBytesForCurrentThread();
        Cycle();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
        data.Release();
        Assert.Equal(0, pool.Outstanding);

        void Cycle()
        {
            Span<byte> version = stackalloc byte[13];
            for (int i = 0; i < 10; i++)
            {
                made.Write(s_collection, s_object, i * 4096, data.Slice(0, 4096));
                made.SetAttribute(s_collection, s_object, "_", version);
                writer.Clear();
                made.Encode(writer);
                var reader = new WireReader(writer.WrittenSpan);
                received.Decode(ref reader, data.Slice(0, 4096));
                applied.Append(received);
                applied.AppendLog(s_collection, writer.WrittenMemory);
                applied.Clear();
                received.Clear();
                made.Clear();
            }
        }
    }
}
