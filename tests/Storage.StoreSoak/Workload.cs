using System.Buffers.Binary;
using System.Globalization;
using Storage.Cluster;
using Storage.Coding;
using Storage.ObjectStore;
using Storage.Reactor;
using Storage.Tests.ObjectStore;

namespace Storage.StoreSoak;

/// <summary>
/// What is done to the store: step number n is the same for the same seed and the same content, so the model repeats what the disk store did
/// before it was killed. Every transaction leaves its number in the store.
/// </summary>
internal sealed class Workload(int seed)
{
    private const int Names = 1500;
    private static readonly CollectionId s_progress = new(new PgId(2, 0));
    private static readonly ObjectId s_marker = new("progress", 1);
    private readonly ObjectId[] _names = [.. Enumerable.Range(0, Names).Select(i => new ObjectId("object." + i.ToString(CultureInfo.InvariantCulture), (uint)(i * 2654435761)))];

    public static IEnumerable<CollectionId> Collections => TransactionGenerator.Collections;

    /// <summary>Makes the collections of a new store.</summary>
    public static Transaction Setup()
    {
        var t = new Transaction();
        foreach (CollectionId collection in Collections)
        {
            t.CreateCollection(collection);
        }

        t.CreateCollection(s_progress);
        return t;
    }

    /// <summary>The number of the last transaction that a store holds; 0 if none, -1 if it is new.</summary>
    public static long Progress(IObjectStore store) => !store.ListCollections().Contains(s_progress) ? -1
        : store.TryGetAttribute(s_progress, s_marker, "n", out ReadOnlyMemory<byte> value) ? BinaryPrimitives.ReadInt64LittleEndian(value.Span) : 0;

    /// <summary>Transaction number n for a store that holds those before it.</summary>
    public Transaction Next(long n, IObjectStore store)
    {
        var random = new Random(HashCode(n, 1));
        var generator = new TransactionGenerator(random, BufferPool.Shared)
        {
            Names = _names,
            LargestOffset = random.Next(3) == 0 ? 4 << 20 : 600_000,
            LargestBlocks = random.Next(5) == 0 ? 500 : 40,
            CollectionLife = 100_000,
            SplitLife = 2000,
            Overwrites = 40,
            Compressible = true,
            Records = (int)Math.Min(n, int.MaxValue - 1000),
        };
        Transaction t = generator.Next(store);
        byte[] number = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(number, n);
        t.SetAttribute(s_progress, s_marker, "n", number);
        return t;
    }

    /// <summary>Reads that follow transaction n.</summary>
    public IEnumerable<(CollectionId Collection, ObjectId Id, long Offset, int Length)> Reads(long n)
    {
        var random = new Random(HashCode(n, 2));
        for (int i = random.Next(4); i > 0; i--)
        {
            int length = random.Next(6) == 0 ? random.Next(1 << 20) : random.Next(1, 100_000);
            yield return (TransactionGenerator.Collections[random.Next(2)], _names[random.Next(Names)], random.Next(700_000), length);
        }
    }

    /// <summary>A place that may hold data.</summary>
    public (CollectionId Collection, ObjectId Id, long Offset) Anywhere(Random random) =>
        (TransactionGenerator.Collections[random.Next(2)], _names[random.Next(Names)], random.Next(random.Next(3) == 0 ? 32 : 5) * (128L << 10));

    /// <summary>One number for a read's outcome; sums of these are compared.</summary>
    public static long Outcome(long n, ReadStatus status, ReadOnlySpan<byte> data) =>
        unchecked((((n * 31) + (int)status) * 1_000_003) + data.Length + ((long)Crc32C.Compute(data) << 20));

    private int HashCode(long n, int what) => unchecked((int)((n * 0x5851F42D4C957F2D) >> 17) ^ (seed * 92821) ^ (what * 7919));
}
