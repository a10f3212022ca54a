using FsCheck.Fluent;
using FsCheck.Xunit;
using Storage.ObjectStore.Disk;
using Xunit;

namespace Storage.Tests.ObjectStore;

public sealed class OmapLayerTests
{
    [Property(MaxTest = 30)]
    public bool BehavesAsASortedDictionary(int seed)
    {
        var random = new Random(seed);
        var layer = new OmapLayer();
        var model = new SortedDictionary<int, byte>();
        int range = random.Next(2, 3000);
        bool ascending = random.Next(2) == 0;
        for (int step = 0; step < 2000; step++)
        {
            int number = ascending ? step : random.Next(range);
            byte[] key = Key(number);
            if (model.Count > 0 && random.Next(3) == 0)
            {
                int dead = ascending ? model.Keys.First() : number;
                if (model.Remove(dead))
                {
                    layer.Remove(Key(dead));
                }
            }
            else if (!model.ContainsKey(number))
            {
                model.Add(number, (byte)step);
                layer.Add(new OmapEntry { Key = key, Value = new[] { (byte)step } });
            }
        }

        Assert.Equal(model.Count, layer.Count);
        var found = new List<(int, byte)>();
        for (OmapLayer.Position at = layer.LowerBound(default); !layer.IsEnd(at); at = layer.Next(at))
        {
            found.Add((System.Buffers.Binary.BinaryPrimitives.ReadInt32BigEndian(layer[at].Key.Span), layer[at].Value.Span[0]));
        }

        Assert.Equal(model.Select(entry => (entry.Key, entry.Value)), found);
        for (int probe = 0; probe < 50; probe++)
        {
            int number = random.Next(range);
            bool isThere = !System.Runtime.CompilerServices.Unsafe.IsNullRef(ref layer.Find(Key(number)));
            Assert.Equal(model.ContainsKey(number), isThere);
            OmapLayer.Position bound = layer.LowerBound(Key(number));
            int[] next = model.Keys.Where(key => key >= number).Take(1).ToArray();
            Assert.Equal(next.Length == 0, layer.IsEnd(bound));
            Assert.True(next.Length == 0 || layer[bound].Key.Span.SequenceEqual(Key(next[0])));
        }

        return true;
    }

    private static byte[] Key(int number)
    {
        byte[] key = new byte[4];
        System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(key, number);
        return key;
    }
}
