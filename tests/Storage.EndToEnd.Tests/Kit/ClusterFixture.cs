using System.Diagnostics;
using System.Text.Json;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>One real cluster of separate processes, shared by all tests, which run one after the other and leave it healthy.</summary>
public sealed class ClusterFixture : IAsyncLifetime
{
    private static readonly TimeSpan s_healthPatience = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan s_poll = TimeSpan.FromMilliseconds(100);

    public string Root { get; } = FindRoot();

    public string Folder { get; } = Path.Combine(Path.GetTempPath(), $"storage-e2e-{Environment.ProcessId}");

    public string Data => Path.Combine(Folder, "cluster");

    /// <summary>Below the ports that the kernel gives to outgoing connections.</summary>
    public int PortBase { get; } = 12000 + (Environment.ProcessId % 200 * 100);

    /// <summary>URI of the gateway, without an export's name.</summary>
    public string Nbd { get; private set; } = "";

    public int NbdPort => PortBase + 9;

    public string S3 { get; private set; } = "";

    public string AccessKey { get; private set; } = "";

    public string SecretKey { get; private set; } = "";

    public IReadOnlyDictionary<string, string> AwsEnvironment => new Dictionary<string, string>
    {
        ["AWS_ACCESS_KEY_ID"] = AccessKey,
        ["AWS_SECRET_ACCESS_KEY"] = SecretKey,
        ["AWS_DEFAULT_REGION"] = "us-east-1",
        ["AWS_EC2_METADATA_DISABLED"] = "true",
    };

    public async Task InitializeAsync()
    {
        Directory.CreateDirectory(Folder);
        await UpAsync();
        using JsonDocument endpoints = await JsonAsync("endpoints");
        Nbd = endpoints.RootElement.GetProperty("nbd").GetString()!;
        S3 = endpoints.RootElement.GetProperty("s3").GetString()!;
        AccessKey = endpoints.RootElement.GetProperty("s3_access_key").GetString()!;
        SecretKey = endpoints.RootElement.GetProperty("s3_secret_key").GetString()!;
    }

    public async Task DisposeAsync()
    {
        await Tool.RunAsync(Path.Combine(Root, "cluster/down"), "--data", Data);
        if (Environment.GetEnvironmentVariable("STORAGE_KEEP") is null)
        {
            Directory.Delete(Folder, recursive: true);
        }
    }

    public async Task UpAsync()
    {
        string[] first = File.Exists(Path.Combine(Data, "cluster.json")) ? [] : ["--port-base", $"{PortBase}", "--osd-size", "3GiB"];
        (await Tool.RunAsync(Path.Combine(Root, "cluster/up"), ["--data", Data, .. first])).Expect();
    }

    /// <summary>Runs <c>cluster/storage</c> against this cluster.</summary>
    public Task<Tool.Result> StorageAsync(params string[] arguments) => Tool.RunAsync(Path.Combine(Root, "cluster/storage"), ["--data", Data, .. arguments]);

    public async Task<JsonDocument> JsonAsync(params string[] arguments) => JsonDocument.Parse((await StorageAsync([.. arguments, "--json"])).Expect().Output);

    public Task KillAsync(params string[] daemons) => ExpectAsync("kill", daemons);

    public Task StartAsync(params string[] daemons) => ExpectAsync("start", daemons);

    public Task StopAsync(params string[] daemons) => ExpectAsync("stop", daemons);

    public async Task<IReadOnlyList<string>> DaemonNamesAsync()
    {
        using JsonDocument daemons = await JsonAsync("daemons");
        return [.. daemons.RootElement.EnumerateArray().Select(daemon => daemon.GetProperty("name").GetString()!)];
    }

    /// <summary>Starts what a failed test before left dead, and waits until all is well: where each test begins.</summary>
    public async Task WholeAsync()
    {
        await StartAsync([.. await DaemonNamesAsync()]);
        await WaitHealthyAsync();
    }

    /// <summary>Waits until all PGs are active+clean and the health is good.</summary>
    public Task WaitHealthyAsync() => WaitAsync("HEALTH_OK", async () =>
    {
        using JsonDocument status = await JsonAsync("status");
        ulong clean = 0;
        foreach (JsonElement state in status.RootElement.GetProperty("pg_states").EnumerateArray())
        {
            clean += state.GetProperty("state").GetString() == "active+clean" ? state.GetProperty("count").GetUInt64() : 0;
        }

        return status.RootElement.GetProperty("health").GetString() == "HEALTH_OK" && clean == status.RootElement.GetProperty("pgs").GetUInt64();
    });

    /// <summary>Waits for a condition.</summary>
    public async Task WaitAsync(string what, Func<Task<bool>> condition)
    {
        long start = Stopwatch.GetTimestamp();
        while (!await condition())
        {
            if (Stopwatch.GetElapsedTime(start) > s_healthPatience)
            {
                Assert.Fail($"{what} did not come about within {s_healthPatience}:\n{(await StorageAsync("status")).Output}\n{(await StorageAsync("health", "--detail")).Output}");
            }

            await Task.Delay(s_poll);
        }
    }

    /// <summary>The OSD that leads most PGs of the volumes' pool that hold data.</summary>
    public async Task<string> PrimaryOsdAsync()
    {
        using JsonDocument list = await JsonAsync("pg", "ls", "--pool", "volumes");
        return "osd." + list.RootElement.GetProperty("pgs").EnumerateArray()
            .Where(pg => pg.GetProperty("objects").GetUInt64() > 0)
            .GroupBy(pg => pg.GetProperty("primary").GetInt32())
            .MaxBy(group => group.Count())!.Key;
    }

    public async Task<string> LeaderAsync()
    {
        using JsonDocument status = await JsonAsync("mon", "status");
        return "mon." + status.RootElement.GetProperty("leader").GetString();
    }

    /// <summary>Creates a volume of its own for a test.</summary>
    public async Task<string> VolumeAsync(string size)
    {
        string name = $"t{Guid.NewGuid():n}";
        (await StorageAsync("volume", "create", name, "--size", size)).Expect();
        return name;
    }

    public string TempFile(string name) => Path.Combine(Folder, name);

    private async Task ExpectAsync(string verb, string[] daemons) => (await StorageAsync(["daemon", verb, .. daemons])).Expect();

    private static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "Storage.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new InvalidOperationException("Storage.sln is in no folder above the tests");
    }
}

[CollectionDefinition(Name)]
public sealed class ClusterCollection : ICollectionFixture<ClusterFixture>
{
    public const string Name = "cluster";
}
