using System.Runtime.InteropServices;

namespace Storage.Reactor.Native;

[StructLayout(LayoutKind.Sequential)]
internal struct SqRingOffsets
{
    public uint Head, Tail, RingMask, RingEntries, Flags, Dropped, Array, Reserved1;
    public ulong UserAddress;
}

[StructLayout(LayoutKind.Sequential)]
internal struct CqRingOffsets
{
    public uint Head, Tail, RingMask, RingEntries, Overflow, Cqes, Flags, Reserved1;
    public ulong UserAddress;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct IoUringParams
{
    public uint SqEntries, CqEntries, Flags, SqThreadCpu, SqThreadIdle, Features, WqFd;
    public fixed uint Reserved[3];
    public SqRingOffsets Sq;
    public CqRingOffsets Cq;
}

/// <summary>A submission queue entry; the names of the unions' members follow the operations used here.</summary>
[StructLayout(LayoutKind.Explicit, Size = 64)]
internal struct Sqe
{
    [FieldOffset(0)] public byte Opcode;
    [FieldOffset(1)] public byte Flags;
    [FieldOffset(2)] public ushort Priority;
    [FieldOffset(4)] public int Fd;
    [FieldOffset(8)] public ulong Offset;
    [FieldOffset(16)] public ulong Address;
    [FieldOffset(24)] public uint Length;
    [FieldOffset(28)] public uint OperationFlags;
    [FieldOffset(32)] public ulong UserData;
    [FieldOffset(40)] public ushort BufferIndex;
    [FieldOffset(42)] public ushort Personality;
    [FieldOffset(44)] public uint FileIndex;
    [FieldOffset(48)] public ulong Address3;
    [FieldOffset(56)] public ulong Padding;
}

[StructLayout(LayoutKind.Sequential)]
internal struct Cqe
{
    public ulong UserData;
    public int Result;
    public uint Flags;
}

[StructLayout(LayoutKind.Sequential)]
internal struct KernelTimespec
{
    public long Seconds;
    public long Nanoseconds;
}

[StructLayout(LayoutKind.Sequential)]
internal struct GetEventsArgument
{
    public ulong SignalMask;
    public uint SignalMaskSize;
    public uint MinWaitMicroseconds;
    public ulong Timespec;
}

/// <summary>
/// The two rings shared with the kernel, through plain system calls. Created by any thread, used by the one that calls
/// <see cref="Enable"/>.
/// </summary>
internal sealed unsafe class IoUring : IoRing
{
    private const long SysSetup = 425, SysEnter = 426, SysRegister = 427;
    private const uint SetupCqSize = 1 << 3, SetupClamp = 1 << 4, SetupDisabled = 1 << 6, SetupSubmitAll = 1 << 7,
        SetupCoopTaskrun = 1 << 8, SetupTaskrunFlag = 1 << 9, SetupSingleIssuer = 1 << 12, SetupDeferTaskrun = 1 << 13;

    private const uint FeatureSingleMmap = 1, FeatureNoDrop = 2, FeatureExtArg = 1 << 8;
    private const uint EnterGetEvents = 1, EnterExtArg = 8;
    private const uint SqOverflow = 2, SqTaskrun = 4;
    private const uint RegisterEnableRings = 12;
    private const long OffsetSqes = 0x10000000;

    private readonly nuint _ringSize;
    private readonly nuint _sqesSize;
    private readonly nint _ring;
    private readonly Sqe* _sqes;
    private readonly uint* _sqHead;
    private readonly uint* _sqTail;
    private readonly uint* _sqFlags;
    private readonly uint _sqMask;
    private readonly uint _sqEntries;
    private readonly uint* _cqHead;
    private readonly uint* _cqTail;
    private readonly uint _cqMask;
    private readonly Cqe* _cqes;
    private uint _tail;
    private int _fd;

    public IoUring(uint entries)
    {
        IoUringParams parameters = default;
        _fd = Setup(entries, out parameters);
        const uint Needed = FeatureSingleMmap | FeatureNoDrop | FeatureExtArg;
        if ((parameters.Features & Needed) != Needed)
        {
            _ = Libc.Close(_fd);
            throw new NotSupportedException(
                $"this kernel's io_uring lacks features (has 0x{parameters.Features:x}, needs 0x{Needed:x}); Linux 5.11 or later is required");
        }

        nuint sqSize = parameters.Sq.Array + (parameters.SqEntries * sizeof(uint));
        nuint cqSize = parameters.Cq.Cqes + (parameters.CqEntries * (uint)sizeof(Cqe));
        _ringSize = Math.Max(sqSize, cqSize);
        _sqesSize = parameters.SqEntries * (nuint)sizeof(Sqe);
        _ring = Map(_ringSize, 0);
        _sqes = (Sqe*)Map(_sqesSize, OffsetSqes);
        byte* ring = (byte*)_ring;
        _sqHead = (uint*)(ring + parameters.Sq.Head);
        _sqTail = (uint*)(ring + parameters.Sq.Tail);
        _sqFlags = (uint*)(ring + parameters.Sq.Flags);
        _sqEntries = parameters.SqEntries;
        _sqMask = _sqEntries - 1;
        _cqHead = (uint*)(ring + parameters.Cq.Head);
        _cqTail = (uint*)(ring + parameters.Cq.Tail);
        _cqMask = parameters.CqEntries - 1;
        _cqes = (Cqe*)(ring + parameters.Cq.Cqes);
        uint* array = (uint*)(ring + parameters.Sq.Array);
        for (uint i = 0; i < _sqEntries; i++)
        {
            array[i] = i; // entry n of the ring is always entry n of the array
        }
    }

    /// <summary>True if the kernel defers completion work to <see cref="Enter"/>: no interrupts of the loop's own code.</summary>
    public bool DefersTaskWork { get; private set; }

    public override bool SupportsPollFirst => DefersTaskWork;

    public override bool CanSpin => true;

    public override uint Unsubmitted => _tail - Volatile.Read(ref *_sqHead);

    public override bool NeedsEnter => (Volatile.Read(ref *_sqFlags) & (SqTaskrun | SqOverflow)) != 0;

    public override bool HasCompletions => *_cqHead != Volatile.Read(ref *_cqTail);

    public override void Enable()
    {
        if (Libc.SysRegister(SysRegister, _fd, RegisterEnableRings, null, 0) < 0)
        {
            throw new IoException("cannot start io_uring", Libc.LastError);
        }
    }

    public override Sqe* TryNext()
    {
        if (Unsubmitted >= _sqEntries)
        {
            return null;
        }

        Sqe* sqe = _sqes + (_tail & _sqMask);
        *sqe = default;
        _tail++;
        return sqe;
    }

    public override int Enter(bool wait, TimeSpan? timeout)
    {
        Volatile.Write(ref *_sqTail, _tail);
        KernelTimespec timespec = default;
        GetEventsArgument argument = default;
        if (wait && timeout is { } limit)
        {
            timespec.Seconds = limit.Ticks / TimeSpan.TicksPerSecond;
            timespec.Nanoseconds = limit.Ticks % TimeSpan.TicksPerSecond * 100;
            argument.Timespec = (ulong)&timespec;
        }

        long result = Libc.SysEnter(
            SysEnter, _fd, Unsubmitted, wait ? 1u : 0u, EnterGetEvents | EnterExtArg, &argument, (nuint)sizeof(GetEventsArgument));
        return result < 0 ? Libc.LastError : 0;
    }

    public override bool TryTake(out Cqe cqe)
    {
        uint head = *_cqHead;
        if (head == Volatile.Read(ref *_cqTail))
        {
            cqe = default;
            return false;
        }

        cqe = _cqes[head & _cqMask];
        Volatile.Write(ref *_cqHead, head + 1);
        return true;
    }

    public override uint Ready => Volatile.Read(ref *_cqTail) - *_cqHead;

    public override void Dispose()
    {
        if (_fd >= 0)
        {
            _ = Libc.Munmap((nint)_sqes, _sqesSize);
            _ = Libc.Munmap(_ring, _ringSize);
            _ = Libc.Close(_fd);
            _fd = -1;
        }
    }

    private int Setup(uint entries, out IoUringParams parameters)
    {
        const uint Base = SetupCqSize | SetupClamp | SetupDisabled;
        ReadOnlySpan<uint> choices =
        [
            Base | SetupSubmitAll | SetupCoopTaskrun | SetupTaskrunFlag | SetupSingleIssuer | SetupDeferTaskrun, // 6.1
            Base | SetupSubmitAll | SetupCoopTaskrun | SetupTaskrunFlag, // 5.19
            Base,
        ];
        foreach (uint flags in choices)
        {
            IoUringParams p = default;
            p.Flags = flags;
            p.CqEntries = entries * 4;
            long fd = Libc.SysSetup(SysSetup, entries, &p);
            if (fd >= 0)
            {
                parameters = p;
                DefersTaskWork = (flags & SetupDeferTaskrun) != 0;
                return (int)fd;
            }

            switch (Libc.LastError)
            {
                case IoError.InvalidArgument:
                    continue; // a flag this kernel does not know
                case IoError.NotPermitted:
                    throw new NotSupportedException(
                        "the kernel forbids io_uring (EPERM): set kernel.io_uring_disabled = 0, or run in its io_uring_group; "
                        + "in a container its seccomp profile must allow io_uring_setup, io_uring_enter and io_uring_register");
                case IoError.NotImplemented:
                    throw new NotSupportedException("this kernel has no io_uring (ENOSYS); Linux 5.11 or later with CONFIG_IO_URING is required");
                case IoError.OutOfMemory:
                    throw new IoException("cannot create io_uring: the limit on locked memory (ulimit -l, LimitMEMLOCK) is too low", IoError.OutOfMemory);
                default:
                    throw new IoException("cannot create io_uring", Libc.LastError);
            }
        }

        throw new IoException("cannot create io_uring", IoError.InvalidArgument);
    }

    private nint Map(nuint length, long offset)
    {
        nint address = Libc.Mmap(0, length, Libc.ProtReadWrite, Libc.MapShared | Libc.MapPopulate, _fd, offset);
        return address != -1 ? address : throw new IoException("cannot map io_uring's memory", Libc.LastError);
    }
}
