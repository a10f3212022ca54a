using System.Globalization;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class SingleProcessTests(ClusterFixture cluster)
{
    [Fact]
    public async Task OneProcessIsAllDaemonsAndLosesNothingWhenItIsKilled()
    {
        string data = Path.Combine(cluster.Folder, "single");
        string up = Path.Combine(cluster.Root, "cluster/up");
        string down = Path.Combine(cluster.Root, "cluster/down");
        string[] make = ["--data", data, "--port-base", (cluster.PortBase + 40).ToString(CultureInfo.InvariantCulture), "--osd-size", "512MiB", "--single-process"];
        try
        {
            (await Tool.RunAsync(up, make)).Expect();
            int process = await ProcessAsync(data);
            string file = cluster.TempFile("single-object");
            string hash = await Files.RandomAsync(file, 5_000_003, 7);
            (await StorageAsync(data, "object", "put", "kept", file, "--pool", "volumes")).Expect();
            Assert.Contains("one process", (await StorageAsync(data, "daemon", "kill", "osd.1")).Expect(1).Error, StringComparison.Ordinal);
            (await Tool.RunAsync("kill", "-9", process.ToString(CultureInfo.InvariantCulture))).Expect();
            (await Tool.RunAsync(up, "--data", data)).Expect();
            Assert.NotEqual(process, await ProcessAsync(data));
            (await StorageAsync(data, "object", "get", "kept", file + ".back", "--pool", "volumes")).Expect();
            Assert.Equal(hash, await Files.HashAsync(file + ".back"));
        }
        finally
        {
            await Tool.RunAsync(down, "--data", data);
        }
    }

    private async Task<int> ProcessAsync(string data)
    {
        using JsonDocument daemons = JsonDocument.Parse((await StorageAsync(data, "daemons", "--json")).Expect().Output);
        int[] processes = [.. daemons.RootElement.EnumerateArray().Select(daemon => daemon.GetProperty("pid").GetInt32())];
        Assert.Equal(8, processes.Length);
        return Assert.Single(processes.Distinct());
    }

    private Task<Tool.Result> StorageAsync(string data, params string[] arguments) => Tool.RunAsync(Path.Combine(cluster.Root, "cluster/storage"), ["--data", data, .. arguments]);
}
