using System.Text.Json;
using Storage.Crush;
using Xunit;

namespace Storage.Tests.Crush;

public class CrushMappingTests
{
    public static TheoryData<string> Maps => [.. CrushVectors.Names];

    [Theory]
    [MemberData(nameof(Maps))]
    public void Binary_map_places_every_input_as_the_reference(string name) =>
        CheckMappings(CrushVectors.Map(name), CrushVectors.Json(name + ".vectors.json"), name);

    [Theory]
    [MemberData(nameof(Maps))]
    public void Text_map_compiles_to_the_same_placement(string name)
    {
        // The text rounds weights to three decimals, which may move a few inputs. So the map compiled from text gets its
        // exact weights back from the binary one; everything else must come from the text.
        CrushMap exact = CrushVectors.Map(name);
        CrushMap compiled = CrushMap.CompileText(CrushVectors.Text(name));
        if (!SameWeights(exact, compiled))
        {
            compiled = CrushMap.Decode(WithWeightsOf(exact, compiled));
        }

        Assert.Equal(Convert.ToHexString(exact.Encode()), Convert.ToHexString(compiled.Encode()));
        CheckMappings(compiled, CrushVectors.Json(name + ".vectors.json"), name);
    }

    [Fact]
    public void Unknown_rule_places_nothing()
    {
        CrushMap map = CrushVectors.Map("s01_flat10");
        Assert.Equal(0, map.Map(7, 1, new int[3], Full(map)));
        Assert.Equal(0, map.Map(-1, 1, new int[3], Full(map)));
    }

    [Fact]
    public void Mapping_allocates_nothing()
    {
        CrushMap map = CrushVectors.Map("s08_rack10x10x5_500");
        uint[] weights = Full(map);
        Span<int> result = stackalloc int[3];
        for (uint x = 0; x < 200; x++)
        {
            map.Map(0, x, result, weights);
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (uint x = 0; x < 1000; x++)
        {
            map.Map(0, x, result, weights);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Devices_without_a_weight_are_out()
    {
        CrushMap map = CrushVectors.Map("s01_flat10");
        Span<int> result = stackalloc int[3];
        for (uint x = 0; x < 100; x++)
        {
            int count = map.Map(0, x, result, Full(map).AsSpan(0, 5));
            foreach (int device in result[..count])
            {
                Assert.InRange(device, 0, 4);
            }
        }
    }

    internal static uint[] Full(CrushMap map)
    {
        var weights = new uint[map.MaxDevices];
        Array.Fill(weights, CrushMap.WeightOne);
        return weights;
    }

    private static bool SameWeights(CrushMap a, CrushMap b) =>
        a.Buckets.All(bucket => b.GetBucket(bucket.Id) is { } other && other.ItemWeights.SequenceEqual(bucket.ItemWeights));

    private static byte[] WithWeightsOf(CrushMap exact, CrushMap compiled)
    {
        CrushMapData data = compiled.Data.Clone();
        foreach (CrushBucket bucket in compiled.Buckets)
        {
            CrushBucket source = exact.GetBucket(bucket.Id)!;
            Assert.Equal(source.Items.ToArray(), bucket.Items.ToArray());
            for (int i = 0; i < bucket.Size; i++)
            {
                Assert.InRange((double)bucket.ItemWeights[i] - source.ItemWeights[i], -40, 40);
            }

            data.Buckets[~bucket.Id] = CrushBucket.Create(bucket.Id, bucket.Type, bucket.Algorithm, source.Items, source.ItemWeights, compiled.Tunables.StrawCalcVersion);
        }

        return new CrushMap(data).Encode();
    }

    private static void CheckMappings(CrushMap map, JsonElement vectors, string name)
    {
        foreach (JsonElement testCase in vectors.GetProperty("cases").EnumerateArray())
        {
            int rule = testCase.GetProperty("rule").GetInt32();
            int size = testCase.GetProperty("num_rep").GetInt32();
            uint[] weights = CrushVectors.Integers(testCase.GetProperty("weights_16_16"));
            JsonElement pool = testCase.GetProperty("pool");
            uint x = testCase.GetProperty("min_x").GetUInt32();
            var result = new int[size];
            foreach (JsonElement expected in testCase.GetProperty("mappings").EnumerateArray())
            {
                uint input = pool.ValueKind == JsonValueKind.Null ? x : CrushHash.Hash2(x, pool.GetUInt32());
                int count = map.Map(rule, input, result, weights, 0);
                int[] want = [.. expected.EnumerateArray().Select(v => v.GetInt32())];
                Assert.True(
                    result.AsSpan(0, count).SequenceEqual(want),
                    $"{name} rule {rule} x {x}: [{string.Join(',', result.Take(count))}] instead of [{string.Join(',', want)}]");
                x++;
            }
        }
    }
}
