using System.Net.Security;

namespace Storage.Rpc.Client;

/// <summary>Settings of a channel.</summary>
public sealed record RpcChannelOptions
{
    /// <summary>Longest response message in bytes. 256 MiB holds a list of a million placement groups.</summary>
    public int MaxReceiveMessageBytes { get; init; } = 256 << 20;

    /// <summary>How long one address may take to connect before the next one is tried.</summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Silence on a connection after which it is probed; one that does not answer as long again is dropped.</summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Path of a unary method with an empty request that a server answers at once: UNAVAILABLE if another one should be asked. A server that
    /// hangs answers nothing. When nothing was heard for <see cref="ProbeAfter"/>, all addresses are asked at the same time before a call, which
    /// then goes to the first that is ready. Null means no such question.
    /// </summary>
    public string? Probe { get; init; }

    /// <summary>See <see cref="Probe"/>.</summary>
    public TimeSpan ProbeAfter { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long to look for a server that is ready while some answer, or hang, and none is; then one that answered gets the call.</summary>
    public TimeSpan ProbePatience { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>Source of deadlines.</summary>
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>TLS settings for "https" addresses; null means the system's defaults.</summary>
    public SslClientAuthenticationOptions? Tls { get; init; }
}

/// <summary>Settings of one call.</summary>
public readonly record struct RpcCallOptions
{
    /// <summary>Time for the whole call, sent to the server too; null means no limit.</summary>
    public TimeSpan? Timeout { get; init; }

    /// <summary>Sent with the call.</summary>
    public RpcMetadata? Headers { get; init; }

    /// <summary>
    /// Carrying the call out twice does no harm. Then a unary call that ends UNAVAILABLE is tried once at each other address;
    /// without it only one that never got a connection.
    /// </summary>
    public bool Idempotent { get; init; }
}
