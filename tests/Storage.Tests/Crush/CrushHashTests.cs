using System.Globalization;
using System.Text.Json;
using Storage.Crush;
using Xunit;

namespace Storage.Tests.Crush;

public class CrushHashTests
{
    [Fact]
    public void Hashes_equal_the_references()
    {
        int seen = 0;
        foreach (JsonProperty group in CrushVectors.Json("hashes.json").EnumerateObject())
        {
            if (group.Value.ValueKind != JsonValueKind.Array)
            {
                continue;
            }

            foreach (JsonElement vector in group.Value.EnumerateArray())
            {
                uint expected = vector.GetProperty("out").GetUInt32();
                uint actual;
                if (vector.TryGetProperty("hex", out JsonElement hex))
                {
                    actual = CrushHash.StringHash(Convert.FromHexString(hex.GetString()!));
                }
                else
                {
                    uint[] v = CrushVectors.Integers(vector.GetProperty("in"));
                    actual = v.Length switch
                    {
                        1 => CrushHash.Hash1(v[0]),
                        2 => CrushHash.Hash2(v[0], v[1]),
                        3 => CrushHash.Hash3(v[0], v[1], v[2]),
                        4 => CrushHash.Hash4(v[0], v[1], v[2], v[3]),
                        5 => CrushHash.Hash5(v[0], v[1], v[2], v[3], v[4]),
                        _ => throw new InvalidOperationException("An unknown vector."),
                    };
                }

                Assert.True(expected == actual, $"{group.Name}: {vector.GetRawText()} gave {actual}");
                seen++;
            }
        }

        Assert.True(seen >= 200);
    }

    [Theory]
    [InlineData(1u, 0u)]
    [InlineData(2u, 1u)]
    [InlineData(3u, 3u)]
    [InlineData(8u, 7u)]
    [InlineData(2304u, 4095u)]
    public void Mask_is_the_smallest_that_covers_the_count(uint count, uint mask) => Assert.Equal(mask, CrushHash.StableModMask(count));

    [Fact]
    public void Whole_osdmap_places_groups_and_objects_as_the_reference()
    {
        JsonElement vectors = CrushVectors.Json("osdmap.vectors.json");
        CrushMap map = CrushVectors.Map("osdmap");
        uint pool = vectors.GetProperty("pool").GetUInt32();
        uint groups = vectors.GetProperty("pg_num").GetUInt32();
        uint placed = vectors.GetProperty("pgp_num").GetUInt32();
        int size = vectors.GetProperty("size").GetInt32();
        int rule = vectors.GetProperty("rule").GetInt32();
        uint[] weights = CrushMappingTests.Full(map);

        CheckGroups(vectors.GetProperty("all_up_in").GetProperty("pgs"), weights);
        // osdmaptool honours only the last of several --mark-out; the mappings were made that way.
        uint[] reduced = [.. weights];
        reduced[vectors.GetProperty("with_outs").GetProperty("outs").EnumerateArray().Last().GetInt32()] = 0;
        CheckGroups(vectors.GetProperty("with_outs").GetProperty("pgs"), reduced);
        foreach (JsonElement o in vectors.GetProperty("objects").EnumerateArray())
        {
            uint hash = CrushHash.StringHash(Convert.FromHexString(o.GetProperty("utf8_hex").GetString()!));
            uint seed = CrushHash.StableMod(hash, groups, CrushHash.StableModMask(groups));
            Assert.Equal(o.GetProperty("pg").GetString(), string.Create(CultureInfo.InvariantCulture, $"{pool}.{seed:x}"));
            Assert.Equal(o.GetProperty("osds").EnumerateArray().Select(v => v.GetInt32()), Place(seed, weights));
        }

        int[] Place(uint seed, uint[] inWeights)
        {
            uint input = CrushHash.Hash2(CrushHash.StableMod(seed, placed, CrushHash.StableModMask(placed)), pool);
            var result = new int[size];
            return result[..map.Map(rule, input, result, inWeights, pool)];
        }

        void CheckGroups(JsonElement expected, uint[] inWeights)
        {
            foreach (JsonProperty group in expected.EnumerateObject())
            {
                uint seed = uint.Parse(group.Name.Split('.')[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                int[] osds = Place(seed, inWeights);
                Assert.Equal(group.Value.GetProperty("osds").EnumerateArray().Select(v => v.GetInt32()), osds);
                Assert.Equal(group.Value.GetProperty("primary").GetInt32(), osds[0]);
            }
        }
    }
}
