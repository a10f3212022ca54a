using System.Buffers;
using Storage.Cluster;
using Storage.Coding;
using Storage.Reactor;

namespace Storage.Messaging.Local;

/// <summary>
/// One end of a connection within a process: what TCP promises, without its copies. A message is handed over in the loop's next pass,
/// never inside the call that sent it.
/// </summary>
internal sealed class LocalConnection(LocalNetwork network, NodeAddress remote, PeerIdentity peer, IConnectionHandler? handler) : IConnection
{
    private const long Watermark = 4 << 20;

    private readonly Queue<Parcel> _inbox = new(); // what the other end sent and this one has not been given yet
    private LocalConnection? _other;
    private IConnectionHandler? _handler = handler;
    private long _inboxBytes;
    private bool _congested; // this end's sending: above the watermark, and not told yet that it drained
    private bool _scheduled;
    private bool _open;
    private bool _paused;
    private bool _ended;
    private CloseReason _reason;

    private readonly record struct Parcel(MessageType Type, byte[] Body, int BodyLength, BufferSegment Data)
    {
        public long Bytes => BodyLength + Data.Length;

        public void Release()
        {
            ArrayPool<byte>.Shared.Return(Body);
            Data.Buffer?.Release();
        }
    }

    public PeerIdentity Peer => peer;

    public NodeAddress RemoteAddress => remote;

    public bool IsAlive => !_ended;

    public long QueuedBytes => _other?._inboxBytes ?? 0;

    public long HighWatermark => Watermark;

    /// <summary>Makes two ends one connection.</summary>
    public static void Join(LocalConnection one, LocalConnection other)
    {
        one._other = other;
        other._other = one;
    }

    /// <summary>Tells the end's owner that it stands; messages follow.</summary>
    /// <param name="accepted">Who handles it, if it did not dial.</param>
    public void Open(IConnectionHandler? accepted)
    {
        _handler ??= accepted;
        _open = true;
        if (!_ended)
        {
            _handler!.OnOpened(this);
            Schedule();
        }
    }

    public void Send(MessageType type, ReadOnlySpan<byte> body, BufferSegment data = default) =>
        Send(type, body, data.IsEmpty ? default : new ReadOnlySpan<BufferSegment>(in data));

    public void Send(MessageType type, ReadOnlySpan<byte> body, ReadOnlySpan<BufferSegment> data)
    {
        if (_ended)
        {
            return;
        }

        Invariant.Holds((ushort)type >= 0x100);
        byte[] copy = ArrayPool<byte>.Shared.Rent(Math.Max(1, body.Length));
        body.CopyTo(copy);
        _other!.Take(new Parcel(type, copy, body.Length, Gather(data)));
        _congested |= _other._inboxBytes >= Watermark;
    }

    public void PauseReceiving() => _paused = true;

    public void ResumeReceiving()
    {
        if (_paused)
        {
            _paused = false;
            Schedule();
        }
    }

    public void Close() => End(CloseReason.Local);

    /// <summary>Ends this end with a reason and the other as if the peer had gone; what is under way is lost.</summary>
    public void End(CloseReason reason)
    {
        LocalConnection other = _other!;
        Stop(reason);
        other.Stop(CloseReason.Reset);
    }

    private static BufferSegment Gather(ReadOnlySpan<BufferSegment> data)
    {
        int length = 0;
        foreach (BufferSegment segment in data)
        {
            length = checked(length + segment.Length);
        }

        if (length == 0)
        {
            return default;
        }

        // Data lies at a page's start wherever it arrives: it may go to a disk from there.
        if (data.Length == 1 && data[0].Offset % PageBuffer.PageSize == 0)
        {
            data[0].Buffer!.Retain();
            return data[0];
        }

        PageBuffer whole = BufferPool.Shared.Rent(length);
        int at = 0;
        foreach (BufferSegment segment in data)
        {
            segment.Span.CopyTo(whole.Span[at..]);
            at += segment.Length;
        }

        return whole.Slice(0, length);
    }

    private void Take(in Parcel parcel)
    {
        if (_ended)
        {
            parcel.Release();
            return;
        }

        _inbox.Enqueue(parcel);
        _inboxBytes += parcel.Bytes;
        Schedule();
    }

    private void Schedule()
    {
        if (!_scheduled && _open && !_paused && !_ended && _inbox.Count > 0)
        {
            _scheduled = true;
            network.Loop.Post(static state => ((LocalConnection)state!).Deliver(), this);
        }
    }

    private void Deliver()
    {
        _scheduled = false;

        // What is sent meanwhile belongs to the next pass: nobody keeps the loop to himself.
        for (int count = _inbox.Count; count > 0 && !_paused && !_ended; count--)
        {
            Parcel parcel = _inbox.Dequeue();
            _inboxBytes -= parcel.Bytes;
            network.Delivered++;
            try
            {
                _handler!.OnMessage(this, new Message(parcel.Type, parcel.Body.AsSpan(0, parcel.BodyLength), parcel.Data));
            }
            catch (MalformedDataException)
            {
                End(CloseReason.Protocol);
            }
            finally
            {
                parcel.Release();
            }
        }

        Schedule();
        if (_other is { _congested: true, _ended: false } sender && _inboxBytes <= Watermark / 2)
        {
            sender._congested = false;
            sender._handler?.OnDrained(sender);
        }
    }

    private void Stop(CloseReason reason)
    {
        if (_ended)
        {
            return;
        }

        _ended = true;
        _reason = reason;
        while (_inbox.TryDequeue(out Parcel parcel))
        {
            parcel.Release();
        }

        _inboxBytes = 0;
        if (_handler is not null)
        {
            network.Loop.Post(static state => ((LocalConnection)state!).TellEnd(), this);
        }
    }

    private void TellEnd() => _handler!.OnClosed(this, _reason);
}
