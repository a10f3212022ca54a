using System.Globalization;
using Storage.Cluster;
using Storage.Monitor.Core;
using Storage.Rpc;
using Storage.Rpc.Admin;
using PoolInfo = Storage.Cluster.PoolInfo;

namespace Storage.Monitor.Admin;

// Pools.
internal sealed partial class AdminChanges
{
    private const int DefaultGroups = 32;
    private const int MostGroups = 1 << 20;
    private const int MostCopies = 16;
    private const int LargestSplit = 16;

    private void CreatePool(PoolCreateRequest request, AdminReplyTo reply)
    {
        JudgeName(request.Name);
        if (request.Type == PoolType.Erasure || request.DataChunks != 0 || request.CodingChunks != 0)
        {
            throw new RpcException(StatusCode.Unimplemented, "erasure-coded pools are not supported yet");
        }

        int size = request.Size == 0 ? 3 : (int)Math.Min(request.Size, int.MaxValue);
        int minSize = request.MinSize == 0 ? size - (size / 2) : (int)Math.Min(request.MinSize, int.MaxValue);
        int groups = request.PgNum == 0 ? DefaultGroups : (int)Math.Min(request.PgNum, int.MaxValue);
        JudgeSizes(size, minSize, groups);
        string domain = request.FailureDomain.Length == 0 ? "osd" : request.FailureDomain;
        long id = 0;
        leader.Request(new MapChange(
            (draft, change) =>
            {
                if (draft.FindPool(request.Name) is { } known)
                {
                    id = known.Id;
                    return request.IfNotExists ? Verdict.NoChange : change.Refuse(StatusCode.AlreadyExists, $"pool '{request.Name}' exists");
                }

                if (TooManyGroups(draft, (long)groups * size) is { } many)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"{groups} pgs of {size} copies: {many}; take fewer, or add OSDs");
                }

                string rule = request.Rule.Length > 0 ? request.Rule : CrushPlan.RuleName(domain, request.DeviceClass);
                if (draft.Crush.FindRule(rule) < 0)
                {
                    if (request.Rule.Length > 0)
                    {
                        return change.Refuse(StatusCode.NotFound, $"there is no CRUSH rule '{rule}'");
                    }

                    Verdict made = EditCrush(draft, change, crush => crush.WithReplicatedRule(
                        rule, CrushPlan.Root, domain, request.DeviceClass.Length > 0 ? request.DeviceClass : null), confirmed: true);
                    if (made == Verdict.Refused)
                    {
                        return made;
                    }
                }

                id = draft.NextPoolId;
                draft.Set(new PoolInfo
                {
                    Id = id,
                    Name = request.Name,
                    Size = size,
                    MinSize = minSize,
                    PgCount = groups,
                    Autoscale = request.PgNum == 0 ? PgAutoscale.On : PgAutoscale.Off, // who names a number wants that number
                    RuleId = draft.Crush.FindRule(rule),
                    Application = request.Application,
                    Created = draft.Epoch,
                });
                draft.Log(EventLevel.Info, "admin", $"pool '{request.Name}' created: size {size}, min_size {minSize}, {groups} pgs, rule {rule}");
                return Verdict.Drafted;
            },
            outcome => reply(outcome.Failure, new PoolCreateReply { Epoch = outcome.Epoch.Value, PoolId = id, Created = outcome.Changed })));
    }

    private void RemovePool(PoolRemoveRequest request, AdminReplyTo reply)
    {
        Change(
            (draft, change) =>
            {
                if (draft.FindPool(request.Name) is not { } pool)
                {
                    return change.Refuse(StatusCode.NotFound, $"there is no pool '{request.Name}'");
                }

                if (!request.Confirmed)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"removing pool '{request.Name}' destroys all its data; confirm (--yes-i-really-mean-it)");
                }

                if (pool.Created == draft.Epoch)
                {
                    return Verdict.Again; // made in this very draft
                }

                draft.RemovePool(pool.Id);
                draft.Log(EventLevel.Warn, "admin", $"pool '{request.Name}' removed");
                return Verdict.Drafted;
            },
            reply);
    }

    private void SetPool(PoolSetRequest request, AdminReplyTo reply)
    {
        string message = "";
        Change(
            (draft, change) =>
            {
                if (draft.FindPool(request.Name) is not { } pool)
                {
                    return change.Refuse(StatusCode.NotFound, $"there is no pool '{request.Name}'");
                }

                PoolInfo next;
                try
                {
                    next = With(draft, pool, request.Key, request.Value, out message);
                }
                catch (RpcException e)
                {
                    return change.Refuse(e.Code, e.Status.Message);
                }

                if (next == pool)
                {
                    return Verdict.NoChange;
                }

                long more = ((long)next.PgCount * next.Size) - ((long)pool.PgCount * pool.Size);
                if (!request.Confirmed && (Danger(pool, next) ?? (more > 0 ? TooManyGroups(draft, more) : null)) is { } danger)
                {
                    return change.Refuse(StatusCode.FailedPrecondition, $"{danger}; confirm (--yes-i-really-mean-it)");
                }

                draft.Set(next);
                draft.Log(EventLevel.Info, "admin", $"pool '{request.Name}': {request.Key} = {request.Value}");
                return Verdict.Drafted;
            },
            reply,
            () => message);
    }

    // Every PG costs its OSDs memory and work, also while it is idle; a typing error would take a cluster down.
    private static string? TooManyGroups(MapDraft draft, long more)
    {
        int osds = draft.Osds.Count();
        long copies = draft.Pools.Sum(pool => (long)pool.PgCount * pool.Size) + more;
        return osds > 0 && copies > (long)osds * PgAutoscaler.MostGroupsPerOsd
            ? string.Create(CultureInfo.InvariantCulture, $"each of {osds} OSDs would have {copies / osds} PG copies, more than {PgAutoscaler.MostGroupsPerOsd}")
            : null;
    }

    // What a setting may cost that was safe before.
    private static string? Danger(PoolInfo before, PoolInfo after)
    {
        if (after.Size == 1 && before.Size > 1)
        {
            return $"with size 1 the other {(before.Size == 2 ? "copy" : $"{before.Size - 1} copies")} of every object in pool '{before.Name}' {(before.Size == 2 ? "is" : "are")} removed, and all data on a disk that fails is lost";
        }

        return after.MinSize == 1 && before.MinSize > 1 && after.Size > 1
            ? $"with min_size 1 pool '{before.Name}' acknowledges writes that are on one disk only, and they are lost if it fails before the others are back"
            : null;
    }

    private static PoolInfo With(MapDraft draft, PoolInfo pool, string key, string value, out string message)
    {
        message = "";
        switch (key)
        {
            case "size":
                int size = Number(key, value, 1, MostCopies);
                return pool with { Size = size, MinSize = Math.Min(pool.MinSize, size) };
            case "min_size":
                return pool with { MinSize = Number(key, value, 1, pool.Size) };
            case "pg_num":
                return WithGroups(pool, Number(key, value, 1, MostGroups), out message);
            case "pg_autoscale_mode":
                return pool with
                {
                    Autoscale = value switch
                    {
                        "off" => PgAutoscale.Off,
                        "warn" => PgAutoscale.Warn,
                        "on" => PgAutoscale.On,
                        _ => throw new RpcException(StatusCode.InvalidArgument, $"{key} is off, warn or on, not '{value}'"),
                    },
                };
            case "target_size_ratio":
                return double.TryParse(value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double ratio) && ratio is >= 0 and <= 1e6
                    ? pool with { TargetRatio = ratio }
                    : throw new RpcException(StatusCode.InvalidArgument, $"{key} is a number from 0 (what the pool holds decides) to 1000000, not '{value}'");
            case "compression":
                return pool with
                {
                    Compression = value switch
                    {
                        "none" => PoolCompression.None,
                        "lz4" => PoolCompression.Lz4,
                        "zstd" => PoolCompression.Zstd,
                        _ => throw new RpcException(StatusCode.InvalidArgument, $"{key} is none, lz4 or zstd, not '{value}'"),
                    },
                };
            case "compression_required_ratio":
                return double.TryParse(value, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out double required) && PoolInfo.IsCompressionRatio(required)
                    ? pool with { CompressionRequiredRatio = required }
                    : throw new RpcException(
                        StatusCode.InvalidArgument, $"{key} is the most that a compressed piece may take of the plain one, above 0 to 1 (default {PoolInfo.DefaultCompressionRatio}), not '{value}'");
            case "compression_level":
                return pool with { CompressionLevel = Number(key, value, 1, PoolInfo.MostCompressionLevel) };
            case "pgp_num":
                int placed = Number(key, value, 1, pool.PgCount);
                return placed >= pool.EffectivePlacedPgCount
                    ? pool with { PlacedPgCount = placed == pool.PgCount ? 0 : placed }
                    : throw new RpcException(StatusCode.FailedPrecondition, $"pgp_num is {pool.EffectivePlacedPgCount} and follows pg_num ({pool.PgCount}) by itself; it is not taken back");
            case "rule" or "crush_rule":
                int rule = draft.Crush.FindRule(value);
                return rule >= 0 ? pool with { RuleId = rule } : throw new RpcException(StatusCode.NotFound, $"there is no CRUSH rule '{value}'");
            case "quota_bytes":
                return pool with { QuotaBytes = Quota(key, value) };
            case "quota_objects":
                return pool with { QuotaObjects = Quota(key, value) };
            case "application":
                return pool with { Application = value };
            case "name":
                JudgeName(value);
                return draft.FindPool(value) is null || value == pool.Name
                    ? pool with { Name = value }
                    : throw new RpcException(StatusCode.AlreadyExists, $"pool '{value}' exists");
            default:
                throw new RpcException(
                    StatusCode.InvalidArgument,
                    $"'{key}' is no setting of a pool; there are size, min_size, pg_num, pgp_num, pg_autoscale_mode, target_size_ratio, compression, compression_required_ratio, compression_level, rule, quota_bytes, quota_objects, application, name");
        }
    }

    private static PoolInfo WithGroups(PoolInfo pool, int groups, out string message)
    {
        message = "";
        if (groups < pool.PgCount)
        {
            throw new RpcException(
                StatusCode.FailedPrecondition,
                $"pool '{pool.Name}' has {pool.PgCount} pgs and cannot have fewer: PGs are split, never merged. For fewer, create another pool and copy the data");
        }

        if (groups > (long)pool.PgCount * LargestSplit)
        {
            throw new RpcException(
                StatusCode.FailedPrecondition,
                $"pg_num grows at most {LargestSplit} times at once, that is to {(long)pool.PgCount * LargestSplit}: set that, and go on when the pool is clean");
        }

        if (groups == pool.PgCount)
        {
            return pool;
        }

        message = $"{groups - pool.PgCount} new pgs where their parents are; pgp_num follows from {pool.EffectivePlacedPgCount} to {groups} as the pool is clean";
        return pool with { PgCount = groups, PlacedPgCount = pool.EffectivePlacedPgCount };
    }

    private static long Quota(string key, string value) =>
        long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long quota)
            ? quota
            : throw new RpcException(StatusCode.InvalidArgument, $"{key} is a whole number, 0 for no limit, not '{value}'");

    private static int Number(string key, string value, int least, int most) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number >= least && number <= most
            ? number
            : throw new RpcException(StatusCode.InvalidArgument, $"{key} is a number from {least} to {most}, not '{value}'");

    private static void JudgeName(string name)
    {
        if (name.Length is 0 or > 128 || name.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('.' or '-' or '_')))
        {
            throw new RpcException(StatusCode.InvalidArgument, $"'{name}' is no pool name: 1 to 128 of A-Z a-z 0-9 . - _");
        }
    }

    private static void JudgeSizes(int size, int minSize, int groups)
    {
        if (size is < 1 or > MostCopies)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"size is from 1 to {MostCopies}, not {size}");
        }

        if (minSize < 1 || minSize > size)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"min_size is from 1 to size ({size}), not {minSize}");
        }

        if (groups is < 1 or > MostGroups)
        {
            throw new RpcException(StatusCode.InvalidArgument, $"pg_num is from 1 to {MostGroups}, not {groups}");
        }
    }
}
