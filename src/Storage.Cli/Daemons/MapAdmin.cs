using Storage.Client;
using Storage.Cluster;
using Storage.Rpc.Admin;
using Storage.Rpc.Client;

namespace Storage.Cli.Daemons;

/// <summary>The monitors' admin API at the addresses that the map names, which change as monitors come and go. Used on the client's loop, once there
/// is a map.</summary>
internal sealed class MapAdmin(IObjectClient client) : IDisposable
{
    private readonly List<RpcChannel> _channels = []; // earlier ones may still have calls under way
    private AdminClient? _admin;
    private IReadOnlyList<string> _addresses = [];

    /// <summary>A client for the monitors of the newest map.</summary>
    public AdminClient Client
    {
        get
        {
            string[] now = [.. client.Map!.Monitors.Select(monitor => monitor.AdminAddress.ToString())];
            if (_admin is null || !now.SequenceEqual(_addresses))
            {
                _addresses = now;
                _channels.Add(AdminChannel.Create(now));
                _admin = new AdminClient(_channels[^1]);
            }

            return _admin;
        }
    }

    public void Dispose() => _channels.ForEach(channel => channel.Dispose());
}
