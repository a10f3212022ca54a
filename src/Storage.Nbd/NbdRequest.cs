using System.Runtime.CompilerServices;
using Storage.Block;
using Storage.Coding;
using Storage.Messaging;
using Storage.Reactor;

namespace Storage.Nbd;

/// <summary>A request under way; pooled by its connection.</summary>
internal sealed class NbdRequest
{
    private readonly NbdConnection _connection;
    private readonly Action _onCompleted;
    private ValueTaskAwaiter<ResultCode> _awaiter;
    private Volume? _volume;
    private bool _writingRest;

    public NbdRequest(NbdConnection connection)
    {
        _connection = connection;
        _onCompleted = OnCompleted;
    }

    public NbdCommand Command { get; set; }

    public NbdCommandFlags Flags { get; set; }

    public ulong Cookie { get; set; }

    public long Offset { get; set; }

    public uint Length { get; set; }

    /// <summary>Why it is refused, known before its payload has come.</summary>
    public NbdError Refusal { get; set; }

    /// <summary>A write's payload; one reference is held.</summary>
    public PageBuffer? Payload { get; set; }

    /// <summary>The rest of a payload that one buffer does not hold.</summary>
    public PageBuffer? Rest { get; set; }

    /// <summary>Bytes of the payload in the first buffer.</summary>
    public int FirstLength => (int)Math.Min(Length, BufferPool.LargestBuffer);

    /// <summary>Bytes it counts for in the connection's budget.</summary>
    public long Cost { get; set; }

    public VolumeRead Read { get; } = new();

    public List<VolumeExtent> Extents { get; } = [];

    public void Start(Volume volume)
    {
        _volume = volume;
        _writingRest = false;
        Continue();
    }

    private void Continue()
    {
#pragma warning disable CA2012 // the awaiter is used once, in OnCompleted
        _awaiter = Issue(_volume!).GetAwaiter();
#pragma warning restore CA2012
        if (_awaiter.IsCompleted)
        {
            OnCompleted();
        }
        else
        {
            _awaiter.UnsafeOnCompleted(_onCompleted);
        }
    }

    public void Clear()
    {
        Payload?.Release();
        Payload = null;
        Rest?.Release();
        Rest = null;
        _volume = null;
        Read.Clear();
        Extents.Clear();
        Refusal = NbdError.None;
    }

    private ValueTask<ResultCode> Issue(Volume volume) => Command switch
    {
        NbdCommand.Read => volume.ReadAsync(Offset, (int)Length, Read),
        NbdCommand.Write => _writingRest
            ? volume.WriteAsync(Offset + FirstLength, Rest!.Slice(0, (int)Length - FirstLength))
            : volume.WriteAsync(Offset, Payload!.Slice(0, FirstLength)),
        NbdCommand.Trim => volume.DiscardAsync(Offset, Length),
        NbdCommand.WriteZeroes => volume.ZeroAsync(Offset, Length, (Flags & NbdCommandFlags.NoHole) != 0),
        NbdCommand.BlockStatus => volume.ListExtentsAsync(Offset, Length, Extents),
        _ => volume.FlushAsync(),
    };

    private void OnCompleted()
    {
        NbdError error;
        try
        {
            error = ErrorOf(_awaiter.GetResult());
        }
        catch (ObjectDisposedException)
        {
            error = NbdError.Shutdown; // the client library is closing
        }
        catch (MalformedDataException)
        {
            error = NbdError.Io;
        }

        _awaiter = default;
        if (error == NbdError.None && Rest is not null && !_writingRest)
        {
            _writingRest = true;
            Continue();
            return;
        }

        _connection.Complete(this, error);
    }

    private static NbdError ErrorOf(ResultCode result) => result switch
    {
        ResultCode.Ok => NbdError.None,
        ResultCode.Invalid => NbdError.Invalid,
        ResultCode.NoSpace => NbdError.NoSpace,
        ResultCode.NotPermitted => NbdError.NotPermitted,
        ResultCode.Blocklisted => NbdError.Shutdown,
        ResultCode.NotSupported => NbdError.NotSupported,
        _ => NbdError.Io,
    };
}
