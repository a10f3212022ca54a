using System.Net;
using System.Net.Sockets;
using Storage.Reactor.Native;

namespace Storage.Reactor.Sockets;

/// <summary>Blocking-free system calls for setting sockets up.</summary>
internal static unsafe class SocketCalls
{
    private const int LongestAddress = 128;
    private const int UnixBuffer = 2 << 20;

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

    /// <summary>A descriptor that is connected to a Unix socket of this user or of root; -1 if there is none that takes it now.</summary>
    public static int TryConnect(UnixDomainSocketEndPoint endPoint)
    {
        // Not blocking while it connects: a listener that hangs has a full queue some day.
        int fd = Libc.Socket(Libc.AfUnix, Libc.SockStream | Libc.SockCloexec | Libc.SockNonblock, 0);
        if (fd < 0)
        {
            throw new IoException("cannot create a socket", Libc.LastError);
        }

        SocketAddress address = endPoint.Serialize();
        fixed (byte* bytes = address.Buffer.Span)
        {
            if (Libc.Connect(fd, bytes, (uint)address.Size) == 0 && IsTrusted(fd) && Libc.FileControl(fd, Libc.SetFlags, 0) == 0)
            {
                SetUnixOptions(fd);
                return fd;
            }
        }

        _ = Libc.Close(fd);
        return -1;
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

    /// <summary>A Unix socket has one buffer, the sender's, and its default holds a fraction of a large message. The system's limit holds.</summary>
    public static void SetUnixOptions(int fd) => Set(fd, Libc.SolSocket, Libc.SoSndBuf, UnixBuffer);

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

    /// <summary>Whether the other end was made by this process's user or by root: names of Unix sockets without a file are anybody's.</summary>
    private static bool IsTrusted(int fd)
    {
        int* credentials = stackalloc int[3]; // process, user, group
        uint length = 3 * sizeof(int);
        return Libc.GetSocketOption(fd, Libc.SolSocket, Libc.SoPeerCredentials, credentials, &length) == 0
            && (credentials[1] == 0 || (uint)credentials[1] == Libc.EffectiveUser());
    }
}
