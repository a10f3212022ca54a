using System.Net;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using MonitorInfo = Storage.Cluster.MonitorInfo;

namespace Storage.Monitor.Admin;

// Members of the quorum. The map changes first; the leader then takes Raft there.
internal sealed partial class AdminChanges
{
    private const int MostMonitors = 15;

    private void AddMonitor(MonAddRequest request, AdminReplyTo reply)
    {
        if (request.Name.Length is 0 or > 64 || request.Name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('-' or '_' or '.')))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{request.Name}' is no name of a monitor: 1 to 64 of A-Z a-z 0-9 . - _");
        }

        NodeAddress address = Address(request.Address, "address");
        NodeAddress adminAddress = Address(request.AdminAddress, "admin address");
        if (address == adminAddress)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"{address} cannot serve messages and the admin API both: give the admin API a port of its own");
        }

        ulong id = 0;
        IReadOnlyList<MonitorInfo> all = [];
        leader.Request(new MapChange(
            (draft, change) =>
            {
                all = draft.Monitors;
                if (all.FirstOrDefault(monitor => monitor.Name == request.Name) is { } known)
                {
                    id = known.Id;
                    return known.Address == address && known.AdminAddress == adminAddress
                        ? Verdict.NoChange
                        : change.Refuse(StatusCode.AlreadyExists, $"mon.{request.Name} exists, at {known.Address}");
                }

                if (all.FirstOrDefault(monitor => Uses(monitor, address) || Uses(monitor, adminAddress)) is { } taken)
                {
                    return change.Refuse(StatusCode.AlreadyExists, $"mon.{taken.Name} has that address already");
                }

                if (draft.Osds.FirstOrDefault(osd => osd.Address == address || osd.Address == adminAddress) is { Address.Port: > 0 } used)
                {
                    return change.Refuse(StatusCode.AlreadyExists, $"{used.Id} has the address {used.Address} already");
                }

                if (all.Count >= MostMonitors)
                {
                    return change.Refuse(StatusCode.ResourceExhausted, $"{all.Count} monitors are enough; 3 or 5 make sense");
                }

                // Never used before, nor again: what a removed monitor promised to Raft must not count for another one.
                id = MonitorInfo.FirstAddedId + draft.Epoch.Value;
                if (all.Any(monitor => monitor.Id == id))
                {
                    return Verdict.Again;
                }

                all = [.. all, new MonitorInfo(id, request.Name, address, adminAddress)];
                draft.SetMonitors(all);
                draft.Log(EventLevel.Info, "admin", $"mon.{request.Name} added at {address}");
                return Verdict.Drafted;
            },
            outcome =>
            {
                var added = new MonAddReply { Epoch = outcome.Epoch.Value, Id = (uint)id, Fsid = leader.Map!.Fsid.ToString(), Changed = outcome.Changed };
                added.Monitors.Add(all.Select(monitor => new Rpc.Admin.MonitorInfo
                {
                    Id = (uint)monitor.Id,
                    Name = monitor.Name,
                    Address = monitor.Address.ToString(),
                    AdminAddress = monitor.AdminAddress.ToString(),
                }));
                reply(outcome.Failure, added);
            }));
    }

    private void RemoveMonitor(MonRemoveRequest request, AdminReplyTo reply) => Change(
        (draft, change) =>
        {
            MonitorInfo[] left = [.. draft.Monitors.Where(monitor => monitor.Name != request.Name)];
            if (left.Length == draft.Monitors.Count)
            {
                return change.Refuse(StatusCode.NotFound, $"there is no mon.{request.Name}; there are {string.Join(", ", draft.Monitors.Select(monitor => "mon." + monitor.Name))}");
            }

            if (left.Length == 0)
            {
                return change.Refuse(StatusCode.FailedPrecondition, $"mon.{request.Name} is the only monitor: the cluster would lose its map");
            }

            QuorumView view = quorum();
            string[] there = [.. left.Select(monitor => monitor.Name).Where(view.InQuorum.Contains)];
            if (there.Length < (left.Length / 2) + 1)
            {
                return change.Refuse(
                    StatusCode.FailedPrecondition,
                    $"without mon.{request.Name} only {there.Length} of {left.Length} monitors would be in quorum ({string.Join(", ", there)}), which is no majority: start or remove those that are down first");
            }

            draft.SetMonitors(left);
            draft.Log(EventLevel.Warn, "admin", $"mon.{request.Name} removed by an operator");
            return Verdict.Drafted;
        },
        reply,
        () => $"mon.{request.Name} is removed; its process ends by itself");

    private static bool Uses(MonitorInfo monitor, NodeAddress address) => !address.IsNone && (monitor.Address == address || monitor.AdminAddress == address);

    private static NodeAddress Address(string text, string what)
    {
        if (!NodeAddress.TryParse(text, out NodeAddress address) || address.Port == 0)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{text}' is no {what} (HOST:PORT)");
        }

        return IPAddress.TryParse(address.Host, out IPAddress? ip) && (ip.Equals(IPAddress.Any) || ip.Equals(IPAddress.IPv6Any))
            ? throw new RpcException(StatusCode.InvalidArgument, $"nobody can connect to '{text}': write an IP address of the monitor's machine (mon run --bind {address.Host} listens on all of them)")
            : address;
    }
}
