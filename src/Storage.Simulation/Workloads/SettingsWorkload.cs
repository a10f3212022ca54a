using System.Text;
using Google.Protobuf;
using Storage.Messaging;
using Storage.Monitor;
using Storage.Rpc;
using Storage.Rpc.Admin;
using Storage.Simulation.Clusters;
using Storage.Simulation.Histories;
using Storage.Simulation.Tracing;

namespace Storage.Simulation.Workloads;

/// <summary>
/// Operators who set and read settings through any monitor: the cluster map as a set of registers, whose calls must be linearizable
/// whatever monitor answers.
/// </summary>
internal sealed class SettingsWorkload : Workload
{
    private const string Section = "client.simulation";

    private readonly SimulatedCluster _cluster;
    private readonly History _history;
    private readonly string _name;
    private readonly int _lanes;
    private readonly TimeSpan _pause;

    public SettingsWorkload(SimulatedCluster cluster, int number, History history, Random random, int? lanes = null, double pace = 1)
        : base(cluster.Operator, random)
    {
        _lanes = lanes ?? cluster.Scenario.Concurrency;
        _pause = cluster.Scenario.ThinkTime * pace;
        _cluster = cluster;
        _history = history;
        _name = $"operator.{number}";
    }

    /// <inheritdoc/>
    protected override int Lanes => _lanes;

    /// <summary>Reads a setting through every monitor in turn until one answers.</summary>
    public async Task ReadAsync(int key)
    {
        for (int attempt = 0; !await GetAsync(KeyOf(key), _cluster.Members.ElementAt(attempt % _cluster.Members.Count())); attempt++)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(300), Loop.TimeProvider);
        }
    }

    private static string KeyOf(int number) => $"x_simulated_{number}";

    protected override async Task LaneAsync()
    {
        while (!IsStopped)
        {
            await PauseAsync(_pause);
            string key = KeyOf(Draws.Next(_cluster.Scenario.Objects));
            // Also through one that was removed and does not know it: it must not answer from the past.
            MonitorNode monitor = _cluster.Monitors[Draws.Next(_cluster.Monitors.Count)];
            if (Draws.Next(2) == 0)
            {
                await GetAsync(key, monitor);
            }
            else
            {
                await SetAsync(key, monitor);
            }
        }
    }

    private async Task<bool> GetAsync(string key, MonitorNode monitor)
    {
        HistoryEntry entry = Invoke(key, ObjectCall.Of(new CallStep(OperationCode.Read, 0, 1024)), monitor);
        if (await AskAsync(entry, monitor, "ConfigGet", new ConfigGetRequest { Section = Section, Key = key }) is not { } bytes)
        {
            return false;
        }

        ConfigEntry? found = ConfigGetReply.Parser.ParseFrom(bytes.Span).Entries.FirstOrDefault(e => e.Section == Section && e.Key == key);
        Complete(entry, new CallOutcome
        {
            Result = found is null ? ResultCode.NotFound : ResultCode.Ok,
            Data = found is null ? null : Encoding.UTF8.GetBytes(found.Value),
        });
        return true;
    }

    private async Task SetAsync(string key, MonitorNode monitor)
    {
        // The set's id makes its value unique.
        string value = $"v{_history.Entries.Count}";
        HistoryEntry entry = Invoke(key, ObjectCall.Of(new CallStep(OperationCode.WriteFull, Data: Encoding.UTF8.GetBytes(value))), monitor);
        if (await AskAsync(entry, monitor, "ConfigSet", new ConfigSetRequest { Section = Section, Key = key, Value = value }) is not null)
        {
            Complete(entry, new CallOutcome { Result = ResultCode.Ok });
        }
    }

    private async Task<ReadOnlyMemory<byte>?> AskAsync(HistoryEntry entry, MonitorNode node, string method, IMessage request)
    {
        if (node.Daemon is null)
        {
            return GiveUp("it does not run");
        }

        try
        {
            return await node.AskAsync(new AdminRequest(method, request.ToByteArray()), TimeSpan.FromSeconds(12), Loop.TimeProvider);
        }
        catch (RpcException e) when (e.Status.Code is StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Aborted)
        {
            return GiveUp(e.Status.Code.ToString());
        }
        catch (TimeoutException)
        {
            return GiveUp("no answer");
        }

        ReadOnlyMemory<byte>? GiveUp(string why)
        {
            History.Leave(entry);
            _cluster.Trace.Add(TraceKind.Complete, _name, Loop.TrueNow, $"#{entry.Id} unknown: {why}");
            return null;
        }
    }

    private HistoryEntry Invoke(string key, ObjectCall call, MonitorNode monitor)
    {
        HistoryEntry entry = _history.Invoke(_name, key, call, Loop.TrueNow);
        _cluster.Trace.Add(TraceKind.Invoke, _name, Loop.TrueNow, $"#{entry.Id} {key} {call} through {monitor.Name}");
        return entry;
    }

    private void Complete(HistoryEntry entry, CallOutcome outcome)
    {
        _history.Complete(entry, outcome, Loop.TrueNow);
        _cluster.Trace.Add(TraceKind.Complete, _name, Loop.TrueNow, $"#{entry.Id} {outcome}");
    }
}
