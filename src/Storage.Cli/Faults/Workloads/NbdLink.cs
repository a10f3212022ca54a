using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using Storage.Cluster;

namespace Storage.Cli.Faults.Workloads;

/// <summary>The gateway answered a request with an error.</summary>
internal sealed class NbdErrorException(uint error) : Exception(string.Create(CultureInfo.InvariantCulture, $"NBD error {error}"));

/// <summary>
/// A connection to an NBD gateway, written from the protocol's text alone and shared with nothing of the gateway's: fixed newstyle, simple
/// replies, several requests under way. Once it breaks, everything under way fails with an <see cref="IOException"/>.
/// </summary>
internal sealed class NbdLink : IDisposable
{
    private const ulong OptionMagic = 0x49484156454F5054; // IHAVEOPT
    private const uint RequestMagic = 0x25609513; // NBD_REQUEST_MAGIC
    private const uint ReplyMagic = 0x67446698; // NBD_SIMPLE_REPLY_MAGIC
    private readonly TcpClient _tcp;
    private readonly NetworkStream _stream;
    private readonly ConcurrentDictionary<ulong, Pending> _pending = [];
#pragma warning disable CA2213 // holds nothing to give back, and requests that are about to find the connection broken still go through it
    private readonly SemaphoreSlim _sending = new(1, 1);
#pragma warning restore CA2213
    private ulong _cookie;
    private volatile bool _broken;

    private NbdLink(TcpClient tcp)
    {
        _tcp = tcp;
        _stream = tcp.GetStream();
    }

    public bool IsBroken => _broken;

    public static async Task<NbdLink> ConnectAsync(NodeAddress gateway, string export, CancellationToken cancellation)
    {
        var tcp = new TcpClient { NoDelay = true };
        try
        {
            await tcp.ConnectAsync(gateway.Host, gateway.Port, cancellation).ConfigureAwait(false);
            var link = new NbdLink(tcp);
            await link.HandshakeAsync(export, cancellation).ConfigureAwait(false);
            link.Receive();
            return link;
        }
        catch (Exception e)
        {
            tcp.Dispose();
            if (e is SocketException)
            {
                throw new IOException($"NBD gateway at {gateway}: {e.Message}", e);
            }

            throw;
        }
    }

    public Task WriteAsync(long offset, byte[] data, bool durable) => RequestAsync(1, (ushort)(durable ? 1 : 0), offset, data.Length, data, null);

    public Task FlushAsync() => RequestAsync(3, 0, 0, 0, null, null);

    public async Task<byte[]> ReadAsync(long offset, int length)
    {
        byte[] data = new byte[length];
        await RequestAsync(0, 0, offset, length, null, data).ConfigureAwait(false);
        return data;
    }

    public void Dispose()
    {
        Break("closed");
        _tcp.Dispose();
    }

    private async Task HandshakeAsync(string export, CancellationToken cancellation)
    {
        byte[] greeting = new byte[18];
        await _stream.ReadExactlyAsync(greeting, cancellation).ConfigureAwait(false);
        if (Encoding.ASCII.GetString(greeting, 0, 16) != "NBDMAGICIHAVEOPT")
        {
            throw new IOException("that is no NBD gateway");
        }

        byte[] name = Encoding.UTF8.GetBytes(export);
        byte[] hello = new byte[4 + 16 + name.Length];
        BinaryPrimitives.WriteUInt32BigEndian(hello, 3); // fixed newstyle, no zeroes
        BinaryPrimitives.WriteUInt64BigEndian(hello.AsSpan(4), OptionMagic);
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(12), 1); // NBD_OPT_EXPORT_NAME
        BinaryPrimitives.WriteUInt32BigEndian(hello.AsSpan(16), (uint)name.Length);
        name.CopyTo(hello, 20);
        await _stream.WriteAsync(hello, cancellation).ConfigureAwait(false);
        byte[] sizeAndFlags = new byte[10];
        await _stream.ReadExactlyAsync(sizeAndFlags, cancellation).ConfigureAwait(false);
    }

    private async Task RequestAsync(ushort command, ushort flags, long offset, int length, byte[]? data, byte[]? destination)
    {
        var pending = new Pending(destination);
        ulong cookie = Interlocked.Increment(ref _cookie);
        byte[] request = new byte[28 + (data?.Length ?? 0)];
        BinaryPrimitives.WriteUInt32BigEndian(request, RequestMagic);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(4), flags);
        BinaryPrimitives.WriteUInt16BigEndian(request.AsSpan(6), command);
        BinaryPrimitives.WriteUInt64BigEndian(request.AsSpan(8), cookie);
        BinaryPrimitives.WriteInt64BigEndian(request.AsSpan(16), offset);
        BinaryPrimitives.WriteInt32BigEndian(request.AsSpan(24), length);
        data?.CopyTo(request, 28);
        _pending[cookie] = pending;
        await _sending.WaitAsync().ConfigureAwait(false);
        try
        {
            if (_broken)
            {
                throw new IOException("the connection is broken");
            }

            await _stream.WriteAsync(request).ConfigureAwait(false);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            Break(e.Message);
        }
        finally
        {
            _sending.Release();
        }

        await pending.Task.ConfigureAwait(false);
    }

    private async void Receive()
    {
        byte[] reply = new byte[16];
        try
        {
            while (true)
            {
                await _stream.ReadExactlyAsync(reply).ConfigureAwait(false);
                ulong cookie = BinaryPrimitives.ReadUInt64BigEndian(reply.AsSpan(8));
                if (BinaryPrimitives.ReadUInt32BigEndian(reply) != ReplyMagic || !_pending.TryRemove(cookie, out Pending? pending))
                {
                    throw new IOException("the gateway answered what was not asked");
                }

                uint error = BinaryPrimitives.ReadUInt32BigEndian(reply.AsSpan(4));
                if (error != 0)
                {
                    pending.TrySetException(new NbdErrorException(error));
                    continue;
                }

                if (pending.Destination is { } destination)
                {
                    try
                    {
                        await _stream.ReadExactlyAsync(destination).ConfigureAwait(false);
                    }
                    catch (Exception e) when (e is IOException or ObjectDisposedException)
                    {
                        pending.TrySetException(new IOException(e.Message, e));
                        throw;
                    }
                }

                pending.TrySetResult();
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            Break(e.Message);
        }
    }

    private void Break(string why)
    {
        _broken = true;
        foreach (ulong cookie in _pending.Keys)
        {
            if (_pending.TryRemove(cookie, out Pending? pending))
            {
                pending.TrySetException(new IOException(why));
            }
        }

        _tcp.Close();
    }

    private sealed class Pending(byte[]? destination) : TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)
    {
        public byte[]? Destination => destination;
    }
}
