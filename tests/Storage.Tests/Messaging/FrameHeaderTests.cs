using FsCheck.Xunit;
using Storage.Messaging.Tcp;
using Xunit;

namespace Storage.Tests.Messaging;

public sealed class FrameHeaderTests
{
    private static readonly FrameHeader s_sample = new(0x200, 77, 4096, 42, 0xdeadbeef, 0x12345678);

    [Fact]
    public void AHeaderRoundTripsAndAPartOfItAsksForMore()
    {
        byte[] bytes = Encode(s_sample);
        for (int length = 0; length < bytes.Length; length++)
        {
            Assert.Equal(FrameStatus.NeedMore, FrameHeader.TryRead(bytes.AsSpan(0, length), out _, out _));
        }

        Assert.Equal(FrameStatus.Complete, FrameHeader.TryRead(bytes, out FrameHeader read, out _));
        Assert.Equal(s_sample, read);
    }

    [Fact]
    public void EveryFlippedBitIsNoticed()
    {
        byte[] bytes = Encode(s_sample);
        for (int bit = 0; bit < bytes.Length * 8; bit++)
        {
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.Equal(FrameStatus.Malformed, FrameHeader.TryRead(bytes, out _, out string error));
            Assert.NotEmpty(error);
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
        }
    }

    [Fact]
    public void LengthsAboveTheLimitsAreRefused()
    {
        foreach (FrameHeader header in new[]
        {
            s_sample with { BodyLength = FrameHeader.LongestBody + 1 },
            s_sample with { BodyLength = -1 },
            s_sample with { DataLength = FrameHeader.LongestData + 1 },
            s_sample with { DataLength = int.MinValue },
        })
        {
            Assert.Equal(FrameStatus.Malformed, FrameHeader.TryRead(Encode(header), out _, out string error));
            Assert.Contains("announces", error, StringComparison.Ordinal);
        }

        Assert.Equal(FrameStatus.Complete, FrameHeader.TryRead(Encode(s_sample with { Type = 0x101, BodyLength = FrameHeader.LongestMapBody }), out _, out _));
    }

    [Property(MaxTest = 500)]
    public bool GarbageNeverThrowsAndIsNeverAFrame(byte[] garbage) =>
        FrameHeader.TryRead(garbage, out _, out _) != FrameStatus.Complete;

    [Property(MaxTest = 500)]
    public bool GarbageBehindARightStartIsNeverAFrame(byte[] garbage)
    {
        byte[] bytes = Encode(s_sample);
        garbage.AsSpan(0, Math.Min(garbage.Length, 40)).CopyTo(bytes.AsSpan(5));
        return FrameHeader.TryRead(bytes, out FrameHeader read, out _) != FrameStatus.Complete || read == s_sample;
    }

    private static byte[] Encode(FrameHeader header)
    {
        byte[] bytes = new byte[FrameHeader.Size];
        header.Write(bytes);
        return bytes;
    }
}
