using Storage.Rpc.Client;

namespace Storage.Rpc.Admin;

/// <summary>Channels to the monitors' admin API that leave a monitor which hangs, or is out of touch with the others, for another one.</summary>
public static class AdminChannel
{
    /// <summary>Creates a channel; nothing is connected before the first call.</summary>
    /// <param name="addresses">The monitors' admin addresses.</param>
    /// <returns>The channel; the caller disposes it.</returns>
    /// <exception cref="ArgumentException">No address, or a malformed one.</exception>
    public static RpcChannel Create(IEnumerable<string> addresses) => new(
        addresses, new RpcChannelOptions { Probe = AdminMethods.Ready.FullName, KeepAlive = TimeSpan.FromSeconds(2) });
}
