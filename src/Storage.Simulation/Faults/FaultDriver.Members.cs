using System.Globalization;
using Storage.Cluster;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Simulation.Clusters;
using Storage.Simulation.Workloads;

namespace Storage.Simulation.Faults;

// Monitors come and go.
internal sealed partial class FaultDriver
{
    // Who was away while every monitor he knew was replaced finds the cluster no more. Only monitors find each other all the same.
    private bool IsLastFounder(MonitorNode node) =>
        IsFounder(node) && !_cluster.Members.Any(other => other != node && IsFounder(other) && !_leaving.Contains(other));

    private static bool IsFounder(MonitorNode node) => node.Info.Id < Cluster.MonitorInfo.FirstAddedId;

    private async Task AddMonitorAsync(TimeSpan isLate)
    {
        string name = "m" + (++_monitorsMade).ToString(CultureInfo.InvariantCulture);
        Note($"mon.{name} is added");
        _monitorsAsked++;
        MonAddReply added = await _cluster.CommandAsync(
            "MonAdd", new MonAddRequest { Name = name, Address = $"mon{name}:6789", AdminAddress = $"mon{name}:6790" }, MonAddReply.Parser);
        _monitorsAsked--;
        if (_cluster.Install(added) is { } node)
        {
            _cluster.Coverage.Count(isLate > TimeSpan.Zero ? "mon.added_late" : "mon.added");
            if (_isOver)
            {
                node.Start();
            }
            else
            {
                After(isLate, node.Start);
            }
        }
    }

    // A request to add that was given up may be carried out after the monitor that a later try added has been removed: nobody was told of that one.
    private void RemoveUnknownMembers(ClusterMap map)
    {
        foreach (Cluster.MonitorInfo member in map.Monitors)
        {
            if (_monitorsAsked == 0 && !_cluster.Monitors.Exists(node => node.Info.Id == member.Id))
            {
                _cluster.Coverage.Count("operator.overtaken");
                Workload.Watch(RemoveMonitorAsync(member.Name), _failed);
            }
        }
    }

    private async Task RemoveMonitorAsync(string name)
    {
        Note($"mon.{name} is removed");
        try
        {
            await _cluster.CommandAsync("MonRemove", new MonRemoveRequest { Name = name }, ChangeReply.Parser);
            _cluster.Coverage.Count("mon.removed");
        }
        catch (RpcException e) when (e.Status.Code is StatusCode.FailedPrecondition)
        {
            _cluster.Coverage.Count("mon.removal_refused"); // the others would be no majority
        }
        catch (RpcException e) when (e.Status.Code is StatusCode.NotFound)
        {
            _cluster.Coverage.Count("mon.removed_before");
        }
    }
}
