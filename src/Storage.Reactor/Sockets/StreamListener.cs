using System.Net;
using System.Net.Sockets;
using Storage.Reactor.Native;

namespace Storage.Reactor.Sockets;

/// <summary>Accepts TCP or Unix connections on a loop.</summary>
public sealed class StreamListener : IDisposable
{
    private static readonly TimeSpan s_retryDelay = TimeSpan.FromMilliseconds(100);

    private readonly ReactorLoop _loop;
    private readonly Func<StreamListener, IStreamHandler?> _accept;
    private readonly StreamOptions _options;
    private readonly Acceptor _acceptor;
    private readonly string? _path;
    private readonly bool _isUnix;
    private int _fd;
    private bool _disposed;

    /// <summary>Binds and listens at once.</summary>
    /// <param name="loop">The loop; connections live on it.</param>
    /// <param name="endPoint">An IP address and port (0 lets the kernel choose), or a Unix socket path.</param>
    /// <param name="accept">Gives the handler of a new connection, or null to close it.</param>
    /// <param name="options">Settings of the connections.</param>
    /// <exception cref="IoException">The address is taken or not ours.</exception>
    public StreamListener(ReactorLoop loop, EndPoint endPoint, Func<StreamListener, IStreamHandler?> accept, StreamOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(loop);
        ArgumentNullException.ThrowIfNull(endPoint);
        loop.AssertCurrent();
        _loop = loop;
        _accept = accept;
        _options = options ?? StreamOptions.Default;
        _fd = SocketCalls.Create(endPoint);
        try
        {
            if (endPoint is UnixDomainSocketEndPoint)
            {
                _isUnix = true;
                string path = endPoint.ToString()!;
                _path = path.StartsWith('@') ? null : path; // a name that is no file
            }
            else
            {
                SocketCalls.Set(_fd, Libc.SolSocket, Libc.SoReuseAddr, 1);
            }

            SocketCalls.BindAndListen(_fd, endPoint, 512);
        }
        catch
        {
            _ = Libc.Close(_fd);
            throw;
        }

        LocalEndPoint = SocketCalls.Address(_fd, remote: false) ?? endPoint;
        _acceptor = new Acceptor(this);
        loop.Accept(_fd, _acceptor);
    }

    /// <summary>Accepting failed (too many open files, mostly); it is tried again after 100 ms.</summary>
    public event Action<IoError>? AcceptFailed;

    /// <summary>Where it listens, with the port the kernel chose.</summary>
    public EndPoint LocalEndPoint { get; }

    /// <summary>Stops listening; connections stay. From then on connecting is refused.</summary>
    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        _ = Libc.Shutdown(_fd, 2);
        if (_acceptor.Armed)
        {
            _loop.CancelAll(_fd);
        }
        else
        {
            Close();
        }

        if (_path is not null)
        {
            File.Delete(_path);
        }
    }

    private void Close()
    {
        _ = Libc.Close(_fd);
        _fd = -1;
    }

    private void Rearm()
    {
        if (!_disposed && _loop.IsAccepting)
        {
            _acceptor.Armed = true;
            _loop.Accept(_fd, _acceptor);
        }
    }

    private sealed class Acceptor(StreamListener listener) : IoCompletion
    {
        public bool Armed { get; set; } = true;

        protected internal override void OnCompleted(int result, uint flags)
        {
            Armed = (flags & IoRing.CqeMore) != 0;
            if (result >= 0)
            {
                IStreamHandler? handler = listener._disposed ? null : listener._accept(listener);
                if (handler is null)
                {
                    _ = Libc.Close(result);
                }
                else
                {
                    StreamSocket.Adopt(listener._loop, result, handler, listener._options, !listener._isUnix);
                }
            }

            if (Armed)
            {
                return;
            }

            if (listener._disposed || !listener._loop.IsAccepting)
            {
                if (listener._fd >= 0)
                {
                    listener.Close();
                }
            }
            else if (result >= 0 || result == -IoError.ConnectionAborted)
            {
                listener.Rearm();
            }
            else
            {
                listener.AcceptFailed?.Invoke(new IoError(-result));
                listener._loop.Schedule(s_retryDelay, static l => ((StreamListener)l!).Rearm(), listener);
            }
        }
    }
}
