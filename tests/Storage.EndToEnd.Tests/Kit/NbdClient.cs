using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>A plain NBD client written from the protocol's text alone, one request at a time, simple replies.</summary>
public sealed class NbdClient : IDisposable
{
    private const ulong OptionMagic = 0x49484156454F5054;
    private const uint RequestMagic = 0x25609513;
    private readonly TcpClient _tcp;
    private readonly NetworkStream _stream;
    private ulong _cookie;

    private NbdClient(TcpClient tcp)
    {
        _tcp = tcp;
        _stream = tcp.GetStream();
    }

    public ulong Size { get; private set; }

    public static async Task<NbdClient> ConnectAsync(int port, string export)
    {
        var tcp = new TcpClient { NoDelay = true };
        await tcp.ConnectAsync("127.0.0.1", port);
        var client = new NbdClient(tcp);
        byte[] greeting = await client.ReadAsync(18);
        Assert.Equal("NBDMAGICIHAVEOPT", Encoding.ASCII.GetString(greeting, 0, 16));
        byte[] name = Encoding.UTF8.GetBytes(export);
        byte[] hello = new byte[4 + 16 + name.Length];
        BinaryPrimitives.WriteUInt32BigEndian(hello, 3); // fixed newstyle, no zeroes
        BinaryPrimitives.WriteUInt64BigEndian(hello.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(12), 1); // NBD_OPT_EXPORT_NAME
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(16), (uint)name.Length);
        name.CopyTo(hello, 20);
        await client._stream.WriteAsync(hello);
        client.Size = BinaryPrimitives.ReadUInt64BigEndian(await client.ReadAsync(10));
        return client;
    }

    public Task WriteAsync(long offset, byte[] data) => RequestAsync(1, offset, data.Length, data);

    public Task FlushAsync() => RequestAsync(3, 0, 0, null);

    public async Task<byte[]> ReadAsync(long offset, int length)
    {
        await RequestAsync(0, offset, length, null);
        return await ReadAsync(length);
    }

    public void Dispose() => _tcp.Dispose();

    private async Task RequestAsync(ushort command, long offset, int length, byte[]? data)
    {
        byte[] request = new byte[28 + (data?.Length ?? 0)];
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(8), ++_cookie);
        BinaryPrimitives.WriteInt64BigEndian(request.AsSpan(16), offset);
        BinaryPrimitives.WriteInt32BigEndian(request.AsSpan(24), length);
        data?.CopyTo(request, 28);
        await _stream.WriteAsync(request);
        byte[] reply = await ReadAsync(16);
        uint error = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4));
        if (error != 0)
        {
            throw new IOException($"NBD error {error} for command {command} at {offset}+{length}");
        }
    }

    private async Task<byte[]> ReadAsync(int length)
    {
        byte[] bytes = new byte[length];
        await _stream.ReadExactlyAsync(bytes);
        return bytes;
    }
}
