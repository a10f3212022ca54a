using System.Globalization;
using Google.Protobuf;
using Storage.Cluster;
using Storage.Crush;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;
using OsdInfo = Storage.Cluster.OsdInfo;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Monitor.Admin;

/// <summary>Takes a status and, if it is OK, the reply message.</summary>
internal delegate void AdminReplyTo(RpcStatus status, IMessage? message);

/// <summary>Admin requests that change the map. Each queues a change with the leader and answers when that is committed.</summary>
internal sealed partial class AdminChanges(MapLeader leader, Func<TimeSpan> clock, Func<QuorumView> quorum)
{
    /// <summary>Starts a change.</summary>
    /// <returns>False if the method is none of these.</returns>
    public bool TryExecute(string method, ReadOnlySpan<byte> body, AdminReplyTo reply)
    {
        switch (method)
        {
            case "OsdOut":
                ChangeOsds(OsdIdsRequest.Parser.ParseFrom(body), reply, "out", osd => osd.IsIn ? osd with { Weight = 0, AutoOut = false } : null);
                return true;
            case "OsdIn":
                ChangeOsds(OsdIdsRequest.Parser.ParseFrom(body), reply, "in", osd => osd.IsIn ? null : osd with { Weight = OsdInfo.FullWeight, AutoOut = false });
                return true;
            case "OsdDown":
                MarkDown(OsdIdsRequest.Parser.ParseFrom(body).Osds, reply);
                return true;
            case "OsdReweight":
                Reweight(OsdReweightRequest.Parser.ParseFrom(body), reply);
                return true;
            case "OsdLost":
                DeclareLost(OsdLostRequest.Parser.ParseFrom(body), reply);
                return true;
            case "OsdCreate":
                CreateOsd(OsdCreateRequest.Parser.ParseFrom(body), reply);
                return true;
            case "OsdSetFlag":
                SetFlag(OsdFlagRequest.Parser.ParseFrom(body).Flag, true, reply);
                return true;
            case "OsdUnsetFlag":
                SetFlag(OsdFlagRequest.Parser.ParseFrom(body).Flag, false, reply);
                return true;
            case "PoolCreate":
                CreatePool(PoolCreateRequest.Parser.ParseFrom(body), reply);
                return true;
            case "PoolRemove":
                RemovePool(PoolRemoveRequest.Parser.ParseFrom(body), reply);
                return true;
            case "PoolSet":
                SetPool(PoolSetRequest.Parser.ParseFrom(body), reply);
                return true;
            case "PoolSnapshotCreate":
                CreateSnapshot(PoolSnapshotCreateRequest.Parser.ParseFrom(body), reply);
                return true;
            case "PoolSnapshotPublish":
                PublishSnapshots(PoolSnapshotPublishRequest.Parser.ParseFrom(body), reply);
                return true;
            case "PoolSnapshotRemove":
                RemoveSnapshots(PoolSnapshotRemoveRequest.Parser.ParseFrom(body), reply);
                return true;
            case "CrushSet":
                SetCrush(CrushSetRequest.Parser.ParseFrom(body), reply);
                return true;
            case "ConfigSet":
                SetConfiguration(ConfigSetRequest.Parser.ParseFrom(body), reply);
                return true;
            case "BlocklistAdd":
                Block(BlocklistAddRequest.Parser.ParseFrom(body), reply);
                return true;
            case "BlocklistRemove":
                Unblock(BlocklistRemoveRequest.Parser.ParseFrom(body), reply);
                return true;
            default:
                return TryExecuteMaintenance(method, body, reply);
        }
    }

    /// <summary>A client's id as operators and gateways write it: hexadecimal, with or without <c>0x</c> or <c>client.</c>.</summary>
    public static ulong ParseClient(string text)
    {
        ReadOnlySpan<char> digits = text.AsSpan().Trim();
        digits = digits.StartsWith("client.", StringComparison.Ordinal) ? digits[7..] : digits;
        digits = digits.StartsWith("0x", StringComparison.OrdinalIgnoreCase) ? digits[2..] : digits;
        return ulong.TryParse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out ulong id)
            ? id
            : throw new RpcException(StatusCode.InvalidArgument, $"'{text}' is no client id (hexadecimal, as in client.1f3a)");
    }

    private void Change(Func<MapDraft, MapChange, Verdict> draft, AdminReplyTo reply, Func<string>? message = null) =>
        leader.Request(new MapChange(draft, outcome => reply(
            outcome.Failure,
            new ChangeReply { Epoch = outcome.Epoch.Value, Changed = outcome.Changed, Message = message?.Invoke() ?? "" })));

    /// <summary>The OSD that a request is about; null, and the request refused, if there is none.</summary>
    private static OsdInfo? Find(MapDraft draft, MapChange change, OsdId id)
    {
        OsdInfo? osd = draft.FindOsd(id);
        if (osd is null)
        {
            change.Refuse(StatusCode.NotFound, $"{id} does not exist");
        }

        return osd;
    }

    private void ChangeOsds(OsdIdsRequest asked, AdminReplyTo reply, string word, Func<OsdInfo, OsdInfo?> change)
    {
        Google.Protobuf.Collections.RepeatedField<int> ids = asked.Osds;
        var changed = new List<int>();
        leader.Request(new MapChange(
            (draft, request) =>
            {
                changed.Clear();
                if (ids.Count == 0)
                {
                    return request.Refuse(StatusCode.InvalidArgument, "no OSD is named");
                }

                foreach (int id in ids)
                {
                    if (draft.FindOsd(new OsdId(id)) is null)
                    {
                        return request.Refuse(StatusCode.NotFound, $"osd.{id} does not exist");
                    }
                }

                // Only OSDs that the change takes out count: marking in costs nothing.
                if (!asked.Confirmed && PlacementRoom.Judge(draft, draft.Crush, id => ids.Contains(id.Value) && change(draft.FindOsd(id)!) is { IsIn: false }) is { } cost)
                {
                    return request.Refuse(StatusCode.FailedPrecondition, $"{cost}; confirm (--yes-i-really-mean-it)");
                }

                foreach (int id in ids)
                {
                    if (change(draft.FindOsd(new OsdId(id))!) is { } next)
                    {
                        draft.Set(next);
                        draft.Log(EventLevel.Info, "admin", $"osd.{id} marked {word} by an operator");
                        changed.Add(id);
                    }
                }

                return changed.Count > 0 ? Verdict.Drafted : Verdict.NoChange;
            },
            outcome => ReplyIds(reply, outcome, changed, word)));
    }

    private void MarkDown(Google.Protobuf.Collections.RepeatedField<int> ids, AdminReplyTo reply)
    {
        var changed = new List<int>();
        leader.Request(new MapChange(
            (draft, request) =>
            {
                changed.Clear();
                foreach (int id in ids)
                {
                    if (draft.FindOsd(new OsdId(id)) is null)
                    {
                        return request.Refuse(StatusCode.NotFound, $"osd.{id} does not exist");
                    }

                    if (draft.HasTurned(new OsdId(id)))
                    {
                        return Verdict.Again;
                    }
                }

                foreach (int id in ids)
                {
                    if (draft.FindOsd(new OsdId(id)) is { IsUp: true } osd)
                    {
                        draft.MarkDown(osd);
                        draft.Log(EventLevel.Info, "admin", $"osd.{id} marked down by an operator");
                        changed.Add(id);
                    }
                }

                return changed.Count > 0 ? Verdict.Drafted : Verdict.NoChange;
            },
            outcome => ReplyIds(reply, outcome, changed, "down")));
    }

    private static void ReplyIds(AdminReplyTo reply, ChangeOutcome outcome, List<int> changed, string word)
    {
        var message = new OsdIdsReply
        {
            Epoch = outcome.Epoch.Value,
            Message = changed.Count == 0 ? $"already {word}" : $"marked {word}: {string.Join(", ", changed.Select(id => $"osd.{id}"))}",
        };
        message.Changed.Add(changed);
        reply(outcome.Failure, message);
    }

    private void Reweight(OsdReweightRequest request, AdminReplyTo reply)
    {
        var id = new OsdId(request.Osd);
        if (!double.IsFinite(request.Weight) || request.Weight < 0 || (!request.CrushWeight && request.Weight > 1) || request.Weight > 10_000)
        {
            throw new RpcException(StatusCode.InvalidArgument, request.CrushWeight ? "a CRUSH weight is a number from 0 to 10000" : "a reweight is a number from 0 to 1");
        }

        Change(
            (draft, change) =>
            {
                if (Find(draft, change, id) is not { } osd)
                {
                    return Verdict.Refused;
                }

                if (request.CrushWeight)
                {
                    return EditCrush(draft, change, crush => crush.WithReweightedItem(CrushPlan.NameOf(id), request.Weight), request.Confirmed);
                }

                uint weight = (uint)Math.Round(request.Weight * OsdInfo.FullWeight);
                if (osd.Weight == weight)
                {
                    return Verdict.NoChange;
                }

                if (weight == 0 && !request.Confirmed && PlacementRoom.Judge(draft, draft.Crush, other => other == id) is { } cost)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"{cost}; confirm (--yes-i-really-mean-it)");
                }

                draft.Set(osd with { Weight = weight, AutoOut = false });
                return Verdict.Drafted;
            },
            reply);
    }

    private void DeclareLost(OsdLostRequest request, AdminReplyTo reply)
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
                    return change.Refuse(StatusCode.FailedPrecondition, $"{id} is up: only an OSD that is down can be declared lost");
                }

                if (osd.LostAt > osd.UpFrom)
                {
                    return Verdict.NoChange;
                }

                if (!request.Confirmed)
                {
                    OsdVerdict verdict = OsdSafety.JudgeDestroy(draft.Base, leader.Statistics.Views(draft.Base, clock(), leader.Policy.StaleAfter), [id]);
                    return change.Refuse(
                        StatusCode.FailedPrecondition,
                        $"declaring {id} lost gives up every write that only it holds, for good{(verdict.Safe ? "" : $" ({verdict.Groups.Count} pgs may need its data: {verdict.Reasons[0]})")}; try to start it first, else confirm (--yes-i-really-mean-it)");
                }

                draft.Set(osd with { LostAt = draft.Epoch });
                draft.Log(EventLevel.Error, "admin", $"{id} declared lost by an operator");
                return Verdict.Drafted;
            },
            reply);
    }

    private void CreateOsd(OsdCreateRequest request, AdminReplyTo reply)
    {
        if (!Guid.TryParse(request.Uuid, out Guid uuid) || uuid == Guid.Empty)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{request.Uuid}' is no UUID of a disk");
        }

        if (!double.IsFinite(request.CrushWeight) || request.CrushWeight < 0 || request.CrushWeight > 10_000)
        {
            throw new RpcException(StatusCode.InvalidArgument, "a CRUSH weight is a number from 0 to 10000 (1 for each TiB is usual)");
        }

        int given = -1;
        leader.Request(new MapChange(
            (draft, change) =>
            {
                if (draft.Osds.FirstOrDefault(osd => osd.Uuid == uuid) is { } known)
                {
                    given = known.Id.Value;
                    return request.HasOsd && request.Osd != given
                        ? change.Refuse(StatusCode.AlreadyExists, $"disk {uuid} is {known.Id} already")
                        : Verdict.NoChange;
                }

                int id = request.HasOsd ? request.Osd : Enumerable.Range(0, int.MaxValue).First(free => draft.FindOsd(new OsdId(free)) is null && !draft.HasTurned(new OsdId(free)));
                if (id is < 0 or >= ClusterMap.LargestOsd)
                {
                    return change.Refuse(StatusCode.OutOfRange, $"an OSD number is from 0 to {ClusterMap.LargestOsd - 1}, not {id}");
                }

                if (draft.FindOsd(new OsdId(id)) is { } other)
                {
                    return change.Refuse(StatusCode.AlreadyExists, $"osd.{id} exists, on disk {other.Uuid}");
                }

                given = id;
                (string, string)[] location = request.Location.Count > 0
                    ? [.. request.Location.Select(entry => (entry.Key, entry.Value))]
                    : [("root", CrushPlan.Root)];
                double weight = request.CrushWeight > 0 ? request.CrushWeight : 1;
                Verdict verdict = EditCrush(draft, change, crush => crush.WithDevice(
                    id, CrushPlan.NameOf(new OsdId(id)), weight, request.DeviceClass.Length > 0 ? request.DeviceClass : null, location), confirmed: true);
                if (verdict == Verdict.Refused)
                {
                    return verdict;
                }

                // Out until it first boots: an OSD that never ran must not leave holes where CRUSH chooses it.
                draft.Set(new OsdInfo { Id = new OsdId(id), Uuid = uuid, Weight = 0, AutoOut = true });
                draft.Log(EventLevel.Info, "admin", $"osd.{id} created for disk {uuid}");
                return Verdict.Drafted;
            },
            outcome => reply(outcome.Failure, new OsdCreateReply { Epoch = outcome.Epoch.Value, Osd = given, Created = outcome.Changed })));
    }

    private void SetFlag(string name, bool set, AdminReplyTo reply)
    {
        ClusterFlags flag = FlagNames.Parse(name);
        if (flag == ClusterFlags.None)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{name}' is no flag; there are {FlagNames.Known}");
        }

        Change(
            (draft, _) =>
            {
                if (((draft.Flags & flag) != 0) == set)
                {
                    return Verdict.NoChange;
                }

                draft.SetFlags(set ? draft.Flags | flag : draft.Flags & ~flag);
                draft.Log(EventLevel.Info, "admin", $"flag {name} {(set ? "set" : "unset")}");
                return Verdict.Drafted;
            },
            reply);
    }

    private void SetCrush(CrushSetRequest request, AdminReplyTo reply)
    {
        Change(
            (draft, change) =>
            {
                if (request.ExpectedEpoch != 0 && draft.Base.Epoch.Value != request.ExpectedEpoch)
                {
                    return change.Refuse(StatusCode.Aborted, $"the map is at epoch {draft.Base.Epoch}, not {request.ExpectedEpoch}: export it again");
                }

                return EditCrush(draft, change, _ =>
                {
                    CrushMap next = CrushMap.CompileText(request.Text);
                    return draft.Pools.FirstOrDefault(pool => next.GetRule(pool.RuleId) is null) is { } orphan
                        ? throw new ArgumentException($"pool '{orphan.Name}' uses rule {orphan.RuleId}, which the new map lacks")
                        : next;
                }, request.Confirmed);
            },
            reply);
    }

    private void Block(BlocklistAddRequest request, AdminReplyTo reply)
    {
        ulong client = ParseClient(request.ClientId);
        TimeSpan duration = request.DurationSeconds == 0 ? leader.Policy.BlocklistDuration : TimeSpan.FromSeconds(request.DurationSeconds);
        Change(
            (draft, _) =>
            {
                long until = draft.UnixMilliseconds + (long)duration.TotalMilliseconds;
                if (draft.BlockedUntil(client) is { } present && (present == 0 || present >= until))
                {
                    return Verdict.NoChange;
                }

                draft.SetBlocked(client, until);
                draft.Log(EventLevel.Warn, "admin", $"client.{client:x} is fenced for {duration.TotalSeconds:0} s");
                return Verdict.Drafted;
            },
            reply);
    }

    private void Unblock(BlocklistRemoveRequest request, AdminReplyTo reply)
    {
        ulong client = ParseClient(request.ClientId);
        Change(
            (draft, _) =>
            {
                if (draft.BlockedUntil(client) is null)
                {
                    return Verdict.NoChange;
                }

                draft.SetBlocked(client, null);
                return Verdict.Drafted;
            },
            reply);
    }

    private static Verdict EditCrush(MapDraft draft, MapChange change, Func<CrushMap, CrushMap> edit, bool confirmed)
    {
        try
        {
            CrushMap next = edit(draft.Crush);
            if (next.Encode().AsSpan().SequenceEqual(draft.Crush.Encode()))
            {
                return Verdict.NoChange;
            }

            if (!confirmed && PlacementRoom.Judge(draft, next, _ => false) is { } cost)
            {
                return change.Refuse(StatusCode.FailedPrecondition, $"{cost}; confirm (--yes-i-really-mean-it)");
            }

            draft.SetCrush(next);
            return Verdict.Drafted;
        }
        catch (Exception e) when (e is ArgumentException or CrushFormatException)
        {
            // The parameter's name means nothing to an operator.
            string text = e is ArgumentException { ParamName: { } parameter } ? e.Message.Replace($" (Parameter '{parameter}')", "", StringComparison.Ordinal) : e.Message;
            return change.Refuse(StatusCode.InvalidArgument, "CRUSH map: " + text);
        }
    }
}
