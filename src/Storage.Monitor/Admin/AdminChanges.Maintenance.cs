using System.Globalization;
using Storage.Cluster;
using Storage.Crush;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using OsdInfo = Storage.Cluster.OsdInfo;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Monitor.Admin;

// Removal of OSDs, edits of the CRUSH map, mutes, balance.
internal sealed partial class AdminChanges
{
    private const int MostMovesAtOnce = 10_000;

    private bool TryExecuteMaintenance(string method, ReadOnlySpan<byte> body, AdminReplyTo reply)
    {
        switch (method)
        {
            case "OsdPurge":
                Purge(OsdPurgeRequest.Parser.ParseFrom(body), reply);
                return true;
            case "CrushEdit":
                EditCrush(CrushEditRequest.Parser.ParseFrom(body), reply);
                return true;
            case "HealthMute":
                Mute(HealthMuteRequest.Parser.ParseFrom(body), reply);
                return true;
            case "HealthUnmute":
                Unmute(HealthUnmuteRequest.Parser.ParseFrom(body).Code, reply);
                return true;
            case "Balance":
                Balance(BalanceRequest.Parser.ParseFrom(body), reply);
                return true;
            case "MonAdd":
                AddMonitor(MonAddRequest.Parser.ParseFrom(body), reply);
                return true;
            case "MonRemove":
                RemoveMonitor(MonRemoveRequest.Parser.ParseFrom(body), reply);
                return true;
            default:
                return false;
        }
    }

    private void Purge(OsdPurgeRequest request, AdminReplyTo reply)
    {
        var id = new OsdId(request.Osd);
        Change(
            (draft, change) =>
            {
                if (Find(draft, change, id) is not { } osd)
                {
                    return Verdict.Refused;
                }

                if (osd.IsUp)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"{id} is up: mark it out, let its data move, stop it, then purge it");
                }

                if (draft.HasTurned(id))
                {
                    return Verdict.Again;
                }

                OsdVerdict verdict = OsdSafety.JudgeDestroy(draft.Base, leader.Statistics.Views(draft.Base, clock(), leader.Policy.StaleAfter), [id]);
                if (!verdict.Safe && !request.Confirmed)
                {
                    return change.Refuse(
                        StatusCode.FailedPrecondition,
                        $"{verdict.Summary} ({verdict.Reasons[0]}). What only it holds would be lost for good; confirm if the disk is gone (--yes-i-really-mean-it)");
                }

                string name = CrushPlan.NameOf(id);
                if (draft.Crush.TryGetItemId(name, out _) && EditCrush(draft, change, crush => crush.WithoutItem(name), confirmed: true) == Verdict.Refused)
                {
                    return Verdict.Refused;
                }

                foreach ((PgId group, (OsdId From, OsdId To)[] items) in draft.Base.UpmapItems)
                {
                    if (items.Any(pair => pair.From == id || pair.To == id))
                    {
                        draft.SetUpmap(group, [.. items.Where(pair => pair.From != id && pair.To != id)]);
                    }
                }

                draft.Remove(id);
                draft.Log(EventLevel.Warn, "admin", $"{id} purged by an operator{(verdict.Safe ? "" : $", though {verdict.Groups.Count} pgs may have needed its data")}");
                return Verdict.Drafted;
            },
            reply,
            () => $"{id} is gone from the map; its folder or disk may be wiped");
    }

    private void EditCrush(CrushEditRequest request, AdminReplyTo reply)
    {
        string what = "";
        Change(
            (draft, change) =>
            {
                if (request.EditCase == CrushEditRequest.EditOneofCase.SetClass && request.SetClass.Osds.FirstOrDefault(osd => draft.FindOsd(new OsdId(osd)) is null, -1) is >= 0 and int missing)
                {
                    return change.Refuse(StatusCode.NotFound, $"osd.{missing} does not exist");
                }

                if (request.EditCase == CrushEditRequest.EditOneofCase.RemoveRule
                    && draft.Pools.FirstOrDefault(pool => pool.RuleId == draft.Crush.FindRule(request.RemoveRule)) is { } user)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"pool '{user.Name}' uses rule '{request.RemoveRule}': give it another one first");
                }

                if (request.EditCase == CrushEditRequest.EditOneofCase.Rename && draft.Crush.TryGetItemId(request.Rename.Name, out int renamed) && renamed >= 0)
                {
                    return change.Refuse(StatusCode.InvalidArgument, "OSDs keep their names");
                }

                string added = request.EditCase switch
                {
                    CrushEditRequest.EditOneofCase.Rename => request.Rename.NewName,
                    CrushEditRequest.EditOneofCase.AddBucket => request.AddBucket.Name,
                    _ => "",
                };
                if (added.StartsWith("osd.", StringComparison.Ordinal))
                {
                    return change.Refuse(StatusCode.InvalidArgument, $"'{added}' is the name of an OSD, not of a bucket");
                }

                Verdict verdict = EditCrush(draft, change, crush => Edited(crush, request, out what), request.Confirmed);
                if (verdict == Verdict.Drafted)
                {
                    draft.Log(EventLevel.Info, "admin", "CRUSH map: " + what);
                }

                return verdict;
            },
            reply,
            () => what);
    }

    private static CrushMap Edited(CrushMap crush, CrushEditRequest request, out string what)
    {
        switch (request.EditCase)
        {
            case CrushEditRequest.EditOneofCase.AddBucket:
                what = $"{request.AddBucket.Type} {request.AddBucket.Name} added";
                (string Type, string Name)[] place = Location(request.AddBucket.Location);
                RequireRoot(crush, place);
                return crush.WithBucket(request.AddBucket.Name, request.AddBucket.Type, place);
            case CrushEditRequest.EditOneofCase.Move:
                return Moved(crush, request.Move, out what);
            case CrushEditRequest.EditOneofCase.RemoveItem:
                what = $"{request.RemoveItem} removed";
                return crush.WithoutItem(request.RemoveItem);
            case CrushEditRequest.EditOneofCase.SetClass:
                string? name = request.SetClass.DeviceClass.Length > 0 ? request.SetClass.DeviceClass : null;
                what = $"class of {string.Join(", ", request.SetClass.Osds.Select(osd => $"osd.{osd}"))} is {name ?? "none"}";
                return request.SetClass.Osds.Aggregate(crush, (map, osd) => map.WithDeviceClass(osd, name));
            case CrushEditRequest.EditOneofCase.Rename:
                what = $"{request.Rename.Name} renamed {request.Rename.NewName}";
                return crush.WithRenamedItem(request.Rename.Name, request.Rename.NewName);
            case CrushEditRequest.EditOneofCase.CreateRule:
                CrushRuleCreate rule = request.CreateRule;
                what = $"rule {rule.Name} created";
                return crush.WithReplicatedRule(rule.Name, rule.Root, rule.FailureDomain, rule.DeviceClass.Length > 0 ? rule.DeviceClass : null);
            case CrushEditRequest.EditOneofCase.RemoveRule:
                what = $"rule {request.RemoveRule} removed";
                return crush.WithoutRule(request.RemoveRule);
            default:
                throw new ArgumentException("the request names no edit");
        }
    }

    private static CrushMap Moved(CrushMap crush, CrushMove move, out string what)
    {
        (string Type, string Name)[] location = Location(move.Location);
        what = $"{move.Name} moved to {string.Join(' ', location.Select(above => $"{above.Type}={above.Name}"))}";
        if (location.Length == 0)
        {
            throw new ArgumentException($"where shall '{move.Name}' go? Name the buckets above it, as in root=default rack=r1");
        }

        if (!crush.TryGetItemId(move.Name, out int item))
        {
            throw new ArgumentException($"there is no '{move.Name}' in the CRUSH map");
        }

        RequireRoot(crush, location);
        if (!Array.Exists(location, above => crush.TryGetItemId(above.Name, out _)))
        {
            throw new ArgumentException($"there is none of {string.Join(", ", location.Select(above => $"{above.Type}={above.Name}"))}; add it first (osd crush add-bucket)");
        }

        return item < 0
            ? crush.WithMovedBucket(move.Name, location)
            : crush.WithDevice(item, move.Name, crush.ContainsDevice(item) ? crush.GetDeviceWeight(item) / (double)CrushMap.WeightOne : 1, null, location);
    }

    // A bucket that comes into being below a known one takes data as before; a root of its own takes none, and a typing error would empty the item.
    private static void RequireRoot(CrushMap crush, (string Type, string Name)[] location)
    {
        if (location.FirstOrDefault(above => above.Type == "root" && !crush.TryGetItemId(above.Name, out _)) is { Name: { } root })
        {
            throw new ArgumentException($"there is no root '{root}'; add it first (osd crush add-bucket {root} root)");
        }
    }

    private static (string Type, string Name)[] Location(IEnumerable<KeyValuePair<string, string>> entries) => [.. entries.Select(entry => (entry.Key, entry.Value))];

    private void Mute(HealthMuteRequest request, AdminReplyTo reply)
    {
        if (request.Code.Length is 0 or > 64 || request.Code.Any(c => !char.IsAsciiLetterUpper(c) && !char.IsAsciiDigit(c) && c != '_'))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{request.Code}' is no code of a health check (as in OSD_DOWN)");
        }

        RequireCheck(request.Code);
        SetMute(request.Code, draft => request.DurationSeconds == 0 ? 0 : draft.UnixMilliseconds + request.DurationSeconds * 1000L, reply);
    }

    // A mute of a check that there is no longer may always be ended.
    private void Unmute(string code, AdminReplyTo reply)
    {
        if (leader.Map?.Configuration.ContainsKey(HealthMutes.KeyOf(code)) != true)
        {
            RequireCheck(code);
        }

        SetMute(code, null, reply);
    }

    private static void RequireCheck(string code)
    {
        if (!HealthReport.Codes.Contains(code, StringComparer.Ordinal))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"there is no health check '{code}'; there are {string.Join(", ", HealthReport.Codes)}");
        }
    }

    private void SetMute(string code, Func<MapDraft, long>? until, AdminReplyTo reply)
    {
        string key = HealthMutes.KeyOf(code);
        Change(
            (draft, _) =>
            {
                string? value = until?.Invoke(draft).ToString(CultureInfo.InvariantCulture);
                if (draft.GetConfiguration(key) == value)
                {
                    return Verdict.NoChange;
                }

                draft.SetConfiguration(key, value);
                draft.Log(EventLevel.Info, "admin", value is null ? $"health check {code} unmuted" : $"health check {code} muted");
                return Verdict.Drafted;
            },
            reply);
    }

    private void Balance(BalanceRequest request, AdminReplyTo reply)
    {
        int most = request.MostMoves == 0 ? MostMovesAtOnce : (int)Math.Min(request.MostMoves, MostMovesAtOnce);
        UpmapPlan? plan = null;
        if (!request.Execute)
        {
            Cluster.ClusterMap map = leader.Map!;
            reply(RpcStatus.Ok, Describe(UpmapBalancer.Plan(map, most), map.Epoch, executed: false));
            return;
        }

        leader.Request(new MapChange(
            (draft, change) =>
            {
                if ((draft.Flags & ClusterFlags.NoRebalance) != 0)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, "flag norebalance is set: unset it first");
                }

                plan = UpmapBalancer.Plan(draft.Base, most);
                return MapLeader.DraftBalance(draft, plan);
            },
            outcome => reply(outcome.Failure, plan is null ? null : Describe(plan, outcome.Epoch, outcome.Changed))));
    }

    private static BalanceReply Describe(UpmapPlan plan, Epoch epoch, bool executed)
    {
        var reply = new BalanceReply
        {
            Epoch = epoch.Value,
            Executed = executed,
            WorstBefore = plan.WorstBefore,
            WorstAfter = plan.WorstAfter,
            Summary = plan.Moves.Count == 0
                ? string.Create(CultureInfo.InvariantCulture, $"balanced: no OSD is farther than {plan.WorstBefore:0.0} pgs from its share, or no move helps")
                : string.Create(CultureInfo.InvariantCulture, $"{plan.Moves.Count} pg copies {(executed ? "move" : "would move")}: farthest from its share {plan.WorstBefore:0.0} pgs, then {plan.WorstAfter:0.0}"),
        };
        reply.Moves.Add(plan.Moves.Select(move => new BalanceMove { Pgid = move.Group.ToString(), From = move.From.Value, To = move.To.Value }));
        reply.Shares.Add(plan.Shares.Select(share => new BalanceShare { Osd = share.Osd.Value, Pgs = (uint)share.Groups, PgsAfter = (uint)share.After, Share = share.Share }));
        return reply;
    }
}
