using System.Text.Json;
using System.Text.Json.Serialization;

namespace Storage.S3.Backend;

/// <summary>A run of bytes of an object: data objects <c>data.BUCKET.ID.0</c>, <c>.1</c>, … of <see cref="Chunk"/> bytes each.</summary>
internal sealed record Segment
{
    public required string Id { get; init; }

    /// <summary>Bytes, or -1 where an upload did not end and the number is unknown.</summary>
    public long Size { get; init; }

    public int Chunk { get; init; }

    [JsonIgnore]
    public long Chunks => Chunk == 0 ? 0 : (Size + Chunk - 1) / Chunk;
}

/// <summary>What the index says of an object. The segments of a long list stand apart (<see cref="Manifest"/>), so that listings stay small.</summary>
internal sealed record ObjectEntry
{
    public int Version { get; init; } = 1;

    public long Size { get; init; }

    public required string ETag { get; init; }

    public long ModifiedUnixMilliseconds { get; init; }

    public required string Owner { get; init; }

    public Dictionary<string, string> Headers { get; init; } = [];

    public Segment[] Segments { get; init; } = [];

    /// <summary>The segments stand under the key's manifest entry.</summary>
    public bool Apart { get; init; }

    public int Parts { get; init; }

    public string? UploadId { get; init; }

    public string? ChecksumAlgorithm { get; init; }

    public string? Checksum { get; init; }
}

internal sealed record Manifest
{
    public int Version { get; init; } = 1;

    public Segment[] Segments { get; init; } = [];
}

/// <summary>Data to be removed once its time has come.</summary>
internal sealed record Garbage
{
    public int Version { get; init; } = 1;

    public Segment[] Segments { get; init; } = [];

    /// <summary>A multipart upload whose record is to be removed.</summary>
    public string? UploadId { get; init; }

    /// <summary>The upload's parts became an object: only its record goes, and <see cref="Segments"/>.</summary>
    public bool KeepsData { get; init; }
}

internal sealed record BucketRecord
{
    public int Version { get; init; } = 1;

    public required string Name { get; init; }

    public required string Id { get; init; }

    public required string Owner { get; init; }

    public long CreatedUnixMilliseconds { get; init; }

    public int Shards { get; init; }
}

internal sealed record UploadRecord
{
    public int Version { get; init; } = 1;

    public required string Key { get; init; }

    public required string Owner { get; init; }

    public long CreatedUnixMilliseconds { get; init; }

    public Dictionary<string, string> Headers { get; init; } = [];
}

internal sealed record PartRecord
{
    public int Version { get; init; } = 1;

    public required string ETag { get; init; }

    public long ModifiedUnixMilliseconds { get; init; }

    public required Segment Data { get; init; }
}

/// <summary>An access key with its secret.</summary>
/// <param name="AccessKey">What requests name.</param>
/// <param name="SecretKey">What they are signed with.</param>
public sealed record AccessKeyPair(string AccessKey, string SecretKey);

/// <summary>A user of the S3 gateways.</summary>
public sealed record S3User
{
    /// <summary>Format version of the record.</summary>
    public int Version { get; init; } = 1;

    /// <summary>Unique id.</summary>
    public required string Id { get; init; }

    /// <summary>Tenant, or empty.</summary>
    public string Tenant { get; init; } = "";

    /// <summary>Name for people.</summary>
    public string DisplayName { get; init; } = "";

    /// <summary>E-mail address, or empty.</summary>
    public string Email { get; init; } = "";

    /// <summary>When it was made, milliseconds since 1970 UTC.</summary>
    public long CreatedUnixMilliseconds { get; init; }

    /// <summary>Its keys.</summary>
    public AccessKeyPair[] Keys { get; init; } = [];

    /// <summary>Tenant and id as one name: <c>TENANT$ID</c>, or the id alone.</summary>
    [JsonIgnore]
    public string FullId => Tenant.Length == 0 ? Id : $"{Tenant}${Id}";
}

internal sealed record KeyRecord
{
    public int Version { get; init; } = 1;

    public required string User { get; init; }

    public required string Secret { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ObjectEntry))]
[JsonSerializable(typeof(Manifest))]
[JsonSerializable(typeof(Garbage))]
[JsonSerializable(typeof(Segment))]
[JsonSerializable(typeof(BucketRecord))]
[JsonSerializable(typeof(UploadRecord))]
[JsonSerializable(typeof(PartRecord))]
[JsonSerializable(typeof(S3User))]
[JsonSerializable(typeof(KeyRecord))]
internal sealed partial class RecordContext : JsonSerializerContext;
