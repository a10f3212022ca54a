using System.Buffers;
using System.IO.Pipelines;
using FsCheck.Xunit;
using Storage.Rpc;
using Storage.Rpc.Wire;
using Xunit;

namespace Storage.Tests.Rpc;

public class WireTests
{
    [Property]
    public bool A_message_text_survives_its_encoding(string? text)
    {
        // Lone surrogates are no text; UTF-8 replaces them.
        string clean = System.Text.Encoding.UTF8.GetString(System.Text.Encoding.UTF8.GetBytes(text ?? ""));
        string encoded = GrpcProtocol.EncodeMessage(clean);
        return encoded.All(c => c is >= ' ' and <= '~') && GrpcProtocol.DecodeMessage(encoded) == clean;
    }

    [Theory]
    [InlineData("%", "%")]
    [InlineData("%4", "%4")]
    [InlineData("%zz%41", "%zzA")]
    [InlineData("a%2", "a%2")]
    public void A_broken_escape_stays_as_it_is(string encoded, string text) => Assert.Equal(text, GrpcProtocol.DecodeMessage(encoded));

    [Property]
    public bool A_timeout_is_rounded_up_by_little(long ticks)
    {
        ticks = Math.Abs(ticks % TimeSpan.FromDays(4000).Ticks) + 1;
        string text = GrpcProtocol.EncodeTimeout(TimeSpan.FromTicks(ticks));
        return text.Length <= 9 && GrpcProtocol.TryDecodeTimeout(text, out TimeSpan back) && back.Ticks >= ticks && back.Ticks - ticks <= Math.Max(10, ticks / 50_000);
    }

    [Theory]
    [InlineData("")]
    [InlineData("5")]
    [InlineData("S")]
    [InlineData("-5S")]
    [InlineData("5s")]
    [InlineData("123456789S")]
    public void A_malformed_timeout_is_refused(string text) => Assert.False(GrpcProtocol.TryDecodeTimeout(text, out _));

    [Fact]
    public async Task Messages_arrive_whole_however_the_stream_is_cut()
    {
        var all = new ArrayBufferWriter<byte>();
        foreach (int size in new[] { 0, 1, 300 })
        {
            MessageFrame.Write(all, new byte[size], RpcMarshaller.Raw);
        }

        for (int cut = 0; cut <= all.WrittenCount; cut++)
        {
            var pipe = new Pipe();
            await pipe.Writer.WriteAsync(all.WrittenMemory[..cut]);
            Task<int[]> sizes = ReadSizesAsync(pipe.Reader);
            await pipe.Writer.WriteAsync(all.WrittenMemory[cut..]);
            await pipe.Writer.CompleteAsync();
            int[] found = await sizes;
            Assert.Equal([0, 1, 300], found);
        }
    }

    private static async Task<int[]> ReadSizesAsync(PipeReader reader)
    {
        var sizes = new List<int>();
        while (await MessageFrame.ReadAsync(reader, RpcMarshaller.Raw, 300, default) is { Found: true } result)
        {
            sizes.Add(result.Message.Length);
        }

        return [.. sizes];
    }
}
