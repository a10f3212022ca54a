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
