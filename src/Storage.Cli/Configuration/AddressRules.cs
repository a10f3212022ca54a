using System.Net;
using Storage.Cli.Commands;
using Storage.Cluster;

namespace Storage.Cli.Configuration;

/// <summary>What addresses daemons may use.</summary>
internal static class AddressRules
{
    /// <summary>Reads HOST:PORT.</summary>
    /// <exception cref="CliException">It is no address.</exception>
    public static NodeAddress Parse(string text) => NodeAddress.TryParse(text, out NodeAddress address)
        ? address
        : throw new CliException($"'{text}' is no address; write HOST:PORT, for example 127.0.0.1:10809.");

    /// <summary>Reads an address to listen on. Only loopback is allowed: connections are not encrypted or authenticated yet.</summary>
    /// <exception cref="CliException">It is no address, or not on loopback.</exception>
    public static NodeAddress ParseListen(string text)
    {
        NodeAddress address = Parse(text);
        RequireLoopback(address);
        return address;
    }

    /// <summary>Refuses an address that is not on loopback.</summary>
    public static void RequireLoopback(NodeAddress address)
    {
        if (!IPAddress.TryParse(address.Host, out IPAddress? ip))
        {
            throw new CliException($"'{address.Host}' is no IP address; names are not looked up for listening.");
        }

        if (!IPAddress.IsLoopback(ip))
        {
            throw new CliException(
                $"will not listen on {address}: connections are plain text and unauthenticated so far, which is allowed on loopback only. Use 127.0.0.1:{address.Port}.");
        }
    }
}
