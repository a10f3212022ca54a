using System.Globalization;
using Storage.Cluster;
using Storage.Monitor.Status;

namespace Storage.Monitor.Core;

// The automatic balancer: a few moves at a time, and the next ones only when those before are done.
public sealed partial class MapLeader
{
    private TimeSpan _balancedAt;
    private Epoch _balancedEpoch;

    /// <summary>Puts a plan into a draft.</summary>
    /// <param name="draft">The draft; the plan was made from its base.</param>
    /// <param name="plan">The plan.</param>
    /// <returns>The verdict.</returns>
    public static Verdict DraftBalance(MapDraft draft, UpmapPlan plan)
    {
        if (plan.Moves.Count == 0)
        {
            return Verdict.NoChange;
        }

        foreach ((PgId group, (OsdId From, OsdId To)[] items) in plan.Items)
        {
            draft.SetUpmap(group, items);
        }

        draft.Log(
            EventLevel.Info,
            "balancer",
            string.Create(CultureInfo.InvariantCulture, $"{plan.Moves.Count} pg copies move: farthest from its share {plan.WorstBefore:0.0} pgs, then {plan.WorstAfter:0.0}"));
        return Verdict.Drafted;
    }

    private void Balance(ClusterMap map, TimeSpan now)
    {
        if (!Policy.Balances || now - _balancedAt < Policy.BalanceInterval || now - LeadingSince < Policy.BalanceInterval || (map.Flags & ClusterFlags.NoRebalance) != 0)
        {
            return;
        }

        _balancedAt = now;
        if (_balancedEpoch == map.Epoch)
        {
            return; // nothing has changed since no move helped
        }

        foreach (PgView view in Statistics.Views(map, now, Policy.StaleAfter))
        {
            if (!view.Is("active") || !view.Is("clean") || view.Report is not { MisplacedCopies: 0 })
            {
                return;
            }
        }

        Request(
            new MapChange((draft, _) =>
            {
                Verdict verdict = DraftBalance(draft, UpmapBalancer.Plan(draft.Base, Policy.BalanceMoves));
                _balancedEpoch = verdict == Verdict.NoChange ? draft.Base.Epoch : Epoch.None;
                return verdict;
            }),
            "balance");
    }
}
