using Storage.Cluster;
using Storage.Crush;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor.Admin;

// May I? And what rules are there?
internal sealed partial class AdminQueries
{
    private OsdSafetyReply Judge(OsdIdsRequest request, Func<ClusterMap, IEnumerable<PgView>, IReadOnlyCollection<OsdId>, OsdVerdict> judge)
    {
        ClusterMap map = Map;
        if (request.Osds.Count == 0)
        {
            throw new RpcException(StatusCode.InvalidArgument, "no OSD is named");
        }

        foreach (int osd in request.Osds)
        {
            if (map.FindOsd(new OsdId(osd)) is null)
            {
                throw new RpcException(StatusCode.NotFound, $"osd.{osd} does not exist");
            }
        }

        OsdVerdict verdict = judge(map, Views(), [.. request.Osds.Distinct().Select(osd => new OsdId(osd))]);
        var reply = new OsdSafetyReply { Safe = verdict.Safe, Summary = verdict.Summary, Epoch = map.Epoch.Value };
        reply.Reasons.Add(verdict.Reasons);
        reply.Pgs.Add(verdict.Groups.Select(group => group.ToString()));
        return reply;
    }

    private PoolAutoscaleStatusReply AutoscaleStatus()
    {
        ClusterMap map = Map;
        IReadOnlyList<PoolDemand> demands = PgAutoscaler.Demands(map, leader.Statistics, Views())
            ?? throw new RpcException(StatusCode.Unavailable, "not every PG and OSD has reported to this leader yet; try again in a few seconds");
        var reply = new PoolAutoscaleStatusReply { Epoch = map.Epoch.Value };
        foreach (PoolAdvice advice in PgAutoscaler.Advise(demands, leader.Policy.GroupsPerOsd))
        {
            Storage.Cluster.PoolInfo pool = map.FindPool(advice.Demand.Pool)!;
            reply.Pools.Add(new PoolAutoscale
            {
                Pool = pool.Name,
                Mode = AutoscaleName(pool.Autoscale),
                StoredBytes = (ulong)advice.Demand.StoredBytes,
                Size = (uint)pool.Size,
                CapacityBytes = (ulong)advice.Demand.CapacityBytes,
                Osds = (uint)advice.Demand.Osds,
                Share = advice.Share,
                TargetSizeRatio = pool.TargetRatio,
                PgNum = (uint)pool.PgCount,
                PgpNum = (uint)pool.EffectivePlacedPgCount,
                WantedPgNum = (uint)advice.Wanted,
                NextPgNum = (uint)advice.Next,
                Note = advice.Note,
            });
        }

        return reply;
    }

    private static string AutoscaleName(PgAutoscale mode) => mode switch { PgAutoscale.On => "on", PgAutoscale.Warn => "warn", _ => "off" };

    private CrushRuleListReply CrushRules()
    {
        ClusterMap map = Map;
        var reply = new CrushRuleListReply { Epoch = map.Epoch.Value };
        foreach (CrushRule rule in map.Crush.Rules)
        {
            var info = new CrushRuleInfo { Id = (uint)rule.Id, Name = map.Crush.GetRuleName(rule.Id) ?? $"rule{rule.Id}" };
            foreach (CrushStep step in rule.Steps)
            {
                info.Steps.Add(Words(map.Crush, step));
            }

            info.Pools.Add(map.Pools.Where(pool => pool.RuleId == rule.Id).Select(pool => pool.Name));
            reply.Rules.Add(info);
        }

        return reply;
    }

    private static string Words(CrushMap crush, CrushStep step)
    {
        string type = crush.Types.TryGetValue(step.Argument2, out string? name) ? name : $"type{step.Argument2}";
        return step.Kind switch
        {
            CrushStepKind.Take => $"take {crush.GetItemName(step.Argument1) ?? $"item {step.Argument1}"}",
            CrushStepKind.Emit => "emit",
            CrushStepKind.ChooseFirstN => $"choose firstn {step.Argument1} type {type}",
            CrushStepKind.ChooseIndep => $"choose indep {step.Argument1} type {type}",
            CrushStepKind.ChooseLeafFirstN => $"chooseleaf firstn {step.Argument1} type {type}",
            CrushStepKind.ChooseLeafIndep => $"chooseleaf indep {step.Argument1} type {type}",
            _ => $"{step.Kind} {step.Argument1}",
        };
    }
}
