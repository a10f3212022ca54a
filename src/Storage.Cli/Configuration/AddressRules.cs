using System.Net;
using Storage.Cli.Commands;
using Storage.Cli.Daemons;
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

    /// <summary>Reads an address to listen on.</summary>
    /// <exception cref="CliException">It is no address, or not allowed.</exception>
    public static NodeAddress ParseListen(string text, bool insecureNetwork)
    {
        NodeAddress address = Parse(text);
        Check(address, insecureNetwork);
        return address;
    }

    /// <summary>Refuses an address that is not on loopback unless the operator has asked for it: connections are not encrypted or authenticated yet.</summary>
    public static void Check(NodeAddress address, bool insecureNetwork)
    {
        if (!IPAddress.TryParse(address.Host, out IPAddress? ip))
        {
            throw new CliException($"'{address.Host}' is no IP address; names are not looked up for listening.");
        }

        if (!insecureNetwork && !IPAddress.IsLoopback(ip))
        {
            throw new CliException(
                $"will not listen on {address}, which is not loopback: connections are plain text and unauthenticated so far, and whoever reaches a port can read, change and destroy everything. "
                + $"Use 127.0.0.1:{address.Port}; or, on a network that only this cluster's machines can reach, give {DaemonOptions.InsecureNetworkOption.Name}.");
        }
    }
}
