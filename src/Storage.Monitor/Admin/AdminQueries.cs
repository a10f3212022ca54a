using System.Text.Json;
using System.Text.Json.Nodes;
using Google.Protobuf;
using Storage.Cluster;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor.Admin;

/// <summary>Admin requests that only read. The caller has made sure that the state is the newest there is.</summary>
internal sealed partial class AdminQueries(MapState state, MapLeader leader, Func<QuorumView> quorum, Func<TimeSpan> clock)
{
    private ClusterMap Map => state.Map ?? throw new RpcException(StatusCode.Unavailable, "the cluster has no map yet");

    /// <summary>Whether a method changes nothing, so that it may be carried out any number of times.</summary>
    /// <param name="method">Its name.</param>
    /// <returns>False for changes, and for what is not known.</returns>
    public static bool IsQuery(string method) => method is "Status" or "Health" or "LogLast" or "OsdTree" or "OsdDump" or "PoolList" or "PgList" or "MapGet"
        or "CrushGet" or "ConfigGet" or "BlocklistList" or "OsdOkToStop" or "OsdSafeToDestroy" or "CrushRuleList" or "MonStatus" or "PgQuery" or "PoolAutoscaleStatus";

    /// <summary>Answers a request.</summary>
    /// <returns>The reply, or null if the method is none of these.</returns>
    public IMessage? Execute(string method, ReadOnlySpan<byte> body) => method switch
    {
        "Status" => MakeStatus(),
        "Health" => MakeHealth(HealthRequest.Parser.ParseFrom(body)),
        "LogLast" => LogLast(LogLastRequest.Parser.ParseFrom(body)),
        "OsdTree" => OsdTree(),
        "OsdDump" => OsdDump(OsdDumpRequest.Parser.ParseFrom(body)),
        "PoolList" => PoolList(PoolListRequest.Parser.ParseFrom(body)),
        "PgList" => PgList(PgListRequest.Parser.ParseFrom(body)),
        "MapGet" => MapGet(MapGetRequest.Parser.ParseFrom(body)),
        "CrushGet" => new CrushGetReply { Epoch = Map.Epoch.Value, Text = Map.Crush.DecompileText() },
        "ConfigGet" => ConfigGet(ConfigGetRequest.Parser.ParseFrom(body)),
        "BlocklistList" => BlocklistList(),
        "OsdOkToStop" => Judge(OsdIdsRequest.Parser.ParseFrom(body), OsdSafety.JudgeStop),
        "OsdSafeToDestroy" => Judge(OsdIdsRequest.Parser.ParseFrom(body), OsdSafety.JudgeDestroy),
        "CrushRuleList" => CrushRules(),
        "PoolAutoscaleStatus" => AutoscaleStatus(),
        _ => null,
    };

    private IReadOnlyList<HealthFinding> Findings() => HealthReport.Make(state, leader.Statistics, quorum(), leader.Policy, clock());

    private PgView[] Views() => [.. leader.Statistics.Views(Map, clock(), leader.Policy.StaleAfter)];

    private static HealthCheck ToProto(HealthFinding finding, bool detail)
    {
        var check = new HealthCheck
        {
            Code = finding.Code,
            Severity = (HealthStatus)finding.Level,
            Summary = finding.Summary,
            Count = (ulong)finding.Count,
            Muted = finding.IsMuted,
        };
        if (detail)
        {
            check.Detail.Add(finding.Detail);
        }

        return check;
    }

    private HealthReply MakeHealth(HealthRequest request)
    {
        IReadOnlyList<HealthFinding> findings = Findings();
        var reply = new HealthReply { Status = (HealthStatus)HealthReport.Worst(findings), Epoch = Map.Epoch.Value };
        reply.Checks.Add(findings.Select(finding => ToProto(finding, request.Detail)));
        return reply;
    }

    private StatusReply MakeStatus()
    {
        ClusterMap map = Map;
        IReadOnlyList<HealthFinding> findings = Findings();
        PgView[] views = Views();
        QuorumView view = quorum();
        Rates rates = leader.Statistics.TotalRates(clock());
        var reply = new StatusReply
        {
            Fsid = map.Fsid.ToString(),
            Health = (HealthStatus)HealthReport.Worst(findings),
            Epoch = map.Epoch.Value,
            Pools = (uint)map.Pools.Count(),
            Pgs = (ulong)views.Length,
            Quorum = new QuorumSummary { Leader = view.Leader, Term = view.Term, AgeMs = (ulong)view.Since.TotalMilliseconds },
            Osds = new OsdSummary
            {
                Total = (uint)map.Osds.Count(),
                Up = (uint)map.Osds.Count(osd => osd.IsUp),
                In = (uint)map.Osds.Count(osd => osd.IsIn),
                RemappedPgs = (ulong)views.Count(pg => !pg.Mapping.Up.AsSpan().SequenceEqual(pg.Mapping.Acting)),
            },
            Usage = Usage(map, views),
            ClientIo = ToProto(rates),
            Recovery = Recovery(map, views, rates),
        };
        reply.Checks.Add(findings.Select(finding => ToProto(finding, detail: false)));
        reply.Quorum.Monitors.Add(view.Monitors);
        reply.Quorum.InQuorum.Add(view.InQuorum);
        reply.Flags.Add(FlagNames.Of(map.Flags));
        foreach (Monitor.Status.ProgressItem item in leader.Progress.Items(clock()))
        {
            var progress = new Rpc.Admin.ProgressItem { Id = item.Id, Message = item.Message, Fraction = item.Fraction, ElapsedSeconds = item.Elapsed.TotalSeconds };
            if (item.Remaining is { } remaining)
            {
                progress.RemainingSeconds = remaining.TotalSeconds;
            }

            reply.Progress.Add(progress);
        }

        reply.PgStates.Add(views.GroupBy(pg => pg.State, StringComparer.Ordinal)
            .OrderByDescending(group => group.Count()).ThenBy(group => group.Key, StringComparer.Ordinal)
            .Select(group => new PgStateCount { State = group.Key, Count = (ulong)group.Count() }));
        return reply;
    }

    private UsageSummary Usage(ClusterMap map, PgView[] views)
    {
        long used = 0, total = 0;
        foreach (Cluster.OsdInfo osd in map.Osds)
        {
            if (osd.IsUp && leader.Statistics.Of(osd.Id) is { } report)
            {
                used += report.UsedBytes;
                total += report.TotalBytes;
            }
        }

        return new UsageSummary
        {
            Objects = (ulong)views.Sum(pg => pg.Report?.Objects ?? 0),
            StoredBytes = (ulong)views.Sum(pg => pg.Report?.Bytes ?? 0),
            UsedBytes = (ulong)used,
            TotalBytes = (ulong)total,
            AvailableBytes = (ulong)Math.Max(0, total - used),
        };
    }

    private static IoRates ToProto(Rates rates) => new()
    {
        ReadBytesPerSecond = rates.ReadBytes,
        WriteBytesPerSecond = rates.WriteBytes,
        ReadOpsPerSecond = rates.Reads,
        WriteOpsPerSecond = rates.Writes,
    };

    private static RecoverySummary Recovery(ClusterMap map, PgView[] views, Rates rates) => new()
    {
        DegradedObjects = (ulong)views.Sum(pg => pg.Report?.MissingCopies ?? 0),
        MisplacedObjects = (ulong)views.Sum(pg => pg.Report?.MisplacedCopies ?? 0),
        UnfoundObjects = (ulong)views.Sum(pg => pg.Report?.UnfoundObjects ?? 0),
        ObjectCopies = (ulong)views.Sum(pg => (pg.Report?.Objects ?? 0) * map.FindPool(pg.Group.Pool)!.Size),
        BytesPerSecond = rates.RecoveryBytes,
        RecoveringPgs = (ulong)views.Count(pg => pg.Is("recovering") || pg.Is("recovery_wait")),
        BackfillingPgs = (ulong)views.Count(pg => pg.Is("backfilling") || pg.Is("backfill_wait")),
    };

    private LogLastReply LogLast(LogLastRequest request)
    {
        int count = request.Count == 0 ? 50 : (int)Math.Min(request.Count, MapState.MostEvents);
        var reply = new LogLastReply();
        ClusterLogEntry[] entries = [.. state.Events.Where(entry => (int)entry.Level >= (int)request.MinLevel)];
        reply.Entries.Add(entries.Skip(entries.Length - count).Select(entry => new LogEntry
        {
            Sequence = entry.Sequence,
            TimeUnixMs = entry.UnixMilliseconds,
            Source = entry.Source,
            Level = (Rpc.Admin.LogLevel)entry.Level,
            Message = entry.Text,
        }));
        return reply;
    }

    private PgListReply PgList(PgListRequest request)
    {
        ClusterMap map = Map;
        long pool = 0;
        if (request.Pool.Length > 0)
        {
            pool = map.FindPool(request.Pool)?.Id ?? throw new RpcException(StatusCode.NotFound, $"there is no pool '{request.Pool}'");
        }

        PgView[] matching = [.. Views().Where(pg => (pool == 0 || pg.Group.Pool == pool)
            && (!request.HasOsd || pg.Mapping.Acting.Contains(new OsdId(request.Osd)) || pg.Mapping.Up.Contains(new OsdId(request.Osd)))
            && (!request.HasPrimary || pg.Mapping.Primary.Value == request.Primary)
            && (request.State.Length == 0 || pg.Is(request.State)))];
        var reply = new PgListReply { Epoch = map.Epoch.Value, Total = (ulong)matching.Length };
        reply.Pgs.Add(matching.Take(request.Limit == 0 ? int.MaxValue : (int)Math.Min(request.Limit, int.MaxValue)).Select(ToProto));
        return reply;
    }

    private static PgInfo ToProto(PgView view)
    {
        var info = new PgInfo { Pgid = view.Group.ToString(), State = view.State, Primary = view.Mapping.Primary.Value, ReportedEpoch = view.ReportEpoch.Value };
        info.Up.Add(view.Mapping.Up.Select(osd => osd.Value));
        info.Acting.Add(view.Mapping.Acting.Select(osd => osd.Value));
        if (view.Report is { } report)
        {
            info.Objects = (ulong)report.Objects;
            info.Bytes = (ulong)report.Bytes;
            info.Degraded = (ulong)report.MissingCopies;
            info.Misplaced = (ulong)report.MisplacedCopies;
            info.Unfound = (ulong)report.UnfoundObjects;
            info.Version = report.LastUpdate.ToString();
            info.ScrubErrors = (ulong)report.ScrubErrors;
            info.LastScrubUnixMs = report.LastScrub;
            info.LastDeepScrubUnixMs = report.LastDeepScrub;
        }

        return info;
    }

    private MapGetReply MapGet(MapGetRequest request)
    {
        ClusterMap map = Map;
        if (request.Epoch != 0 && request.Epoch != map.Epoch.Value)
        {
            throw new RpcException(StatusCode.NotFound, $"only the newest map is kept whole, epoch {map.Epoch}");
        }

        return new MapGetReply { Epoch = map.Epoch.Value, Map = ByteString.CopyFrom(map.Encode()), Json = request.Json ? ToJson(map) : "" };
    }

    private static string ToJson(ClusterMap map) => new JsonObject
    {
        ["epoch"] = map.Epoch.Value,
        ["fsid"] = map.Fsid.ToString(),
        ["created_unix_ms"] = map.CreatedUnixMilliseconds,
        ["modified_unix_ms"] = map.ModifiedUnixMilliseconds,
        ["flags"] = new JsonArray([.. FlagNames.Of(map.Flags).Select(flag => (JsonNode)flag)]),
        ["monitors"] = new JsonArray([.. map.Monitors.Select(monitor => (JsonNode)new JsonObject
        {
            ["id"] = monitor.Id, ["name"] = monitor.Name, ["address"] = monitor.Address.ToString(), ["admin_address"] = monitor.AdminAddress.ToString(),
        })]),
        ["osds"] = new JsonArray([.. map.Osds.Select(osd => (JsonNode)new JsonObject
        {
            ["osd"] = osd.Id.Value, ["uuid"] = osd.Uuid.ToString(), ["up"] = osd.IsUp, ["in"] = osd.IsIn,
            ["weight"] = osd.Weight / (double)Cluster.OsdInfo.FullWeight, ["address"] = osd.Address.ToString(), ["up_from"] = osd.UpFrom.Value,
            ["up_thru"] = osd.UpThru.Value, ["down_at"] = osd.DownAt.Value, ["lost_at"] = osd.LostAt.Value,
        })]),
        ["pools"] = new JsonArray([.. map.Pools.Select(pool => (JsonNode)new JsonObject
        {
            ["id"] = pool.Id, ["name"] = pool.Name, ["size"] = pool.Size, ["min_size"] = pool.MinSize, ["pg_num"] = pool.PgCount,
            ["rule"] = pool.RuleId, ["application"] = pool.Application, ["quota_bytes"] = pool.QuotaBytes, ["snapshot_sequence"] = pool.SnapshotSequence,
            ["snapshot_barrier"] = pool.SnapshotBarrier, ["removed_snapshots"] = pool.RemovedSnapshots.ToString(),
        })]),
        ["pg_temp"] = new JsonObject(map.PgTemp.OrderBy(entry => entry.Key).Select(entry =>
            KeyValuePair.Create(entry.Key.ToString(), (JsonNode?)new JsonArray([.. entry.Value.Select(osd => (JsonNode)osd.Value)])))),
        ["blocklist"] = new JsonObject(map.Blocklist.OrderBy(entry => entry.Key).Select(entry =>
            KeyValuePair.Create($"client.{entry.Key:x}", (JsonNode?)entry.Value))),
        ["configuration"] = new JsonObject(map.Configuration.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value))),
    }.ToJsonString(new JsonSerializerOptions { WriteIndented = true });

    private ConfigGetReply ConfigGet(ConfigGetRequest request)
    {
        // A daemon's name asks for what is in effect for it: its own, else its kind's, else everybody's.
        string kind = request.Section.Split('.')[0];
        bool isDaemon = request.Section.Contains('.', StringComparison.Ordinal);
        var found = new SortedDictionary<string, ConfigEntry>(StringComparer.Ordinal);
        foreach (string section in isDaemon ? ["global", kind, request.Section] : new[] { request.Section })
        {
            foreach ((string name, string value) in Map.Configuration)
            {
                int slash = name.IndexOf('/', StringComparison.Ordinal);
                (string of, string key) = slash < 0 ? ("global", name) : (name[..slash], name[(slash + 1)..]);
                if ((section.Length == 0 || of == section) && (request.Key.Length == 0 || key == request.Key))
                {
                    found[isDaemon ? key : name] = new ConfigEntry { Section = of, Key = key, Value = value };
                }
            }
        }

        var reply = new ConfigGetReply { Epoch = Map.Epoch.Value };
        reply.Entries.Add(found.Values);

        // "Not set" would say that it has a default.
        return found.Count > 0 || request.Key.Length == 0 || KnownSettings.Judge(request.Section, request.Key) is not { } unknown
            ? reply
            : throw new RpcException(StatusCode.InvalidArgument, unknown);
    }

    private BlocklistListReply BlocklistList()
    {
        var reply = new BlocklistListReply { Epoch = Map.Epoch.Value };
        reply.Entries.Add(Map.Blocklist.OrderBy(entry => entry.Key).Select(entry => new BlocklistEntry { ClientId = $"client.{entry.Key:x}", UntilUnixMs = entry.Value }));
        return reply;
    }
}
