using Storage.Cluster;
using Storage.Crush;
using Storage.Messaging;
using Storage.Monitor.Core;
using Storage.Monitor.Status;
using Storage.Rpc;
using Storage.Rpc.Admin;

namespace Storage.Monitor.Admin;

// OSDs and pools.
internal sealed partial class AdminQueries
{
    private OsdTreeReply OsdTree()
    {
        ClusterMap map = Map;
        var reply = new OsdTreeReply { Epoch = map.Epoch.Value };
        var placed = new HashSet<int>();
        foreach (CrushTreeNode node in map.Crush.Tree())
        {
            var entry = new OsdTreeNode
            {
                Id = node.Id,
                Name = node.Name,
                Type = node.Type,
                Depth = (uint)node.Depth,
                CrushWeight = node.Weight,
                DeviceClass = node.DeviceClass ?? "",
            };
            if (node.Id < 0)
            {
                entry.Children.Add(map.Crush.GetBucket(node.Id)!.Items.ToArray());
            }
            else
            {
                placed.Add(node.Id);
                Describe(entry, map.FindOsd(new OsdId(node.Id)));
            }

            reply.Nodes.Add(entry);
        }

        foreach (Cluster.OsdInfo osd in map.Osds.Where(osd => !placed.Contains(osd.Id.Value)))
        {
            var entry = new OsdTreeNode { Id = osd.Id.Value, Name = osd.Id.ToString(), Type = "osd" };
            Describe(entry, osd);
            reply.Stray.Add(entry);
        }

        return reply;

        static void Describe(OsdTreeNode entry, Cluster.OsdInfo? osd)
        {
            entry.Exists = osd is not null;
            entry.Up = osd is { IsUp: true };
            entry.In = osd is { IsIn: true };
            entry.Reweight = (osd?.Weight ?? 0) / (double)Cluster.OsdInfo.FullWeight;
        }
    }

    private OsdDumpReply OsdDump(OsdDumpRequest request)
    {
        ClusterMap map = Map;
        MonitorPolicy policy = leader.Policy;
        var reply = new OsdDumpReply
        {
            Epoch = map.Epoch.Value,
            Fsid = map.Fsid.ToString(),
            MaxOsd = map.MaxOsd,
            NearfullRatio = policy.NearFullRatio,
            BackfillfullRatio = policy.BackfillFullRatio,
            FullRatio = policy.FullRatio,
        };
        reply.Flags.Add(FlagNames.Of(map.Flags));
        Dictionary<int, (ulong All, ulong Primary)> groups = CountGroups(map);
        foreach (Cluster.OsdInfo osd in map.Osds)
        {
            if (request.Osds.Count > 0 && !request.Osds.Contains(osd.Id.Value))
            {
                continue;
            }

            OsdStatistics? report = leader.Statistics.Of(osd.Id);
            (ulong all, ulong primary) = groups.GetValueOrDefault(osd.Id.Value);
            var entry = new Rpc.Admin.OsdInfo
            {
                Id = osd.Id.Value,
                Uuid = osd.Uuid.ToString(),
                Up = osd.IsUp,
                In = osd.IsIn,
                Reweight = osd.Weight / (double)Cluster.OsdInfo.FullWeight,
                CrushWeight = leader.Domains.WeightOf(osd.Id) / (double)CrushMap.WeightOne,
                DeviceClass = map.Crush.GetDeviceClass(osd.Id.Value) ?? "",
                UpFrom = osd.UpFrom.Value,
                UpThru = osd.UpThru.Value,
                DownAt = osd.DownAt.Value,
                LostAt = osd.LostAt.Value,
                Address = osd.Address.ToString(),
                UsedBytes = (ulong)(report?.UsedBytes ?? 0),
                TotalBytes = (ulong)(report?.TotalBytes ?? 0),
                AvailableBytes = (ulong)Math.Max(0, (report?.TotalBytes ?? 0) - (report?.UsedBytes ?? 0)),
                Pgs = all,
                PrimaryPgs = primary,
            };
            foreach ((string type, string name) in leader.Domains.LocationOf(osd.Id))
            {
                entry.Location[type] = name;
            }

            reply.Osds.Add(entry);
        }

        foreach (int wanted in request.Osds)
        {
            if (map.FindOsd(new OsdId(wanted)) is null)
            {
                throw new RpcException(StatusCode.NotFound, $"osd.{wanted} does not exist");
            }
        }

        return reply;
    }

    private static Dictionary<int, (ulong All, ulong Primary)> CountGroups(ClusterMap map)
    {
        var counts = new Dictionary<int, (ulong All, ulong Primary)>();
        foreach (Cluster.PoolInfo pool in map.Pools)
        {
            for (uint seed = 0; seed < (uint)pool.PgCount; seed++)
            {
                PgMapping mapping = map.Locate(new PgId(pool.Id, seed));
                for (int i = 0; i < mapping.Acting.Length; i++)
                {
                    (ulong all, ulong primary) = counts.GetValueOrDefault(mapping.Acting[i].Value);
                    counts[mapping.Acting[i].Value] = (all + 1, primary + (i == 0 ? 1UL : 0));
                }
            }
        }

        return counts;
    }

    // Of the OSDs that report: what lies compressed on those that are down is not known.
    private Dictionary<long, (long Original, long Stored)> Compressed(ClusterMap map)
    {
        var sums = new Dictionary<long, (long Original, long Stored)>();
        foreach (Cluster.OsdInfo osd in map.Osds)
        {
            foreach ((long pool, long original, long stored) in leader.Statistics.Of(osd.Id)?.Compression ?? [])
            {
                (long Original, long Stored) sum = sums.GetValueOrDefault(pool);
                sums[pool] = (sum.Original + original, sum.Stored + stored);
            }
        }

        return sums;
    }

    private PoolListReply PoolList(PoolListRequest request)
    {
        ClusterMap map = Map;
        var reply = new PoolListReply { Epoch = map.Epoch.Value };
        PgView[] views = Views();
        UsageSummary usage = Usage(map, views);
        Dictionary<long, PoolUsage> held = PoolUsage.Of(views);
        Dictionary<long, (long Original, long Stored)> compressed = Compressed(map);
        foreach (Cluster.PoolInfo pool in map.Pools)
        {
            if (request.Name.Length > 0 && pool.Name != request.Name)
            {
                continue;
            }

            (long objects, long bytes) = held.GetValueOrDefault(pool.Id);
            (long original, long stored) = compressed.GetValueOrDefault(pool.Id);
            reply.Pools.Add(new Rpc.Admin.PoolInfo
            {
                Id = pool.Id,
                Name = pool.Name,
                Type = (PoolType)pool.Kind,
                Size = (uint)pool.Size,
                MinSize = (uint)pool.MinSize,
                PgNum = (uint)pool.PgCount,
                PgpNum = (uint)pool.EffectivePlacedPgCount,
                Rule = map.Crush.GetRuleName(pool.RuleId) ?? "",
                RuleId = (uint)pool.RuleId,
                Application = pool.Application,
                QuotaBytes = (ulong)pool.QuotaBytes,
                QuotaObjects = (ulong)pool.QuotaObjects,
                Objects = (ulong)objects,
                StoredBytes = (ulong)bytes,
                UsedBytes = (ulong)Math.Max(stored, (bytes * pool.Size) - original + stored),
                AvailableBytes = usage.AvailableBytes / (ulong)pool.Size,
                CreatedEpoch = pool.Created.Value,
                SnapshotSequence = pool.SnapshotSequence,
                RemovedSnapshots = pool.RemovedSnapshots.Count,
                SnapshotBarrier = pool.SnapshotBarrier,
                Compression = pool.Compression switch { PoolCompression.Lz4 => "lz4", PoolCompression.Zstd => "zstd", _ => "none" },
                CompressionRequiredRatio = pool.CompressionRequiredRatio,
                CompressionLevel = (uint)pool.CompressionLevel,
                CompressedOriginalBytes = (ulong)original,
                CompressedBytes = (ulong)stored,
            });
        }

        return request.Name.Length > 0 && reply.Pools.Count == 0
            ? throw new RpcException(StatusCode.NotFound, $"there is no pool '{request.Name}'")
            : reply;
    }
}
