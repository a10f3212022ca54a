using Storage.Coding;

namespace Storage.Reactor.Sockets;

// Sending. Pieces queue until the end of the pass; while a send is in flight they wait for it, and then leave together.
public sealed unsafe partial class StreamSocket
{
    private const uint NoSignal = 0x4000, WaitAll = 0x100;

    private readonly Queue<BufferSegment> _overflow = new(); // beyond what one system call takes; each holds a reference
    private IoVector _queued = new();
    private IoVector _sending = new();
    private PageBuffer? _staging;
    private int _stagingUsed;
    private int _reserved;
    private long _overflowBytes;
    private bool _flushScheduled;
    private bool _congested;
    private bool _closeWhenFlushed;

    /// <summary>Bytes queued or being sent.</summary>
    public long QueuedBytes => _queued.Length + _sending.Length + _overflowBytes;

    /// <summary>
    /// True from <see cref="StreamOptions.HighWatermark"/> queued bytes on until <see cref="IStreamHandler.OnWritable"/>. Sends are
    /// still taken; the caller stops producing.
    /// </summary>
    public bool IsCongested => _congested;

    /// <summary>Bytes sent since the start.</summary>
    public long BytesSent { get; private set; }

    /// <summary>Gives room for a small piece, to be filled in and then sent by <see cref="Commit"/>.</summary>
    /// <param name="length">Bytes, at most <see cref="StreamOptions.StagingBufferSize"/>.</param>
    /// <returns>The room; its bytes are whatever they were.</returns>
    public Span<byte> Reserve(int length)
    {
        Invariant.Holds(length >= 0 && length <= _options.StagingBufferSize);
        Invariant.Holds(_reserved == 0);
        if (_staging is null || _staging.Capacity - _stagingUsed < length)
        {
            if (_staging is { References: 1 })
            {
                _stagingUsed = 0;
            }
            else
            {
                _staging?.Release();
                _staging = _options.Pool.Rent(_options.StagingBufferSize);
                _stagingUsed = 0;
            }
        }

        _reserved = length;
        return _staging.Span.Slice(_stagingUsed, length);
    }

    /// <summary>Queues what was written into the room of <see cref="Reserve"/>.</summary>
    /// <param name="length">Bytes, at most what was reserved.</param>
    public void Commit(int length)
    {
        Invariant.Holds(length >= 0 && length <= _reserved);
        _reserved = 0;
        var segment = new BufferSegment(_staging, _stagingUsed, length);
        _stagingUsed += length;
        Send(segment);
    }

    /// <summary>Queues a copy of some bytes.</summary>
    /// <param name="bytes">The bytes; any length, meant for short ones.</param>
    public void Send(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            int count = Math.Min(bytes.Length, _options.StagingBufferSize);
            bytes[..count].CopyTo(Reserve(count));
            Commit(count);
            bytes = bytes[count..];
        }
    }

    /// <summary>Queues a range of a buffer without copying it. The socket takes a reference of its own until the bytes are sent;
    /// they must not change until then. On a closed socket it does nothing.</summary>
    /// <param name="segment">The range.</param>
    public void Send(BufferSegment segment)
    {
        _loop.AssertCurrent();
        if (_state is State.Closing or State.Closed || segment.Length == 0)
        {
            return;
        }

        if (_queued.IsFull || _overflow.Count > 0)
        {
            segment.Buffer!.Retain();
            _overflow.Enqueue(segment);
            _overflowBytes += segment.Length;
        }
        else
        {
            _queued.Add(segment);
        }

        _congested |= QueuedBytes >= _options.HighWatermark;
        ScheduleFlush();
    }

    /// <summary>Closes the connection once everything queued has been handed to the kernel.</summary>
    public void CloseWhenFlushed()
    {
        _closeWhenFlushed = true;
        ScheduleFlush();
    }

    private void ScheduleFlush()
    {
        if (!_flushScheduled && !_send.InFlight && _state == State.Open)
        {
            _flushScheduled = true;
            _loop.Defer(static s => ((StreamSocket)s!).Flush(), this);
        }
    }

    private void Flush()
    {
        _flushScheduled = false;
        if (_state != State.Open || _send.InFlight)
        {
            return;
        }

        if (_sending.Count == 0)
        {
            (_sending, _queued) = (_queued, _sending);
            while (!_queued.IsFull && _overflow.TryDequeue(out BufferSegment segment))
            {
                _overflowBytes -= segment.Length;
                _queued.Add(segment);
                segment.Buffer!.Release();
            }
        }

        if (_sending.Count > 0)
        {
            _native->SendHeader.Vectors = _sending.First;
            _native->SendHeader.VectorCount = (nuint)_sending.Count;
            _send.InFlight = true;
            _loop.SendMessage(_fd, &_native->SendHeader, NoSignal | WaitAll, _send);
        }
        else if (_closeWhenFlushed)
        {
            Close(IoError.None);
        }
    }

    private void OnSendCompleted(int result)
    {
        if (result > 0)
        {
            BytesSent += result;
            _sending.Advance(result);
        }

        if (_state != State.Open)
        {
            FinishIfIdle();
            return;
        }

        if (result < 0 && result is not (-IoError.Interrupted or -IoError.TryAgain))
        {
            Close(new IoError(-result));
            FinishIfIdle();
            return;
        }

        if (_staging is { References: 1 } && _reserved == 0)
        {
            _stagingUsed = 0;
        }

        if (QueuedBytes > 0 || _closeWhenFlushed)
        {
            ScheduleFlush();
        }

        if (_congested && QueuedBytes <= _options.HighWatermark / 2)
        {
            _congested = false;
            _handler.OnWritable(this);
        }
    }

    private void ReleaseSender()
    {
        _queued.Dispose();
        _sending.Dispose();
        while (_overflow.TryDequeue(out BufferSegment segment))
        {
            segment.Buffer!.Release();
        }

        _overflowBytes = 0;
        _staging?.Release();
        _staging = null;
    }
}
