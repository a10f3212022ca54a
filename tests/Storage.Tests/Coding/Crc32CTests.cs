using FsCheck.Xunit;
using Storage.Coding;
using Xunit;

namespace Storage.Tests.Coding;

public class Crc32CTests
{
    [Theory] // RFC 3720 appendix B.4
    [InlineData(0x00, 0x8A9136AAu)]
    [InlineData(0xFF, 0x62A8AB43u)]
    public void Blocks_of_one_byte_give_the_rfc_values(byte fill, uint expected)
    {
        var data = new byte[32];
        Array.Fill(data, fill);
        Assert.Equal(expected, Crc32C.Compute(data));
    }

    [Fact]
    public void Ascending_bytes_give_the_rfc_value() =>
        Assert.Equal(0x46DD794Eu, Crc32C.Compute(Enumerable.Range(0, 32).Select(i => (byte)i).ToArray()));

    [Property]
    public bool A_checksum_continues_at_any_split(byte[] data, ushort at)
    {
        int split = data.Length == 0 ? 0 : at % data.Length;
        return Crc32C.Compute(data.AsSpan(split), Crc32C.Compute(data.AsSpan(0, split))) == Crc32C.Compute(data);
    }

    [Property]
    public bool A_block_is_appended_by_its_checksum(byte[] before, int seed)
    {
        var block = new byte[Crc32C.BlockBytes];
        new Random(seed).NextBytes(block);
        return Crc32C.AppendBlock(Crc32C.Compute(before), Crc32C.Compute(block)) == Crc32C.Compute([.. before, .. block]);
    }

    [Fact]
    public void Hardware_and_table_agree_at_every_length_and_alignment()
    {
        var data = new byte[5000];
        new Random(3).NextBytes(data);
        for (int length = 0; length <= 4500; length++)
        {
            ReadOnlySpan<byte> part = data.AsSpan(length % 67, length);
            uint seed = (uint)length * 0x9E3779B1;
            Assert.Equal(Crc32C.ComputeSoftware(part, seed), Crc32C.Compute(part, seed));
        }
    }
}
