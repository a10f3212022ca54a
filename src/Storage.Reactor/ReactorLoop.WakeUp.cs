using System.Runtime.InteropServices;
using Storage.Reactor.Native;

namespace Storage.Reactor;

public sealed unsafe partial class ReactorLoop
{
    /// <summary>The event descriptor that other threads write to when the loop sleeps; always one read of it in flight.</summary>
    private sealed class WakeUp : IoCompletion, IDisposable
    {
        private readonly ReactorLoop _loop;
        private readonly ulong* _value = (ulong*)NativeMemory.AllocZeroed(8);
        private readonly Lock _closing = new();
        private int _fd;

        public WakeUp(ReactorLoop loop)
        {
            _loop = loop;
            _fd = Libc.EventFd(0, Libc.EfdCloexec);
            if (_fd < 0)
            {
                throw new IoException("cannot create an eventfd", Libc.LastError);
            }
        }

        public void Arm()
        {
            Sqe* sqe = _loop.Prepare(IoRing.OpRead, _fd, this, null);
            sqe->Offset = IoRing.NoOffset;
            sqe->Address = (ulong)_value;
            sqe->Length = 8;
        }

        public void Signal()
        {
            // Only taken when the loop sleeps; keeps the descriptor from being closed, and its number reused, under a late poster.
            lock (_closing)
            {
                ulong one = 1;
                if (_fd >= 0 && Libc.Write(_fd, &one, 8) != 8)
                {
                    throw new IoException("cannot wake the loop", Libc.LastError);
                }
            }
        }

        public void Dispose()
        {
            lock (_closing)
            {
                _ = Libc.Close(_fd);
                _fd = -1;
            }

            if (_loop._inFlight == 0 || !_loop._started) // else the kernel may still write to it
            {
                NativeMemory.Free(_value);
            }
        }

        protected internal override void OnCompleted(int result, uint flags)
        {
            _loop.Statistics.WakeUps++;
            if (!_loop._draining)
            {
                Arm();
            }
        }
    }
}
