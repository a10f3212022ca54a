using System.Text.Json.Serialization;
using Storage.Cli.Configuration;

namespace Storage.Cli.Faults;

/// <summary>A fault that was injected and is to be healed.</summary>
internal sealed record ActiveFault
{
    public required string Id { get; init; }

    public required FaultKind Kind { get; init; }

    /// <summary>For people.</summary>
    public required string What { get; init; }

    public required IReadOnlyList<string> Targets { get; init; }

    /// <summary>Every daemon that was told something.</summary>
    public required IReadOnlyList<string> Involved { get; init; }

    public required long StartedUnixMs { get; init; }

    public required long UntilUnixMs { get; init; }

    /// <summary>The process that heals it if nobody else does.</summary>
    public int Healer { get; init; }
}

internal sealed record FaultFile
{
    public int Version { get; init; } = FaultState.FormatVersion;

    public IReadOnlyList<ActiveFault> Faults { get; init; } = [];
}

/// <summary>
/// <c>run/faults.json</c> of a local cluster: what was injected and not yet healed, so that any later command can heal it, whatever
/// became of the one that injected it.
/// </summary>
internal sealed class FaultState(ClusterFile cluster)
{
    public const int FormatVersion = 1;
    private static readonly TimeSpan s_lockPatience = TimeSpan.FromSeconds(10);

    private string Folder => Path.Combine(cluster.Folder, "run");

    private string FilePath => Path.Combine(Folder, "faults.json");

    public IReadOnlyList<ActiveFault> Read()
    {
        FaultFile file = JsonFile.TryRead(FilePath, FaultStateJson.Default.FaultFile) ?? new FaultFile();
        JsonFile.CheckVersion(FilePath, file.Version, FormatVersion);
        return file.Faults;
    }

    public Task AddAsync(ActiveFault fault, CancellationToken cancellation) => ChangeAsync(faults => [.. faults.Where(other => other.Id != fault.Id), fault], cancellation);

    public Task RemoveAsync(string id, CancellationToken cancellation) => ChangeAsync(faults => [.. faults.Where(fault => fault.Id != id)], cancellation);

    private async Task ChangeAsync(Func<IReadOnlyList<ActiveFault>, IReadOnlyList<ActiveFault>> change, CancellationToken cancellation)
    {
        Directory.CreateDirectory(Folder);
        using FileStream held = await LockAsync(cancellation).ConfigureAwait(false);
        JsonFile.Write(FilePath, new FaultFile { Faults = change(Read()) }, FaultStateJson.Default.FaultFile);
    }

    private async Task<FileStream> LockAsync(CancellationToken cancellation)
    {
        string path = Path.Combine(Folder, "faults.lock");
        long start = System.Diagnostics.Stopwatch.GetTimestamp();
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (System.Diagnostics.Stopwatch.GetElapsedTime(start) < s_lockPatience)
            {
                await Task.Delay(20, cancellation).ConfigureAwait(false);
            }
        }
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, UseStringEnumConverter = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(FaultFile))]
internal sealed partial class FaultStateJson : JsonSerializerContext;
