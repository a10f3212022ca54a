using Storage.Cluster;

namespace Storage.S3;

/// <summary>Settings of an S3 gateway.</summary>
public sealed record S3Options
{
    /// <summary>Where it listens for HTTP.</summary>
    public NodeAddress Listen { get; init; } = new("127.0.0.1", 9000);

    /// <summary>Region that signatures name. Default <c>us-east-1</c>, which clients assume.</summary>
    public string Region { get; init; } = "us-east-1";

    /// <summary>Domain for virtual-host-style requests (<c>BUCKET.DOMAIN</c>), or null for path style only.</summary>
    public string? Domain { get; init; }

    /// <summary>Pool of users, buckets and indexes.</summary>
    public string IndexPool { get; init; } = "s3.index";

    /// <summary>Pool of objects' data.</summary>
    public string DataPool { get; init; } = "s3.data";

    /// <summary>Shards of a new bucket's index, 1 to 1024. Default 8.</summary>
    public int IndexShards { get; init; } = 8;

    /// <summary>Bytes per data object of the cluster, 64 KiB to 8 MiB. Default 4 MiB.</summary>
    public int ChunkBytes { get; init; } = 4 << 20;

    /// <summary>Chunks of one request that are under way at once, which bounds its memory. Default 4.</summary>
    public int ChunksInFlight { get; init; } = 4;

    /// <summary>How long replaced or deleted data stays, so that a slow reader can finish. Default 30 minutes.</summary>
    public TimeSpan GarbageDelay { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>After how long an upload that never ended is taken for dead and its data removed. Default 24 hours (7 days for multipart).</summary>
    public TimeSpan AbandonedUploadDelay { get; init; } = TimeSpan.FromHours(24);

    /// <summary>How often the garbage is looked through. Default 10 minutes.</summary>
    public TimeSpan GarbageInterval { get; init; } = TimeSpan.FromMinutes(10);
}
