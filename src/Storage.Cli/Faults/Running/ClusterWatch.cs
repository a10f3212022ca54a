using System.Diagnostics;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Cli.Faults.Running;

/// <summary>Waits for a cluster to be whole.</summary>
internal sealed class ClusterWatch(AdminClient admin, IReadOnlyList<string> acceptedHealth)
{
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan s_oneAnswer = TimeSpan.FromSeconds(5);

    private readonly SortedDictionary<string, string> _accepted = new(StringComparer.Ordinal);

    /// <summary>What accepted health checks said when they were last seen.</summary>
    public IReadOnlyList<string> Accepted => [.. _accepted.Select(check => $"{check.Key}: {check.Value}")];

    /// <summary>Waits until every PG is active+clean and no health check is left but accepted ones.</summary>
    /// <returns>Null once it is so; else what is in the way when time is up.</returns>
    public async Task<string?> WaitHealthyAsync(TimeSpan patience, CancellationToken cancellation)
    {
        long start = Stopwatch.GetTimestamp();
        while (true)
        {
            string? trouble = await TroubleAsync(cancellation).ConfigureAwait(false);
            if (trouble is null || Stopwatch.GetElapsedTime(start) > patience)
            {
                return trouble;
            }

            await Task.Delay(s_poll, cancellation).ConfigureAwait(false);
        }
    }

    private async Task<string?> TroubleAsync(CancellationToken cancellation)
    {
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        patience.CancelAfter(s_oneAnswer);
        try
        {
            StatusReply status = await admin.StatusAsync(new StatusRequest(), patience.Token).ConfigureAwait(false);
            ulong clean = status.PgStates.Where(state => state.State == "active+clean").Aggregate(0UL, (sum, state) => sum + state.Count);
            foreach (HealthCheck check in status.Checks.Where(check => acceptedHealth.Contains(check.Code)))
            {
                _accepted[check.Code] = check.Summary;
            }

            string[] checks = [.. status.Checks.Where(check => !acceptedHealth.Contains(check.Code)).Select(check => $"{check.Code}: {check.Summary}")];
            return checks.Length > 0 ? string.Join("; ", checks) : clean < status.Pgs || status.Pgs == 0 ? $"{clean} of {status.Pgs} PGs are active+clean" : null;
        }
        catch (RpcException e)
        {
            return $"no monitor serves requests: {e.Status.Message}";
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return "the monitors do not answer";
        }
    }
}
