using System.Collections.Concurrent;

namespace Storage.Reactor.Native;

/// <summary>Threads that carry out operations on files with blocking calls, for a loop without io_uring. Entries are added, and completions taken, on the
/// loop's thread; an event descriptor tells when there are some.</summary>
internal sealed unsafe class FileThreads : IDisposable
{
    private const int Most = 4;
    private const int NonBlocking = 0x800;

    private readonly BlockingCollection<Sqe> _waiting = [];
    private readonly ConcurrentQueue<Cqe> _completed = new();
    private readonly List<Thread> _threads = [];
    private int _underWay;
    private int _signalled;

    public FileThreads()
    {
        Signal = Libc.EventFd(0, Libc.EfdCloexec | NonBlocking);
        if (Signal < 0)
        {
            throw new IoException("cannot create an eventfd", Libc.LastError);
        }
    }

    /// <summary>Readable while completions wait to be taken.</summary>
    public int Signal { get; }

    public bool HasCompleted => !_completed.IsEmpty;

    /// <summary>Starts an operation.</summary>
    public void Add(in Sqe sqe)
    {
        if (++_underWay > _threads.Count && _threads.Count < Most)
        {
            var thread = new Thread(Work) { IsBackground = true, Name = $"file-{_threads.Count}" };
            _threads.Add(thread);
            thread.Start();
        }

        _waiting.Add(sqe);
    }

    /// <summary>Takes a completion.</summary>
    public bool TryTake(out Cqe cqe)
    {
        if (!_completed.TryDequeue(out cqe))
        {
            return false;
        }

        _underWay--;
        return true;
    }

    /// <summary>The signal was seen; to be called before the completions are taken.</summary>
    public void Acknowledge()
    {
        ulong count;
        _ = Libc.Read(Signal, &count, sizeof(ulong));
        Volatile.Write(ref _signalled, 0);
    }

    public void Dispose()
    {
        _waiting.CompleteAdding();
        foreach (Thread thread in _threads)
        {
            thread.Join();
        }

        _waiting.Dispose();
        _ = Libc.Close(Signal);
    }

    private void Work()
    {
        foreach (Sqe sqe in _waiting.GetConsumingEnumerable())
        {
            _completed.Enqueue(new Cqe { UserData = sqe.UserData, Result = Execute(sqe) });
            if (Interlocked.Exchange(ref _signalled, 1) == 0)
            {
                ulong one = 1;
                if (Libc.Write(Signal, &one, sizeof(ulong)) < 0)
                {
                    throw new IoException("cannot tell the loop that a file operation is done", Libc.LastError);
                }
            }
        }
    }

    private static int Execute(in Sqe sqe)
    {
        var single = new IoVec { Base = (nint)sqe.Address, Length = sqe.Length };
        while (true)
        {
            nint result = sqe.Opcode switch
            {
                IoRing.OpRead => Libc.ReadVector(sqe.Fd, &single, 1, (long)sqe.Offset),
                IoRing.OpWrite => Libc.WriteVector(sqe.Fd, &single, 1, (long)sqe.Offset, (int)sqe.OperationFlags),
                IoRing.OpReadv => Libc.ReadVector(sqe.Fd, (IoVec*)sqe.Address, (int)sqe.Length, (long)sqe.Offset),
                IoRing.OpWritev => Libc.WriteVector(sqe.Fd, (IoVec*)sqe.Address, (int)sqe.Length, (long)sqe.Offset, (int)sqe.OperationFlags),
                IoRing.OpFsync => (sqe.OperationFlags & IoRing.FsyncDataOnly) != 0 ? Libc.DataSync(sqe.Fd) : Libc.Sync(sqe.Fd),
                IoRing.OpFallocate => Libc.Allocate(sqe.Fd, (int)sqe.Length, (long)sqe.Offset, (long)sqe.Address),
                _ => throw new NotSupportedException($"operation {sqe.Opcode} on a file"),
            };
            if (result >= 0)
            {
                return (int)result;
            }

            // A sync that failed is never tried again: what it was to make durable may be gone.
            int error = Libc.LastError;
            if (error != IoError.Interrupted || sqe.Opcode == IoRing.OpFsync)
            {
                return -error;
            }
        }
    }
}
