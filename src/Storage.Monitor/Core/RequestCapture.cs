using System.Buffers.Binary;

namespace Storage.Monitor.Core;

/// <summary>Names one admin request for good, however often and by whomever it is handed on.</summary>
/// <param name="Origin">The run of the monitor's process that took it from the client, or the first half of the client's own name for it.</param>
/// <param name="Number">Its number there, or the second half.</param>
public readonly record struct RequestId(ulong Origin, ulong Number)
{
    /// <summary>A request that the client named.</summary>
    /// <param name="name">The name; empty for none.</param>
    /// <returns>Null without a name.</returns>
    public static RequestId? Of(Guid name)
    {
        Span<byte> bytes = stackalloc byte[16];
        name.TryWriteBytes(bytes);
        return name == Guid.Empty ? null : new RequestId(BinaryPrimitives.ReadUInt64LittleEndian(bytes), BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]));
    }
}

/// <summary>
/// The answer that a request will get if its change is committed, worked out before it is proposed: it goes into the log with the change, so that
/// whoever leads next can answer the request without carrying it out again.
/// </summary>
/// <param name="id">The request.</param>
public sealed class RequestCapture(RequestId id)
{
    private bool _isCapturing;

    /// <summary>The request.</summary>
    public RequestId Id { get; } = id;

    /// <summary>The encoded reply; null as long as none was captured.</summary>
    public byte[]? Reply { get; private set; }

    /// <summary>Runs a change's completion for its reply alone.</summary>
    /// <param name="complete">The completion; everything else it does must be repeatable.</param>
    public void Capture(Action complete)
    {
        _isCapturing = true;
        try
        {
            complete();
        }
        finally
        {
            _isCapturing = false;
        }
    }

    /// <summary>Takes a reply while capturing.</summary>
    /// <param name="reply">The encoded reply.</param>
    /// <returns>False if it is meant for the client.</returns>
    public bool TryTake(byte[] reply)
    {
        if (_isCapturing)
        {
            Reply = reply;
        }

        return _isCapturing;
    }
}
