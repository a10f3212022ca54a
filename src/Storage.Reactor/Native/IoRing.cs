namespace Storage.Reactor.Native;

/// <summary>
/// Two queues between a loop and whoever carries out its operations: entries go in, completions come out, in the form of io_uring. Made by
/// any thread, used by the one that calls <see cref="Enable"/>.
/// </summary>
internal abstract unsafe class IoRing : IDisposable
{
    public const byte OpNop = 0, OpReadv = 1, OpWritev = 2, OpFsync = 3, OpSendMsg = 9, OpRecvMsg = 10, OpAccept = 13, OpAsyncCancel = 14,
        OpConnect = 16, OpFallocate = 17, OpRead = 22, OpWrite = 23;

    public const uint CqeMore = 1 << 1;
    public const uint CancelAll = 1 << 0, CancelFd = 1 << 1, CancelAny = 1 << 2;
    public const uint FsyncDataOnly = 1;
    public const ushort AcceptMultishot = 1, PollFirst = 1;

    /// <summary>In <see cref="Sqe.Offset"/> of a read: the descriptor is no file but something that has bytes when it is readable.</summary>
    public const ulong NoOffset = ulong.MaxValue;

    /// <summary>Whether receiving may be told to wait for data before it tries.</summary>
    public abstract bool SupportsPollFirst { get; }

    /// <summary>Whether completions show without a call to <see cref="Enter"/>, so that watching for them pays.</summary>
    public abstract bool CanSpin { get; }

    /// <summary>Entries written and not yet handed over.</summary>
    public abstract uint Unsubmitted { get; }

    /// <summary>True if there are completions, or work for this ring, that need a call to <see cref="Enter"/>.</summary>
    public abstract bool NeedsEnter { get; }

    /// <summary>True if completions are ready.</summary>
    public abstract bool HasCompletions { get; }

    /// <summary>Completions that are ready now.</summary>
    public abstract uint Ready { get; }

    /// <summary>Starts the ring; from here on it belongs to the calling thread.</summary>
    public abstract void Enable();

    /// <summary>The next free submission entry, zeroed; null if the ring is full.</summary>
    public abstract Sqe* TryNext();

    /// <summary>Submits what was written and takes in completions.</summary>
    /// <param name="wait">Sleep until there is a completion.</param>
    /// <param name="timeout">Longest sleep; null is forever.</param>
    /// <returns>0, or the errno; ETIME and EINTR are ordinary.</returns>
    public abstract int Enter(bool wait, TimeSpan? timeout);

    /// <summary>Takes the oldest completion.</summary>
    public abstract bool TryTake(out Cqe cqe);

    /// <inheritdoc/>
    public abstract void Dispose();
}
