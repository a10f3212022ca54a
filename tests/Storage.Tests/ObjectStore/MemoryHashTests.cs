using Storage.Cluster;
using Storage.ObjectStore;
using Storage.ObjectStore.Memory;
using Xunit;

namespace Storage.Tests.ObjectStore;

/// <summary>The hash that a memory store keeps of an object beside one that is computed anew.</summary>
public sealed class MemoryHashTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void AHashThatIsKeptIsWhatItWouldBeNow(int seed)
    {
        using var kit = new StoreKit();
        for (int length = 1; length <= 40; length++)
        {
            var random = new Random((seed * 1000) + length);
            MemoryDisk[] disks = [new(), new()];
            MemoryObjectStore[] stores = [.. disks.Select(disk => new MemoryObjectStore(kit.Loop, new Random(length), disk, new MemoryStoreOptions { Pool = kit.Pool }))];
            var setup = new Transaction();
            setup.CreateCollection(TransactionGenerator.Collections[0]);
            setup.CreateCollection(TransactionGenerator.Collections[1]);
            Submit(setup);
            var generator = new TransactionGenerator(random, kit.Pool);
            for (int i = 0; i < length; i++)
            {
                Transaction transaction = generator.Next(stores[0]);
                Submit(transaction);
                transaction.Clear();
                Hash(stores[0]); // the other one hashes at the end only
            }

            if (random.Next(2) == 0)
            {
                stores = [.. stores.Zip(disks, (store, disk) =>
                {
                    store.Crash(); // which takes back some of what was hashed
                    return new MemoryObjectStore(kit.Loop, new Random(length), disk, new MemoryStoreOptions { Pool = kit.Pool });
                })];
            }

            foreach (CollectionId collection in TransactionGenerator.Collections)
            {
                var objects = new List<ObjectId>();
                stores[0].ListObjects(collection, null, int.MaxValue, objects);
                if (objects.Count > 0 && random.Next(2) == 0)
                {
                    ObjectId damaged = objects[random.Next(objects.Count)];
                    Assert.Equal(stores[0].FlipBit(collection, damaged, 0), stores[1].FlipBit(collection, damaged, 0));
                }
            }

            Assert.Equal(Hash(stores[1]), Hash(stores[0]));

            void Submit(Transaction transaction)
            {
                stores[0].Submit(transaction, null, 0);
                stores[1].Submit(transaction, null, 0);
            }
        }
    }

    private static List<string> Hash(MemoryObjectStore store)
    {
        var hashes = new List<string>();
        var objects = new List<ObjectId>();
        foreach (CollectionId collection in TransactionGenerator.Collections)
        {
            objects.Clear();
            store.ListObjects(collection, null, int.MaxValue, objects);
            hashes.AddRange(objects.Select(id => $"{collection} {id} {store.TryHash(collection, id, out ulong hash)} {hash}"));
        }

        return hashes;
    }
}
