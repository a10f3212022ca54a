using System.Runtime.InteropServices;
using Storage.Coding;
using Storage.Reactor.Native;

namespace Storage.Reactor;

// Operations in flight. Each has a slot that holds its completion and the buffer it works on, so that neither is collected or
// given back before the kernel is done.
public sealed unsafe partial class ReactorLoop
{
    private const ulong Ignored = ulong.MaxValue;

    private Slot[] _slots = new Slot[256];
    private int _freeSlot = -1;
    private int _usedSlots;
    private int _inFlight;
    private readonly Sqe* _refused = (Sqe*)NativeMemory.AllocZeroed((nuint)sizeof(Sqe));

    /// <summary>Operations the kernel has not finished, the loop's own wake-up included.</summary>
    public int InFlight => _inFlight;

    /// <summary>Reads from a descriptor at an offset. The loop holds a reference to the buffer until the completion.</summary>
    /// <param name="fd">File or block device; with O_DIRECT offset, length and address must be aligned to its block size.</param>
    /// <param name="offset">Byte offset.</param>
    /// <param name="destination">Where the bytes go.</param>
    /// <param name="completion">Gets the bytes read, fewer only at the end of the file.</param>
    public void Read(int fd, long offset, BufferSegment destination, IoCompletion completion) =>
        Transfer(IoRing.OpRead, fd, offset, destination, 0, completion);

    /// <summary>Writes to a descriptor at an offset. The loop holds a reference to the buffer until the completion.</summary>
    /// <param name="fd">File or block device; with O_DIRECT offset, length and address must be aligned to its block size.</param>
    /// <param name="offset">Byte offset.</param>
    /// <param name="source">The bytes.</param>
    /// <param name="completion">Gets the bytes written, which may be fewer than asked for.</param>
    /// <param name="durable">Complete only when the data is on stable storage (RWF_DSYNC).</param>
    public void Write(int fd, long offset, BufferSegment source, IoCompletion completion, bool durable = false) =>
        Transfer(IoRing.OpWrite, fd, offset, source, durable ? RwfDsync : 0, completion);

    /// <summary>Writes many ranges one after the other at an offset.</summary>
    /// <param name="fd">File or block device.</param>
    /// <param name="offset">Byte offset.</param>
    /// <param name="source">The ranges; must not change until the completion.</param>
    /// <param name="completion">Gets the bytes written, which may be fewer than asked for.</param>
    /// <param name="durable">Complete only when the data is on stable storage (RWF_DSYNC).</param>
    public void WriteVector(int fd, long offset, IoVector source, IoCompletion completion, bool durable = false)
    {
        ArgumentNullException.ThrowIfNull(source);
        Invariant.Holds(source.Count > 0);
        Sqe* sqe = Prepare(IoRing.OpWritev, fd, completion, null);
        sqe->Offset = (ulong)offset;
        sqe->Address = (ulong)source.First;
        sqe->Length = (uint)source.Count;
        sqe->OperationFlags = durable ? RwfDsync : 0;
    }

    /// <summary>Makes everything written to a descriptor before, and completed, durable (fdatasync).</summary>
    /// <param name="fd">File or block device.</param>
    /// <param name="completion">Gets 0.</param>
    public void DataSync(int fd, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpFsync, fd, completion, null);
        sqe->OperationFlags = IoRing.FsyncDataOnly;
    }

    /// <summary>Allocates, punches or zeroes a range (fallocate).</summary>
    /// <param name="fd">File or block device.</param>
    /// <param name="mode">As fallocate(2) has it.</param>
    /// <param name="offset">First byte.</param>
    /// <param name="length">Bytes, above 0.</param>
    /// <param name="completion">Gets 0.</param>
    public void Allocate(int fd, int mode, long offset, long length, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpFallocate, fd, completion, null);
        sqe->Offset = (ulong)offset;
        sqe->Address = (ulong)length;
        sqe->Length = (uint)mode;
    }

    internal void Accept(int fd, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpAccept, fd, completion, null);
        sqe->Priority = IoRing.AcceptMultishot;
        sqe->OperationFlags = Libc.SockCloexec;
    }

    internal void Connect(int fd, byte* address, uint length, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpConnect, fd, completion, null);
        sqe->Address = (ulong)address;
        sqe->Offset = length;
    }

    internal void SendMessage(int fd, MessageHeader* message, uint flags, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpSendMsg, fd, completion, null);
        sqe->Address = (ulong)message;
        sqe->Length = 1;
        sqe->OperationFlags = flags;
    }

    /// <summary>Whether receiving may be told to wait for data before it tries (io_uring of Linux 5.19; known to be there with deferred task work).</summary>
    internal bool SupportsPollFirst => _ring.SupportsPollFirst;

    internal void ReceiveMessage(int fd, MessageHeader* message, bool pollFirst, IoCompletion completion)
    {
        Sqe* sqe = Prepare(IoRing.OpRecvMsg, fd, completion, null);
        sqe->Priority = pollFirst ? IoRing.PollFirst : (ushort)0;
        sqe->Address = (ulong)message;
        sqe->Length = 1;
    }

    /// <summary>Asks the kernel to end every operation on a descriptor; each still completes, most with ECANCELED.</summary>
    internal void CancelAll(int fd)
    {
        Sqe* sqe = NextEntry();
        sqe->Opcode = IoRing.OpAsyncCancel;
        sqe->Fd = fd;
        sqe->OperationFlags = IoRing.CancelAll | IoRing.CancelFd;
        sqe->UserData = Ignored;
    }

    /// <summary>Takes a submission entry and a slot for its completion.</summary>
    internal Sqe* Prepare(byte opcode, int fd, IoCompletion completion, PageBuffer? buffer)
    {
        ArgumentNullException.ThrowIfNull(completion);
        AssertCurrent();
        if (_draining)
        {
            Refuse(completion);
            return _refused;
        }

        Sqe* sqe = NextEntry();
        int index = _freeSlot;
        if (index >= 0)
        {
            _freeSlot = _slots[index].NextFree;
        }
        else
        {
            index = _usedSlots++;
            if (index == _slots.Length)
            {
                Array.Resize(ref _slots, _slots.Length * 2);
            }
        }

        ref Slot slot = ref _slots[index];
        slot.Completion = completion;
        slot.Buffer = buffer?.Retain();
        _inFlight++;
        sqe->Opcode = opcode;
        sqe->Fd = fd;
        sqe->UserData = (uint)index;
        return sqe;
    }

    private const uint RwfDsync = 2;

    private void Transfer(byte opcode, int fd, long offset, BufferSegment segment, uint flags, IoCompletion completion)
    {
        Invariant.Holds(segment.Buffer is not null && segment.Length > 0);
        Invariant.Holds(segment.Offset >= 0 && segment.Offset <= segment.Buffer.Capacity - segment.Length);
        Sqe* sqe = Prepare(opcode, fd, completion, segment.Buffer);
        sqe->Offset = (ulong)offset;
        sqe->Address = (ulong)(segment.Buffer.Address + segment.Offset);
        sqe->Length = (uint)segment.Length;
        sqe->OperationFlags = flags;
    }

    /// <summary>The loop is shutting down: the operation completes as if it had been cancelled at once.</summary>
    private void Refuse(IoCompletion completion) =>
        _local.Enqueue(new Work(static c => ((IoCompletion)c!).OnCompleted(-IoError.Canceled, 0), completion));

    private Sqe* NextEntry()
    {
        Sqe* sqe = _ring.TryNext();
        if (sqe is null)
        {
            Enter(wait: false, null);
            sqe = _ring.TryNext();
            if (sqe is null)
            {
                throw new IoException("io_uring takes no more operations", IoError.Busy);
            }
        }

        return sqe;
    }

    private void Complete(in Cqe cqe, bool callbacks)
    {
        if (cqe.UserData == Ignored)
        {
            return;
        }

        Statistics.Completions++;
        int index = (int)cqe.UserData;
        Invariant.Holds((uint)index < (uint)_usedSlots);
        ref Slot slot = ref _slots[index];
        IoCompletion completion = slot.Completion!;
        PageBuffer? buffer = null;
        if ((cqe.Flags & IoRing.CqeMore) == 0)
        {
            buffer = slot.Buffer;
            slot.Completion = null;
            slot.Buffer = null;
            slot.NextFree = _freeSlot;
            _freeSlot = index;
            _inFlight--;
        }

        if (callbacks)
        {
            completion.OnCompleted(cqe.Result, cqe.Flags);
        }

        buffer?.Release();
    }

    private struct Slot
    {
        public IoCompletion? Completion;
        public PageBuffer? Buffer;
        public int NextFree;
    }
}
