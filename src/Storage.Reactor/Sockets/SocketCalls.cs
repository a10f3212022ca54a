using System.Net;
using System.Net.Sockets;
using Storage.Reactor.Native;

namespace Storage.Reactor.Sockets;

/// <summary>Blocking-free system calls for setting sockets up.</summary>
internal static unsafe class SocketCalls
{
    private const int LongestAddress = 128;

    public static int Create(EndPoint endPoint)
    {
        int family = endPoint.AddressFamily switch
        {
            AddressFamily.InterNetwork => Libc.AfInet,
            AddressFamily.InterNetworkV6 => Libc.AfInet6,
            AddressFamily.Unix => Libc.AfUnix,
            _ => throw new ArgumentException($"{endPoint} is neither an IP nor a Unix socket address", nameof(endPoint)),
        };

        // Not O_NONBLOCK: io_uring would answer EAGAIN instead of waiting.
        int fd = Libc.Socket(family, Libc.SockStream | Libc.SockCloexec, 0);
        return fd >= 0 ? fd : throw new IoException("cannot create a socket", Libc.LastError);
    }

    public static void SetTcpOptions(int fd, StreamOptions options)
    {
        Set(fd, Libc.IpProtoTcp, Libc.TcpNoDelay, 1);
        Set(fd, Libc.SolSocket, Libc.SoKeepAlive, 1);
        int milliseconds = (int)options.UserTimeout.TotalMilliseconds;
        if (milliseconds > 0)
        {
            int third = Math.Max(1, milliseconds / 3000);
            Set(fd, Libc.IpProtoTcp, Libc.TcpKeepIdle, third);
            Set(fd, Libc.IpProtoTcp, Libc.TcpKeepInterval, third);
            Set(fd, Libc.IpProtoTcp, Libc.TcpKeepCount, 3);
            Set(fd, Libc.IpProtoTcp, Libc.TcpUserTimeout, milliseconds);
        }
    }

    public static void Set(int fd, int level, int option, int value)
    {
        if (Libc.SetSocketOption(fd, level, option, &value, sizeof(int)) < 0)
        {
            throw new IoException($"cannot set socket option {level}/{option} to {value}", Libc.LastError);
        }
    }

    public static void BindAndListen(int fd, EndPoint endPoint, int backlog)
    {
        SocketAddress address = endPoint.Serialize();
        fixed (byte* bytes = address.Buffer.Span)
        {
            if (Libc.Bind(fd, bytes, (uint)address.Size) < 0)
            {
                throw new IoException($"cannot bind to {endPoint}", Libc.LastError);
            }
        }

        if (Libc.Listen(fd, backlog) < 0)
        {
            throw new IoException($"cannot listen on {endPoint}", Libc.LastError);
        }
    }

    /// <summary>The local or remote address of a socket; null if the kernel has none.</summary>
    public static EndPoint? Address(int fd, bool remote)
    {
        byte* bytes = stackalloc byte[LongestAddress];
        uint length = LongestAddress;
        int result = remote ? Libc.GetPeerName(fd, bytes, &length) : Libc.GetSocketName(fd, bytes, &length);
        if (result < 0 || length < 2)
        {
            return null;
        }

        ushort family = *(ushort*)bytes;
        return family switch
        {
            Libc.AfInet => new IPEndPoint(new IPAddress(new ReadOnlySpan<byte>(bytes + 4, 4)), (bytes[2] << 8) | bytes[3]),
            Libc.AfInet6 => new IPEndPoint(new IPAddress(new ReadOnlySpan<byte>(bytes + 8, 16)), (bytes[2] << 8) | bytes[3]),
            _ => null,
        };
    }
}
