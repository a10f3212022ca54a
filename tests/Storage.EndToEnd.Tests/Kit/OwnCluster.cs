using System.Globalization;
using System.Text.Json;

namespace Storage.EndToEnd.Tests.Kit;

/// <summary>A small cluster of separate processes for one test, for what would leave the shared one in pieces.</summary>
public sealed class OwnCluster : IAsyncDisposable
{
    private readonly ClusterFixture _shared;

    private OwnCluster(ClusterFixture shared, string name, int portOffset)
    {
        _shared = shared;
        Data = Path.Combine(shared.Folder, name);
        PortBase = shared.PortBase + portOffset;
    }

    public string Data { get; }

    public int PortBase { get; }

    public int NbdPort => PortBase + 9;

    /// <param name="portOffset">From the shared cluster's first port; 30 ports are used.</param>
    public static async Task<OwnCluster> UpAsync(ClusterFixture shared, string name, int portOffset, params string[] arguments)
    {
        var cluster = new OwnCluster(shared, name, portOffset);
        (await Tool.RunAsync(
            Path.Combine(shared.Root, "cluster/up"),
            ["--data", cluster.Data, "--port-base", cluster.PortBase.ToString(CultureInfo.InvariantCulture), "--osd-size", "512MiB", .. arguments])).Expect();
        return cluster;
    }

    public Task<Tool.Result> StorageAsync(params string[] arguments) => Tool.RunAsync(Path.Combine(_shared.Root, "cluster/storage"), ["--data", Data, .. arguments]);

    public async Task OkAsync(params string[] arguments) => (await StorageAsync(arguments)).Expect();

    public async Task RefusedAsync(string reason, params string[] arguments) => Assert.Contains(reason, (await StorageAsync(arguments)).Expect(1).Error, StringComparison.Ordinal);

    public async Task<JsonDocument> JsonAsync(params string[] arguments) => JsonDocument.Parse((await StorageAsync([.. arguments, "--json"])).Expect().Output);

    /// <summary>Runs the program without naming this cluster, as a daemon's verbs need it.</summary>
    public Task<Tool.Result> PlainAsync(params string[] arguments) => Tool.RunAsync(Path.Combine(_shared.Root, "cluster/storage"), arguments);

    public Task WaitAsync(string what, Func<Task<bool>> condition) => _shared.WaitAsync(what, condition);

    public async ValueTask DisposeAsync()
    {
        await Tool.RunAsync(Path.Combine(_shared.Root, "cluster/down"), "--data", Data);
        if (Environment.GetEnvironmentVariable("STORAGE_KEEP") is null)
        {
            Directory.Delete(Data, recursive: true);
        }
    }
}
