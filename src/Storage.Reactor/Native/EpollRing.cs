using System.Runtime.InteropServices;
using Storage.Coding;

namespace Storage.Reactor.Native;

/// <summary>
/// The loop's operations without io_uring. What is done to sockets is tried at once and, while it would block, again whenever epoll says that it may
/// be done; what is done to files goes to a few threads that block. The loop sees the same entries and completions as with io_uring.
/// </summary>
internal sealed unsafe class EpollRing : IoRing
{
    private const int EventsAtOnce = 256;
    private const int NonBlocking = 0x800;

    // epoll_event is packed on x86-64 only.
    private static readonly int s_eventSize = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 12 : 16;

    private readonly uint _entries;
    private readonly Sqe* _submitted;
    private readonly byte* _events = (byte*)NativeMemory.Alloc(EventsAtOnce * 16);
    private readonly Queue<Cqe> _completed = new();
    private readonly Dictionary<int, Waiting> _waiting = [];
    private readonly FileThreads _files;
    private readonly int _epoll;
    private uint _head;
    private uint _tail;
    private int _waitingCount;
    private bool _disposed;

    public EpollRing(uint entries)
    {
        _entries = entries;
        _submitted = (Sqe*)NativeMemory.AllocZeroed(entries, (nuint)sizeof(Sqe));
        _epoll = Libc.EpollCreate(Libc.EpollCloexec);
        if (_epoll < 0)
        {
            throw new IoException("cannot create an epoll descriptor", Libc.LastError);
        }

        _files = new FileThreads();
        Watch(_files.Signal, Libc.EpollIn, once: false);
    }

    public override bool SupportsPollFirst => false;

    public override bool CanSpin => false;

    public override uint Unsubmitted => _tail - _head;

    public override bool NeedsEnter => _waitingCount > 0;

    public override bool HasCompletions => _completed.Count > 0 || _files.HasCompleted;

    public override uint Ready
    {
        get
        {
            TakeFromThreads();
            return (uint)_completed.Count;
        }
    }

    public override void Enable()
    {
    }

    public override Sqe* TryNext()
    {
        if (Unsubmitted >= _entries)
        {
            return null;
        }

        Sqe* sqe = _submitted + (_tail & (_entries - 1));
        *sqe = default;
        _tail++;
        return sqe;
    }

    public override int Enter(bool wait, TimeSpan? timeout)
    {
        while (_head != _tail)
        {
            Submit(_submitted[_head & (_entries - 1)]);
            _head++;
        }

        int milliseconds = !wait || HasCompletions ? 0 : timeout is { } limit ? (int)Math.Min(Math.Ceiling(limit.TotalMilliseconds), int.MaxValue) : -1;
        int count = Libc.EpollWait(_epoll, _events, EventsAtOnce, milliseconds);
        if (count < 0)
        {
            return Libc.LastError;
        }

        for (int i = 0; i < count; i++)
        {
            byte* at = _events + (i * s_eventSize);
            Retry(*(int*)(at + s_eventSize - 8), *(uint*)at);
        }

        TakeFromThreads();
        return 0;
    }

    public override bool TryTake(out Cqe cqe)
    {
        TakeFromThreads();
        return _completed.TryDequeue(out cqe);
    }

    public override void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _files.Dispose();
            _ = Libc.Close(_epoll);
            NativeMemory.Free(_submitted);
            NativeMemory.Free(_events);
        }
    }

    private void Submit(in Sqe sqe)
    {
        switch (sqe.Opcode)
        {
            case OpNop:
                Complete(sqe, 0);
                break;
            case OpAsyncCancel:
                Cancel(sqe);
                break;
            case OpRead when sqe.Offset == NoOffset:
            case OpSendMsg or OpRecvMsg or OpAccept or OpConnect:
                Begin(sqe);
                break;
            default:
                _files.Add(sqe);
                break;
        }
    }

    private void Begin(in Sqe sqe)
    {
        if (sqe.Opcode is OpRead or OpAccept or OpConnect)
        {
            SetNonBlocking(sqe.Fd);
        }

        _waiting.TryGetValue(sqe.Fd, out Waiting waiting);
        bool isOut = sqe.Opcode is OpSendMsg or OpConnect;

        // One operation of each direction at a time is all that the loop's sockets have under way.
        Invariant.Holds((isOut ? waiting.Out : waiting.In) is null);
        if (!Try(sqe, isReady: false))
        {
            _waiting[sqe.Fd] = isOut ? waiting with { Out = sqe } : waiting with { In = sqe };
            _waitingCount++;
            Arm(sqe.Fd);
        }
    }

    // The descriptor may be ready. It is watched once: what still waits afterwards is watched anew, so that a descriptor that was closed, and its
    // number given out again, is never mistaken for the new one.
    private void Retry(int fd, uint events)
    {
        if (fd == _files.Signal)
        {
            _files.Acknowledge();
            return;
        }

        if (!_waiting.TryGetValue(fd, out Waiting waiting))
        {
            return; // cancelled since
        }

        const uint Both = Libc.EpollError | Libc.EpollHangUp;
        if (waiting.In is { } read && (events & (Libc.EpollIn | Both)) != 0 && Try(read, isReady: true))
        {
            waiting = waiting with { In = null };
            _waitingCount--;
        }

        if (waiting.Out is { } write && (events & (Libc.EpollOut | Both)) != 0 && Try(write, isReady: true))
        {
            waiting = waiting with { Out = null };
            _waitingCount--;
        }

        Store(fd, waiting);
    }

    private void Store(int fd, Waiting waiting)
    {
        if (waiting is { In: null, Out: null })
        {
            _waiting.Remove(fd);
        }
        else
        {
            _waiting[fd] = waiting;
            Arm(fd);
        }
    }

    private void Arm(int fd)
    {
        Waiting waiting = _waiting[fd];
        Watch(fd, (waiting.In is null ? 0 : Libc.EpollIn) | (waiting.Out is null ? 0 : Libc.EpollOut), once: true);
    }

    private void Watch(int fd, uint events, bool once)
    {
        byte* change = stackalloc byte[16];
        *(uint*)change = events | (once ? Libc.EpollOneShot : 0);
        *(ulong*)(change + s_eventSize - 8) = (uint)fd;
        if (Libc.EpollControl(_epoll, Libc.EpollModify, fd, change) < 0
            && (Libc.LastError != IoError.NotFound || Libc.EpollControl(_epoll, Libc.EpollAdd, fd, change) < 0))
        {
            throw new IoException($"cannot watch descriptor {fd}", Libc.LastError);
        }
    }

    // Carries an operation out if that does not block; false if it has to wait.
    private bool Try(in Sqe sqe, bool isReady)
    {
        switch (sqe.Opcode)
        {
            case OpRecvMsg:
                return Settle(sqe, Libc.ReceiveMessage(sqe.Fd, (void*)sqe.Address, (int)sqe.OperationFlags | Libc.MessageDontWait));
            case OpSendMsg:
                return Settle(sqe, Libc.SendMessage(sqe.Fd, (void*)sqe.Address, (int)sqe.OperationFlags | Libc.MessageDontWait));
            case OpRead:
                return Settle(sqe, Libc.Read(sqe.Fd, (void*)sqe.Address, sqe.Length));
            case OpConnect when isReady:
                int error = 0;
                uint size = sizeof(int);
                nint got = Libc.GetSocketOption(sqe.Fd, Libc.SolSocket, Libc.SoError, &error, &size);
                Complete(sqe, got < 0 ? -Libc.LastError : -error);
                return true;
            case OpConnect:
                int connected = Libc.Connect(sqe.Fd, (byte*)sqe.Address, (uint)sqe.Offset);
                if (connected < 0 && Libc.LastError == IoError.InProgress)
                {
                    return false;
                }

                Complete(sqe, connected < 0 ? -Libc.LastError : 0);
                return true;
            default:
                return TryAccept(sqe);
        }
    }

    private bool TryAccept(in Sqe sqe)
    {
        while (true)
        {
            int accepted = Libc.Accept(sqe.Fd, null, null, (int)sqe.OperationFlags);
            if (accepted < 0)
            {
                return Settle(sqe, accepted);
            }

            _completed.Enqueue(new Cqe { UserData = sqe.UserData, Result = accepted, Flags = CqeMore });
        }
    }

    private bool Settle(in Sqe sqe, nint result)
    {
        if (result < 0)
        {
            int error = Libc.LastError;
            if (error is IoError.TryAgain or IoError.Interrupted)
            {
                return false;
            }

            result = -error;
        }

        Complete(sqe, (int)result);
        return true;
    }

    private void Complete(in Sqe sqe, int result) => _completed.Enqueue(new Cqe { UserData = sqe.UserData, Result = result });

    // What the threads have is not interrupted: it completes soon.
    private void Cancel(in Sqe sqe)
    {
        bool any = (sqe.OperationFlags & CancelAny) != 0;
        Invariant.Holds(any || (sqe.OperationFlags & CancelFd) != 0);
        foreach (int fd in any ? [.. _waiting.Keys] : new[] { sqe.Fd })
        {
            if (_waiting.Remove(fd, out Waiting waiting))
            {
                foreach (Sqe? each in new[] { waiting.In, waiting.Out })
                {
                    if (each is { } cancelled)
                    {
                        _waitingCount--;
                        Complete(cancelled, -IoError.Canceled);
                    }
                }
            }
        }

        Complete(sqe, 0);
    }

    private void TakeFromThreads()
    {
        while (_files.TryTake(out Cqe cqe))
        {
            _completed.Enqueue(cqe);
        }
    }

    private static void SetNonBlocking(int fd)
    {
        int flags = Libc.FileControl(fd, Libc.GetFlags, 0);
        if (flags < 0 || ((flags & NonBlocking) == 0 && Libc.FileControl(fd, Libc.SetFlags, flags | NonBlocking) < 0))
        {
            throw new IoException($"cannot make descriptor {fd} non-blocking", Libc.LastError);
        }
    }

    /// <summary>What waits for a descriptor to be readable, and what waits for it to be writable.</summary>
    private readonly record struct Waiting(Sqe? In, Sqe? Out);
}
