using System.Text.Json;
using Storage.Crush;
using Xunit;

namespace Storage.Tests.Crush;

public class CrushFormatTests
{
    public static TheoryData<string> Maps => [.. CrushVectors.MapNames];

    [Theory]
    [MemberData(nameof(Maps))]
    public void Binary_map_round_trips_byte_for_byte(string name) =>
        Assert.Equal(Convert.ToHexString(CrushVectors.Binary(name)), Convert.ToHexString(CrushVectors.Map(name).Encode()));

    [Theory]
    [MemberData(nameof(Maps))]
    public void Decompiled_text_is_the_references_byte_for_byte(string name) =>
        Assert.Equal(CrushVectors.Text(name), CrushVectors.Map(name).DecompileText());

    [Theory]
    [MemberData(nameof(Maps))]
    public void Dump_agrees_with_what_was_decoded(string name)
    {
        string file = Path.Combine(CrushVectors.Directory, name + ".dump.json");
        JsonElement dump = CrushVectors.Json(name + ".dump.json");
        if (!File.Exists(file) || !dump.TryGetProperty("buckets", out JsonElement buckets))
        {
            return;
        }

        CrushMap map = CrushVectors.Map(name);
        Assert.Equal(buckets.GetArrayLength(), map.Buckets.Count());
        foreach (JsonElement bucket in buckets.EnumerateArray())
        {
            CrushBucket ours = map.GetBucket(bucket.GetProperty("id").GetInt32())!;
            Assert.Equal(bucket.GetProperty("name").GetString(), map.GetItemName(ours.Id));
            Assert.Equal(bucket.GetProperty("type_id").GetInt32(), ours.Type);
            Assert.Equal(bucket.GetProperty("weight").GetUInt32(), ours.Weight);
            Assert.Equal(bucket.GetProperty("alg").GetString(), ours.Algorithm.ToString().ToLowerInvariant());
            JsonElement[] items = [.. bucket.GetProperty("items").EnumerateArray()];
            Assert.Equal(items.Select(i => i.GetProperty("id").GetInt32()), ours.Items.ToArray());
            Assert.Equal(items.Select(i => i.GetProperty("weight").GetUInt32()), ours.ItemWeights.ToArray());
        }
    }

    [Theory]
    [InlineData("s07_class_host6x6")]
    [InlineData("s09_optional_uniform")]
    public void Cut_or_flipped_bytes_never_break_the_reader(string name)
    {
        byte[] bytes = CrushVectors.Binary(name);
        for (int length = 0; length < bytes.Length; length++)
        {
            Read(bytes.AsSpan(0, length));
        }

        for (int at = 0; at < bytes.Length; at++)
        {
            for (int bit = 0; bit < 8; bit++)
            {
                bytes[at] ^= (byte)(1 << bit);
                Read(bytes);
                bytes[at] ^= (byte)(1 << bit);
            }
        }

        Assert.Throws<CrushFormatException>(() => CrushMap.Decode(bytes.AsSpan(0, 40)));
        Assert.Throws<CrushFormatException>(() => CrushMap.Decode([.. bytes, 0]));

        static void Read(ReadOnlySpan<byte> input)
        {
            try
            {
                CrushMap map = CrushMap.Decode(input);
                Span<int> result = stackalloc int[3];
                map.Map(0, 1, result, [CrushMap.WeightOne, CrushMap.WeightOne, CrushMap.WeightOne]);
            }
            catch (CrushFormatException)
            {
                // A clear refusal is what damaged input deserves; any other exception fails the test.
            }
        }
    }
}
