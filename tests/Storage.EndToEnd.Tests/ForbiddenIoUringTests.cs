using System.Globalization;
using System.Text.Json;
using Storage.EndToEnd.Tests.Kit;

namespace Storage.EndToEnd.Tests;

[Collection(ClusterCollection.Name)]
public sealed class ForbiddenIoUringTests(ClusterFixture cluster)
{
    [Fact]
    public async Task DaemonsSwitchToEpollByThemselvesAndLoseNothingWhenTheyAreKilled()
    {
        string data = Path.Combine(cluster.Folder, "epoll");
        string launcher = Path.Combine(cluster.Root, "tests/Storage.EndToEnd.Tests/Kit/without-io-uring");
        string up = Path.Combine(cluster.Root, "cluster/up");
        try
        {
            (await Tool.RunAsync(
                launcher, up, "--data", data, "--port-base", (cluster.PortBase + 70).ToString(CultureInfo.InvariantCulture), "--osd-size", "512MiB", "--mons", "1")).Expect();
            int[] processes = await ProcessesAsync(data);
            Assert.Equal(6, processes.Length);
            foreach (int process in processes)
            {
                string[] open = [.. Directory.GetFiles($"/proc/{process}/fd").Select(file => File.ResolveLinkTarget(file, false)?.Name ?? "")];
                Assert.DoesNotContain(open, name => name.Contains("io_uring", StringComparison.Ordinal));
                Assert.Contains(open, name => name.Contains("eventpoll", StringComparison.Ordinal));
            }

            Assert.Contains("epoll", await File.ReadAllTextAsync(Directory.GetFiles(Path.Combine(data, "log"), "osd.0*")[0]), StringComparison.Ordinal);
            string file = cluster.TempFile("epoll-object");
            string hash = await Files.RandomAsync(file, 5_000_003, 8);
            (await StorageAsync(data, "object", "put", "kept", file, "--pool", "volumes")).Expect();
            (await Tool.RunAsync("kill", ["-9", .. processes.Select(process => process.ToString(CultureInfo.InvariantCulture))])).Expect();
            (await Tool.RunAsync(launcher, up, "--data", data)).Expect();
            (await StorageAsync(data, "object", "get", "kept", file + ".back", "--pool", "volumes")).Expect();
            Assert.Equal(hash, await Files.HashAsync(file + ".back"));
        }
        finally
        {
            await Tool.RunAsync(Path.Combine(cluster.Root, "cluster/down"), "--data", data);
        }
    }

    private async Task<int[]> ProcessesAsync(string data)
    {
        using JsonDocument daemons = JsonDocument.Parse((await StorageAsync(data, "daemons", "--json")).Expect().Output);
        return [.. daemons.RootElement.EnumerateArray().Select(daemon => daemon.GetProperty("pid").GetInt32())];
    }

    private Task<Tool.Result> StorageAsync(string data, params string[] arguments) => Tool.RunAsync(Path.Combine(cluster.Root, "cluster/storage"), ["--data", data, .. arguments]);
}
